"""
What is known of an attempt that failed, and of those before it.
"""

from __future__ import annotations

import math
from codecs import getincrementaldecoder
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from quebert.boundaries import Message
from quebert.errors import BadStatus
from quebert.outcome import Bury, Outcome, Retry
from quebert.policy import FailedAnswer, History
from quebert.task import Task

__all__ = [
    "FailedAttempt",
    "answer_of",
    "failures_in",
    "field_of",
    "history_of",
    "with_history",
]

_NOTHING = History()
_MANY = 2**31
_utf_8 = getincrementaldecoder("utf-8")


class FailedAttempt(Failure):
    """
    The failure of an attempt at a task.

    @ivar history: the attempts at the task, with this one.
    """

    history: History

    @classmethod
    def like(cls, failure: Failure, history: History) -> FailedAttempt:
        """
        The same as C{failure}, with a history.
        """
        made = cls.__new__(cls)
        made.__dict__.update(failure.__dict__)
        made.history = history
        return made


def history_of(message: Message, task: Task) -> History:
    """
    The attempts at a task, as its body and the headers of its message tell them.
    """
    failures = failures_in(task) if "failures" in task else 0
    # Nearly all have no headers of ours, and need not be decoded to know it.
    if not getattr(message, "may_have_past", True):
        return History.read({}, failures) if failures else _NOTHING
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
    if math.isnan(count):
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


def answer_of(failure: Failure) -> FailedAnswer | None:
    """
    The answer that a request failed with, if there was one.
    """
    error = failure.value
    if not isinstance(error, BadStatus):
        return None
    # What is cut off in the middle of a character is left out.
    return FailedAnswer(error.status, _utf_8("replace").decode(error.body))


def field_of(response: Any, name: bytes) -> list[str]:
    """
    The values of a header field of an answer, as they came; none where its
    C{headers} are not Twisted's, as those of treq's answers are.
    """
    headers = getattr(response, "headers", None)
    if not isinstance(headers, Headers):
        return []
    values = headers.getRawHeaders(name) or ()
    return [value.decode("utf-8", "replace") for value in values]
