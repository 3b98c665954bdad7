"""
Tells of tasks that have ended: publishes their callback tasks, and their end notes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._waiters import another_waiter
from quebert.amqp.link import Send
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._end_notes import EndNotes, callback_message, wants_end_note
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.watch._until_confirmed import UntilConfirmed
from quebert.amqp.watch._untold_ends import UntoldEnds
from quebert.errors import BrokerError, MessageRefused, PublishRefused
from quebert.outcome import Bury, Discard, Done
from quebert.task_callbacks import CallbackTask
from quebert.task_ends import ENDED, EndNote

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["EndTeller"]


class EndTeller:
    """
    Tells of the tasks of one queue.

    @param ledger: the deliveries.
    @param queue: the queue.
    @param clock: gives the clock that all waits go by.
    @param now: the time of day, in seconds since the epoch.
    @param until_confirmed: publishes.
    """

    log = Logger()

    def __init__(
        self,
        ledger: Ledger[DeliveredMessage],
        queue: str,
        clock: Callable[[], IReactorTime],
        now: Callable[[], float],
        until_confirmed: UntilConfirmed,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._clock = clock
        self._until_confirmed = until_confirmed
        self._end_notes = EndNotes(queue, now)
        self._untold_ends = UntoldEnds(queue, clock)
        self._refused = RepeatedWarning(
            self.log,
            clock,
            "Queue {ended!r} refuses end notes of tasks of queue {queue!r} for now",
            "Queue {ended!r} takes end notes of tasks of queue {queue!r} again",
            ended=ENDED,
            queue=queue,
        )

    async def tell(
        self, message: DeliveredMessage, wire: Wire, outcome: Done | Discard | Bury
    ) -> bool:
        """
        Publish the callback task of a message, and its end note.

        @param wire: its connection.
        @return: as L{UntilConfirmed.publish}.
        """
        note = self._end_notes.note(message, outcome, message.last_attempt)
        callback = message.callback_task
        if callback is not None:
            try:
                told = await self._call_back(message, callback, note, MessageRefused)
            except MessageRefused:
                callback.forget_answer()
                told = await self._call_back(message, callback, note)
            if not told:
                return False
        if not wants_end_note(message):
            return True
        return await self._tell(message, wire, note)

    async def _tell(self, message: DeliveredMessage, wire: Wire, note: EndNote) -> bool:
        """
        Publish an end note.  Where RabbitMQ refuses it for too long, the task ends
        without.
        """
        untold = self._untold_ends
        publishing: Deferred[None] | None = None
        is_told = False

        def told(_: None) -> None:
            nonlocal is_told
            is_told = True
            untold.told()

        async def publish(send: Send) -> None:
            nonlocal publishing
            if is_told:  # the confirm has come since
                return
            if publishing is None or publishing.called:
                begun = self._end_notes.publish(wire, send, note)
                publishing = Deferred.fromCoroutine(begun).addCallback(told)
            confirmed = another_waiter(publishing)
            publishing.addErrback(lambda _: None)  # whoever waits is told
            try:
                await confirmed.addTimeout(untold.patience, self._clock())
            except TimeoutError:
                untold.unanswered()
                raise PublishRefused("RabbitMQ does not confirm them") from None

        try:
            return await self._until_confirmed.publish(
                message, publish, warning=self._refused, may_wait=untold.may_wait
            )
        except BrokerError as e:
            untold.dropped(e)
            return True
        finally:
            untold.leave(message)
            if publishing is not None:
                publishing.cancel()  # unless it has come to an end

    async def _call_back(
        self,
        message: DeliveredMessage,
        callback: CallbackTask,
        end: EndNote,
        *refusals: type[BrokerError],
    ) -> bool:
        body, properties = callback_message(callback, end, message.encoded_properties)

        def publish(send: Send) -> Coroutine[Any, Any, None]:
            return send("", self._queue, body, properties)

        self._ledger.bytes += len(body)  # thousands of answers may wait for RabbitMQ
        try:
            return await self._until_confirmed.publish(message, publish, *refusals)
        finally:
            self._ledger.bytes -= len(body)

    def end(self) -> None:
        """
        No more messages will come: log nothing more.
        """
        self._refused.end()
        self._untold_ends.end()
