"""
Has RabbitMQ deliver the messages of a queue: one consumer after the other.

L{quebert.amqp.watch._consumer_states} tells in which states it is.

A consumer has a prefetch: so many of its messages may be unsettled.  A message that is
held is unsettled, but has no place among those at work.  When such messages have used
up the prefetch, another consumer takes over, none of whose prefetch is used up.
(RabbitMQ applies C{basic.qos} to new consumers only, and has deprecated the kind that
changes running ones.)  Where a throttle lets no message begin for long, there is no
consumer, and others get what waits.

A queue with a single active consumer is the exception: the other consumer would stand
behind those of other mediators, and one of these would get the messages.  There the
messages that wait keep their place in the prefetch, and L{Consumer.adapt} does not
change it.

A consumer that takes over fetches as many messages as wait already, if these are more
than usual.  So a few consumers are enough for thousands of waiting messages.

A quorum queue keeps a consumer as long as one of its messages is not settled, and the
quorum queues of RabbitMQ 3.10.8 bear no more than 32: when such a RabbitMQ starts
again, a queue with more consumers may deliver messages that were acknowledged, and lose
others in their place.  It goes through its consumers in an order that differs then
(rabbitmq-server pull request 13971 tells of other cases).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from quebert._machine import Machine
from quebert.amqp.watch._consumer_states import (
    DELIVERING,
    TABLE,
    WANTED,
    ConsumerEvent,
    ConsumerState,
)
from quebert.amqp.watch._throttle import Throttles
from quebert.amqp.wire import Channel
from quebert.errors import BrokerError

__all__ = ["Consumer"]

# The highest that basic.qos takes.
_MAX_PREFETCH_COUNT = 65_535


class Consumer:
    """
    The consumers of one queue.  The word is AMQP's, not Twisted's C{IConsumer}.

    @param prefetch: the option of the watch: how many messages to fetch; 0 for no
        limit.
    @param throttles: can lower the prefetch, or stop consuming.
    @param unsettled: how many messages of each consumer are not settled, by its tag.
    @param may_widen: tells whether another consumer may fetch more, where those that
        this one has fetched leave room.
    @param waiting: counts the deliveries that have no place.
    @param crowded: tells whether deliveries wait that this one has fetched in vain.
    @param rested: called when there is no consumer for now, because of a throttle.
    @param single: whether the broker delivers to one consumer of the queue at a time.
    @ivar prefetch_count: how many messages of the one that may fetch may be unsettled,
        as RabbitMQ was told with C{basic.qos}; 0 for no limit.
    @ivar is_wide: whether C{prefetch_count} is more than twice the prefetch of the
        watch, so that another consumer may have to take over once fewer messages wait.
    """

    def __init__(
        self,
        queue: str,
        prefetch: int,
        throttles: Throttles,
        unsettled: Mapping[str, int],
        *,
        may_widen: Callable[[], bool],
        waiting: Callable[[], int],
        crowded: Callable[[], bool],
        rested: Callable[[], None],
        single: bool = False,
    ) -> None:
        self._machine = Machine(TABLE, ConsumerState.ABSENT)
        self._queue = queue
        self._prefetch = prefetch
        self._throttles = throttles
        self._may_widen = may_widen
        self._waiting = waiting
        self._crowded = crowded
        self._rested = rested
        self._single = single
        self._channel: Channel | None = None
        self._tag = ""  # of the one that may fetch; empty for none
        self._unsettled = unsettled
        self._set_prefetch_count(prefetch)
        self._calling = DeferredLock()  # one call after the other

    @property
    def consuming(self) -> bool:
        """
        Whether the broker delivers.
        """
        return self._machine.state in DELIVERING

    @property
    def resting(self) -> bool:
        """
        Whether a throttle lets no message begin soon, so that the broker delivers none.
        """
        return self._machine.state is ConsumerState.RESTING

    @property
    def number(self) -> int:
        """
        How many the broker counts: 0 or 1; of a quorum queue also those that were ended
        and have unsettled messages.
        """
        return len(self._unsettled.keys() | ({self._tag} if self._tag else set()))

    @property
    def wanted(self) -> bool:
        """
        Whether the watch wants deliveries, even while a throttle allows none.
        """
        return self._machine.state in WANTED

    async def prepare(self, channel: Channel) -> None:
        """
        Consume on another channel from now on, when told to begin.

        @raise BrokerError: the broker refuses it.
        """
        self._set_prefetch_count(self._throttles.prefetch(self._prefetch))
        await channel.call("basic_qos", prefetch_count=self.prefetch_count)
        self._channel = channel

    def lost(self) -> None:
        """
        The channel is gone.
        """
        self._machine.move(ConsumerEvent.LOSE)
        self._channel = None
        self._tag = ""

    async def begin(self) -> None:
        """
        Have the broker deliver, unless it does, or a throttle is far.  A consumer that
        was about to be cancelled goes on, with the prefetch that it has.

        @raise BrokerError: the broker refuses it.
        """
        self._machine.move(ConsumerEvent.BEGIN)
        await self._start()

    async def end(self) -> None:
        """
        Have it deliver no more.

        @raise BrokerError: the channel is closed.
        """
        self._machine.move(ConsumerEvent.END)
        await self._cancel()

    def was_ended(self, tag: str) -> bool:
        """
        The broker has ended a consumer: was it the one that may fetch?
        """
        if not tag or tag != self._tag:
            return False
        self._machine.move(ConsumerEvent.CANCEL)
        self._tag = ""
        return True

    async def replace(self) -> None:
        """
        Consume again in place of one that the broker has ended, unless L{end} was
        called meanwhile.

        @raise BrokerError: the broker refuses it.
        """
        self._machine.move(ConsumerEvent.REPLACE)
        await self._start()

    async def _start(self) -> None:
        async with self._calling:
            channel = self._channel
            if self._machine.state is not ConsumerState.STARTING or channel is None:
                return
            if self._tag:  # it was to be cancelled
                self._machine.move(ConsumerEvent.CONSUME)
            else:
                await self._consume(channel)

    async def _consume(self, channel: Channel) -> None:
        if not self._fits(channel):
            return
        self._tag = tag = f"quebert-{uuid.uuid4()}"
        await channel.call("basic_consume", queue=self._queue, consumer_tag=tag)
        self._machine.move(ConsumerEvent.CONSUME)

    async def _cancel(self) -> None:
        async with self._calling:
            if self._machine.state not in (ConsumerState.RESTING, ConsumerState.ENDING):
                return
            tag, self._tag = self._tag, ""
            if tag and self._channel is not None:
                await self._channel.call("basic_cancel", consumer_tag=tag)
            self._machine.move(ConsumerEvent.ENDED)

    # -- How much it takes

    def adapt(self) -> None:
        """
        Fetch as much as may begin: rest, or have another consumer take over.
        """
        self._rest_if_far()
        # Not while a channel is being made ready: it has no prefetch yet.
        if self._machine.state is not ConsumerState.CONSUMING or self._single:
            return
        used_up = 0 < self.prefetch_count <= self._unsettled.get(self._tag, 0)
        if (used_up and self._may_widen()) or self._is_too_wide:
            self._machine.move(ConsumerEvent.RENEW)
            renewing = Deferred.fromCoroutine(self._renew())
            renewing.addErrback(_is_told_elsewhere)

    def _set_prefetch_count(self, number: int) -> None:
        self.prefetch_count = number
        # Up to twice as many are never too many: it can stay so for good.
        self.is_wide = number > 2 * self._prefetch

    @property
    def _is_too_wide(self) -> bool:
        """
        Whether fewer messages wait than it was made for, and no other consumer of ours
        has unsettled messages.
        """
        enough = 1 if self._crowded() else 2
        too_wide = self.prefetch_count > enough * self._wanted_prefetch_count
        return too_wide and not self._unsettled.keys() - {self._tag}

    @property
    def _wanted_prefetch_count(self) -> int:
        usual = self._throttles.prefetch(self._prefetch)
        return usual and max(usual, min(self._waiting(), _MAX_PREFETCH_COUNT))

    async def _renew(self) -> None:
        async with self._calling:
            try:
                await self._take_over()
            finally:
                self._machine.move(ConsumerEvent.RENEWED)
        self.adapt()  # what was to be done meanwhile

    async def _take_over(self) -> None:
        channel, old = self._channel, self._tag
        if channel is not None and self._machine.state is ConsumerState.RENEWING:
            await self._consume(channel)
            await channel.call("basic_cancel", consumer_tag=old)

    def _fits(self, channel: Channel) -> bool:
        """
        Whether to consume at all, with our throttles; and if so, fetch as much as fits.
        """
        if self._throttles.are_far:
            self._machine.move(ConsumerEvent.REST)
            self._tag = ""
            self._throttles.call_when_near(self._wake)
            return False
        fit = self._wanted_prefetch_count
        if fit != self.prefetch_count:
            self._set_prefetch_count(fit)
            fetching = channel.call("basic_qos", prefetch_count=fit)
            Deferred.fromCoroutine(fetching).addErrback(_is_told_elsewhere)
        return True

    def _rest_if_far(self) -> None:
        """
        Where the next message may not begin soon, stop consuming, so that others get
        it, and consume again when it may.
        """
        if not self._throttles.are_far:
            return
        if self._machine.state is ConsumerState.CONSUMING:
            self._machine.move(ConsumerEvent.REST)
            Deferred.fromCoroutine(self._cancel()).addErrback(_is_told_elsewhere)
            self._throttles.call_when_near(self._wake)
        if not self.consuming:
            self._rested()

    def _wake(self) -> None:
        self._machine.move(ConsumerEvent.WAKE)
        Deferred.fromCoroutine(self._start()).addErrback(_is_told_elsewhere)


def _is_told_elsewhere(failure: Failure) -> None:
    failure.trap(BrokerError)  # the channel is closed
