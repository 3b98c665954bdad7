"""
Attempts of suspects: one at a time, with no other task of the client at work.

When a suspect comes, no further message begins.  Once the callbacks of all messages
that have begun have ended, the suspect begins.  Then the others may go on, before the
next suspect.

Suspects that come within L{GATHERING} seconds of each other are sorted: the one that
was alone at the fewest ends begins first.  So if something else ends the mediators, no
suspect collects all the blame.

A suspect whose turn does not come for
L{LONGEST_WAIT<quebert._consumer_timeout.LONGEST_WAIT>} seconds goes back as a copy.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._consumer_timeout import wait_left
from quebert._deadlines import Deadlines
from quebert.amqp.watch._record import Record
from quebert.amqp.watch._suspects import Suspects

if TYPE_CHECKING:
    from quebert.amqp.watch._delivered_message import DeliveredMessage
    from quebert.amqp.wire import Wire

__all__ = [
    "GATHERING",
    "LONGEST_GATHERING",
    "OneSuspect",
    "SuspectOwner",
]

#: Seconds from the last suspect that has come until one begins, ...
GATHERING = 0.5
#: ... and from the first one at most.
LONGEST_GATHERING = 5.0
# Why no further message begins.
_REASON = "suspect"


class SuspectOwner(Protocol):
    """
    What attempts suspects.
    """

    @property
    def running(self) -> int:
        """
        How many unsettled messages are with the callback.
        """

    def close(self, reason: str) -> None:
        """
        Begin no further message, until L{open} is called with the same reason.
        """

    def open(self, reason: str) -> None:
        """
        Begin further messages, unless something else is against it.
        """

    def wire_of(self, message: DeliveredMessage) -> Wire | None:
        """
        The connection that a message came on, while it is unsettled.
        """

    def begin(self, message: DeliveredMessage) -> None:
        """
        Call the callback with a message.
        """

    def return_message(self, message: DeliveredMessage) -> None:
        """
        Have a message that was not begun come again.
        """


@attrs.define(eq=False)
class _SuspectAttempt:
    """
    @ivar begun: whether the callback has been called.
    """

    watch: SuspectOwner
    message: DeliveredMessage
    wire: Wire
    begun: bool = False


class OneSuspect:
    """
    Attempts the suspects of one client.

    @ivar wanted: whether there is any suspect.
    """

    def __init__(
        self,
        suspects: Suspects,
        clock: Callable[[], IReactorTime],
    ) -> None:
        self.wanted = False
        self._suspects = suspects
        self._watches: dict[SuspectOwner, None] = {}
        self._clock = clock
        # Those first that were alone at fewer ends.
        self._waiting: list[tuple[SuspectOwner, DeliveredMessage]] = []
        self._gathering: IDelayedCall | None = None
        self._gather_until = 0.0
        self._current: _SuspectAttempt | None = None
        self._changing = False
        self._deadlines: Deadlines[tuple[SuspectOwner, DeliveredMessage]] = Deadlines(
            clock, self._late
        )

    def join(self, watch: SuspectOwner) -> None:
        """
        A watch of the client begins.
        """
        self._watches[watch] = None
        if self.wanted:
            watch.close(_REASON)

    def leave(self, watch: SuspectOwner) -> None:
        """
        A watch is over, or has not begun.
        """
        self._watches.pop(watch, None)

    def add(self, watch: SuspectOwner, message: DeliveredMessage) -> None:
        """
        Attempt a suspect when it is its turn.
        """
        pair = watch, message
        insort(self._waiting, pair, key=_times_alone)
        now = self._clock().seconds()
        self._deadlines.begin(pair, wait_left(message.came, now))
        if not self.wanted:
            self._gathering = self._clock().callLater(GATHERING, self._gathered)
            self._gather_until = now + LONGEST_GATHERING
        elif self._gathering is not None:  # others may come, too
            left = max(0.0, self._gather_until - now)
            self._gathering.reset(min(GATHERING, left))
        self.wanted = True
        self._close()

    def _gathered(self) -> None:
        self._gathering = None
        self._begin_next()

    def decided(self, message: DeliveredMessage) -> None:
        """
        The callback has ended with a message.
        """
        current = self._current
        if current is not None and current.message is message:
            Deferred.fromCoroutine(self._remove_sign(current))
            self._end()
        else:
            self._begin_next()

    def lost(self, watch: SuspectOwner) -> None:
        """
        The channel of a watch is lost: RabbitMQ delivers its messages again, although
        its callback may still have one.
        """
        self.take_back(watch)
        if self._current is not None and self._current.watch is watch:
            self._end()
        else:
            self._begin_next()  # which may have waited for those of the watch

    def take_back(self, watch: SuspectOwner) -> list[DeliveredMessage]:
        """
        Attempt no more suspects of a watch; returns those that have not begun.
        """
        taken = [message for each, message in self._waiting if each is watch]
        self._forget(*((watch, message) for message in taken))
        current = self._current
        if current is not None and current.watch is watch and not current.begun:
            taken.append(current.message)
            self._end()
        return taken

    def _late(self, pair: tuple[SuspectOwner, DeliveredMessage]) -> None:
        watch, message = pair
        self._forget(pair)
        watch.return_message(message)

    def _forget(self, *pairs: tuple[SuspectOwner, DeliveredMessage]) -> None:
        for each in pairs:
            self._waiting.remove(each)
            self._deadlines.end(each)
        if pairs and not self._waiting and self._current is None:
            self._end()

    def _begin_next(self) -> None:
        if self._changing:  # whoever is changing it asks again
            return
        self._changing = True
        try:
            while self._may_begin:
                self._begin(*self._waiting.pop(0))  # which may end at once
        finally:
            self._changing = False

    @property
    def _may_begin(self) -> bool:
        """
        Whether it is the turn of a suspect.  If others are at work, this is asked again
        when they have ended.
        """
        if self._gathering or self._current or not self._waiting:
            return False
        return not any(watch.running for watch in self._watches)

    def _begin(self, watch: SuspectOwner, message: DeliveredMessage) -> None:
        self._deadlines.end((watch, message))
        wire = watch.wire_of(message)
        if wire is None:
            self._end()
            return
        self._current = _SuspectAttempt(watch, message, wire)
        Deferred.fromCoroutine(self._attempt(self._current))

    async def _attempt(self, attempt: _SuspectAttempt) -> None:
        watch, message = attempt.watch, attempt.message
        await self._suspects.begin(attempt.wire, Record.of(message).flight)
        if attempt is self._current and watch.wire_of(message) is attempt.wire:
            attempt.begun = True
            watch.begin(message)
            return
        # It went back in the meantime.
        if attempt is self._current:
            self._end()
        await self._remove_sign(attempt)

    async def _remove_sign(self, attempt: _SuspectAttempt) -> None:
        flight = Record.of(attempt.message).flight
        await self._suspects.end(attempt.wire, flight)

    def _end(self) -> None:
        """
        Let the others go on, and then the next suspect.
        """
        self._current = None
        self.wanted = bool(self._waiting)
        if self._gathering is not None and not self.wanted:
            self._gathering.cancel()
            self._gathering = None
        # What begins now may end at once.
        was_changing, self._changing = self._changing, True
        try:
            for watch in list(self._watches):
                watch.open(_REASON)
        finally:
            self._changing = was_changing
        if self._waiting:
            self._close()
            self._begin_next()

    def _close(self) -> None:
        for watch in self._watches:
            watch.close(_REASON)


def _times_alone(pair: tuple[SuspectOwner, DeliveredMessage]) -> int:
    return Record.of(pair[1]).alone
