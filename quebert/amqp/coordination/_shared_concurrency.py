"""
Our share of the places that all who watch a queue have together.

RabbitMQ counts them (L{Sharing<quebert.amqp.coordination._sharing.Sharing>}), as
consumers of a queue C{quebert.places.<queue>}.  Each has an equal part, which is at
least one place, and whole ones: of 10 places, three watches have 3 each.

What is inexact: where there are more watches than places, each has one all the same.
In the moment in which another one comes, and in the seconds after one has gone, more or
fewer messages may be at work than there are places.  A watch does not use the places
that another one leaves unused.  What does not count for C{prefetch} any more, as with
C{slow_after}, does not count here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._protocol.extensions import EXPIRES
from quebert.amqp.coordination._sharing import Sharing
from quebert.amqp.queues import CLASSIC, QUORUM, declare_queue, derived, own_quorum
from quebert.amqp.watch import DeliveredMessage, Throttle

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Message, Wire

__all__ = ["SharedConcurrency", "places_queue_of"]

_PREFIX = "quebert.places."
# Milliseconds after which the queue goes if nobody uses it.
_EXPIRES = 600_000
# Seconds for which messages wait here while all places are taken, and none becomes
# free.  Then they go back, and others may have them.
_WAITS = 60.0
_LEAST = 1.0


def places_queue_of(queue: str, suffix: str = "") -> str:
    """
    The queue that all consume from who share the places of C{queue}.

    @param suffix: what its name ends with.
    """
    return derived(_PREFIX, queue, suffix)


class SharedConcurrency(Throttle):
    """
    The throttle of a watch with our share of the places.  About as many messages as
    there are places may wait in the watch.

    @param queue: whose messages have the places.
    @param limit: how many places all have together.
    @param quorum: whether the queue is a quorum queue.
    @ivar share: how many places we have.
    @ivar running: how many messages are at work here.
    """

    limits_fetching = True

    def __init__(
        self,
        queue: str,
        limit: int,
        clock: Callable[[], IReactorTime],
        *,
        quorum: bool = False,
    ) -> None:
        self.share = self._limit = limit
        self.running = 0
        self._quorum = quorum
        self._members = places_queue_of(queue, ".quorum" if quorum else "")
        self._sharing = Sharing(self, "places", queue, self._members, clock)
        self._clock = clock
        self._again: Callable[[], None] | None = None
        self._wake: Callable[[], None] | None = None
        self._timer: IDelayedCall | None = None
        self._waking: IDelayedCall | None = None
        self._moved_at = -_WAITS

    def may_begin(self, again: Callable[[], None]) -> bool:
        """
        See L{Throttle.may_begin}.
        """
        self._again = again
        if self.running < self.share:
            return True
        if self._timer is None:  # it is asked whether it is far
            wait = max(_LEAST, _WAITS - self._waited)
            self._timer = self._clock().callLater(wait, self._go_on)
        return False

    def begun(self, message: DeliveredMessage) -> None:
        """
        See L{Throttle.begun}.
        """
        self.running += 1
        self._moved_at = self._clock().seconds()

    def left(self, message: DeliveredMessage) -> None:
        """
        See L{Throttle.left}: then the watch asks by itself.
        """
        self.running -= 1
        self._moved_at = self._clock().seconds()
        self._wake_if_near()

    @property
    def is_far(self) -> bool:
        """
        See L{Throttle.is_far}: all places are taken, and none became free for
        L{_WAITS} seconds.
        """
        return self.running >= self.share and self._waited >= _WAITS

    @property
    def _waited(self) -> float:
        """
        Seconds since a message began, or left its place.
        """
        return self._clock().seconds() - self._moved_at

    def call_when_near(self, wake: Callable[[], None]) -> None:
        """
        See L{Throttle.call_when_near}.
        """
        self._wake = wake
        self._wake_if_near()

    def _wake_if_near(self) -> None:
        if self._wake is not None and self._waking is None and not self.is_far:
            self._waking = self._clock().callLater(0, self._woken)

    def _woken(self) -> None:
        self._waking = None
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def prefetch(self, prefetch: int) -> int:
        """
        See L{Throttle.prefetch}: others may have places for the rest.
        """
        fit = min(65535, self.share)
        return min(prefetch, fit) if prefetch else fit

    async def join(self, wire: Wire) -> None:
        """
        See L{Sharing.join<quebert.amqp.coordination._sharing.Sharing.join>}.
        """
        await self._sharing.join(wire)

    async def leave(self) -> None:
        """
        Share no more.
        """
        for timer in (self._timer, self._waking):
            if timer is not None:
                timer.cancel()
        self._timer = self._waking = None
        self._again = self._wake = None
        await self._sharing.leave()

    # -- For Sharing

    async def declare(self, wire: Wire) -> None:
        """
        Declare our queue.
        """
        kind = {**QUORUM, **own_quorum(wire)} if self._quorum else CLASSIC
        await declare_queue(wire, self._members, {**kind, EXPIRES: _EXPIRES})

    def opened(self) -> None:
        """
        There is another channel.
        """
        return

    def shared_by(self, members: int) -> None:
        """
        So many share the places.
        """
        self.share = max(1, self._limit // members)
        if self._timer is not None:
            self._timer.cancel()
        # Not from within what asks for our share.
        self._timer = self._clock().callLater(0, self._go_on)
        self._wake_if_near()

    def _go_on(self) -> None:
        self._timer = None
        if self._again is not None:
            self._again()

    async def look(self, channel: Channel) -> None:
        """
        Nothing is passed on.
        """
        return

    def received(self, message: Message) -> None:
        """
        Nobody sends us anything.
        """
        return
