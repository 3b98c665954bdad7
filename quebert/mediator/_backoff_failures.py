"""
L{BackoffFailures}: exponential backoff as the original quebert has it, which counts the
failures in the task itself.
"""

from __future__ import annotations

from twisted.logger import Logger

from quebert.boundaries import FailedTask, FailurePolicy
from quebert.errors import BadTask
from quebert.outcome import Outcome, Retry
from quebert.policy import RetryPolicy, exhausted, exponential
from quebert.task import Task

__all__ = ["BackoffFailures"]

# Of a traceback, the end tells most; it travels with the task.
_TRACEBACK_LIMIT = 4_000


class BackoffFailures(FailurePolicy):
    """
    Backs off exponentially, and puts C{failures} and C{traceback} into the task.

    @param log: told of tasks that cannot be changed.
    @ivar traceback: whether C{traceback} is a whole traceback, with the paths of our
        files, which the executor gets to see; else it is the type and the text of the
        exception.
    @ivar constant: after its n-th failure a task is put back after C{constant ** n}
        seconds, ...
    @ivar maxDelay: ... at most so many.
    @ivar limits: those of its attempts.
    """

    def __init__(
        self,
        constant: float,
        maxDelay: float,
        limits: RetryPolicy,
        log: Logger,
        *,
        traceback: bool = False,
    ) -> None:
        self.constant = constant
        self.maxDelay = maxDelay
        self.limits = limits
        self.traceback = traceback
        self._log = log

    def limits_for(self, task: Task) -> RetryPolicy:
        """
        The limits, which are the same for all tasks.
        """
        return self.limits

    def outcome(self, failed: FailedTask, now: float) -> Outcome:
        """
        Count the failure, and put the task back with the count later; bury it where
        the limits are reached.
        """
        history = failed.history
        if self.limits.used_up(history.attempts, now - history.first):
            return exhausted(history, failed.answer, now, failed.name, failed.why)
        failures = failed.task["failures"] = history.attempts
        failed.task["traceback"] = self._told(failed)[-_TRACEBACK_LIMIT:]
        after = exponential(failures, constant=self.constant, maximum=self.maxDelay)
        as_it_was = Retry(after=after)
        body = self._body(failed)
        return as_it_was if body is None else Retry(body, after, otherwise=as_it_was)

    def _told(self, failed: FailedTask) -> str:
        if self.traceback:
            return failed.traceback
        return f"{type(failed.error).__name__}: {failed.why}"

    def _body(self, failed: FailedTask) -> bytes | None:
        """
        The task with the count and the traceback; C{None} where that cannot be put
        back.
        """
        try:
            return failed.encoded()
        except BadTask as e:
            self._log.warn(
                "Task {name} is put back as it came, since its hooks made it invalid:"
                " {why}",
                name=failed.name,
                why=str(e),
            )
            return None
