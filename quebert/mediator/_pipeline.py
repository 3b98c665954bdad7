"""
The straight line from a message to its L{Outcome<quebert.outcome>}: decode, cancelled?,
purged?, expired?, early?, given up?, pre-hooks, admission, request, post-hooks.

The methods that take these steps stand in this order in L{Pipeline}.  A task without
hooks and without a C{filter}, as nearly all are, is requested by C{_execute}; any other
one goes on to C{_hooked} and C{_prepared}.  Both call L{Requests.make}.  Whatever fails
on the way leaves it for L{Failures}.  It is written with bare callbacks, since every
task goes this way.

Hooks and the request see the context variables that were set when the message came,
whatever had to be waited for in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from quebert import task as tasks
from quebert._turn import InSteps
from quebert.boundaries import PostHook, PreHook, WatchedMessage
from quebert.clock import seconds_set
from quebert.errors import BadTask
from quebert.mediator import _hooks as hooks
from quebert.mediator._codec import Codec
from quebert.mediator._failures import Failures
from quebert.mediator._judging import (
    cancelled,
    early,
    expired,
    given_up,
    no_task,
    purged,
)
from quebert.mediator._observation import Observation, Observations
from quebert.mediator._reading import TaskReader, Wanted
from quebert.mediator._requests import Requests
from quebert.outcome import Done, Outcome
from quebert.task import Task
from quebert.task_callbacks import CallbackTask

__all__ = ["Pipeline"]

_DONE = Done()


class Pipeline:
    """
    Executes tasks.

    @param clock: gives what keeps time.
    @param now: the time of day, in seconds since the epoch.
    @ivar bury: whether a message that is no task is buried, and not discarded.
    @ivar drop_before: tasks that were created before are dropped: seconds since the
        epoch, 0 for none, infinity for all.
    @ivar prehooks: called before each request, in this order.
    @ivar posthooks: called after each success, in this order.
    """

    def __init__(
        self,
        codec: Codec,
        reader: TaskReader,
        requests: Requests,
        failures: Failures,
        observations: Observations,
        *,
        clock: Callable[[], IReactorTime],
        now: Callable[[], float],
        bury: bool,
    ) -> None:
        self.bury = bury
        self.drop_before = 0.0
        self.prehooks: list[PreHook] = []
        self.posthooks: list[PostHook] = []
        self._codec = codec
        self._reader = reader
        self._requests = requests
        self._failures = failures
        self._observations = observations
        self._clock = clock
        self._now = now
        self._in_steps = InSteps(clock)

    # -- From a message to a task

    def execute(self, message: WatchedMessage) -> Deferred[Outcome]:
        """
        Execute the task in a message.
        """
        body = message.body
        if len(body) > tasks.LARGE and self.reads_part(body):
            reading = self._in_steps.do(self._codec.read_part(body))
            run: Any = copy_context().run
            execute = partial(run, self._execute)
            arguments = (message,)
            return reading.addCallbacks(
                execute, self._not_read, arguments, errbackArgs=arguments
            )
        return self._execute(None, message)

    def reads_part(self, body: bytes) -> bool:
        """
        Whether only the fields that mediators read are decoded of a body.  Hooks get
        all fields.
        """
        hooked = self.prehooks or self.posthooks
        return not hooked and self._codec.can_read_part(body)

    def _not_read(self, failure: Failure, message: WatchedMessage) -> Outcome:
        error = failure.value
        if not isinstance(error, BadTask):
            failure.raiseException()
        return self._no_task(None, error, message)

    def _no_task(
        self, decoded: Any, error: BadTask, message: WatchedMessage
    ) -> Outcome:
        outcome = no_task(decoded, error, self._codec.bounds, self.bury)
        if self._observations.is_on:
            self._observations.no_task(decoded, message, outcome, self._now())
        return outcome

    # -- From a task to its request

    def _execute(self, part: Task | None, message: WatchedMessage) -> Deferred[Outcome]:
        """
        Judge a task, and request it; with hooks or a C{filter}, L{_hooked} does that.

        @param part: the fields that mediators read, if no others are to be decoded.
        """
        hooked = bool(self.prehooks or self.posthooks)
        whole = part is None or hooked  # hooks may have been added meanwhile
        task: Any = part
        try:
            if whole:
                task = self._codec.decode(message.body)
            if type(task) is dict and "callback_url" in task:  # seldom
                self._call_back(task, message)
            wanted = self._reader.read(task, message)
        except BadTask as e:
            return succeed(self._no_task(task, e, message))
        times, request, _, history, _ = wanted
        began = self._now()
        observation: Observation | None = None
        if self._observations.is_on or message.tells_end:
            observation = self._observations.begin(task, message, wanted, began)
        # Nearly always it has no times and no history, and nothing is cancelled.
        if (
            times is not tasks.ANY_TIME
            or history.attempts
            or message.cancelled_tasks
            or self.drop_before
        ):
            outcome = self._judged(task, message, wanted, began)
            if outcome is not None:
                if observation is not None:
                    observation.not_attempted(outcome)
                return succeed(outcome)
        arguments = (task, message, began, whole, observation)
        deciding: Any
        ended: Callable[[Any], Outcome] | None = None
        if hooked or task.get("filter"):
            deciding = maybeDeferred(self._hooked, task, message, wanted, observation)
            if observation is not None:
                ended = observation.ended
        else:
            result: Outcome | None = _DONE  # nearly always nobody wants the body
            if observation is not None:
                result, ended = None, observation.done
            deciding = self._requests.make(
                message, request, message.body, observation, result
            )
        if ended is None:
            deciding.addErrback(self._failed, *arguments)
        else:
            deciding.addCallbacks(ended, self._failed, errbackArgs=arguments)
        decided: Deferred[Outcome] = deciding
        return decided

    def _call_back(self, task: Task, message: WatchedMessage) -> None:
        callback = self._callback_of(task)
        if callback is not None:
            message.callback_task = callback
            message.tells_end = True

    def _callback_of(self, task: Task) -> CallbackTask | None:
        return self._reader.callback_of(
            task,
            encode=self._codec.encode_finite,
            keeps_answer=self._failures.keep_answers,
            max_body=self._codec.bounds.body,
        )

    def callback_in(self, body: bytes) -> CallbackTask | None:
        """
        The callback task that the task in C{body} asks for; C{None} where it asks for
        none, or is no task.
        """
        if not self._codec.may_have(b"callback_url", body):
            return None
        try:
            task = self._codec.decode(body)
            return self._callback_of(task) if type(task) is dict else None
        except BadTask:
            return None

    def _failed(
        self,
        failure: Failure,
        task: Task,
        message: WatchedMessage,
        began: float,
        whole: bool,
        observation: Observation | None,
    ) -> Outcome:
        outcome = self._failures.outcome(
            failure, task, message, began, whole, observation
        )
        return outcome if observation is None else observation.ended(outcome)

    def _judged(
        self, task: Task, message: WatchedMessage, wanted: Wanted, now: float
    ) -> Outcome | None:
        """
        What becomes of a task that is not to be attempted now; C{None} of another.
        """
        times, request, limits, history, added = wanted
        outcome: Outcome | None = cancelled(request.uuid, message)
        if outcome is None and self.drop_before:
            outcome = purged(task, added, self.drop_before)
            if outcome is not None:  # its queue was to be empty
                message.callback_task = None
        if outcome is None:
            outcome = expired(task, times, now, self._unset)
        if outcome is None:
            outcome = early(times, now, self._unset)
            if outcome is not None and message.runs_now:
                outcome = None
        if outcome is None and limits is not None:
            outcome = given_up(task, history, limits, now)
        return outcome

    def _unset(self, now: float) -> float:
        """
        The time as if the clock of the machine had not been set.
        """
        return now - seconds_set(self._clock())

    def _hooked(
        self,
        task: Task,
        message: WatchedMessage,
        wanted: Wanted,
        observation: Observation | None,
    ) -> Deferred[Outcome] | Outcome:
        """
        The pre-hooks, the request, and the post-hooks, of a task with hooks or a
        C{filter}.
        """
        context = copy_context()  # the hooks of one task share it
        arguments = (task, message, wanted, context, observation)
        waiting = hooks.run(self.prehooks, (task,), context)
        if waiting is None:
            return self._prepared(None, *arguments)
        return waiting.addCallback(self._prepared, *arguments)

    def _prepared(
        self,
        _ended: None,
        task: Task,
        message: WatchedMessage,
        wanted: Wanted,
        context: Context,
        observation: Observation | None,
    ) -> Deferred[Outcome] | Outcome:
        if task.get("filter"):
            return self._answered(b"", task, context)
        body, (times, request, _, _, _) = message.body, wanted
        if self.prehooks:
            body = self._codec.body_for(task, body)
            if body is not message.body:
                times, request, _, _, _ = self._reader.read(task, message)
            outcome = expired(task, times, self._now(), self._unset)
            if outcome is not None:  # hooks may take time
                return outcome
        requesting = context.run(
            self._requests.make, message, request, body, observation
        )
        return requesting.addCallback(self._answered, task, context)

    # -- From an answer to an outcome

    def _answered(
        self, content: bytes, task: Task, context: Context
    ) -> Deferred[Outcome] | Outcome:
        if not self.posthooks:
            return _DONE
        arguments = (task, self._codec.result(content))
        waiting = hooks.run(self.posthooks, arguments, context)
        return _DONE if waiting is None else waiting.addCallback(_done)


def _done(_: object) -> Outcome:
    return _DONE
