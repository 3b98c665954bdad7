"""
Publishes what replaces a message, again and again until RabbitMQ has confirmed it.

RabbitMQ may refuse a message for now (the queue is full, or its node is down), and the
connection may be lost.  Then the message waits here, outside its place, for its next
attempt.  The log tells that once for the queue, and not for each message.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._waiters import another_waiter
from quebert.amqp.delays import Ladder, LadderRefused
from quebert.amqp.link import Publisher, Send
from quebert.amqp.queues import DeadLetters, dead_letters_of
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._delivery import State
from quebert.amqp.watch._end_notes import EndNotes, callback_message, wants_end_note
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.watch._properties import AT_ONCE
from quebert.amqp.watch._side_queue import SideQueue
from quebert.amqp.watch._untold_ends import UntoldEnds
from quebert.amqp.watch._waits import Waits
from quebert.amqp.wire import Unconfirmed
from quebert.errors import BrokerError, ChannelLost, MessageRefused, PublishRefused
from quebert.outcome import Bury, Discard, Done
from quebert.policy import exponential
from quebert.task_callbacks import CallbackTask
from quebert.task_ends import ENDED, EndNote

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["Replacements"]

#: Seconds at most between attempts to publish a replacement, ...
RETRY_LIMIT = 4.5
#: ... unless so many tasks wait for this that there were more attempts a second.
RETRY_RATE = 200.0

# Publishes once, by the function that it is given.
Publish = Callable[[Send], Coroutine[Any, Any, None]]


def _always(_message: DeliveredMessage) -> bool:
    return True


class Replacements:
    """
    Publishes the replacements of one queue's messages.

    @param ledger: the deliveries.
    @param queue: the queue.
    @param publisher: publishes.
    @param clock: gives the clock that all waits go by.
    @param waits: where messages wait for their next attempt.
    @param ladder: where replacements wait that are to come later.
    @param leave: called with each message that begins to wait, and needs no place.
    @param give_back: called with each message that is to wait while the watch is being
        stopped.
    @param now: the time of day, in seconds since the epoch.
    @param queue_type: the type that the queue is declared with, if any.
    """

    log = Logger()

    def __init__(
        self,
        ledger: Ledger[DeliveredMessage],
        queue: str,
        publisher: Publisher,
        clock: Callable[[], IReactorTime],
        waits: Waits,
        ladder: Ladder,
        *,
        leave: Callable[[DeliveredMessage], None],
        give_back: Callable[[DeliveredMessage], None],
        now: Callable[[], float],
        queue_type: str | None = None,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._publisher = publisher
        self._clock = clock
        self._waits = waits
        self._ladder = ladder
        self._leave = leave
        self._give_back = give_back
        self._dead_letters = DeadLetters(queue, clock, ladder.new_queues, queue_type)
        self._end_notes = EndNotes(queue, now)
        self._untold_ends = UntoldEnds(queue, clock)
        self._side_queues: dict[str, SideQueue] = {}
        self._publishing: set[Deferred[None]] = set()
        self._refused = RepeatedWarning(
            self.log,
            clock,
            "Queue {queue!r} does not take a task back for now",
            "Queue {queue!r} takes tasks back again",
            queue=queue,
        )
        self._dead_refused = RepeatedWarning(
            self.log,
            clock,
            "Queue {dead!r} refuses dead letters for now",
            "Queue {dead!r} takes dead letters again",
            dead=dead_letters_of(queue),
        )
        self._ends_refused = RepeatedWarning(
            self.log,
            clock,
            "Queue {ended!r} refuses end notes of tasks of queue {queue!r} for now",
            "Queue {ended!r} takes end notes of tasks of queue {queue!r} again",
            ended=ENDED,
            queue=queue,
        )

    async def publish(
        self,
        message: DeliveredMessage,
        wire: Wire,
        body: bytes,
        properties: bytes,
        due: float,
        *refusals: type[BrokerError],
        stays: bool = False,
    ) -> bool:
        """
        Publish what replaces C{message} in its queue.

        @param wire: the connection of the message.
        @param due: when it is to be delivered, in seconds of the clock.
        @param refusals: after which it is not tried again.
        @param stays: whether the message is not given back while the watch is being
            stopped: any error is raised then.
        @return: whether RabbitMQ has it; C{False} where the channel of the message is
            lost, or the watch is stopped.
        @raise BrokerError: one of C{refusals}.
        """

        def publish(send: Send) -> Coroutine[Any, Any, None]:
            return self._publish(wire, send, body, properties, due)

        return await self._until_confirmed(
            message, publish, self._refused, *refusals, stays=stays
        )

    async def _publish(
        self, wire: Wire, send: Send, body: bytes, properties: bytes, due: float
    ) -> None:
        clock, rung = self._clock(), ""
        if due - clock.seconds() > AT_ONCE:
            await self._publisher.unblocked()
        if due - clock.seconds() > AT_ONCE:
            rung = await self._ladder.rung_for(
                wire, self._queue, lambda: due - clock.seconds()
            )
        if rung and due - clock.seconds() > AT_ONCE:
            await send(rung, self._queue, body, properties)
            await self._ladder.kept(wire, rung, self._queue)
        else:  # the original is in the same queue: RabbitMQ loses both, or none
            await send("", self._queue, body, properties)

    async def hand_over(
        self,
        message: DeliveredMessage,
        wire: Wire,
        properties: bytes,
        queue: str,
    ) -> bool:
        """
        Publish a message to another queue, which is declared if it is not there.

        @param wire: its connection.
        @return: as L{publish}.
        """
        side = self._side_queues.get(queue)
        if side is None:
            side = self._side_queues[queue] = SideQueue(queue)

        def publish(send: Send) -> Coroutine[Any, Any, None]:
            return side.publish(wire, send, message.body, properties)

        return await self._until_confirmed(message, publish, self._refused)

    async def bury(
        self, message: DeliveredMessage, wire: Wire, properties: bytes
    ) -> bool:
        """
        Publish a message to C{<queue>.dead}.

        @param wire: its connection.
        @return: as L{publish}.
        """

        def publish(send: Send) -> Coroutine[Any, Any, None]:
            return self._dead_letters.publish(
                wire, send, message.body, properties, lambda: self._leave(message)
            )

        return await self._until_confirmed(message, publish, self._dead_refused)

    async def tell_end(
        self, message: DeliveredMessage, wire: Wire, outcome: Done | Discard | Bury
    ) -> bool:
        """
        Publish the callback task of a message, and its end note.

        @param wire: its connection.
        @return: as L{publish}.
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
        untold, refused = self._untold_ends, self._ends_refused
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
            return await self._until_confirmed(
                message, publish, refused, may_wait=untold.may_wait
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
            return await self._until_confirmed(
                message, publish, self._refused, *refusals
            )
        finally:
            self._ledger.bytes -= len(body)

    async def _until_confirmed(
        self,
        message: DeliveredMessage,
        publish: Publish,
        warning: RepeatedWarning,
        *refusals: type[BrokerError],
        may_wait: Callable[[DeliveredMessage], bool] = _always,
        stays: bool = False,
    ) -> bool:
        """
        Where RabbitMQ does not take the replacement at once, the message leaves its
        place: what it waits for may be that others are done.

        @param warning: tells of it where RabbitMQ does not take it.
        @param may_wait: asked after each refusal whether it is tried again.
        @param stays: as for L{publish}.
        @raise BrokerError: it is not tried again.
        """
        attempt = 0
        send: Send = self._publisher.publish
        while message in self._ledger:
            publishing = Deferred.fromCoroutine(publish(send))
            self._publishing.add(publishing)
            try:
                await publishing
                warning.succeeded()
                return True
            except CancelledError:
                return False  # the broker gives it out again anyway
            except Unconfirmed as e:  # which is told once, and not for each message
                if e.refusal is not None and send != self._publisher.publish_alone:
                    send = self._publisher.publish_alone  # is it this message?
                    continue
                self._check_stays(e, stays)
            except ChannelLost as e:
                self._check_stays(e, stays)
            except LadderRefused as e:
                self._check_stays(e, stays)
                attempt = 0  # the ladder tells, and asks the broker once for all
            except refusals:
                raise
            except BrokerError as e:
                self._not_taken(e, warning)
                self._check_stays(e, stays)
                if not may_wait(message):
                    raise
            finally:
                self._publishing.discard(publishing)
            attempt += 1
            await self._wait(message, attempt)
        return False

    def _check_stays(self, error: BrokerError, stays: bool) -> None:
        if stays and self._waits.hurried:
            raise error

    def _not_taken(self, error: BrokerError, warning: RepeatedWarning) -> None:
        if not isinstance(error, PublishRefused):  # what is full is there
            self._ladder.forget()
            self._dead_letters.forget()
        if not self._ladder.tells(error, self._queue, self._clock()):
            warning.met(error)

    async def _wait(self, message: DeliveredMessage, attempt: int) -> None:
        """
        Wait for the next attempt, unless the watch is being stopped.
        """
        if self._waits.hurried:
            self._give_back(message)
            return
        held = self._ledger.numbers[State.HELD]
        limit = max(RETRY_LIMIT, held / RETRY_RATE)
        waited = self._waits.wait(exponential(attempt, constant=2, maximum=limit))
        self._leave(message)
        await waited

    def abandon(self) -> None:
        """
        The channel of all messages is lost: wait for no confirm.
        """
        for publishing in list(self._publishing):
            publishing.cancel()

    def end(self) -> None:
        """
        No more messages will come: log nothing more.
        """
        self._refused.end()
        self._dead_refused.end()
        self._ends_refused.end()
        self._untold_ends.end()
        self._dead_letters.end()
