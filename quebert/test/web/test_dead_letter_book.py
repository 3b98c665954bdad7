"""
L{DeadLetterBook}: dead letters in pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.queues import KIND, REASON
from quebert.errors import BrokerError
from quebert.operations import BrokerAccess, DeadLetter, Match
from quebert.policy import ATTEMPTS, FIRST_ATTEMPT, LAST_STATUS
from quebert.web import BadPageToken, DeadPage
from quebert.web.cluster._dead_letters import AT_ONCE, FRESH, KEPT, DeadLetterBook


def _letter(number: int, **headers: Any) -> DeadLetter:
    body = json.dumps({"uuid": f"u-{number}", "url": "http://u:p@x/?token=secret"})
    return DeadLetter({"headers": {KIND: "poison", **headers}}, body.encode())


@attrs.define
class Browse:
    """
    A look that is under way.
    """

    see: Callable[[DeadLetter], object]
    done: Deferred[None]

    def end(self, *letters: DeadLetter) -> None:
        """
        It has seen these.
        """
        for each in letters:
            self.see(each)
        self.done.callback(None)


class BookTests(SynchronousTestCase):
    """
    What is looked at, and when.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.looks: list[Browse] = []
        self.book = DeadLetterBook(BrokerAccess(self.clock), self._look)

    async def _look(
        self,
        broker: BrokerAccess,
        queue: str,
        matches: Sequence[Match],
        see: Callable[[DeadLetter], object],
    ) -> None:
        look = Browse(see, Deferred())
        self.looks.append(look)
        await look.done

    def _page(
        self, queue: str = "q", *matches: str, token: str = "", size: int = 2
    ) -> Deferred[DeadPage]:
        parsed = [Match.parse(each) for each in matches]
        return Deferred.fromCoroutine(self.book.page(queue, parsed, token, size))

    def test_pages(self) -> None:
        """
        All are looked through once, whoever asks, and however many pages are turned.
        """
        first, other = self._page(), self._page()
        self.assertEqual(len(self.looks), 1)
        letters = [_letter(n, **{REASON: f"reason {n % 2}"}) for n in range(5)]
        self.looks[0].end(*letters)
        page = self.successResultOf(first)
        self.assertEqual(self.successResultOf(other), page)
        self.assertEqual([each.uuid for each in page.dead], ["u-0", "u-1"])
        self.assertEqual(page.count, 5)
        self.assertEqual([e.count for e in page.groups], [3, 2])
        self.clock.advance(FRESH + 1)
        rest = self.successResultOf(self._page(token=page.next_page_token or ""))
        self.assertEqual([each.uuid for each in rest.dead], ["u-2", "u-3"])
        self.assertEqual(len(self.looks), 1)
        self._page()
        self.assertEqual(len(self.looks), 2)

    def test_tokens(self) -> None:
        """
        A token of another look, or none, is refused.
        """
        first = self._page()
        self.looks[0].end(*map(_letter, range(5)))
        token = self.successResultOf(first).next_page_token
        assert token is not None
        name = token.partition(".")[0]
        for wrong in ("x", "x.2", name, f"{name}.", f"{name}.-1", f"{name}.\u0663"):
            self.failureResultOf(self._page(token=wrong), BadPageToken)
        self.failureResultOf(self._page("other", token=token), BadPageToken)
        self.failureResultOf(self._page("q", "kind=x", token=token), BadPageToken)
        beyond = self.successResultOf(self._page(token=f"{name}.99"))
        self.assertEqual((beyond.dead, beyond.next_page_token), ((), None))
        self.book.forget("q")
        self.failureResultOf(self._page(token=token), BadPageToken)

    def test_few(self) -> None:
        """
        A few looks go on at a time; others wait.
        """
        pages = [self._page(f"q{n}") for n in range(AT_ONCE + 1)]
        self.assertEqual(len(self.looks), AT_ONCE)
        self.looks[0].end()
        self.assertEqual(len(self.looks), AT_ONCE + 1)
        self.looks[-1].end()
        self.assertEqual(self.successResultOf(pages[-1]).count, 0)
        self.assertNoResult(pages[1])

    def test_too_many(self) -> None:
        """
        Whoever asks for another look again and again, and waits for none, does not
        have the broker be asked for hours.
        """
        pages = [self._page("q", f"uuid={n}") for n in range(9)]
        self.failureResultOf(pages.pop(), BrokerError)
        for page in pages:
            page.addErrback(lambda _: None).cancel()
        self.failureResultOf(self._page("other"), BrokerError)
        self.looks[0].end()
        self.assertNoResult(self._page("other"))
        self.assertNoResult(self._page("q", "uuid=7"))  # goes on

    def test_reasons(self) -> None:
        """
        Very many different reasons are counted together.
        """
        getting = self._page()
        reasons = [f"reason {chr(0x4E00 + n)}" for n in range(6_000)]
        letters = [_letter(1, **{REASON: reason}) for reason in reasons]
        self.looks[0].end(*letters)
        groups = self.successResultOf(getting).groups
        self.assertEqual((groups[0].reason, groups[0].count), ("other reasons", 1_000))

    def test_many(self) -> None:
        """
        Of very many letters some are kept, and all are counted.
        """
        page = self._page()
        self.looks[0].end(*map(_letter, range(KEPT + 10)))
        found = self.successResultOf(page)
        token = found.next_page_token or ""
        self.assertEqual(found.count, KEPT + 10)
        last = f"{token.partition('.')[0]}.{KEPT - 1}"
        rest = self.successResultOf(self._page(token=last))
        self.assertEqual((len(rest.dead), rest.next_page_token), (1, None))

    def test_fails(self) -> None:
        """
        A look that fails is told to all who wait, and the next one begins anew; one who
        hangs up takes it from nobody.
        """
        first, other = self._page(), self._page()
        first.addErrback(lambda _: None)
        first.cancel()
        self.looks[0].done.errback(BrokerError("RabbitMQ is away"))
        self.failureResultOf(other, BrokerError)
        self._page()
        self.assertEqual(len(self.looks), 2)

    def test_shown(self) -> None:
        """
        What is shown has no secret that can be known, and of odd values nothing.
        """
        page = self._page()
        headers = {ATTEMPTS: 7, FIRST_ATTEMPT: 12.5, LAST_STATUS: 503}
        odd = {ATTEMPTS: "many", FIRST_ATTEMPT: "never", LAST_STATUS: b"\xff"}
        self.looks[0].end(_letter(1, **headers), _letter(2, **odd))
        one, two = self.successResultOf(page).dead
        self.assertEqual((one.attempts, one.first, one.status), (7, 12.5, 503))
        self.assertEqual((two.attempts, two.first, two.status), (None, None, None))
        self.assertEqual(one.url, "http://...@x/?...")
