"""
Errors that several methods have in common, in Google's words.  Pure.
"""

from __future__ import annotations

from quebert.errors import (
    MessageRefused,
    NameTaken,
    QuebertError,
    TaskEnded,
    TaskUnknown,
    Unroutable,
    UUIDTaken,
)
from quebert.web.cloud_tasks._errors import CloudTasksError, Code

__all__ = ["error_of", "invalid", "no_entity", "no_longer", "no_queue"]


def invalid(text: str) -> CloudTasksError:
    """
    An argument is wrong.
    """
    return CloudTasksError(Code.INVALID_ARGUMENT, text)


def no_queue() -> CloudTasksError:
    """
    There is no such queue.
    """
    return CloudTasksError(
        Code.NOT_FOUND,
        "Queue does not exist. If you just created the queue, wait at least a minute"
        " for the queue to initialize.",
    )


def no_entity() -> CloudTasksError:
    """
    There is no such thing.
    """
    return CloudTasksError(Code.NOT_FOUND, "Requested entity was not found.")


def no_longer() -> CloudTasksError:
    """
    There was such a task.
    """
    return CloudTasksError(
        Code.NOT_FOUND,
        "The task no longer exists, though a task with this name existed recently. The"
        " task either successfully completed or was deleted.",
    )


def error_of(error: QuebertError) -> CloudTasksError:
    """
    The same error for a client.  What has no sentence of Google's is that RabbitMQ, or
    the database, refuses or is away.
    """
    match error:
        case NameTaken():
            text = "Requested entity already exists"
            return CloudTasksError(Code.ALREADY_EXISTS, text)
        case UUIDTaken():
            return invalid("request_id was the one of another request.")
        case Unroutable():
            return no_queue()
        case MessageRefused():
            return invalid("Task size too large")
        case TaskUnknown():
            return no_entity()
        case TaskEnded():
            return no_longer()
        case _:
            return CloudTasksError(Code.UNAVAILABLE, str(error))
