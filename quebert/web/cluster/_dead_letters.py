"""
Dead letters in pages.

Theory of operation.  A broker has no pages: to see the tenth letter is to look at nine
others, and to group them is to look at all.  So all are looked through once, with one
such look at a queue at a time.  The letters that were seen are kept for some seconds,
and longer for a client that goes through their pages, whose token names the look.
"""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from quebert._lanes import Lanes
from quebert._secrets import masked
from quebert._text import cut, printable, shown_url
from quebert._waiters import another_waiter
from quebert.errors import BrokerError
from quebert.operations import BrokerAccess, DeadLetter, Match, browse
from quebert.policy import FIRST_ATTEMPT
from quebert.web import BadPageToken, DeadGroup, DeadPage, DeadView

__all__ = ["DeadLetterBook", "dead_view"]

#: Looks at a time, of all queues.
AT_ONCE = 2
#: Letters of a look that are kept; more are counted alone.
KEPT = 5_000
#: Seconds for which a look is shown to others.
FRESH = 5.0
# Looks that are kept, and that go on or wait for their turn.
_LOOKS = 8
# Reasons that are counted; more are counted together.
_COUNTED, _OTHERS = 5_000, "other reasons"
# Seconds for which pages of it can be turned.
_OLD = 600.0
# Reasons that are told.
_GROUPS = 200
# Characters of a text that somebody else has chosen.
_CELL = 500


def dead_view(letter: DeadLetter) -> DeadView:
    """
    A letter as it is shown: without secrets, so far as they can be known.
    """
    first = letter.headers.get(FIRST_ATTEMPT)
    status = letter.status
    attempts = letter.attempts
    return DeadView(
        uuid=_cell(letter.uuid),
        url=_cell(shown_url(letter.url)),
        kind=_cell(letter.kind),
        reason=_cell(letter.reason),
        attempts=_number(attempts),
        first=first if isinstance(first, (int, float)) else None,
        last=letter.buried_at,
        status=_number(status),
        answer=_cell(letter.answer),
    )


def _cell(text: str) -> str:
    return printable(cut(masked(text), _CELL))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


@attrs.define(eq=False)
class _DeadLook:
    """
    The letters that a look through the dead letters of a queue has found.
    """

    name: str
    begun: float
    done: Deferred[None]
    letters: list[DeadView] = attrs.field(factory=list)
    groups: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    count: int = 0

    def see(self, letter: DeadLetter) -> None:
        """
        Count a letter, and keep it if there is room.
        """
        self.count += 1
        group = _cell(letter.kind), _cell(letter.common_reason)
        if len(self.groups) >= _COUNTED and group not in self.groups:
            group = "", _OTHERS
        self.groups[group] += 1
        if len(self.letters) < KEPT:
            self.letters.append(dead_view(letter))

    def page(self, begin: int, size: int) -> DeadPage:
        """
        A page of the letters.
        """
        end = begin + size
        more = end < len(self.letters)
        return DeadPage(
            dead=tuple(self.letters[begin:end]),
            groups=tuple(
                DeadGroup(kind=kind, reason=reason, count=count)
                for (kind, reason), count in self.groups.most_common(_GROUPS)
            ),
            count=self.count,
            next_page_token=f"{self.name}.{end}" if more else None,
        )


_Key = tuple[str, tuple[Match, ...]]
Look = Callable[
    [BrokerAccess, str, Sequence[Match], Callable[[DeadLetter], object]],
    Awaitable[object],
]


class DeadLetterBook:
    """
    Looks through dead letters.

    @param look: looks through those of a queue.
    """

    def __init__(self, broker: BrokerAccess, look: Look = browse) -> None:
        self._broker = broker
        self._look = look
        self._turns = Lanes(AT_ONCE)
        self._looks: OrderedDict[_Key, _DeadLook] = OrderedDict()

    @property
    def _now(self) -> float:
        seconds: float = self._broker.reactor.seconds()
        return seconds

    def forget(self, queue: str) -> None:
        """
        The dead letters of a queue have changed: look anew.
        """
        for key in list(self._looks):
            if key[0] == queue and self._looks[key].done.called:
                del self._looks[key]

    async def page(
        self, queue: str, matches: Sequence[Match], token: str, size: int
    ) -> DeadPage:
        """
        Some of the dead letters that match.

        @raise ConfigError: there is no such queue.
        @raise BadPageToken: the token is none of ours, or too old.
        @raise BrokerError: the broker does not let us see, or is asked too often.
        """
        key = queue, tuple(matches)
        begin = 0
        look = self._looks.get(key)
        if token:
            name, _, place = token.partition(".")
            is_right = place.isascii() and place.isdigit() and len(place) < 10
            known = look is not None and look.name == name and look.done.called
            if look is None or not (known and is_right):
                raise BadPageToken("the page token is none of ours, or too old")
            begin = int(place)
        elif look is None or (look.done.called and self._now - look.begun > FRESH):
            look = self._begin(key)
        await another_waiter(look.done)
        return look.page(begin, size)

    def _begin(self, key: _Key) -> _DeadLook:
        going_on = sum(not each.done.called for each in self._looks.values())
        if going_on >= _LOOKS:  # nobody may be there any more who waits for them
            raise BrokerError(f"{going_on} looks through dead letters go on already")
        look = _DeadLook(secrets.token_hex(4), self._now, Deferred())
        self._looks.pop(key, None)
        self._looks[key] = look
        looking = Deferred.fromCoroutine(self._run(key, look))
        looking.addErrback(self._failed, key, look)
        for old in list(self._looks):
            found = self._looks[old]
            is_old = self._now - found.begun > _OLD or len(self._looks) > _LOOKS
            if is_old and found.done.called:
                del self._looks[old]
        return look

    async def _run(self, key: _Key, look: _DeadLook) -> None:
        queue, matches = key
        await self._turns.acquire()
        try:
            await self._look(self._broker, queue, matches, look.see)
        finally:
            self._turns.release()
        look.begun = self._now
        look.done.callback(None)

    def _failed(self, failure: Any, key: _Key, look: _DeadLook) -> None:
        if self._looks.get(key) is look:
            del self._looks[key]
        look.done.errback(failure)
        look.done.addErrback(lambda _: None)  # whoever waits has it
