"""
What becomes of a task that failed: when it is tried again, and when it is given
up.  Pure: numbers, times and texts in, decisions out.

L{Rules} decides.  The wait that an answer asks for, with C{Retry-After} or
C{Quebert-Outcome}, comes before the backoff of a L{RetryPolicy}, within bounds.
C{DelayOnErrorMediator} and a plain C{Mediator} do not ask L{Rules}, and so heed neither
header.
"""

from __future__ import annotations

from quebert.policy._answers import Directive, directive, retry_after
from quebert.policy._backoff import MANY, RetryPolicy, exponential, overridden
from quebert.policy._history import (
    ATTEMPTS,
    BURIED_AT,
    FIRST_ATTEMPT,
    LAST_ANSWER,
    LAST_ATTEMPT,
    LAST_STATUS,
    History,
)
from quebert.policy._rules import MAX_RETRY_AFTER, FailedAnswer, Rules, exhausted

__all__ = [
    "ATTEMPTS",
    "BURIED_AT",
    "FIRST_ATTEMPT",
    "LAST_ANSWER",
    "LAST_ATTEMPT",
    "LAST_STATUS",
    "MANY",
    "MAX_RETRY_AFTER",
    "Directive",
    "FailedAnswer",
    "History",
    "RetryPolicy",
    "Rules",
    "directive",
    "exhausted",
    "exponential",
    "overridden",
    "retry_after",
]
