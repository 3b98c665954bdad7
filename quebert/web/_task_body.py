"""
From the fields of a task in a request to a L{NewTask}.  Pure.

To add a field: C{FIELDS}, its schema in C{_schemas}, and C{docs/web.rst}; the field of
the task itself: L{quebert.task}; of the clients: L{quebert.client}.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from quebert._bounds import BOUNDS, SHORT_STRING
from quebert.amqp.queues import DEAD_LETTERS
from quebert.created_tasks import NewTask, requested
from quebert.errors import BadTask
from quebert.task import meant_by
from quebert.web._call import RESERVED
from quebert.web._exchange import APIProblem
from quebert.web._idempotency import Key
from quebert.web._problems import BAD_TASK

__all__ = ["FIELDS", "LONGEST_NAME", "QUEUE", "new_task"]

#: The queue of a task that names none.
QUEUE = "tasks"
#: Characters of a name.
LONGEST_NAME = 500
#: The fields that there are, as in the documentation: the keywords of C{add_task}, but
#: for those of a routing key, and those that mediators write.
FIELDS = (
    *("queue", "url", "params", "name", "delay", "run_at", "ttl", "timeout"),
    *("method", "headers", "payload", "retry", "filter", "extra", "callback_url"),
    "uuid",
)
_KNOWN = frozenset(FIELDS)
_FIRST_WORD = re.compile(r"[a-z_]+")


def new_task(
    given: object,
    now: float,
    check: Callable[[str], str],
    key: Key | None = None,
    place: str = "",
    uuid: str | None = None,
) -> NewTask:
    """
    The task that a client asks for.

    @param now: seconds since the epoch.
    @param check: raises L{APIProblem} where the client may not add to a queue.
    @param key: of the client.
    @param place: of the task in its batch.
    @param uuid: a random one, for a task that has no other.
    @raise APIProblem: it cannot be.
    """
    if not isinstance(given, Mapping):
        raise _wrong("", "a task must be an object")
    for field in given:
        if field not in _KNOWN:
            raise _unknown(str(field))
    fields = dict(given)
    queue = _queue(fields.pop("queue", None))
    name = _name(fields.pop("name", None))
    url, params = fields.pop("url", None), fields.pop("params", None)
    check(queue)
    digest = b""
    if key is not None:
        if fields.get("uuid") is not None:
            text = "uuid cannot be given with an Idempotency-Key, which makes one"
            raise _wrong("uuid", text)
        fields["uuid"], digest = key.uuid(place), key.digest(given)
    if fields.get("uuid") is None:
        fields["uuid"] = uuid
    else:
        _check_uuid(fields["uuid"])
    if fields.get("payload") is not None:
        fields["payload"] = _bytes(fields["payload"])
    try:
        return requested(
            now, queue, url, params, name=name, digest=digest, **_without_nulls(fields)
        )
    except BadTask as e:
        text = str(e)
        first = _FIRST_WORD.match(text)
        field = first[0] if first is not None and first[0] in FIELDS else ""
        raise _wrong(field, text) from None


def _without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in fields.items() if each is not None}


def _wrong(field: str, text: str) -> APIProblem:
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return APIProblem(status, text, field=field, kind=BAD_TASK)


def _unknown(field: str) -> APIProblem:
    meant = meant_by(field[:100], FIELDS)
    hint = f"did you mean {meant}?" if meant else f"there are {', '.join(FIELDS)};"
    text = f"{field:.100} is not known: {hint} a field of your own goes into extra"
    return _wrong(field[:100], text)


def _queue(given: object) -> str:
    if given is None:
        return QUEUE
    if not isinstance(given, str) or not 0 < _size(given) <= SHORT_STRING:
        text = f"queue must be the name of a queue: a text of 1 to {SHORT_STRING} bytes"
        raise _wrong("queue", text)
    if given.startswith(RESERVED) or given.endswith(DEAD_LETTERS):
        text = "queue must be one of yours: quebert or RabbitMQ has this for itself"
        raise _wrong("queue", text)
    return given


def _name(given: object) -> str | None:
    if given is None:
        return None
    is_text = isinstance(given, str) and given.isprintable()
    if isinstance(given, str) and is_text and 0 < len(given) <= LONGEST_NAME:
        return given
    text = f"name must be a text of 1 to {LONGEST_NAME} printable characters"
    raise _wrong("name", text)


def _bytes(given: object) -> bytes:
    try:
        if isinstance(given, str):
            return b64decode(given, validate=True)
    except ValueError:
        pass
    raise _wrong("payload", "payload must be a text in base64 (RFC 4648)")


def _check_uuid(given: object) -> None:
    """
    Whether it can stand in a path, and in any database.
    """
    if not isinstance(given, str) or not 0 < _size(given) <= BOUNDS.uuid:
        raise _wrong("uuid", f"uuid must be a text of 1 to {BOUNDS.uuid} bytes")
    if not given.isprintable():
        raise _wrong("uuid", "uuid must have printable characters alone")


def _size(text: str) -> int:
    """
    Bytes of a text in UTF-8; 0 where it has half a surrogate pair.
    """
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return 0
