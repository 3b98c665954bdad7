"""
L{PolicyMediator}: failures are counted beside the task, retried as a policy has it,
and at last given up.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from twisted.python.failure import Failure

from quebert import task as tasks
from quebert._repeated import RepeatedWarning
from quebert.boundaries import Message
from quebert.errors import BadStatus, BadTask
from quebert.mediator._mediator import Mediator
from quebert.mediator._history import answer_of, field_of, history_of
from quebert.mediator._describe import name_of
from quebert.outcome import Outcome, Retry
from quebert.policy import (
    MANY,
    MAX_RETRY_AFTER,
    Directive,
    FailedAnswer,
    RetryPolicy,
    Rules,
    directive,
    overridden,
    retry_after,
)
from quebert.task import Task

__all__ = ["PolicyMediator"]

#: Request header: the number of this attempt, from 1.
ATTEMPT = "Quebert-Attempt"
#: Answers' header: what is to become of the task.
OUTCOME = b"quebert-outcome"
RETRY_AFTER = b"retry-after"


class PolicyMediator(Mediator):
    """
    Tries a task again as C{policy} has it, and at last buries it.  What has been
    tried is told in the message's headers: its body stays as it was sent, byte
    for byte.

    @param args: as for L{Mediator}, as are the other C{options}.
    @param policy: when a task is tried again, and given up; a task's C{retry}
        may change it.
    @param permanent: the statuses after which a task is given up at once.
    @param max_retry_after: seconds that an answer can have its task wait; with 0
        it cannot.
    @param random: gives a number from 0 up to 1, for the jitter.
    @raise ConfigError: one of these is wrong.
    """

    def __init__(
        self,
        *args: Any,
        policy: RetryPolicy | None = None,
        permanent: Iterable[int] = (),
        max_retry_after: float = MAX_RETRY_AFTER,
        random: Callable[[], float] = randomness.random,
        bury: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(*args, bury=bury, **options)
        self.rules = Rules(
            policy=RetryPolicy() if policy is None else policy,
            permanent=permanent,
            max_retry_after=max_retry_after,
        )
        self._random = random
        self._ignored = RepeatedWarning(
            self.log,
            lambda: self.clock,
            "A header Quebert-Outcome is ignored",
            "Headers Quebert-Outcome are heeded again",
        )

    def _read(
        self, task: Any, message: Message
    ) -> tuple[tasks.Schedule, tasks.Request]:
        times, request = super()._read(task, message)
        if task.get("retry") is not None:
            overridden(self.rules.policy, task["retry"])
        headers = request.headers
        if len(headers) > 1:  # who wrote the task cannot say
            for name in [each for each in headers if _folded(each) == _ATTEMPT]:
                del headers[name]
        headers[ATTEMPT] = str(history_of(message, task).attempts + 1)
        return times, request

    def _overruled(self, response: Any) -> bool:
        """
        Whether a 2xx says itself that it is no success.
        """
        may_have = getattr(response, "may_have", None)
        if may_have is not None and not may_have(OUTCOME):
            return False
        return self._directive(response) is not None

    def _directive(self, response: Any, task: Task | None = None) -> Directive | None:
        """
        What the executor wishes.

        @param task: where the reason is told, without the secrets of this task.
        """
        values = field_of(response, OUTCOME)
        if not values:
            return None
        try:
            if len(values) > 1:
                raise ValueError(f"there are {len(values)} of them")
            value = values[0] if task is None else self._hidden(task, values[0])
            found = directive(value)
        except ValueError as e:
            self._ignored.met(str(e))  # not the value: it may hold secrets
            return None
        self._ignored.succeeded()
        return found

    def _limits_for(self, task: Task) -> RetryPolicy:
        return self._rules_for(task).policy

    @property
    def _failed_needs_whole_task(self) -> bool:
        own = getattr(self.failed, "__func__", None)
        return own is not PolicyMediator.failed

    def failed(self, task: Task, failure: Failure) -> Outcome:
        """
        Have the task tried again, or bury it, as the policy has it.
        """
        now = self._now()
        history = self._attempts(failure, task)
        answer = self._answer(failure, task, now)
        outcome = self._rules_for(task).outcome(
            history,
            answer,
            now,
            self._random,
            task=name_of(task),
            why=self._why(task, failure),
        )
        if isinstance(outcome, Retry) and _is_told(history.attempts):
            self._again(task, failure, outcome)
        return outcome

    def _answer(self, failure: Failure, task: Task, now: float) -> FailedAnswer | None:
        answer, error = answer_of(failure), failure.value
        if answer is None or not isinstance(error, BadStatus):
            return None
        asked = field_of(error.response, RETRY_AFTER)
        return attrs.evolve(
            answer,
            retry_after=retry_after(asked[0], now) if asked else None,
            directive=self._directive(error.response, task),
        )

    def _rules_for(self, task: Task) -> Rules:
        try:
            policy = overridden(self.rules.policy, task.get("retry"))
        except BadTask:  # hooks spoiled it
            return self.rules
        return attrs.evolve(self.rules, policy=policy)


def _is_told(attempts: int) -> bool:
    """
    Whether the log tells of a failed attempt: of many, each is told that doubles their
    number, since a task chooses how often it is tried.
    """
    return attempts <= MANY or attempts & (attempts - 1) == 0


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")  # as CGI and WSGI servers do


_ATTEMPT = _folded(ATTEMPT)
