"""
A request to the API and its answer, as values; problems (RFC 9457).  Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import attrs

from quebert._text import one_line
from quebert.web._json import encoded

__all__ = [
    "JSON",
    "PROBLEM",
    "APIAnswer",
    "APIProblem",
    "APIRequest",
    "Caller",
    "json_answer",
    "problem_answer",
]

JSON = "application/json"
PROBLEM = "application/problem+json"
# Characters of the text of a problem.
_DETAIL = 1_000


@attrs.frozen(kw_only=True)
class Caller:
    """
    The sender of a request.

    @ivar name: the name of the token; empty without one.
    @ivar address: the address that the connection comes from.
    """

    name: str = ""
    address: str = ""

    @property
    def shown(self) -> str:
        """
        The name in a log.
        """
        return self.name or "nobody"


@attrs.frozen(kw_only=True)
class APIRequest:
    """
    A request.

    @ivar path: parts between the slashes, decoded.
    @ivar verb: what stands after the last colon of the path; empty for none.
    @ivar query: the values of each field, in their order.
    @ivar headers: the values by names in lower case; several with commas between.
    @ivar version: of HTTP, such as C{HTTP/1.1}.
    """

    method: str
    path: tuple[str, ...]
    verb: str = ""
    query: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    version: str = "HTTP/1.1"
    caller: Caller = attrs.field(factory=Caller)


@attrs.frozen(kw_only=True)
class APIAnswer:
    """
    An answer.

    @ivar headers: names and values, beside those of the body.
    @ivar why: why the request is refused; empty where it is not.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    why: str = ""


class APIProblem(Exception):
    """
    Refuses a request.

    @ivar status: that of HTTP.
    @ivar field: the field of the query or the body that is wrong; empty for none.
    @ivar headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *headers: tuple[str, str],
        field: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.field = field
        self.headers = headers

    @property
    def answer(self) -> APIAnswer:
        """
        The same as an answer.
        """
        return problem_answer(self.status, str(self), *self.headers, field=self.field)


def json_answer(value: Any, status: int = 200, **more: Any) -> APIAnswer:
    """
    An answer that is JSON.
    """
    return APIAnswer(status=status, body=encoded(value, **more))


def problem_answer(
    status: int, detail: str, *headers: tuple[str, str], field: str = ""
) -> APIAnswer:
    """
    The answer with a problem.
    """
    why = one_line(detail, _DETAIL)
    problem: dict[str, Any] = {
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": why,
    }
    if field:
        problem["field"] = field
    body = json.dumps(problem).encode("ascii")
    return APIAnswer(
        status=int(status), body=body, content_type=PROBLEM, headers=headers, why=why
    )
