"""
The kinds of problems that the API names, and which of them an error is.  Pure.

To add a kind: a constant here, its meaning, the error that it stands for, and the table
in C{docs/web.rst}.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from quebert.errors import (
    BadTask,
    BrokerError,
    ConfigError,
    MessageRefused,
    NameTaken,
    PublishRefused,
    QuebertError,
    TaskEnded,
    TaskStoreError,
    TaskUnknown,
    UnknownPageToken,
    Unroutable,
    UUIDTaken,
)
from quebert.web._boundaries import BadPageToken
from quebert.web._exchange import APIProblem

__all__ = [
    "BAD_TASK",
    "DATABASE_AWAY",
    "IN_DOUBT",
    "KEY_REUSED",
    "LATER",
    "LEASE_LOST",
    "MEANINGS",
    "NAME_TAKEN",
    "NOT_JSON",
    "NO_LEASE",
    "NO_QUEUE",
    "NO_TASK",
    "QUEUE_REFUSES",
    "RABBITMQ_AWAY",
    "RATE_LIMIT",
    "TASK_ENDED",
    "TOO_LARGE",
    "UUID_TAKEN",
    "problem_of",
]

BAD_TASK = "bad-task"
DATABASE_AWAY = "database-away"
IN_DOUBT = "in-doubt"
KEY_REUSED = "idempotency-key-reused"
LEASE_LOST = "lease-lost"
NAME_TAKEN = "name-taken"
NO_LEASE = "no-lease"
NO_QUEUE = "no-queue"
NO_TASK = "no-task"
NOT_JSON = "not-json"
QUEUE_REFUSES = "queue-refuses"
RABBITMQ_AWAY = "rabbitmq-away"
RATE_LIMIT = "rate-limit"
TASK_ENDED = "task-ended"
TOO_LARGE = "too-large"
UUID_TAKEN = "uuid-taken"

#: Of each kind the status, and what it means, as C{docs/web.rst} has it.
MEANINGS: Mapping[str, tuple[int, str]] = {
    NOT_JSON: (400, "the body is no JSON"),
    NO_TASK: (404, "there is no such task"),
    NO_QUEUE: (404, "there is no such queue"),
    NO_LEASE: (404, "there is no such lease"),
    LEASE_LOST: (409, "the lease has run out, or its task is completed"),
    NAME_TAKEN: (409, "the queue has a task of this name, or had one"),
    UUID_TAKEN: (409, "there is another task with this uuid"),
    TASK_ENDED: (410, "the task has ended, or is deleted"),
    TOO_LARGE: (413, "RabbitMQ takes no task that is so large"),
    BAD_TASK: (422, "field is wrong, or is not known"),
    KEY_REUSED: (422, "the key is of another request"),
    RATE_LIMIT: (429, "the token, or the address, asks too often"),
    QUEUE_REFUSES: (503, "the queue takes no task now; none was created"),
    RABBITMQ_AWAY: (503, "RabbitMQ is away; nothing was created"),
    DATABASE_AWAY: (
        503,
        "the database is away, or slow and too much waits for it; nothing was created",
    ),
    IN_DOUBT: (
        503,
        "it is done now or later, or not: ask again, with an Idempotency-Key or a name",
    ),
}
#: When to try again.
LATER = ("Retry-After", "2")

_FIELDS = {NAME_TAKEN: "name", UUID_TAKEN: "uuid", NO_QUEUE: "queue"}
# The first that fits.
_OF_ERRORS: tuple[tuple[type[QuebertError], str], ...] = (
    (NameTaken, NAME_TAKEN),
    (UUIDTaken, UUID_TAKEN),
    (TaskUnknown, NO_TASK),
    (TaskEnded, TASK_ENDED),
    (BadTask, BAD_TASK),
    (Unroutable, NO_QUEUE),
    (MessageRefused, TOO_LARGE),
    (PublishRefused, QUEUE_REFUSES),
    (TaskStoreError, DATABASE_AWAY),
    (BrokerError, RABBITMQ_AWAY),
)


def problem_of(error: QuebertError) -> APIProblem:
    """
    What an error is to a client.
    """
    text = str(error)
    if isinstance(error, (BadPageToken, UnknownPageToken)):
        return APIProblem(HTTPStatus.BAD_REQUEST, text, field="page_token")
    if isinstance(error, ConfigError):
        return APIProblem(HTTPStatus.NOT_FOUND, text)
    away = HTTPStatus.SERVICE_UNAVAILABLE
    # None of them: the history is away.
    kind = next((k for each, k in _OF_ERRORS if isinstance(error, each)), "")
    status = HTTPStatus(MEANINGS[kind][0]) if kind else away
    if status == away:
        return APIProblem(away, text, LATER, kind=kind)
    return APIProblem(status, text, field=_FIELDS.get(kind, ""), kind=kind)
