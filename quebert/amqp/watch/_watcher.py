"""
One watch: starts it, stops it, and shows how it is.

Nothing is pushed to a system of metrics: a program reads numbers.  Those of a watch are
properties of L{Watcher}, told in C{docs/watching.rst}; those of hosts are
L{Origins.snapshot<quebert.limits.Origins.snapshot>}, and those of a queue in the broker
L{Status<quebert.operations.Status>}.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,
    ensureDeferred,
)
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._waiters import Once, another_waiter
from quebert.amqp.queues import QueueBinding
from quebert.amqp.watch._deliveries import Deliveries
from quebert.amqp.watch._delivery import State
from quebert.amqp.watch._handler import Callback
from quebert.amqp.watch._held_tasks import heeds_cancelled
from quebert.amqp.watch._intake import Intake
from quebert.amqp.watch._ledger import Counts
from quebert.amqp.watch._options import WatchOptions
from quebert.amqp.watch._throttle import PaceStatus, Throttles
from quebert.errors import BrokerError, ConfigError

if TYPE_CHECKING:
    from quebert.amqp.watch._session import WatchSession

__all__ = ["DEFAULT_GRACE", "OnDisconnect", "Watcher"]

#: What a watch calls, with the reason, when its connection is lost.
OnDisconnect = Callable[[Failure], object]

#: Seconds that running callbacks get to finish when a program stops a watch and says
#: nothing of them.  A mediator says C{grace} of L{Service<quebert.config.Service>}.
DEFAULT_GRACE = 30.0
# Seconds that the broker gets at the end for each of its answers.
_LAST_ANSWERS = 5.0


class Watcher:
    """
    What L{TxAMQPClient.watch <quebert.amqp.TxAMQPClient.watch>} gives.

    @param client: its connections, and what it shares with other watches.
    @param binding: the queue, and how it gets its messages.
    @param callback: called with each message.
    @param onDisconnect: called with a C{Failure}, once for each lost connection.
    @ivar queue: the queue.
    @ivar options: how it is watched.
    """

    log = Logger()

    def __init__(
        self,
        client: WatchSession,
        binding: QueueBinding,
        callback: Callback,
        options: WatchOptions,
        onDisconnect: OnDisconnect | None = None,
    ) -> None:
        if not binding.queue:
            raise ConfigError("watch: the name of the queue must not be empty")
        if not callable(callback):
            raise ConfigError(f"watch: callback={callback!r:.60} must be callable")
        self.queue = queue = binding.queue
        self.options = options
        self._client = client
        self._onDisconnect = onDisconnect
        throttles = Throttles(client.make_throttles(queue, options))
        publisher = client.make_publisher()
        self._heeds_cancelled = heeds_cancelled(callback)
        self._deliveries = Deliveries(
            client, queue, callback, options, throttles, publisher
        )
        forwarder = client.make_forwarder(queue, publisher)
        self._intake = Intake(
            client, binding, options, throttles, self._deliveries, forwarder
        )
        self._stop_once = Once(self._stop)

    def __repr__(self) -> str:
        return f"<Watcher of {self.queue!r}, consuming: {self.consuming}>"

    @property
    def consuming(self) -> bool:
        """
        Whether the broker delivers to it now.
        """
        return self._deliveries.consumer.consuming

    @property
    def resting(self) -> bool:
        """
        Whether it has the broker deliver nothing for now, since a throttle lets no
        message begin soon.
        """
        return self._deliveries.consumer.resting

    @property
    def counts(self) -> Counts:
        """
        What became of the messages so far.
        """
        return self._deliveries.ledger.counts

    @property
    def in_flight(self) -> int:
        """
        How many messages the broker waits for.
        """
        return len(self._deliveries.ledger)

    @property
    def held(self) -> int:
        """
        How many of these wait here before they go back, and need no place.
        """
        return self._deliveries.ledger.numbers[State.HELD]

    @property
    def paused(self) -> bool:
        """
        Whether the queue is paused, for all who watch it; also where the user may not
        see whether it is.
        """
        return self._intake.paused

    @property
    def pace(self) -> PaceStatus | None:
        """
        How the rate is kept to; C{None} where there is none.
        """
        return self._intake.pace

    async def start(self) -> None:
        """
        Begin.  Returns when the channel is ready; a paused queue is not consumed yet.
        """
        self._client.one_suspect.join(self._deliveries)
        if self._heeds_cancelled:
            self._client.questions.join(self.queue, self._deliveries.held_tasks)
        try:
            await self._intake.begin()
        except BaseException:
            self._end()
            raise

    def disconnected(self, why: BrokerError) -> None:
        """
        The connection is lost: tell the user, if we began at all.
        """
        if self._onDisconnect is not None and self._intake.is_kept:
            try:
                self._onDisconnect(Failure(why))
            except Exception:
                self.log.failure(
                    "onDisconnect of the watch of queue {queue!r} failed",
                    queue=self.queue,
                )

    def stop(self, grace: float = DEFAULT_GRACE) -> Deferred[None]:
        """
        Consume no more, let running callbacks finish, give the rest back.

        @param grace: seconds that running callbacks get; then they are
            cancelled, and their messages go back to the queue.
        """
        return self._stop_once(grace)

    async def _stop(self, grace: float) -> None:
        self._intake.end()
        try:
            await self._drain(grace)
        finally:
            self._end()
            self._intake.forget()
            self._client.watch_ended(self)

    async def _drain(self, grace: float) -> None:
        """
        Have everything settled, as far as the broker answers.
        """
        deliveries, intake = self._deliveries, self._intake
        deliveries.close("stopped")
        deliveries.stop_holding()
        leaving = intake.leave()
        await self._within(deliveries.consumer.end())
        await self._within(deliveries.returns.tell_in_order())
        deliveries.returns.return_waiting()
        deliveries.waits.end()
        await deliveries.until_idle(grace)
        if grace and deliveries.are_with_callback:
            # The signs of that may be out of date.
            await self._within(deliveries.returns.tell_in_order())
        deliveries.returns.return_running()
        await deliveries.until_idle(_LAST_ANSWERS)
        await self._within(intake.shut())
        for each in leaving:
            await self._within(each)

    def _end(self) -> None:
        self._client.one_suspect.leave(self._deliveries)
        self._client.questions.leave(self.queue, self._deliveries.held_tasks)
        self._deliveries.end()

    async def _within(self, asking: Deferred[None] | Coroutine[Any, Any, None]) -> None:
        """
        Wait for an answer of the broker, for L{_LAST_ANSWERS} seconds at most; then
        cancel the call.  A call that is cancelled may need an answer, too: nobody waits
        for that, and it ends with the connection.
        """
        asked = ensureDeferred(asking)
        asked.addErrback(self._unanswered)
        try:
            await another_waiter(asked).addTimeout(_LAST_ANSWERS, self._client.reactor)
        except TimeoutError:
            asked.cancel()

    def _unanswered(self, failure: Failure) -> None:
        failure.trap(BrokerError, CancelledError)
        why = failure.value
        self.log.debug(
            "RabbitMQ did not answer as the watch of queue {queue!r} ended: {why}",
            queue=self.queue,
            why=why,
        )
