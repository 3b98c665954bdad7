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
# Where the kinds of problems are (RFC 9457, section 3.1.1): relative to the server.
_PROBLEMS = "/problems/"
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
    @ivar kind: such as C{name-taken}, of L{quebert.web._problems}; empty where the
        status says it all.
    @ivar headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *headers: tuple[str, str],
        field: str = "",
        kind: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.field = field
        self.kind = kind
        self.headers = headers

    @property
    def answer(self) -> APIAnswer:
        """
        The same as an answer.
        """
        problem = self.problem
        return APIAnswer(
            status=self.status,
            body=json.dumps(problem).encode("ascii"),
            content_type=PROBLEM,
            headers=self.headers,
            why=problem["detail"],
        )

    @property
    def problem(self) -> dict[str, Any]:
        """
        The object that tells it (RFC 9457, section 3).
        """
        problem: dict[str, Any] = {}
        if self.kind:
            problem["type"] = f"{_PROBLEMS}{self.kind}"
        problem["title"] = HTTPStatus(self.status).phrase
        problem["status"] = self.status
        problem["detail"] = one_line(str(self), _DETAIL)
        if self.field:
            problem["field"] = self.field
        return problem


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
    return APIProblem(status, detail, *headers, field=field).answer
