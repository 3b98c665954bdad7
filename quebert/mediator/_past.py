"""
What is known of an attempt that failed, and of those before it.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Mapping
from typing import Any

from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from quebert.boundaries import Message
from quebert.errors import BadStatus
from quebert.policy import Answer, History

__all__ = ["answer_of", "count_in", "field_of", "history_of"]

_NOTHING = History()
_utf_8 = getincrementaldecoder("utf-8")


def history_of(message: Message) -> History:
    """
    What the headers of a message tell of the attempts at its task.
    """
    # Nearly all have no headers of ours, and need not be decoded to know it.
    if not getattr(message, "was_put_back", True):
        return _NOTHING
    try:
        headers = message.properties.get("headers")
    except ValueError:
        return _NOTHING
    return History.read(headers) if isinstance(headers, Mapping) else _NOTHING


def count_in(message: Message, header: str) -> int:
    """
    What a header of a message counts; 0 where it is missing or no count.
    """
    if not getattr(message, "was_put_back", True):
        return 0
    try:
        headers = message.properties.get("headers")
    except ValueError:
        return 0
    count = headers.get(header) if isinstance(headers, Mapping) else None
    is_count = isinstance(count, int) and not isinstance(count, bool) and count > 0
    return count if isinstance(count, int) and is_count else 0


def answer_of(failure: Failure) -> Answer | None:
    """
    The answer that a request failed with, if there was one.
    """
    error = failure.value
    if not isinstance(error, BadStatus):
        return None
    # What is cut off in the middle of a character is left out.
    return Answer(error.status, _utf_8("replace").decode(error.body))


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
