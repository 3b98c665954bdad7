"""
The task message: its fields, its JSON, and the arithmetic of its times.  Pure.

A task is a mutable dict, since hooks may change it.  L{make} builds one,
L{encode} and L{decode} are its wire form, L{schedule} and L{request} read what
a mediator needs from it.  Whatever is wrong with a task is told by
L{BadTask <quebert.errors.BadTask>} in one sentence that names the field.
"""

from __future__ import annotations

import json
import math
import re
import sys
import uuid as uuids
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn

import attrs

try:
    import orjson
except ImportError:  # it is quicker, and not needed
    orjson = None  # type: ignore[assignment, unused-ignore]

from quebert._url import absolute, without_userinfo
from quebert.errors import BadTask
from quebert.policy import RetryPolicy, overridden

__all__ = [
    "Request",
    "Schedule",
    "Task",
    "ages_since_sent",
    "decode",
    "encode",
    "format_time",
    "make",
    "parse_time",
    "request",
    "schedule",
]

Task = dict[str, Any]

# It is the AMQP message-id, too, which is a short string.
_UUID = range(1, 256)
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
METHODS = METHODS_WITH_BODY | {"GET", "HEAD", "DELETE", "OPTIONS"}

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE_IN_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
# The framing of the request is the client's business (RFC 9112, section 6).
_FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "te", "trailer", "transfer-encoding", "upgrade"}
)


# -- The wire form


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    """
    What a float can hold of a number: infinity could not be written again.
    """
    return max(-sys.float_info.max, min(float(number), sys.float_info.max))


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)

_AS_JSON = 0
if orjson is not None:
    _AS_JSON |= orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    _AS_JSON |= orjson.OPT_PASSTHROUGH_SUBCLASS
#: What is nested deeper could be read, but not written again by everybody.
MAX_DEPTH = 400
# Of a whole number of more than 64 bits, which has as many digits at least,
# orjson makes a float.  Times in nanoseconds have 19, and are common.
_LONG = b"0" * 20
_LONG_NEGATIVE = b"-" + b"0" * 19
_DIGITS_AS_0 = bytes.maketrans(b"123456789", b"0" * 9)


def decode(body: bytes) -> Any:
    """
    What the JSON in C{body}, in UTF-8, says; the same with orjson, and without.

    @raise BadTask: it is not JSON (RFC 8259), or nested more than L{MAX_DEPTH}
        levels deep.
    """
    value = _read(body)
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    return value


def _read(body: bytes) -> Any:
    if orjson is not None and not _may_be_too_long(body.translate(_DIGITS_AS_0)):
        try:
            return orjson.loads(body)
        except ValueError:
            pass  # json takes more, and has the last word
    try:
        return _decoder.decode(body.decode("utf-8"))
    except ValueError as e:
        raise BadTask(f"the body is not JSON in UTF-8: {e}") from None
    except RecursionError:
        raise BadTask("the body is JSON nested too deeply to be read") from None


def _may_be_too_long(digits: bytes) -> bool:
    return _LONG in digits or _LONG_NEGATIVE in digits


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
    if level:
        text = f"the body is JSON nested too deeply: more than {MAX_DEPTH} levels"
        raise BadTask(text)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def encode(task: Task) -> bytes:
    """
    The task as JSON in UTF-8; the same with orjson, and without, but that orjson
    knows some more types, UUIDs and enumerations.

    @raise ValueError: a value has no form in JSON; likewise C{TypeError}.
    """
    if orjson is not None:
        try:
            body = orjson.dumps(task, option=_AS_JSON)
        except TypeError:
            pass  # json takes more, and has the last word
        else:
            if b"null" not in body:  # which it makes of what is not finite, too
                return body
    try:
        return _to_text(task).encode("utf-8")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        # Half a surrogate pair, which JSON can say only as an escape.
        return _to_ascii(task).encode("ascii")


# Made once: that takes longer than to encode a small task.
_STRICT: dict[str, Any] = {"allow_nan": False, "separators": (",", ":")}
_to_text = json.JSONEncoder(ensure_ascii=False, **_STRICT).encode
_to_ascii = json.JSONEncoder(ensure_ascii=True, **_STRICT).encode


def format_time(when: float) -> str:
    """
    Seconds since the epoch as RFC 3339 in UTC: C{2026-11-23T20:15:00.123456Z}.
    """
    moment = datetime.fromtimestamp(when, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """
    Seconds since the epoch of an RFC 3339 or other ISO 8601 time; one without
    an offset is UTC.

    @raise ValueError: it is not a time.
    """
    moment = datetime.fromisoformat(text[:-1] + "Z" if text.endswith("z") else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


# -- What a mediator reads from a task


@attrs.frozen
class Schedule:
    """
    When a task may run: seconds since the epoch, or C{None} for no limit.
    """

    run_at: float | None
    expires_at: float | None

    def early(self, now: float) -> float:
        """
        Seconds until the task may run, 0 if it may now.
        """
        return 0.0 if self.run_at is None else max(0.0, self.run_at - now)

    def expired(self, now: float) -> bool:
        """
        Whether the task's time to live is over.
        """
        return self.expires_at is not None and now > self.expires_at


_ANY_TIME = Schedule(run_at=None, expires_at=None)


class Request(NamedTuple):
    """
    The HTTP request that a task asks for.

    @ivar headers: made for this request: more may be put into it.
    @ivar timeout: seconds for the whole exchange; 0 leaves it to the mediator.
    """

    method: str
    url: str
    headers: dict[str, str]
    timeout: float

    @property
    def has_body(self) -> bool:
        """
        Whether the task itself is sent as the request's body.
        """
        return self.method in METHODS_WITH_BODY


def ages_since_sent(task: object) -> bool:
    """
    Whether the C{ttl} of C{task} counts from when its message was sent, since
    the task itself does not say.
    """
    if not isinstance(task, dict) or not task.get("ttl"):
        return False
    return task.get("timestamp") is None


def schedule(task: object, sent_at: float | None = None) -> Schedule:
    """
    When C{task} may run.

    @param sent_at: stands in for a missing C{timestamp}, seconds since the
        epoch.
    @raise BadTask: it is no object, or a time in it is of the wrong type.
    """
    if not isinstance(task, dict):
        raise BadTask(f"a task is a JSON object, not {_kind(task)}")
    ttl, timestamp, run_at = task.get("ttl"), task.get("timestamp"), task.get("run_at")
    seconds = 0.0 if ttl is None else _number("ttl", ttl)
    start = sent_at if timestamp is None else _time("timestamp", timestamp)
    expires_at = start + seconds if seconds > 0 and start is not None else None
    if expires_at is None and run_at is None:
        return _ANY_TIME  # as most are, and it need not be made
    return Schedule(None if run_at is None else _time("run_at", run_at), expires_at)


def request(task: Task, defaulturl: str) -> Request:
    """
    The request that C{task} asks for, its URL completed from C{defaulturl}.

    @raise BadTask: a field of it is missing or wrong.
    """
    url, credentials = _absolute(task.get("url"), defaulturl)
    headers = {"Content-Type": "application/json"}
    wanted, method = task.get("headers"), task.get("method")
    if credentials or wanted is not None:
        headers = _with_headers({**headers, **credentials}, wanted)
    timeout = task.get("timeout")
    seconds = 0.0 if timeout is None else max(0.0, _number("timeout", timeout))
    return Request("POST" if method is None else _method(method), url, headers, seconds)


def _kind(value: object) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadTask(f"{field} must be a number of seconds, not {_kind(value)}")
    try:
        if math.isfinite(value):
            return float(value)
        raise OverflowError
    except OverflowError:
        raise BadTask(f"{field} is too large a number of seconds") from None


def _time(field: str, value: object) -> float:
    try:
        if isinstance(value, str):
            return parse_time(value)
        wrong = _kind(value)
    except (ValueError, OverflowError):
        wrong = repr(value[:40]) if isinstance(value, str) else ""
    raise BadTask(
        f"{field} must be an RFC 3339 time such as '2026-11-23T20:15:00Z', not {wrong}"
    )


def _method(method: object) -> str:
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise BadTask(f"method must be one of {', '.join(sorted(METHODS))}")
    return method.upper()


def _with_headers(headers: dict[str, str], wanted: object) -> dict[str, str]:
    if wanted is None:
        return headers
    if not isinstance(wanted, dict):
        raise BadTask(f"headers must be an object, not {_kind(wanted)}")
    for name, value in wanted.items():
        _check_header(name, value)
    replaced = {name.lower() for name in wanted}
    kept = {k: v for k, v in headers.items() if k.lower() not in replaced}
    return {**kept, **wanted}


def _check_header(name: str, value: object) -> None:
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise BadTask(f"headers: {name!r:.40} is not a name of an HTTP header")
    if name.lower() in _FRAMING_HEADERS:
        raise BadTask(f"headers: {name} is set by the mediator, not by a task")
    if not isinstance(value, str):
        raise BadTask(f"headers: {name} must be a string, not {_kind(value)}")
    if _UNSAFE_IN_HEADER.search(value):
        raise BadTask(f"headers: {name} contains a control character")


def _absolute(url: object, defaulturl: str) -> tuple[str, dict[str, str]]:
    if not isinstance(url, str) or not url:
        raise BadTask("url must be a string" if url else "url is missing")
    try:
        return absolute(url, defaulturl)
    except ValueError as e:
        shown = repr(without_userinfo(url)[:80])
        raise BadTask(f"url {shown} cannot be requested: {e}") from None


# -- What a producer writes


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
    **extra: Any,
) -> Task:
    """
    A new task, checked the way a mediator will check it.

    @param now: seconds since the epoch.
    @param ttl: seconds until the task expires, 0 for never.
    @param run_at: when to run it, not before; C{delay}, in seconds from now,
        is the other way to say so.
    @param timeout: seconds an execution may take.
    @param extra: further keys, which the executor gets to see.
    @raise BadTask: an argument is wrong; the text names it.
    """
    task: Task = {
        "url": url,
        "params": params,
        "timestamp": format_time(now),
        "ttl": ttl,
        "uuid": str(uuids.uuid4()) if uuid is None else uuid,
        **extra,
    }
    if run_at is not None or delay is not None:
        task["run_at"] = _start(now, run_at, delay)
    if timeout is not None:
        task["timeout"] = timeout
    if headers:
        task["headers"] = dict(headers) if isinstance(headers, Mapping) else headers
    if method != "POST":
        task["method"] = method
    _check_new(task, now)
    return task


_ANY_POLICY = RetryPolicy()


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
        return format_time(now + max(0.0, _number("delay", delay)))
    if isinstance(run_at, datetime):
        run_at = run_at.isoformat()
    elif isinstance(run_at, (int, float)) and not isinstance(run_at, bool):
        run_at = format_time(run_at)
    return format_time(now if run_at is None else _time("run_at", run_at))


def _check_new(task: Task, now: float) -> None:
    uuid = task["uuid"]
    if not isinstance(uuid, str) or len(uuid.encode("utf-8", "replace")) not in _UUID:
        raise BadTask("uuid must be a string of 1 to 255 bytes in UTF-8")
    request(task, "http://localhost/")
    overridden(_ANY_POLICY, task.get("retry"))
    times = schedule(task)
    if times.expired(times.run_at or now):
        raise BadTask("run_at is beyond the ttl: the task would expire unrun")
