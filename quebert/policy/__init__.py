"""
What becomes of a task that failed: when it is tried again, and when it is given
up.  Pure: numbers, times and texts in, decisions out.

L{Rules} decides for a C{PolicyMediator}, by the answer; what is decided by the error,
or whatever the policy, is in C{mediator/_failures}.  The wait that an answer asks for,
with C{Retry-After} or C{Quebert-Outcome}, comes before the backoff of a L{RetryPolicy},
within bounds.  Other tasks of the same host do not wait for it: what a host may be
asked is in L{quebert.limits}.  C{DelayOnErrorMediator} and a plain C{Mediator} do not
ask L{Rules}, and so heed neither header.

What changes together:

 - Another term of a policy: a field of L{RetryPolicy}, with its validator, which tasks
   have in their C{retry} without another line; C{_POLICY} in C{config/_queue.py}; the
   table in C{docs/retries.rst}.  A term for each host: L{FailedTask
   <quebert.boundaries.FailedTask>} would have to tell the host; see L{quebert.config}.
 - Another term of C{DelayOnErrorMediator}, which has a backoff of its own:
   C{_backoff_failures} in L{quebert.mediator}; C{Backoff} and C{_BACKOFF} in
   L{quebert.config}, and C{_of_kind} in C{service/_mediators}.
 - Another wish of an executor: L{Directive} and its pattern in C{_answers};
   L{Rules.outcome}; C{docs/retries.rst}.
 - Another thing that is known of the attempts: L{History}, its C{read}, C{failed} and
   C{headers}; L{DeadLetter<quebert.operations.DeadLetter>}, if operators ask for it.
   The header: L{quebert.amqp.wire._headers}.
 - Another failure policy: L{quebert.mediator._policy_mediators}.
"""

from __future__ import annotations

from quebert.policy._answers import Directive, directive, retry_after
from quebert.policy._backoff import MANY, RetryPolicy, exponential, overridden
from quebert.policy._history import (
    ANSWERED,
    ANSWERS,
    ATTEMPTS,
    BURIED_AT,
    FIRST_ATTEMPT,
    LAST_ANSWER,
    LAST_ATTEMPT,
    LAST_STATUS,
    History,
)
from quebert.policy._leases import (
    LEASE_BACKOFF,
    LEASE_HEADER,
    LEASE_ID,
    LEASE_LAST,
    LEASE_QUEUE,
    LEASE_UNTIL,
    LEASE_URL,
    LEASED,
    LEASES,
    lease_asked_for,
)
from quebert.policy._rules import MAX_RETRY_AFTER, FailedAnswer, Rules, exhausted

__all__ = [
    "ANSWERED",
    "ANSWERS",
    "ATTEMPTS",
    "BURIED_AT",
    "FIRST_ATTEMPT",
    "LAST_ANSWER",
    "LAST_ATTEMPT",
    "LAST_STATUS",
    "LEASED",
    "LEASES",
    "LEASE_BACKOFF",
    "LEASE_HEADER",
    "LEASE_ID",
    "LEASE_LAST",
    "LEASE_QUEUE",
    "LEASE_UNTIL",
    "LEASE_URL",
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
    "lease_asked_for",
    "overridden",
    "retry_after",
]
