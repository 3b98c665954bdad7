"""
Our share of the places that all who watch a queue have together.

RabbitMQ counts them (L{Sharing<quebert.amqp.coordination._sharing.Sharing>}), as
consumers of a queue C{quebert.places.<queue>}.  Each has an equal part, in whole
places, and those with the lowest numbers (L{MemberNumber
<quebert.amqp.coordination._member_number.MemberNumber>}) one more: of 10 places, three
watches have 4, 3 and 3; of one place, 1, 0 and 0.  A watch without a place fetches
nothing, so that others have the messages.  When one that has places goes, others take
its number.

A watch that comes has no place until the others have noticed, which takes some seconds,
and until none of them has more messages at work than its new part is.  One that has
more consumes from C{quebert.places.<queue>#more}.  So there are never more messages
at work than there are places, but in these cases: a connection is lost, and the
messages of its watch are at work still while others have its places; or the limit is
changed, and the messages from before are not counted.

What is inexact otherwise: in the seconds after a watch has come or gone, there may be
fewer messages at work than there are places.  A watch does not use the places that
another one leaves unused.  What does not count for C{prefetch} any more, as with
C{slow_after}, does not count here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._protocol.extensions import EXPIRES
from quebert.amqp.coordination._consumer_sign import ConsumerSign
from quebert.amqp.coordination._member_number import MemberNumber
from quebert.amqp.coordination._sharing import PERIOD, Sharing
from quebert.amqp.queues import (
    CLASSIC,
    QUORUM,
    declare_queue,
    depth,
    derived,
    own_quorum,
)
from quebert.amqp.watch import DeliveredMessage, Throttle

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Message, Wire

__all__ = ["SharedConcurrency", "places_queue_of"]

_PREFIX = "quebert.places."
#: What is added for those who have more at work than their part.
_MORE = "#more"
# Milliseconds after which the queue goes if nobody uses it.
_EXPIRES = 600_000
# Seconds for which messages wait here while all places are taken, and none becomes
# free.  Then they go back, and others may have them.
_WAITS = 60.0
_LEAST = 1.0
# Seconds in which all others have noticed that one has come.
_NOTICED = 2.5 * PERIOD


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
    @ivar share: how many places we have; 0 until that is known.
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
        self.share = 0
        self.running = 0
        self._limit = limit
        self._queue = queue
        self._suffix = ".quorum" if quorum else ""
        self._arguments: dict[str, Any] = {}  # of our queues
        consumed = places_queue_of(queue, self._suffix)
        self._sharing = Sharing(self, "places", queue, consumed, clock)
        self._consumed = consumed
        self._members = 1
        self._number = MemberNumber(lambda number: self._sign(f"#{number}", True))
        self._excess: ConsumerSign | None = None
        self._came_at: float | None = None  # if we must wait for others
        self._left = False
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
        See L{Throttle.is_far}: we have no place, or all are taken, and none became free
        for L{_WAITS} seconds.
        """
        return self.running >= self.share and (not self.share or self._waited >= _WAITS)

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
        fit = min(65535, max(1, self.share))  # 0 would be no limit
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
        self._left = True  # a look may be under way
        await self._sharing.leave()
        await self._number.leave()
        if self._excess is not None:
            await self._excess.end()

    # -- For Sharing

    async def declare(self, wire: Wire) -> None:
        """
        Declare our queue.
        """
        kind = {**QUORUM, **own_quorum(wire)} if self._suffix else CLASSIC
        self._arguments = {**kind, EXPIRES: _EXPIRES}
        await declare_queue(wire, self._consumed, self._arguments)

    def opened(self) -> None:
        """
        There is another channel: others may have had our places.
        """
        self._came_at = self._clock().seconds()

    def shared_by(self, members: int) -> None:
        """
        So many share the places.
        """
        self._members = members
        if members == 1:
            self._came_at = None
        self._set_share()

    async def look(self, channel: Channel) -> None:
        """
        See who has which part, and whether anybody has more.
        """
        wire = channel.client
        await self._number.take(wire, self._members)
        self._set_share()
        await self._tell_excess(wire)
        if self._came_at is None or not self._noticed:
            return
        others = await depth(wire, self._name_of(_MORE))
        ours = self._excess is not None and self._excess.is_given
        if others is None or others.consumers <= ours:
            self._came_at = None
            self._set_share()

    @property
    def _noticed(self) -> bool:
        assert self._came_at is not None
        return self._clock().seconds() - self._came_at >= _NOTICED

    @property
    def _part(self) -> int:
        """
        How many places are ours.
        """
        whole, rest = divmod(self._limit, self._members)
        number = self._number.value
        return whole + (number is not None and number < rest)

    def _set_share(self) -> None:
        share = 0 if self._came_at is not None else self._part
        if share == self.share or self._left:
            return
        self.share = share
        if self._timer is not None:
            self._timer.cancel()
        # Not from within what asks for our share.
        self._timer = self._clock().callLater(0, self._go_on)
        self._wake_if_near()

    async def _tell_excess(self, wire: Wire) -> None:
        """
        Have others know whether we have more at work than our part.
        """
        if self.running > self._part and not self._left:
            self._excess = self._excess or self._sign(_MORE, False)
            await self._excess.give(wire)
        elif self._excess is not None:
            await self._excess.take_back()

    def _name_of(self, sign: str) -> str:
        return places_queue_of(self._queue, f"{sign}{self._suffix}")

    def _sign(self, name: str, exclusive: bool) -> ConsumerSign:
        return ConsumerSign(self._name_of(name), self._arguments, exclusive=exclusive)

    def _go_on(self) -> None:
        self._timer = None
        if self._again is not None:
            self._again()

    def received(self, message: Message) -> None:
        """
        Nobody sends us anything.
        """
        return
