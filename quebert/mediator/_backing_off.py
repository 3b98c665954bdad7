"""
L{DelayOnErrorMediator}: the original's way with failures, which are counted in the
task itself.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from quebert import task as tasks
from quebert.mediator._mediator import Mediator
from quebert.mediator._history import answer_of
from quebert.mediator._describe import name_of, one_line
from quebert.outcome import Outcome, Retry
from quebert.policy import RetryPolicy, exhausted, exponential
from quebert.task import Task

__all__ = ["DelayOnErrorMediator"]

# Of a traceback, the end tells most; it travels with the task.
_TRACEBACK_LIMIT = 4_000


class DelayOnErrorMediator(Mediator):
    """
    Backs off exponentially: after its n-th failure a task is put back with
    C{failures} (n) and C{traceback} (text) in it, after C{constant ** n}
    seconds, at most C{maxDelay}.  Failures at other mediators count, too.

    @param args: as for L{Mediator}, as are the other C{options}.
    @param max_attempts: after so many a task is buried; -1 for no such limit.
    @param max_retry_duration: likewise after so many seconds; 0 for no such
        limit.  With both limits, once both are reached.
    """

    def __init__(
        self,
        *args: Any,
        constant: float = 1.5,
        maxDelay: float = 120.0,
        max_attempts: int = -1,
        max_retry_duration: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.constant = constant
        self.maxDelay = maxDelay
        self.limits = RetryPolicy(
            max_attempts=max_attempts, max_retry_duration=max_retry_duration
        )

    def _limits_for(self, task: Task) -> RetryPolicy:
        return self.limits

    def failed(self, task: Task, failure: Failure) -> Outcome:
        """
        Count the failure, and put the task back with the count later; bury it where
        the limits are reached.
        """
        now = self._now()
        history = self._attempts(failure, task)
        if self.limits.used_up(history.attempts, now - history.first):
            answer, why = answer_of(failure), self._why(task, failure)
            return exhausted(history, answer, now, name_of(task), why)
        failures = task["failures"] = history.attempts
        told = self._hidden(task, failure.getTraceback())
        task["traceback"] = told[-_TRACEBACK_LIMIT:]
        after = exponential(failures, constant=self.constant, maximum=self.maxDelay)
        try:
            tasks.schedule(task, bounds=self.bounds)
            tasks.request(task, self.defaulturl, self.bounds)
            body = self._encoded(task)
        except Exception as e:
            self.log.warn(
                "Task {name} is put back as it was, since hooks spoiled it: {why}",
                name=name_of(task),
                why=one_line(self._hidden(task, safe_str(e))),
            )
            return self._again(task, failure, Retry(after=after))
        if len(body) > self.bounds.body:  # with the count and the traceback
            return self._again(task, failure, Retry(after=after))
        retry = Retry(body, after, otherwise=Retry(after=after))
        return self._again(task, failure, retry)
