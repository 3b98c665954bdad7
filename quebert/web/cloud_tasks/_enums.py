"""
The enums of C{google.cloud.tasks.v2}, as its .proto files have them.  Pure.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "BatchState",
    "DeleteState",
    "EnforceMode",
    "HttpMethod",
    "QueueState",
    "Scheme",
    "TaskView",
]


class HttpMethod(IntEnum):
    """
    The method of a request.
    """

    HTTP_METHOD_UNSPECIFIED = 0
    POST = 1
    GET = 2
    HEAD = 3
    PUT = 4
    DELETE = 5
    PATCH = 6
    OPTIONS = 7


class TaskView(IntEnum):
    """
    How much of a task is shown: without its body, or all.
    """

    VIEW_UNSPECIFIED = 0
    BASIC = 1
    FULL = 2


class QueueState(IntEnum):
    """
    Whether tasks of a queue are attempted.
    """

    STATE_UNSPECIFIED = 0
    RUNNING = 1
    PAUSED = 2
    DISABLED = 3


class Scheme(IntEnum):
    """
    The scheme of a URL.
    """

    SCHEME_UNSPECIFIED = 0
    HTTP = 1
    HTTPS = 2


class EnforceMode(IntEnum):
    """
    When the URL of a queue counts.
    """

    URI_OVERRIDE_ENFORCE_MODE_UNSPECIFIED = 0
    IF_NOT_EXISTS = 1
    ALWAYS = 2


class BatchState(IntEnum):
    """
    What became of a batch of tasks that were to be created.
    """

    STATE_UNSPECIFIED = 0
    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3
    CANCELLED = 4
    PARTIALLY_SUCCEEDED = 5


class DeleteState(IntEnum):
    """
    What became of a batch of tasks that were to be deleted.
    """

    STATE_UNSPECIFIED = 0
    RUNNING = 1
    SUCCEEDED = 2
    PARTIALLY_SUCCEEDED = 3
    FAILED = 4
