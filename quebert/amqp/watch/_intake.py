"""
Keeps a channel for a watch, consumes on it, and obeys pauses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._protocol.extensions import QUEUE_TYPE
from quebert.amqp.queues import QueueBinding, declare_task_queue
from quebert.amqp.watch._channel_keeper import ChannelKeeper
from quebert.amqp.watch._deliveries import Deliveries
from quebert.amqp.watch._throttle import PaceStatus, Throttles
from quebert.amqp.wire import temporary_channel
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp.delays import Forwarder
    from quebert.amqp.watch._options import WatchOptions
    from quebert.amqp.watch._session import WatchSession
    from quebert.amqp.wire import Channel, Wire

__all__ = ["Intake"]

# Seconds between two tries to consume a queue anew, while messages are here.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 8.0


class Intake:
    """
    Has messages come, from L{begin} to L{end}.

    @param throttles: are told of each channel, over which they may reach others with
        whom they share a rate.
    @param deliveries: where the messages go.
    @param forwarder: brings those that were not due.
    @ivar keeper: has the channel.
    @ivar ending: no more messages are to come.
    """

    log = Logger()

    def __init__(
        self,
        client: WatchSession,
        binding: QueueBinding,
        options: WatchOptions,
        throttles: Throttles,
        deliveries: Deliveries,
        forwarder: Forwarder,
    ) -> None:
        self.ending = False
        self.keeper = ChannelKeeper(
            client,
            binding.queue,
            self._prepare,
            deliveries.lost,
            deliveries.waits.wait,
        )
        self._client = client
        self._binding = binding
        self._arguments = options.declared
        self._throttles = throttles
        self._deliveries = deliveries
        self._consumer = deliveries.consumer
        self._forwarder = forwarder
        self._switch = client.make_switch(binding.queue, self._halt, self._go_on)
        self._keeping: Deferred[None] = succeed(None)

    @property
    def paused(self) -> bool:
        """
        Whether the queue is paused, or may be.
        """
        return self._switch.paused

    @property
    def pace(self) -> PaceStatus | None:
        """
        How a rate is kept to; C{None} where there is none.
        """
        return self._throttles.status

    @property
    def is_kept(self) -> bool:
        """
        Whether messages come again if the channel is lost.
        """
        return not self._keeping.called and not self.ending

    async def begin(self) -> None:
        """
        Returns when the channel is ready; a paused queue is not consumed yet.

        @raise BrokerError: the broker refuses it, or does not answer in time.
        """
        try:
            await self.keeper.begin(self._client.connectTimeout)
        except BaseException:
            self._end()
            Deferred.fromCoroutine(self._throttles.leave())
            raise
        self._keeping = Deferred.fromCoroutine(self.keeper.keep())
        self._forwarder.begin()

    def end(self) -> None:
        """
        Have no channel made, and nothing declared any more.
        """
        self.ending = True
        self._end()

    def _end(self) -> None:
        self.keeper.end()
        self._client.bindings.forget(self._binding)
        self._switch.end()

    def leave(self) -> list[Deferred[None]]:
        """
        Let others have our share of the rate, and bring no more messages that were not
        due; these fire when that is done.
        """
        leaving = self._throttles.leave(), self._forwarder.end()
        return [Deferred.fromCoroutine(each) for each in leaving]

    async def shut(self) -> None:
        """
        Close the channel.
        """
        if self.keeper.channel is not None:
            await self.keeper.channel.shut()

    def forget(self) -> None:
        """
        Wait for the end of the channel no more.
        """
        self._keeping.addErrback(lambda failure: failure.trap(CancelledError))
        self._keeping.cancel()

    # -- A new channel

    async def _prepare(self, wire: Wire, channel: Channel) -> None:
        self._deliveries.begin_on(channel)
        channel.on_cancel = self._cancelled
        self._client.ladder.tell_kind(wire)
        await self._client.suspects.reconnected(wire)
        await self._declare(wire, channel)
        await self._throttles.join(wire)
        await self._consumer.prepare(channel)
        await self._switch.begin(wire)
        if not self.ending:
            self._client.bindings.keep(wire, self._binding)

    async def _declare(self, wire: Wire, channel: Channel) -> None:
        queue, new_queues = self._binding.queue, self._client.ladder.new_queues
        kind = self._arguments.get(QUEUE_TYPE)
        exists = await new_queues.is_there(wire, queue)
        with new_queues.declaring(wire, queue, kind, exists=exists):
            counted = await declare_task_queue(wire, channel, queue, self._arguments)
        self._deliveries.set_highest_count(counted)
        await self._binding.declare(channel)
        self._forwarder.declared()

    # -- Pauses

    async def _halt(self) -> None:
        """
        Consume no more for now; what has not begun goes back.
        """
        self._deliveries.close("paused")
        await self._consumer.end()
        await self._deliveries.returns.tell_in_order()
        self._deliveries.returns.return_waiting()

    async def _go_on(self) -> None:
        """
        Consume, since the queue is not paused: after a pause, and on each new channel.
        """
        self._deliveries.open("paused")
        await self._consumer.begin()

    # -- A consumer that RabbitMQ has ended

    def _cancelled(self, consumer_tag: str) -> None:
        """
        RabbitMQ has ended a consumer: the queue was deleted, the queue's node is lost,
        or (since 4.3) a message of a quorum queue was held for too long.
        """
        channel = self.keeper.channel
        ended = not self.ending and self._consumer.was_ended(consumer_tag)
        if ended and channel is not None:
            self.keeper.warn(
                "RabbitMQ cancelled the consumer; the queue is declared anew"
            )
            again = Deferred.fromCoroutine(self._consume_anew(channel))
            again.addErrback(self._not_consumed, channel)

    def _not_consumed(self, failure: Failure, channel: Channel) -> Deferred[None]:
        """
        Another channel may do better.
        """
        if not failure.check(BrokerError):
            self._log_fault(failure)
        return Deferred.fromCoroutine(self._try_or_shut(channel, failure))

    async def _try_or_shut(self, channel: Channel, failure: Failure) -> None:
        """
        Shut a channel once its messages are settled, or once the queue can be consumed
        on it again: if the queue was deleted, RabbitMQ has these messages no more.
        """
        left = len(self._deliveries.ledger)
        if left and not channel.closed:
            self.keeper.warn(
                f"queue {self._binding.queue!r} cannot be consumed again"
                f" ({failure.getErrorMessage()}); first {left} tasks are finished that"
                " are here"
            )
        pause = _FIRST_PAUSE
        while self._deliveries.ledger and not (channel.closed or self.ending):
            await deferLater(self._client.reactor, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if not (channel.closed or self.ending):
                try:
                    await self._consume_anew(channel)
                    return
                except BrokerError:
                    pass
                except Exception:  # a fault of ours: another channel may do better
                    self._log_fault(Failure())
                    break
        await channel.shut()

    def _log_fault(self, failure: Failure) -> None:
        self.log.failure(
            "Declaring queue {queue!r} anew failed",
            failure,
            queue=self._binding.queue,
        )

    async def _consume_anew(self, channel: Channel) -> None:
        """
        Declare the queue, which may have been deleted, and consume it.  L{_cancelled}
        does so at once, and L{_try_or_shut} after each of its pauses.
        """
        self._client.ladder.new_queues.forget(self._binding.queue)
        async with temporary_channel(channel.client) as other:  # a refusal closes it
            await self._declare(channel.client, other)
        await self._consumer.replace()
        self.keeper.recovered()
