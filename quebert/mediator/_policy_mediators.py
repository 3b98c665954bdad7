"""
L{PolicyMediator} and L{DelayOnErrorMediator}: mediators with a failure policy.

Another policy is a L{FailurePolicy<quebert.boundaries.FailurePolicy>}, beside
C{_policy_failures} and C{_backoff_failures}, and goes to C{Mediator(policy=...)}.  For
a configuration file it takes a name in C{_MEDIATORS} and its terms in C{_retry} of
C{config/_queue.py}, and a line in C{_of_kind} of C{service/_mediators}.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Callable, Iterable
from typing import Any

from quebert._repeated import RepeatedWarning
from quebert.mediator._backoff_failures import BackoffFailures
from quebert.mediator._leasing import Leasing
from quebert.mediator._mediator import Mediator
from quebert.mediator._parts import of_part
from quebert.mediator._policy_failures import PolicyFailures
from quebert.policy import MAX_RETRY_AFTER, RetryPolicy, Rules

__all__ = ["DelayOnErrorMediator", "PolicyMediator"]


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
    @param leasing: grants leases to executors; C{None} for none.
    @ivar rules: C{policy}, C{permanent} and C{max_retry_after}.
    @raise ConfigError: one of these is wrong.
    """

    rules: Rules = of_part("_policy.rules")

    def __init__(
        self,
        *args: Any,
        policy: RetryPolicy | None = None,
        permanent: Iterable[int] = (),
        max_retry_after: float = MAX_RETRY_AFTER,
        random: Callable[[], float] = randomness.random,
        leasing: Leasing | None = None,
        bury: bool = True,
        **options: Any,
    ) -> None:
        rules = Rules(
            policy=RetryPolicy() if policy is None else policy,
            permanent=permanent,
            max_retry_after=max_retry_after,
        )
        ignored = RepeatedWarning(
            self.log,
            lambda: self.clock,
            "A header of an executor is ignored",
            "The headers of executors are followed again",
        )
        failures = PolicyFailures(rules, ignored, random, leasing)
        super().__init__(*args, policy=failures, bury=bury, **options)


class DelayOnErrorMediator(Mediator):
    """
    Backs off exponentially: after its n-th failure a task is put back with
    C{failures} (n) and C{traceback} (text) in it, after C{constant ** n}
    seconds, at most C{maxDelay}.  Failures at other mediators count, too.  It does not
    heed C{Retry-After} and C{Quebert-Outcome} of an answer.

    @param args: as for L{Mediator}, as are the other C{options}.
    @param constant: the base of the power.
    @param maxDelay: seconds that a task waits at most.
    @param max_attempts: after so many a task is buried; -1 for no such limit.
    @param max_retry_duration: likewise after so many seconds; 0 for no such
        limit.  With both limits, once both are reached.
    @param traceback: whether C{traceback} is a whole traceback, which tells executors
        the paths of our files; by default it is the exception's type and text.
    @ivar limits: C{max_attempts} and C{max_retry_duration}.
    """

    constant: float = of_part("_policy.constant")
    maxDelay: float = of_part("_policy.maxDelay")
    limits: RetryPolicy = of_part("_policy.limits")
    traceback: bool = of_part("_policy.traceback")

    def __init__(
        self,
        *args: Any,
        constant: float = 1.5,
        maxDelay: float = 120.0,
        max_attempts: int = -1,
        max_retry_duration: float = 0.0,
        traceback: bool = False,
        **options: Any,
    ) -> None:
        limits = RetryPolicy(
            max_attempts=max_attempts, max_retry_duration=max_retry_duration
        )
        failures = BackoffFailures(
            constant, maxDelay, limits, self.log, traceback=traceback
        )
        super().__init__(*args, policy=failures, **options)
