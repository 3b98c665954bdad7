"""
The attempts at a task: as its message tells them, and as the message that replaces it
is to tell them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
from twisted.python.failure import Failure

from quebert.boundaries import WatchedMessage
from quebert.outcome import Bury, Outcome, Retry
from quebert.policy import History
from quebert.task import Task

__all__ = [
    "NO_ATTEMPTS",
    "FailedAttempt",
    "failures_in",
    "history_of",
    "with_history",
]

#: Of a task that was never attempted.
NO_ATTEMPTS = History()
_MANY = 2**31


class FailedAttempt(Failure):
    """
    The failure of an attempt at a task.

    @ivar history: the attempts at the task, with this one.
    @ivar message: of the task.
    """

    history: History
    message: WatchedMessage

    @classmethod
    def like(
        cls, failure: Failure, history: History, message: WatchedMessage
    ) -> FailedAttempt:
        """
        The same as C{failure}, with a history and a message.
        """
        made = cls.__new__(cls)
        made.__dict__.update(failure.__dict__)
        made.history = history
        made.message = message
        return made


def history_of(message: WatchedMessage, task: Task) -> History:
    """
    The attempts at a task, as its body and the headers of its message tell them.
    """
    failures = failures_in(task) if "failures" in task else 0
    # Nearly all have no headers of ours, and need not be decoded to know it.
    if not message.may_have_past:
        return History.read({}, failures) if failures else NO_ATTEMPTS
    try:
        headers = message.properties.get("headers")
    except ValueError:
        headers = None
    return History.read(headers if isinstance(headers, Mapping) else {}, failures)


def failures_in(task: Task) -> int:
    """
    The count of failures in a task's body; 0 where it is missing or no number.
    """
    count = task.get("failures")
    if isinstance(count, bool) or not isinstance(count, (int, float)):
        return 0
    if isinstance(count, float) and math.isnan(count):
        return 0
    return int(min(max(0, count), _MANY))


def with_history(outcome: Outcome, history: History, task: Task) -> Outcome:
    """
    An outcome of a failed attempt whose headers tell the history of the task.

    @param history: with the attempt that just failed.
    @param task: as it is encoded in the outcome's body, if that has one.
    """
    if isinstance(outcome, Bury):
        return attrs.evolve(outcome, headers={**history.headers, **outcome.headers})
    if not isinstance(outcome, Retry) or not outcome.attempted:
        return outcome
    told, otherwise = history, outcome.otherwise
    if outcome.body is not None:
        told = attrs.evolve(history, in_body=failures_in(task))
    if otherwise is not None:
        headers = {**history.headers, **otherwise.headers}
        otherwise = attrs.evolve(otherwise, headers=headers)
    headers = {**told.headers, **outcome.headers}
    return attrs.evolve(outcome, headers=headers, otherwise=otherwise)
