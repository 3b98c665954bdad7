"""
L{PolicyFailures}: takes what L{Rules<quebert.policy.Rules>} decides by from a failed
attempt: the history of the task, its C{retry}, and two headers of the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from quebert._repeated import RepeatedWarning
from quebert.boundaries import FailedTask, FailurePolicy
from quebert.errors import BadTask
from quebert.mediator._adapters import RESPONSES
from quebert.mediator._answers import header_of
from quebert.mediator._leasing import Leasing
from quebert.outcome import Outcome, Retry
from quebert.policy import (
    LEASE_HEADER,
    LEASED,
    MANY,
    Directive,
    FailedAnswer,
    RetryPolicy,
    Rules,
    directive,
    lease_asked_for,
    overridden,
    retry_after,
)
from quebert.task import Task

__all__ = ["PolicyFailures"]

#: Request header: the number of this attempt, from 1.
ATTEMPT = "Quebert-Attempt"
#: Answers' header: what is to become of the task.
OUTCOME = b"quebert-outcome"
RETRY_AFTER = b"retry-after"


class PolicyFailures(FailurePolicy):
    """
    Goes by L{Rules}, a task's C{retry}, and what an answer says.

    @param ignored: told of each C{Quebert-Outcome} that cannot be read.
    @param random: gives a number from 0 up to 1, for the jitter.
    @param leasing: grants leases; C{None} for none.
    @ivar rules: when a task is tried again, and given up; a task's C{retry} may change
        its policy.
    """

    needs_whole_task = False
    attempt_header = ATTEMPT

    def __init__(
        self,
        rules: Rules,
        ignored: RepeatedWarning,
        random: Callable[[], float],
        leasing: Leasing | None = None,
    ) -> None:
        self.rules = rules
        self.lease_url = None if leasing is None else leasing.offer
        self._ignored = ignored
        self._random = random
        self._leasing = leasing

    def limits_for(self, task: Task) -> RetryPolicy:
        """
        The policy for a task.

        @raise BadTask: its C{retry} is wrong.
        """
        policy, wanted = self.rules.policy, task.get("retry")
        return policy if wanted is None else overridden(policy, wanted)

    def overrules(self, response: Any) -> bool:
        """
        Whether a 2xx has a C{Quebert-Outcome}, or is a 202 with a C{Quebert-Lease}.
        """
        if response.code == LEASED and header_of(response, LEASE_HEADER):
            return True
        if type(response) in RESPONSES.fitting and not response.may_have(OUTCOME):
            return False  # nearly always
        return self._directive(header_of(response, OUTCOME)) is not None

    def outcome(self, failed: FailedTask, now: float) -> Outcome:
        """
        Have the task tried again, or bury it, or as its executor wishes.
        """
        answer = failed.answer
        if answer is not None and answer.status == LEASED:
            leased = self._leased(failed, now)
            if leased is not None:
                return leased
        return self._rules_for(failed.task).outcome(
            failed.history,
            self._answer(failed, now),
            now,
            self._random,
            task=failed.name,
            why=failed.why,
        )

    def _leased(self, failed: FailedTask, now: float) -> Retry | None:
        """
        A lease, if the executor asks for one that it may have.
        """
        asked, leasing = failed.header(LEASE_HEADER), self._leasing
        if not asked or failed.message is None:
            return None
        if leasing is None:
            self._ignored.met("Quebert-Lease: the queue has no leases")
            return None
        try:
            seconds = lease_asked_for(asked, leasing.longest)
        except ValueError as e:
            self._ignored.met(f"Quebert-Lease: {e}")
            return None
        history, policy = failed.history, self._rules_for(failed.task).policy
        wait = policy.wait(history.attempts, history.first, now, self._random)
        return leasing.grant(failed.message, history, seconds, wait or 0.0, now)

    def is_told(self, attempts: int) -> bool:
        """
        Whether the log tells of a failed attempt: of many, each is told that doubles
        their number, since a task chooses how often it is tried.
        """
        return attempts <= MANY or attempts & (attempts - 1) == 0

    def _rules_for(self, task: Task) -> Rules:
        try:
            return attrs.evolve(self.rules, policy=self.limits_for(task))
        except BadTask:  # hooks spoiled it
            return self.rules

    def _answer(self, failed: FailedTask, now: float) -> FailedAnswer | None:
        answer = failed.answer
        if answer is None:
            return None
        asked, wishes = failed.header(RETRY_AFTER), failed.header(OUTCOME)
        if len(wishes) == 1:  # of several none counts, and there may be thousands
            wishes = [failed.without_secrets(wishes[0])]
        return attrs.evolve(
            answer,
            retry_after=retry_after(asked[0], now) if asked else None,
            directive=self._directive(wishes),
        )

    def _directive(self, values: list[str]) -> Directive | None:
        """
        What the executor wishes.

        @param values: those of its header, of which it may have one.
        """
        if not values:
            return None
        try:
            if len(values) > 1:
                raise ValueError(f"the answer has {len(values)} of them, not one")
            found = directive(values[0])
        except ValueError as e:
            # Not the value: it may hold secrets.
            self._ignored.met(f"Quebert-Outcome: {e}")
            return None
        self._ignored.succeeded()
        return found
