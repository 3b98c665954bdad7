"""
From a request as it came to an L{APIRequest}.  Pure.

Theory of operation.  A name in AMQP may hold any character, slashes, colons and
percent signs among them; clients encode them.  So a path is cut at its slashes, and
the verb cut off at the last colon, before anything is decoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from quebert.errors import BadTask, ConfigError
from quebert.operations import Match, check_waiting
from quebert.task import decode
from quebert.web._exchange import APIProblem, APIRequest, Caller
from quebert.web._head import RequestHead
from quebert.web._problems import NOT_JSON

__all__ = [
    "body_fields",
    "decoded",
    "json_of",
    "matches_of",
    "number_of",
    "page_size_of",
    "text_of",
    "time_of",
]

# Fields of a query.
_MOST_FIELDS = 100
# Conditions of a search.
_MOST_MATCHES = 20
_LARGEST_PAGE = 500
_DEFAULT_PAGE = 50
# Bytes of a name in AMQP; more of a text that is searched for.
_MOST_TEXT = 2_048
# Bytes of a body of few fields: so many conditions, each character as an escape.
_MOST_BODY = 2**18


def decoded(head: RequestHead, body: bytes, address: str) -> APIRequest:
    """
    Read a request.

    @param address: where the connection comes from.
    @raise APIProblem: it cannot be read.
    """
    path, _, query = head.target.partition("?")
    verb = ""
    if head.method not in ("GET", "HEAD", "DELETE"):
        before, colon, after = path.rpartition(":")
        if colon and "/" not in after:
            path, verb = before, after
    parts = path.split("/")[1:]
    return APIRequest(
        method=head.method,
        path=tuple(map(_text, parts) if "%" in path else parts),
        verb=verb,
        query=_query(query) if query else {},
        headers=head.fields,
        body=body,
        version=head.version,
        caller=Caller(address=address),
    )


def _text(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        text = "the path must be in UTF-8, percent-encoded"
        raise APIProblem(HTTPStatus.BAD_REQUEST, text) from None


def _query(query: str) -> dict[str, tuple[str, ...]]:
    try:
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        text = f"the query must be at most {_MOST_FIELDS} fields in UTF-8, encoded"
        raise APIProblem(HTTPStatus.BAD_REQUEST, text) from None
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        found[name] = (*found.get(name, ()), value)
    return found


# -- Fields


def _wrong(field: str, text: str) -> APIProblem:
    return APIProblem(HTTPStatus.BAD_REQUEST, f"{field} {text}", field=field)


def text_of(request: APIRequest, field: str) -> str:
    """
    A field of the query; empty where it is missing.

    @raise APIProblem: it is there several times, or too long.
    """
    values = request.query.get(field, ("",))
    if len(values) > 1:
        raise _wrong(field, "must be there once")
    if len(values[0]) > _MOST_TEXT:
        raise _wrong(field, f"must have {_MOST_TEXT} characters at most")
    if "\x00" in values[0]:
        raise _wrong(field, "must hold no NUL")
    return values[0]


def number_of(request: APIRequest, field: str, least: int, most: int) -> int | None:
    """
    A whole number; C{None} where it is missing.

    @raise APIProblem: it is none.
    """
    text = text_of(request, field)
    if not text:
        return None
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    if is_number and least <= int(text) <= most:
        return int(text)
    raise _wrong(field, f"must be a whole number from {least} to {most}")


def time_of(request: APIRequest, field: str) -> float | None:
    """
    A time in seconds since the epoch; C{None} where it is missing.

    @raise APIProblem: it is none.
    """
    text = text_of(request, field)
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if 0 <= found < 1e12:
        return found
    raise _wrong(field, "must be a number of seconds since 1970")


def page_size_of(request: APIRequest) -> int:
    """
    How many things a page may have.

    @raise APIProblem: it is no number.
    """
    return number_of(request, "page_size", 1, _LARGEST_PAGE) or _DEFAULT_PAGE


def body_fields(request: APIRequest, *known: str) -> Mapping[str, Any]:
    """
    The fields of a body that is an object of JSON; none where there is no body.

    @raise APIProblem: it is no such object, or has a field that is not C{known}, or is
        so long that it would be read for long.
    """
    if not request.body:
        return {}
    _check_type(request)
    if len(request.body) > _MOST_BODY:
        text = f"the body must have {_MOST_BODY} bytes at most"
        raise APIProblem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
    try:
        found = json.loads(request.body)
    except (ValueError, RecursionError):
        raise APIProblem(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise APIProblem(HTTPStatus.BAD_REQUEST, "the body must be an object")
    for field in found:
        if field not in known:
            allowed = ", ".join(known) or "no field"
            raise _wrong(str(field)[:100], f"is not known: there can be {allowed}")
    return found


def json_of(request: APIRequest) -> Any:
    """
    The body, which must be JSON.

    @raise APIProblem: it is not, or nested too deeply, or of too many values.
    """
    _check_type(request)
    try:
        return decode(request.body)
    except BadTask as e:
        raise APIProblem(HTTPStatus.BAD_REQUEST, str(e), kind=NOT_JSON) from None


def _check_type(request: APIRequest) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        text = "the body must have Content-Type: application/json"
        accept = ("Accept", "application/json")
        raise APIProblem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text, accept)


def matches_of(given: object, *, of_waiting: bool = False) -> tuple[Match, ...]:
    """
    Conditions for dead letters.

    @param of_waiting: for tasks that wait instead, which have fewer fields.
    @raise APIProblem: they are none.
    """
    if not isinstance(given, (list, tuple)):
        raise _wrong("match", 'must be a list of texts, such as "kind=exhausted"')
    if len(given) > _MOST_MATCHES:
        raise _wrong("match", f"must have {_MOST_MATCHES} texts at most")
    found = []
    for each in given:
        if not isinstance(each, str) or len(each) > _MOST_TEXT:
            raise _wrong("match", f"must be texts of {_MOST_TEXT} characters at most")
        try:
            found.append(Match.parse(each))
            if of_waiting:
                check_waiting(found)
        except ConfigError as e:
            raise APIProblem(
                HTTPStatus.BAD_REQUEST, f"match: {e}", field="match"
            ) from None
    return tuple(found)
