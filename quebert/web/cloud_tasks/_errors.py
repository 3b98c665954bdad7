"""
How a request to the Cloud Tasks API fails: a code of C{google.rpc.Code}, a sentence,
and details; and the same as JSON.  Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import IntEnum
from http import HTTPStatus
from typing import Any

from quebert._text import one_line
from quebert.web._exchange import JSON, PROBLEM, APIAnswer

__all__ = [
    "CloudTasksError",
    "Code",
    "error_answer",
    "help_detail",
    "in_googles_form",
    "retry_details",
]

# Characters of a sentence in the log.
_LOGGED = 1_000
#: Before the name of a message, where its type stands in JSON.
TYPE = "type.googleapis.com/"


class Code(IntEnum):
    """
    The codes of C{google.rpc.Code}, which gRPC has, too.

    U{https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto}
    """

    OK = 0  #: No error.
    CANCELLED = 1  #: The client has given it up.
    UNKNOWN = 2  #: An error without a code.
    INVALID_ARGUMENT = 3  #: The request is wrong, whatever is there.
    DEADLINE_EXCEEDED = 4  #: It has taken too long.
    NOT_FOUND = 5  #: There is no such thing.
    ALREADY_EXISTS = 6  #: There is such a thing already.
    PERMISSION_DENIED = 7  #: The client may not do so.
    RESOURCE_EXHAUSTED = 8  #: There is not enough of something.
    FAILED_PRECONDITION = 9  #: What is there does not allow it.
    ABORTED = 10  #: Others do something at the same time.
    OUT_OF_RANGE = 11  #: It is beyond what is there.
    UNIMPLEMENTED = 12  #: There is no such method.
    INTERNAL = 13  #: A fault of the server.
    UNAVAILABLE = 14  #: Something is away, for a while.
    DATA_LOSS = 15  #: Something is lost.
    UNAUTHENTICATED = 16  #: The client has not said who it is.

    @property
    def status(self) -> int:
        """
        The status of HTTP for it, as Google has them.
        """
        return _STATUSES[self]


_STATUSES = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
# The codes for what the server refuses before the face of Cloud Tasks has it.
_CODES = {
    HTTPStatus.UNAUTHORIZED: Code.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: Code.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: Code.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: Code.UNIMPLEMENTED,
    HTTPStatus.TOO_MANY_REQUESTS: Code.RESOURCE_EXHAUSTED,
    HTTPStatus.NOT_IMPLEMENTED: Code.UNIMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE: Code.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: Code.DEADLINE_EXCEEDED,
}


class CloudTasksError(Exception):
    """
    Refuses a request.

    @ivar code: one of L{Code}.
    @ivar message: a sentence; where Google's was recorded, that.
    @ivar details: messages as proto JSON, each with its C{@type}.
    """

    def __init__(
        self, code: Code, message: str, details: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or []

    @property
    def status(self) -> dict[str, Any]:
        """
        The same as a C{google.rpc.Status} in proto JSON.
        """
        found: dict[str, Any] = {"code": int(self.code), "message": self.message}
        return {**found, "details": self.details} if self.details else found


def help_detail(description: str, url: str) -> dict[str, Any]:
    """
    A detail with a link to documentation.
    """
    link = {"description": description, "url": url}
    return {"@type": f"{TYPE}google.rpc.Help", "links": [link]}


def retry_details(headers: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """
    The details of an error that say when to try again, as C{Retry-After} among the
    headers of an answer does; none without it.
    """
    found = dict(headers).get("Retry-After", "")
    if not found.isdecimal():
        return []
    return [{"@type": f"{TYPE}google.rpc.RetryInfo", "retryDelay": f"{found}s"}]


def error_answer(error: CloudTasksError) -> APIAnswer:
    """
    The answer over REST.
    """
    return _answer(error.code.status, error.code, error.message, error.details)


def in_googles_form(answer: APIAnswer) -> APIAnswer:
    """
    An answer of the server, with a problem (RFC 9457) in the form of Google's errors.
    """
    if answer.content_type != PROBLEM:
        return answer
    default = Code.INVALID_ARGUMENT if answer.status < 500 else Code.INTERNAL
    code = _CODES.get(HTTPStatus(answer.status), default)
    details = retry_details(answer.headers)
    return _answer(answer.status, code, answer.why, details, answer.headers)


def _answer(
    status: int,
    code: Code,
    message: str,
    details: list[dict[str, Any]],
    headers: tuple[tuple[str, str], ...] = (),
) -> APIAnswer:
    error: dict[str, Any] = {
        "code": status,
        "message": message,
        "status": code.name,
        **({"details": details} if details else {}),
    }
    body = json.dumps({"error": error}).encode("ascii")
    return APIAnswer(
        status=status,
        body=body,
        content_type=JSON,
        headers=headers,
        why=one_line(message, _LOGGED),
    )
