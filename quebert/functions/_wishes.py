"""
What a function wishes for its task: to be raised, or returned.  Pure.

The mediator with a policy goes by the header C{Quebert-Outcome}, whatever the status.
Others do not read it, so the status is what they make the best of:

 - L{Retry} is 409.  It is a failure to each mediator, and says nothing of the health of
   the host: after 429 and 503 adaptive limits slow down, after any 5xx circuit breakers
   open (L{quebert.limits}), and proxies ask another server at once.
 - L{GiveUp} is 422.  A mediator that ignores the header tries the task again, as often
   as it may: with 2xx the task would be lost.
 - L{Discard} is 200: the task is done with.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from time import time
from typing import Union

from quebert._text import one_line
from quebert.functions._answer import AnsweredError, ExecutorAnswer

__all__ = ["OUTCOME", "Discard", "GiveUp", "Retry"]

#: The header that tells a mediator what becomes of the task.
OUTCOME = "Quebert-Outcome"
#: Characters of a reason that a mediator reads.
REASON = 400
# Seconds: 30 years.  A mediator has a limit of its own.
_MOST = 10**9

#: Seconds, or a time; one without a zone is UTC.
After = Union[float, timedelta, datetime]


def _wish(status: int, verb: str, sentence: str, reason: str) -> ExecutorAnswer:
    told = one_line(reason, REASON)
    value = f"{verb}; {told}" if told else verb
    header = (OUTCOME, value.encode("utf-8").decode("latin-1"))
    return ExecutorAnswer.text(status, reason or sentence, header)


class Retry(AnsweredError):
    """
    The task is to be tried again.

    @param reason: why, in a sentence for the log of the mediator.
    @param after: seconds from now, or a C{timedelta}, or the C{datetime}, which is UTC
        without a zone; C{None} leaves it to the mediator.  A time that has passed is
        now.
    @ivar after: seconds, or C{None}.
    @raise ValueError: C{after} is not a number.
    """

    def __init__(self, reason: str = "", *, after: After | None = None) -> None:
        self.after = None if after is None else _seconds(after)
        super().__init__(_retry(str(reason), self.after))


def _retry(reason: str, after: float | None) -> ExecutorAnswer:
    if after is None:
        sentence = reason or "the task is to be tried again"
        return ExecutorAnswer.text(HTTPStatus.CONFLICT, sentence)
    verb = f"retry-after={after:.3f}".rstrip("0").rstrip(".")
    sentence = f"the task is to be tried again in {after:.10g} s"
    answer = _wish(HTTPStatus.CONFLICT, verb, sentence, reason)
    later = ("Retry-After", str(math.ceil(after)))
    return ExecutorAnswer(answer.status, answer.body, (*answer.headers, later))


def _seconds(after: object) -> float:
    if isinstance(after, timedelta):
        after = after.total_seconds()
    elif isinstance(after, datetime):
        zone = after.tzinfo or UTC
        after = after.replace(tzinfo=zone).timestamp() - time()
    if isinstance(after, bool) or not isinstance(after, (int, float)):
        text = "after must be seconds, a timedelta or a datetime"
        raise TypeError(f"{text}, not {type(after).__name__}")
    if after != after:
        raise ValueError("after must be a number of seconds, not NaN")
    return float(min(max(after, 0), _MOST))


class GiveUp(AnsweredError):
    """
    The task can never be done: a mediator with a policy buries it.

    @param reason: why, in a sentence for the log and the dead letter.
    """

    def __init__(self, reason: str = "") -> None:
        sentence = "the task is given up"
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        super().__init__(_wish(status, "bury", sentence, str(reason)))


class Discard(AnsweredError):
    """
    The task need not be done: it is dropped, and no post-hook is called.

    @param reason: why, in a sentence for the log of the mediator.
    """

    def __init__(self, reason: str = "") -> None:
        sentence = "the task is dropped"
        super().__init__(_wish(HTTPStatus.OK, "discard", sentence, str(reason)))
