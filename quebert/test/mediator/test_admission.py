"""
A mediator with admission control: a task whose origin may not be asked now waits, and
has not failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase

from quebert._url import origin_of
from quebert.errors import Forbidden
from quebert.limits import (
    GIVEN_UP,
    BreakerSettings,
    OriginLimits,
    Origins,
    WhenFree,
)
from quebert.mediator import PolicyMediator
from quebert.outcome import Discard, Done, Outcome, Retry
from quebert.task_callbacks import CallbackTask
from quebert.task_events import EndedTask
from quebert.test.mediating import (
    NOW,
    URL,
    Case,
    FakeHTTP,
    appending,
    message,
)

ORIGIN = "http://executor.example"


class FakeAdmission:
    """
    Admission control that does as it is told.
    """

    def __init__(self, wait: float = 0.0) -> None:
        self.wait = wait
        self.admits: list[tuple[str, float]] = []
        self.ends: list[tuple[str, float, int | None, float]] = []

    def admit(self, origin: str, now: float) -> float:
        """
        Note it.
        """
        self.admits.append((origin, now))
        return self.wait

    def ended(
        self, origin: str, now: float, status: int | None, seconds: float
    ) -> None:
        """
        Note it.
        """
        self.ends.append((origin, now, status, seconds))


class OriginTests(SynchronousTestCase):
    """
    L{origin_of}: what limits are for.
    """

    def test_table(self) -> None:
        """
        Scheme, host and port, as long as it is not the usual one.
        """
        table = {
            "http://one.example/a/b?c": "http://one.example",
            "http://One.Example:80/": "http://one.example",
            "https://one.example:443": "https://one.example",
            "https://one.example:80/x": "https://one.example:80",
            "http://[::1]:8000/": "http://[::1]:8000",
            "http://one.example./a.": "http://one.example",
            "http://one.example.:80/": "http://one.example",
            "http://one.example.:81/": "http://one.example:81",
            "HTTPS://ONE.example.:443/": "https://one.example",
        }
        for url, origin in table.items():
            self.assertEqual(origin_of(url), origin)


class AdmissionTests(Case):
    """
    C{Mediator(admission=...)}.
    """

    def test_open(self) -> None:
        """
        Admission control is asked once for each request, and told of its end.
        """
        admission, http, now = FakeAdmission(), FakeHTTP(), [NOW]
        mediator = self.mediator(admission=admission, http=http, now=lambda: now[0])
        self.clock.advance(1)
        outcome = mediator.messageReceived(message())
        self.clock.advance(2.5)
        now[0] -= 3_600  # the clock of the machine is set back: no matter
        http.requests[0].answer()
        self.assertEqual(self.successResultOf(outcome), Done())
        self.assertEqual(admission.admits, [(ORIGIN, 1.0)])
        self.assertEqual(admission.ends, [(ORIGIN, 3.5, 200, 2.5)])

    def test_closed(self) -> None:
        """
        Who must wait is put back as it was, for as long, and nothing is requested.
        """
        admission = FakeAdmission(7.5)
        for mediator in (
            self.mediator(admission=admission),
            self.backing_off(admission=admission),
            PolicyMediator(http=self.http, clock=self.clock, admission=admission),
        ):
            events = self.events()
            outcome = self.outcome(mediator, message(failures=3))
            self.assertEqual(outcome, Retry(after=7.5, attempted=False))
            self.assertEqual(list(events), [])
        self.assertEqual((self.http.requests, admission.ends), ([], []))

    def test_hooks(self) -> None:
        """
        After a pre-hook, too; post-hooks do not run.
        """
        calls: list[object] = []
        mediator = self.mediator(admission=FakeAdmission(2))
        mediator.add_prehook(appending(calls, "pre"))
        mediator.add_posthook(appending(calls, "post"))
        put_off = Retry(after=2, attempted=False)
        self.assertEqual(self.outcome(mediator, message()), put_off)
        self.assertEqual(calls, ["pre"])

    def test_filtered(self) -> None:
        """
        What needs no request does not ask.
        """
        admission = FakeAdmission(2)
        mediator = self.mediator(admission=admission)
        self.assertEqual(self.outcome(mediator, message(filter=True)), Done())
        self.assertEqual(admission.admits, [])

    def test_short_time_limits(self) -> None:
        """
        Tasks with time limits that nobody could keep do not open the breaker of an
        origin, for which others would have to wait; those that hang do.
        """
        admission = Origins(OriginLimits(breaker=BreakerSettings(failures=3)))
        mediator = self.mediator(admission=admission, http=FakeHTTP())
        for limit, state in ((0.001, "closed"), (0.9, "closed"), (1.5, "open")):
            for _ in range(3):
                mediator.messageReceived(message(timeout=limit))
                self.clock.advance(limit)
                self.clock.advance(0.01)
            self.assertEqual(admission.snapshot()[ORIGIN].breaker, state, limit)

    def test_statuses(self) -> None:
        """
        It is told the status; none where there was no answer, and that it says
        nothing where we gave up, or the guard refused.
        """
        admission = FakeAdmission()
        for status in (204, 404, 503):
            mediator = self.mediator(admission=admission, http=FakeHTTP(status))
            self.outcome(mediator, message())
        self.assertEqual([each[2] for each in admission.ends], [200, 404, 503])
        http = FakeHTTP()
        mediator = self.mediator(admission=admission, http=http)
        for error in (ConnectError(), CancelledError(), Forbidden("no")):
            received: Deferred[Outcome] = mediator.messageReceived(message())
            http.requests[-1].answered.errback(error)
            self.successResultOf(received)
        self.assertEqual(
            [each[2] for each in admission.ends[3:]], [None, GIVEN_UP, GIVEN_UP]
        )

    def test_time_limit(self) -> None:
        """
        A request that takes too long had no answer.
        """
        admission = FakeAdmission()
        mediator = self.mediator(admission=admission, http=FakeHTTP())
        received = mediator.messageReceived(message(timeout=5))
        self.clock.pump([1.0] * 7)
        self.assertIsInstance(self.successResultOf(received), Retry)
        self.assertEqual([each[2] for each in admission.ends], [None])

    def test_broken_client(self) -> None:
        """
        A client that raises ends its request, too.
        """
        admission = FakeAdmission()
        mediator = self.mediator(admission=admission, http=object())
        self.put_back(mediator, message())
        self.assertEqual([each[2] for each in admission.ends], [None])

    def test_breaker(self) -> None:
        """
        With a breaker, a host that keeps failing is asked no more for a while; others
        are.
        """
        limits = OriginLimits(breaker=BreakerSettings(failures=3, pause=60))
        admission = Origins(limits)
        ill = FakeHTTP(503)
        mediator = self.mediator(admission=admission, http=ill)
        for _ in range(10):
            self.put_back(mediator, message())
        self.assertEqual(len(ill.requests), 3)
        retry = self.put_back(mediator, message())
        self.assertGreaterEqual(retry.after, 60)
        self.assertEqual(admission.snapshot()[ORIGIN].in_flight, 0)
        other = message(url="http://other.example/")
        mediator.http = self.http
        self.assertEqual(self.outcome(mediator, other), Done())


@attrs.define
class AskingMessage:
    """
    A message of a watch, which tells whether a request may be made.
    """

    body: bytes
    may: bool = True
    may_have_past: bool = True
    cancelled_tasks: Mapping[str, str] = attrs.field(factory=dict)
    runs_now: bool = False
    tells_end: bool = False
    last_attempt: EndedTask | None = None
    callback_task: CallbackTask | None = None
    told: list[str] = attrs.field(factory=list)
    when_free: WhenFree | None = None
    properties: Mapping[str, Any] = attrs.field(factory=dict)

    def may_request(self, url: str) -> bool:
        """
        Note it.
        """
        self.told.append(url)
        return self.may

    def was_refused(self, seconds: float, when_free: WhenFree | None = None) -> None:
        """
        Note it.
        """
        self.told.append(f"refused for {seconds}")
        self.when_free = when_free

    def was_unanswered(self) -> None:
        """
        Note it.
        """
        self.told.append("unanswered")


class AskingTests(Case):
    """
    A message is told what is requested for it, and may have that wait.
    """

    def test_may_not(self) -> None:
        """
        Then nothing is requested, no admission is asked for, and it was no attempt.
        """
        admission = FakeAdmission()
        asking = AskingMessage(message().body, may=False)
        outcome = self.outcome(self.mediator(admission=admission), asking)
        self.assertEqual(outcome, Retry(after=0, attempted=False))
        self.assertEqual((self.http.requests, admission.admits), ([], []))
        self.assertEqual(asking.told, [URL, "unanswered"])

    def test_refused(self) -> None:
        """
        It is told if the request is not admitted, which is no attempt either.
        """
        asking = AskingMessage(message().body)
        outcome = self.outcome(self.mediator(admission=FakeAdmission(7)), asking)
        self.assertEqual(outcome, Retry(after=7, attempted=False))
        self.assertEqual(asking.told, [URL, "refused for 7", "unanswered"])
        self.assertIsNone(asking.when_free)

    def test_when_free(self) -> None:
        """
        It gets what tells when the request may be made, if the admission has that.
        """
        origins = Origins(OriginLimits(concurrency=1))
        origins.admit(ORIGIN, 0)
        asking = AskingMessage(message().body)
        self.outcome(self.mediator(admission=origins), asking)
        called: list[bool] = []
        when_free = asking.when_free
        assert when_free is not None

        def again() -> bool:
            called.append(True)
            return True

        when_free(again)
        origins.ended(ORIGIN, 1, 200, 1)
        self.assertEqual(called, [True])

    def test_expired_meanwhile(self) -> None:
        """
        A task that expires while it waits is not requested.
        """
        now = [NOW]
        mediator = self.mediator(now=lambda: now[0])
        asking = AskingMessage(message(ttl=5).body, may=False)
        asking.properties = {"timestamp": int(NOW)}
        self.assertIsInstance(self.outcome(mediator, asking), Retry)
        now[0] += 6
        self.clock.advance(6)
        asking.may = True
        self.assertIsInstance(self.outcome(mediator, asking), Discard)
        self.assertEqual(self.http.requests, [])

    def test_unanswered(self) -> None:
        """
        It is told that no answer came; any status is an answer.
        """
        for status in (204, 404, 503):
            asking = AskingMessage(message().body)
            self.outcome(self.mediator(http=FakeHTTP(status)), asking)
            self.assertEqual(asking.told, [URL])
        http = FakeHTTP()
        asking = AskingMessage(message().body)
        received = self.mediator(http=http).messageReceived(asking)
        http.requests[-1].answered.errback(ConnectError())
        self.successResultOf(received)
        self.assertEqual(asking.told, [URL, "unanswered"])
