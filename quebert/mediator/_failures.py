"""
From a failure to an outcome.

L{Failures.outcome} calls the mediator's C{failed}, which users may override.  Unless
they do, C{failed} calls L{Failures.decided}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from quebert.boundaries import FailurePolicy, WatchedMessage
from quebert.errors import BadStatus, BadTask, Forbidden
from quebert.mediator._admission import NotAdmitted, TaskCancelled
from quebert.mediator._answers import status_in
from quebert.mediator._codec import Codec
from quebert.mediator._describe import name_of
from quebert.mediator._failed_task import FailedTask
from quebert.mediator._history import (
    FailedAttempt,
    failures_in,
    history_of,
    with_history,
)
from quebert.mediator._judging import cancelled, no_task
from quebert.mediator._observation import Observation
from quebert.mediator._reading import TaskReader
from quebert.mediator._redaction import ANSWER, Redaction
from quebert.outcome import FORBIDDEN, Bury, Outcome, Retry
from quebert.policy import History
from quebert.task import Task

__all__ = ["Decider", "Failures"]


class Decider(Protocol):
    """
    The mediator, as its failures see it.
    """

    @property
    def log(self) -> Logger:
        """
        Where failures are told.
        """

    @property
    def bury(self) -> bool:
        """
        Whether a message that is no task is buried.
        """

    @property
    def failed_is_overridden(self) -> bool:
        """
        Whether a subclass decides about failures, or may.
        """

    def failed(self, task: Task, failure: Failure) -> Outcome:
        """
        Decide about one.
        """


class Failures:
    """
    What becomes of tasks that fail.

    @param steady: the policy where C{failed} fails.
    @param now: the time of day, in seconds since the epoch.
    @ivar keep_answers: whether the beginning of an answer is kept.
    """

    def __init__(
        self,
        mediator: Decider,
        policy: FailurePolicy,
        steady: FailurePolicy,
        codec: Codec,
        reader: TaskReader,
        redaction: Redaction,
        *,
        keep_answers: bool,
        now: Callable[[], float],
    ) -> None:
        self.keep_answers = keep_answers
        self._mediator = mediator
        self._policy = policy
        self._steady = steady
        self._codec = codec
        self._reader = reader
        self._redaction = redaction
        self._now = now
        self._asked: FailedAttempt | None = None  # about which failed() is called now
        self._told_as: FailedTask | None = None  # and what is told of it, if it is made

    def outcome(
        self,
        failure: Failure,
        task: Task,
        message: WatchedMessage,
        began: float,
        whole: bool,
        observation: Observation | None = None,
    ) -> Outcome:
        """
        What becomes of a task.  One that was cancelled meanwhile is dropped where it
        would be tried again.

        @param began: when this attempt did, in seconds since the epoch.
        @param whole: whether the task has all its fields.
        @param observation: is told why it failed, unless it is C{None}.
        """
        error = failure.value
        if isinstance(error, NotAdmitted):
            if error.after:
                message.was_refused(error.after, error.when_free)
            message.was_unanswered()
            return Retry(after=error.after, attempted=False)
        if not isinstance(error, BadStatus):
            message.was_unanswered()
        if isinstance(error, TaskCancelled):
            return error.outcome
        if isinstance(error, Forbidden):
            why = f"task {name_of(task)} is given up at once: {error}"
            return Bury(why, FORBIDDEN)
        history = history_of(message, task).failed(began, status_in(error))
        if isinstance(error, BadStatus):
            is_cut = len(error.body) > ANSWER
            error.body = self._kept(error.body, task, message, history.attempts)
            if message.callback_task is not None:
                message.callback_task.answered(error.body, is_cut)
        if not whole and self._needs_whole_task:
            try:
                task = self._codec.decode(message.body)
            except BadTask as e:
                return no_task(task, e, self._codec.bounds, self._mediator.bury)
        attempt = FailedAttempt.like(failure, history, message)
        described: FailedTask | None = None
        if observation is not None:
            described = self.described(task, attempt)
            observation.failed(described)
        outcome = self._asking(task, attempt, described)
        if message.cancelled_tasks and isinstance(outcome, Retry):  # seldom
            outcome = cancelled(task.get("uuid"), message) or outcome
        return with_history(outcome, history, task)

    def _kept(
        self, answer: bytes, task: Task, message: WatchedMessage, attempt: int
    ) -> bytes:
        if not (answer and self.keep_answers):
            return b""
        return self._redaction.of(task, message, attempt).hidden_in_answer(answer)

    @property
    def _needs_whole_task(self) -> bool:
        return self._policy.needs_whole_task or self._mediator.failed_is_overridden

    def _asking(
        self, task: Task, failure: FailedAttempt, described: FailedTask | None
    ) -> Outcome:
        """
        What C{failed} decides; where it raises, or decides nothing, the steady policy
        does.
        """
        before, before_as = self._asked, self._told_as
        self._asked, self._told_as = failure, described
        try:
            outcome: Outcome | None = self._mediator.failed(task, failure)
            if outcome is None:  # which would be taken for done
                raise TypeError("failed() must return an Outcome, not None")
            return outcome
        except Exception:
            self._mediator.log.failure(
                "{mediator}.failed() failed; the task is tried again later",
                mediator=type(self._mediator).__name__,
            )
            return self._told(self._steady, task, failure)
        finally:
            self._asked, self._told_as = before, before_as

    def decided(self, task: Task, failure: Failure) -> Outcome:
        """
        What the policy of this mediator decides, unless C{Mediator.failed} is
        overridden.
        """
        return self._told(self._policy, task, failure)

    def _told(self, policy: FailurePolicy, task: Task, failure: Failure) -> Outcome:
        """
        What one policy decides; the log tells of it if the task goes back to its queue,
        and the policy has it told.
        """
        failed = self.described(task, failure)
        outcome = policy.outcome(failed, self._now())
        if not isinstance(outcome, Retry) or outcome.queue is not None:
            return outcome
        if policy.is_told(failed.history.attempts):
            self._mediator.log.warn(
                "Task {name} failed, and is tried again in {after} s: {why}",
                name=failed.name,
                after=outcome.after,
                why=failed.why,
            )
        return outcome

    def described(self, task: Task, failure: Failure) -> FailedTask:
        """
        What policies get to know of a failure.
        """
        told_as = self._told_as
        if told_as is not None and failure is self._asked and task is told_as.task:
            return told_as
        history = self._attempts(task, failure)
        message = failure.message if isinstance(failure, FailedAttempt) else None
        return FailedTask(
            task, failure, history, message, self._reader, self._codec, self._redaction
        )

    def _attempts(self, task: Task, failure: Failure) -> History:
        """
        The attempts at a task, the one that failed included.  Somebody else may call
        C{failed}: then the body of the task tells them.
        """
        if not isinstance(failure, FailedAttempt) and self._asked is not None:
            return self._asked.history  # a subclass passes another failure on
        if isinstance(failure, FailedAttempt):
            return failure.history
        before = History.read({}, failures_in(task))
        return before.failed(self._now(), status_in(failure.value))
