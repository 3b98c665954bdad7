"""
L{MemoryQueue}: a queue in memory, which carries out what a mediator decides.

It stands for the broker and the watch of L{quebert.amqp}: what waits is delivered when
it is due, to at most as many callbacks at once as there are places, at most as quickly
as the rate says.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any, assert_never

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from quebert.amqp.queues import KIND, REASON
from quebert.amqp.watch import EndNotes
from quebert.errors import QuebertError
from quebert.limits import TokenBucket
from quebert.operations import DeadLetter
from quebert.outcome import Bury, Discard, Done, Outcome, Retry
from quebert.policy import BURIED_AT
from quebert.task_callbacks import CallbackTask
from quebert.testing._added import AddedTask
from quebert.testing._exchange import Answer, SimulatedRequest
from quebert.testing._executors import Answered
from quebert.testing._queued import DroppedTask, QueuedMessage, SimulatedAttempt

__all__ = ["MOST_AT_ONCE", "EndlessRetries", "MemoryQueue"]

#: How much may happen at one moment: more is a loop.
MOST_AT_ONCE = 10_000
# Seconds: the times in a task are rounded to a microsecond.
_ROUNDED = 1e-6


class EndlessRetries(QuebertError):
    """
    Tasks are tried again and again, and no time passes, or no end comes.
    """


class MemoryQueue:
    """
    @param receive: called with each message; fires with what is to become of it.
    @param clock: the time, in seconds since the epoch.
    @param places: how many messages may be at work at once; 0 for no limit.
    @param bucket: of whose tokens each message takes one before it is at work.
    @ivar attempts: the requests that were made.
    @ivar done: the tasks that are done.
    @ivar dropped: those that were discarded.
    @ivar dead: those that were given up.
    """

    def __init__(
        self,
        receive: Callable[[Any], Deferred[Outcome]],
        clock: Clock,
        places: int = 0,
        bucket: TokenBucket | None = None,
    ) -> None:
        self.attempts: list[SimulatedAttempt] = []
        self.done: list[AddedTask] = []
        self.dropped: list[DroppedTask] = []
        self.dead: list[DeadLetter] = []
        self._receive = receive
        self._clock = clock
        self._places = places
        self._bucket = bucket
        self._numbers = count()
        self._arrived: deque[AddedTask] = deque()  # other threads may append
        self._later: list[tuple[float, int, QueuedMessage]] = []
        self._ready: deque[QueuedMessage] = deque()
        self._at_work: dict[QueuedMessage, None] = {}
        self._requesting: QueuedMessage | None = None
        self._failure: Failure | None = None

    def add(self, added: AddedTask) -> None:
        """
        Add a task; it is delivered at the next L{pass_to}.
        """
        self._arrived.append(added)

    @property
    def waiting(self) -> list[AddedTask]:
        """
        Tasks that are not settled, those first that come first.
        """
        later = [message for _, _, message in sorted(self._later)]
        known = [*self._at_work, *self._ready, *later]
        return [*(message.added for message in known), *self._arrived]

    @property
    def is_idle(self) -> bool:
        """
        Whether there is none of these.
        """
        return not (self._at_work or self._ready or self._later or self._arrived)

    def next_event(self) -> float | None:
        """
        When something may happen next, in seconds since the epoch; C{None} for never.
        """
        times = [call.getTime() for call in self._clock.getDelayedCalls()]
        if self._later:
            times.append(self._later[0][0])
        if self._ready and self._bucket is not None and self._has_place:
            now = self._clock.seconds()
            wait = self._bucket.wait(now)
            # Less would not change the time: it is a large number.
            times.append(now + max(wait, _ROUNDED) if wait else now)
        if self._arrived:
            times.append(self._clock.seconds())
        return min(times, default=None)

    def pass_to(self, end: float) -> None:
        """
        Have all happen that happens until then.

        @raise EndlessRetries: no time passes.
        @raise Exception: what C{receive} failed with first: that is no outcome.
        """
        self._pass_to(end)
        failure, self._failure = self._failure, None
        if failure is not None:
            failure.raiseException()

    def _pass_to(self, end: float) -> None:
        at, events = self._clock.seconds(), 0
        self._deliver()
        while (when := self.next_event()) is not None and when <= end + _ROUNDED:
            if when > at:
                at, events = when, 0
            events += 1
            if events > MOST_AT_ONCE:
                text = "tasks are tried again and again without a pause"
                raise EndlessRetries(f"{text}, at {datetime.fromtimestamp(at, UTC)}")
            self._clock.advance(max(0.0, when - self._clock.seconds()))
            self._deliver()
        self._clock.advance(max(0.0, end - self._clock.seconds()))

    @property
    def _has_place(self) -> bool:
        return not self._places or len(self._at_work) < self._places

    def _deliver(self) -> None:
        now = self._clock.seconds()
        while self._arrived:
            message = QueuedMessage(self._arrived.popleft(), self._begins_request)
            self._ready.append(message)
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        while self._ready and self._has_place:
            if self._bucket is not None and self._bucket.take(now):
                return
            self._begin(self._ready.popleft())

    def _begin(self, message: QueuedMessage) -> None:
        message.attempt = None
        self._at_work[message] = None
        settled = self._receive(message).addCallback(self._settled, message)
        settled.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._failure = self._failure or failure

    def _begins_request(self, message: QueuedMessage) -> None:
        self._requesting = message

    def exchanged(self, request: SimulatedRequest, answer: Answered) -> None:
        """
        A request was made for the message that began with one last.
        """
        message = self._requesting
        assert message is not None
        message.attempts += 1
        at = datetime.fromtimestamp(self._clock.seconds(), UTC)
        attempt = SimulatedAttempt(at, message.added, message.attempts, request)
        if isinstance(answer, Answer):
            attempt.answer, attempt.error = answer, answer.error
        else:
            attempt.error = answer
        message.attempt = attempt
        self.attempts.append(attempt)

    def _settled(self, outcome: Outcome, message: QueuedMessage) -> None:
        del self._at_work[message]
        result, retry_in = self._carried_out(outcome, message)
        if message.attempt is not None:
            message.attempt.result, message.attempt.retry_in = result, retry_in
        if message.callback_task is not None and not isinstance(outcome, Retry):
            self.add(self._callback(message.callback_task, outcome, message))

    def _callback(
        self,
        callback: CallbackTask,
        outcome: Done | Discard | Bury,
        message: QueuedMessage,
    ) -> AddedTask:
        """
        The task that tells how the task of a message has ended.
        """
        added, last = message.added, message.last_attempt
        notes = EndNotes(added.kind or added.routing_key, self._clock.seconds)
        end = notes.note(message, outcome, last)
        uuid, body = callback.told(end)
        properties = {"message-id": uuid, "timestamp": int(end.ended)}
        return AddedTask(added.exchange, added.routing_key, body, properties)

    def _carried_out(
        self, outcome: Outcome, message: QueuedMessage
    ) -> tuple[str, float | None]:
        match outcome:
            case Done():
                self.done.append(message.added)
                return "done", None
            case Discard(reason):
                self.dropped.append(DroppedTask(message.added, reason))
                return "dropped", None
            case Bury(reason, kind, headers):
                now = self._clock.seconds()
                told = {REASON: reason, KIND: kind, BURIED_AT: now}
                message.amend({**headers, **told})
                self.dead.append(DeadLetter(message.properties, message.body))
                return "dead", None
            case Retry(body, after, headers):
                message.amend(headers, body)
                due = self._clock.seconds() + max(0.0, after)
                heapq.heappush(self._later, (due, next(self._numbers), message))
                return "retry", after
            case _:
                assert_never(outcome)
