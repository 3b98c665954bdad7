"""
The field C{cloud_tasks}: a task whose executor is a handler of Google Cloud Tasks, and
sees no difference.  Pure.

The request of such a task is that of its C{payload}, or has no body: the task itself is
never sent.  Its headers may have names that Cloud Tasks takes, and drops: so they are
dropped here, too, where a task without this field is a bad one.  Cloud Tasks bounds all
headers together by 80 KB.  L{Bounds<quebert.task.Bounds>} hold for such a task as for
any other: a task with more than 90 headers, 65,536 characters of headers, or 8,192 in
one, is a bad task.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from quebert.errors import BadTask
from quebert.task._header_names import CLIENT_HEADERS, folded
from quebert.task._json import kind_of

__all__ = ["CloudTasksField", "IDTokenWanted", "kept_headers", "read_cloud_tasks"]

# What can be the value of a header, and Cloud Tasks' own IDs have less.
_ID = re.compile(r"[!-~]{1,500}")
_ACCOUNT = re.compile(r"[!-~]{1,320}")
#: Characters of an audience, as many as a URL of Cloud Tasks may have.
_AUDIENCE = 2_083
_DROPPED = frozenset({"host", "user-agent", *CLIENT_HEADERS})
_DROPPED_PREFIXES = ("proxy-", "x-appengine-", "x-cloudtasks-", "x-google-")


@attrs.frozen
class IDTokenWanted:
    """
    The ID token that a request is to have.

    @ivar account: the e-mail address of the service account that it is of.
    @ivar audience: whom it is for; C{None} for the URL of the request.
    """

    account: str
    audience: str | None = None


@attrs.frozen
class CloudTasksField:
    """
    What handlers of Cloud Tasks are told.

    @ivar queue: the ID of the queue.
    @ivar task: the ID of the task.
    @ivar id_token: for the header C{Authorization}, if there is to be one.
    """

    queue: str
    task: str
    id_token: IDTokenWanted | None = None


def read_cloud_tasks(value: object) -> CloudTasksField:
    """
    What the field of a task says.

    @raise BadTask: it is wrong; the text names the key.
    """
    fields = _object("cloud_tasks", value)
    oidc = fields.get("oidc")
    return CloudTasksField(
        _text("cloud_tasks.queue", fields.get("queue"), _ID),
        _text("cloud_tasks.task", fields.get("task"), _ID),
        None if oidc is None else _id_token(_object("cloud_tasks.oidc", oidc)),
    )


def _id_token(fields: dict[str, Any]) -> IDTokenWanted:
    name = "cloud_tasks.oidc.service_account_email"
    account = _text(name, fields.get("service_account_email"), _ACCOUNT)
    audience = fields.get("audience")
    if audience is None:
        return IDTokenWanted(account)
    if isinstance(audience, str) and 0 < len(audience) <= _AUDIENCE:
        return IDTokenWanted(account, audience)
    text = f"must be a string of 1 to {_AUDIENCE} characters"
    raise BadTask(f"cloud_tasks.oidc.audience {text}")


def _object(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadTask(f"{name} must be an object, not {kind_of(value)}")
    return value


def _text(name: str, value: object, pattern: re.Pattern[str]) -> str:
    if value is None:
        raise BadTask(f"{name} is missing")
    if not isinstance(value, str):
        raise BadTask(f"{name} must be a string, not {kind_of(value)}")
    if not pattern.fullmatch(value):
        raise BadTask(f"{name} must be a few ASCII characters without spaces")
    return value


def kept_headers(headers: Any) -> Any:
    """
    The headers of such a task, as they are sent, if they are an object.
    """
    if not isinstance(headers, dict):
        return headers
    return {name: value for name, value in headers.items() if not _is_dropped(name)}


def _is_dropped(name: object) -> bool:
    if not isinstance(name, str):
        return False
    lower = folded(name)
    return lower in _DROPPED or lower.startswith(_DROPPED_PREFIXES)
