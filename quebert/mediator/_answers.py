"""
Reads an answer, as far as failures are judged by it: its status, the beginning of its
body, and single header fields.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import Any

from quebert.errors import BadStatus
from quebert.mediator._adapters import RESPONSES
from quebert.policy import FailedAnswer

__all__ = ["answer_in", "header_of", "status_in"]

_utf_8 = getincrementaldecoder("utf-8")


def status_in(error: BaseException | None) -> int | None:
    """
    The HTTP status that a request failed with, if there was an answer.
    """
    return error.status if isinstance(error, BadStatus) else None


def answer_in(error: BaseException | None) -> FailedAnswer | None:
    """
    The answer that a request failed with, if there was one.
    """
    if not isinstance(error, BadStatus):
        return None
    # What is cut off in the middle of a character is left out.
    return FailedAnswer(error.status, _utf_8("replace").decode(error.body))


def header_of(response: Any, name: bytes) -> list[str]:
    """
    The values of a header field of an answer, as they came.

    @param name: in lower case.
    """
    answer = RESPONSES.adapt(response)
    if not answer.may_have(name):
        return []
    values = answer.headers.getRawHeaders(name) or ()
    return [value.decode("utf-8", "replace") for value in values]
