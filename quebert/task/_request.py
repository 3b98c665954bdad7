"""
The HTTP request that a task asks for.  Pure.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from quebert._bounds import BOUNDS, Bounds
from quebert._text import shown_url
from quebert._url import absolute, is_plain
from quebert.errors import BadTask, NoDefaultURL
from quebert.task._cloud_tasks import (
    CloudTasksField,
    IDTokenWanted,
    kept_headers,
    read_cloud_tasks,
)
from quebert.task._header_names import CLIENT_HEADERS, folded
from quebert.task._json import Task, kind_of
from quebert.task._payload import read_payload
from quebert.task._times import read_seconds

__all__ = ["METHODS_WITH_BODY", "Request", "request", "with_headers"]

#: Those that carry the task as their body.
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
METHODS = METHODS_WITH_BODY | {"GET", "HEAD", "DELETE", "OPTIONS"}
# A body of theirs has no meaning (RFC 9110, sections 9.3.1 and 9.3.2).
_WITHOUT_PAYLOAD = frozenset({"GET", "HEAD"})

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE_IN_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


class Request(NamedTuple):
    """
    The HTTP request that a task asks for.

    @ivar method: such as C{"POST"}.
    @ivar url: the whole URL.
    @ivar headers: made for this request: more may be put into it.
    @ivar timeout: seconds for the whole exchange; 0 leaves it to the mediator.
    @ivar uuid: of the task, as it has it.
    @ivar sends_task: whether the task itself is sent as the request's body.
    @ivar payload: what is sent instead, if anything is.
    @ivar cloud_tasks: what a handler of Cloud Tasks is told, if it is one.
    @ivar id_token: for the header C{Authorization}, if there is to be one.
    """

    method: str
    url: str
    headers: dict[str, str]
    timeout: float
    uuid: object = None
    sends_task: bool = True
    payload: bytes | None = None
    cloud_tasks: CloudTasksField | None = None
    id_token: IDTokenWanted | None = None

    def __repr__(self) -> str:
        """
        Without headers and query, which may hold secrets.
        """
        return f"<Request {self.method} {shown_url(self.url)}>"


def request(task: Task, defaulturl: str, bounds: Bounds = BOUNDS) -> Request:
    """
    The request that C{task} asks for, its URL completed from C{defaulturl}.

    @param defaulturl: C{""} where there is none.
    @param bounds: how long each field may be.
    @raise NoDefaultURL: the URL is partial, and there is no C{defaulturl}.
    @raise BadTask: a field of C{task} is missing or wrong.
    """
    uuid = task.get("uuid")
    if type(uuid) is not str or len(uuid) > bounds.uuid:
        _check_uuid(uuid, bounds)
    url: Any = task.get("url")
    if type(url) is not str or not 0 < len(url) <= bounds.url:
        _check_url(url, bounds)
    credentials: dict[str, str] = {}
    if not is_plain(url):  # nor is a partial one
        url, credentials = _completed(url, defaulturl)
    payload, cloud_tasks = task.get("payload"), task.get("cloud_tasks")
    sends_itself = payload is None and cloud_tasks is None  # as nearly all do
    headers = {"Content-Type": "application/json"} if sends_itself else {}
    wanted, method = task.get("headers"), task.get("method")
    if cloud_tasks is not None:
        wanted = kept_headers(wanted)
    if credentials or wanted is not None:
        headers = with_headers({**headers, **credentials}, wanted, url, bounds)
    timeout = task.get("timeout")
    seconds = 0.0 if timeout is None else max(0.0, read_seconds("timeout", timeout))
    verb = "POST" if method is None else _method(method, bounds)
    if sends_itself:
        return Request(verb, url, headers, seconds, uuid, verb in METHODS_WITH_BODY)
    content = None if payload is None else _payload(payload, verb)
    field = None if cloud_tasks is None else read_cloud_tasks(cloud_tasks)
    id_token = None if field is None else field.id_token
    return Request(verb, url, headers, seconds, uuid, False, content, field, id_token)


def _completed(url: str, defaulturl: str) -> tuple[str, dict[str, str]]:
    """
    As L{absolute} has it, with errors that name the field.
    """
    try:
        return absolute(url, defaulturl)
    except NoDefaultURL as e:
        raise NoDefaultURL(f"url cannot be requested: {e}") from None
    except ValueError as e:
        raise BadTask(f"url cannot be requested: {e}") from None


def _payload(payload: object, verb: str) -> bytes:
    if verb in _WITHOUT_PAYLOAD:
        raise BadTask(f"payload cannot be sent by {verb}: choose another method")
    return read_payload(payload)


def _check_length(field: str, value: object, most: int) -> None:
    """
    To be called before anything else is done with a text.
    """
    if isinstance(value, str) and len(value) > most:
        text = f"{field} must have at most {most} characters, not {len(value)}"
        raise BadTask(text)


def _check_uuid(uuid: object, bounds: Bounds) -> None:
    if isinstance(uuid, (dict, list)):  # a number is one that people use
        raise BadTask(f"uuid must be a string, not {kind_of(uuid)}")
    _check_length("uuid", uuid, bounds.uuid)


def _method(method: object, bounds: Bounds) -> str:
    _check_length("method", method, bounds.method)
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise BadTask(f"method must be one of {', '.join(sorted(METHODS))}")
    return method.upper()


def with_headers(
    headers: dict[str, str], wanted: object, url: str, bounds: Bounds
) -> dict[str, str]:
    """
    Headers of a request to C{url}, and those that are wanted in their place.

    @raise BadTask: one of C{wanted} cannot be sent.
    """
    if wanted is None:
        return headers
    if not isinstance(wanted, dict):
        raise BadTask(f"headers must be an object, not {kind_of(wanted)}")
    if len(wanted) > bounds.headers:
        text = f"headers must be at most {bounds.headers}, not {len(wanted)}"
        raise BadTask(text)
    size = 0
    for name, value in wanted.items():
        _check_header(name, value, url, bounds)
        size += len(name) + len(value)
    if size > bounds.all_headers:
        most = bounds.all_headers
        text = f"headers must have at most {most} characters together, not {size}"
        raise BadTask(text)
    replaced = {name.lower() for name in wanted}
    kept = {k: v for k, v in headers.items() if k.lower() not in replaced}
    return {**kept, **wanted}


def _check_header(name: str, value: object, url: str, bounds: Bounds) -> None:
    _check_length("headers: the name of each", name, bounds.header_name)
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise BadTask(f"headers: {name!r:.40} is not a name of an HTTP header")
    lower = folded(name)
    if lower in CLIENT_HEADERS or lower.startswith("proxy-"):
        raise BadTask(f"headers: {name} is set by the mediator, not by a task")
    if not isinstance(value, str):
        raise BadTask(f"headers: {name} must be a string, not {kind_of(value)}")
    _check_length(f"headers: {name}", value, bounds.header_value)
    if _UNSAFE_IN_HEADER.search(value):
        raise BadTask(f"headers: {name} contains a control character")
    if lower == "host" and value.lower() != url.split("/", 3)[2].lower():
        raise BadTask(f"headers: {name} is not the host of the task's url")


def _check_url(url: object, bounds: Bounds) -> None:
    if not isinstance(url, str) or not url:
        raise BadTask("url must be a string" if url else "url is missing")
    _check_length("url", url, bounds.url)
