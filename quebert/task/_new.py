"""
A new task, as a producer makes it.  Pure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from quebert._bounds import BOUNDS, Bounds
from quebert.errors import BadTask
from quebert.policy import RetryPolicy, overridden
from quebert.task._callback import check_callback_url
from quebert.task._json import Task, kind_of
from quebert.task._keywords import FIELDS, OF_MAKERS, check_keywords
from quebert.task._payload import written_payload
from quebert.task._request import request
from quebert.task._times import format_time, read_seconds, read_time, schedule

__all__ = ["make", "random_uuids"]

_ANY_POLICY = RetryPolicy()
# Tasks of a batch have the same one.
_timestamp = lru_cache(maxsize=1)(format_time)


def make(
    now: float,
    url: str,
    params: Any = None,
    /,
    *,
    ttl: float = 0,
    run_at: datetime | str | float | None = None,
    delay: float | None = None,
    timeout: float | None = None,
    uuid: str | None = None,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    payload: bytes | None = None,
    retry: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    callback_url: str | None = None,
    callback_name: str | None = None,
    cloud_tasks: Mapping[str, Any] | None = None,
    max_url_length: int = BOUNDS.url,
    **fields: Any,
) -> Task:
    """
    A new task, checked the way a mediator will check it.

    @param now: seconds since the epoch.
    @param ttl: seconds until the task expires, 0 for never.
    @param run_at: when to run it, not before; C{delay}, in seconds from now,
        is the other way to say so.
    @param timeout: seconds an execution may take.
    @param payload: the body of the request, in place of the task.
    @param retry: the terms of a retry policy for this task alone.
    @param extra: fields of your own, which the executor gets to see.
    @param callback_url: what is requested when the task has ended.
    @param callback_name: what the task is called there, beside its uuid.
    @param cloud_tasks: what a handler of Cloud Tasks is told: C{queue}, C{task}, and
        C{oidc}, if it wants an ID token.
    @param max_url_length: characters that the URL may have.
    @param fields: C{timestamp}, C{filter}, C{failures} and C{traceback}, as they are
        to stand in the task.
    @raise BadTask: an argument is wrong; the text names it.
    @raise TypeError: one of C{fields} is no field of a task.
    """
    check_keywords(fields)
    task: Task = {
        "url": url,
        "params": params,
        "timestamp": _timestamp(now),
        "ttl": ttl,
        "uuid": random_uuids(1)[0] if uuid is None else uuid,
        **fields,
        **_own(extra),
    }
    if run_at is not None or delay is not None:
        task["run_at"] = _start(now, run_at, delay)
    if timeout is not None:
        task["timeout"] = timeout
    if retry is not None:
        task["retry"] = dict(retry) if isinstance(retry, Mapping) else retry
    if headers is not None and headers != {}:
        task["headers"] = dict(headers) if isinstance(headers, Mapping) else headers
    if method != "POST":
        task["method"] = method
    if payload is not None:
        if params is not None:
            raise BadTask("params would not be sent beside payload: give one of them")
        task["payload"] = written_payload(payload)
    if callback_url is not None:
        task["callback_url"] = callback_url
        if callback_name is not None:
            task["callback_name"] = callback_name
    if cloud_tasks is not None:
        task["cloud_tasks"] = dict(cloud_tasks)
    _check_new(task, now, max_url_length, "timestamp" in fields)
    return task


def random_uuids(number: int) -> list[str]:
    """
    UUIDs of version 4, each in a quarter of the time that C{uuid.uuid4} takes: the
    kernel is asked once.  Source: RFC 9562, section 5.4.
    """
    digits = os.urandom(16 * number).hex()
    return [_uuid(digits[at : at + 32]) for at in range(0, len(digits), 32)]


def _uuid(digits: str) -> str:
    variant = "89ab"[int(digits[16], 16) & 3]
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}"
        f"-{variant}{digits[17:20]}-{digits[20:]}"
    )


def _own(extra: object) -> Mapping[str, Any]:
    """
    The user's own fields.

    @raise BadTask: C{extra} is no dict, or has a field of quebert's.
    """
    if extra is None:
        return {}
    if not isinstance(extra, Mapping):
        raise BadTask(f"extra must be a dict, not {kind_of(extra)}")
    for name in extra:
        if not isinstance(name, str):
            raise BadTask(f"extra: {name!r:.40} must be a string, as names in JSON are")
        if name in FIELDS:
            how = "no program may give it" if name in OF_MAKERS else "give it by itself"
            raise BadTask(f"extra: {name} is a field of quebert's: {how}")
    return extra


def _start(now: float, run_at: object, delay: object) -> str:
    field = "run_at" if delay is None else "delay"
    try:
        return _start_time(now, run_at, delay)
    except BadTask:
        raise
    except (ValueError, OverflowError, OSError):
        raise BadTask(f"{field} is a time that no calendar has") from None


def _start_time(now: float, run_at: Any, delay: object) -> str:
    if delay is not None:
        if run_at is not None:
            raise BadTask("run_at and delay say the same thing: give one of them")
        return format_time(now + max(0.0, read_seconds("delay", delay)))
    if isinstance(run_at, datetime):
        run_at = run_at.isoformat()
    elif isinstance(run_at, (int, float)) and not isinstance(run_at, bool):
        run_at = format_time(run_at)
    return format_time(now if run_at is None else read_time("run_at", run_at))


def _check_new(
    task: Task, now: float, max_url_length: int, has_timestamp: bool
) -> None:
    """
    @param has_timestamp: whether C{timestamp} is the caller's, and not made here.
    """
    uuid = task["uuid"]
    if not isinstance(uuid, str) or not 0 < _size(uuid) <= BOUNDS.uuid:
        raise BadTask(f"uuid must be a string of 1 to {BOUNDS.uuid} bytes in UTF-8")
    if not isinstance(task.get("filter", False), bool):
        raise BadTask(f"filter must be true or false, not {kind_of(task['filter'])}")
    timeout = task.get("timeout")
    if timeout is not None and read_seconds("timeout", timeout) < 0:
        raise BadTask(f"timeout must be 0 or more seconds, not {timeout}")
    bounds = BOUNDS if max_url_length == BOUNDS.url else Bounds(url=max_url_length)
    request(task, "http://localhost/", bounds)
    if "callback_url" in task:
        check_callback_url(task["callback_url"], "http://localhost/", bounds)
    overridden(_ANY_POLICY, task.get("retry"))
    ttl = task["ttl"]
    can_expire = ttl is not None and read_seconds("ttl", ttl) > 0
    if not can_expire and not has_timestamp:
        return
    times = schedule(task)
    if times.expired(times.run_at or now):
        raise BadTask("run_at is beyond the ttl: the task would expire unrun")


def _size(text: str) -> int:
    """
    Bytes of a text in UTF-8; too many where it has half a surrogate pair.
    """
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return 2**32
