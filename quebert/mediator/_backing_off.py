"""
L{DelayOnErrorMediator}: the original's way with failures, which are counted in the
task itself.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.python.failure import Failure

from quebert import task as tasks
from quebert.boundaries import Message
from quebert.mediator._mediator import Mediator
from quebert.mediator._past import answer_of, count_in, history_of
from quebert.mediator._text import name_of, one_line
from quebert.outcome import Outcome, Retry
from quebert.policy import RetryPolicy, exhausted, exponential
from quebert.task import Task

__all__ = ["DelayOnErrorMediator"]

# Header: the count of failures that a body had no room for.
_FAILURES = "quebert-failures"
# Of a traceback, the end tells most; it travels with the task.
_TRACEBACK_LIMIT = 4_000


class DelayOnErrorMediator(Mediator):
    """
    Backs off exponentially: after its n-th failure a task is put back with
    C{failures} (n) and C{traceback} (text) in it, after C{constant ** n}
    seconds, at most C{maxDelay}.

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

    def _after(
        self, failure: Failure, task: Task, message: Message, began: float
    ) -> Outcome:
        told = count_in(message, _FAILURES)
        if told:  # the broker had refused the body that tells it
            task["failures"] = max(told, _count(task.get("failures")))
        if not self.limits.limited:
            return super()._after(failure, task, message, began)
        answer, now = answer_of(failure), self._now()
        status = answer.status if answer is not None else None
        history = history_of(message).failed(began, status)
        if self.limits.used_up(history.attempts, now - history.first):
            name, why = name_of(task), one_line(failure.value)
            return exhausted(history, answer, now, task=name, why=why)
        outcome = super()._after(failure, task, message, began)
        if not isinstance(outcome, Retry):
            return outcome
        return attrs.evolve(outcome, headers={**outcome.headers, **history.headers})

    def failed(self, task: Task, failure: Failure) -> Outcome:
        """
        Count the failure, and put the task back with the count later.
        """
        failures = _count(task.get("failures")) + 1
        task["failures"] = failures
        task["traceback"] = failure.getTraceback()[-_TRACEBACK_LIMIT:]
        after = exponential(failures, constant=self.constant, maximum=self.maxDelay)
        try:
            tasks.schedule(task)
            tasks.request(task, self.defaulturl, self.max_url_length)
            body = self._encoded(task)
        except Exception as e:
            self.log.warn(
                "Task {name} is put back as it was, since hooks spoiled it: {why}",
                name=name_of(task),
                why=one_line(e),
            )
            return self._again(task, failure, Retry(after=after))
        as_it_was = Retry(after=after, headers={_FAILURES: failures})
        return self._again(task, failure, Retry(body, after, otherwise=as_it_was))


def _count(failures: object) -> int:
    if isinstance(failures, bool) or not isinstance(failures, (int, float)):
        return 0
    return int(min(failures, 2**31)) if failures > 0 else 0
