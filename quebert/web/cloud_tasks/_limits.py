"""
The limits of the Cloud Tasks API.
"""

from __future__ import annotations

import attrs

__all__ = ["CloudTasksLimits"]


@attrs.frozen(kw_only=True)
class CloudTasksLimits:
    """
    Limits that Google has for its own reasons; the defaults are Google's.
    U{https://cloud.google.com/tasks/docs/quotas}

    @ivar schedule: hours that a task may be scheduled ahead.
    @ivar task: bytes of a task, as Google would keep it.
    @ivar rate: tasks of a queue in a second.
    @ivar concurrency: tasks of a queue at once.
    @ivar url: characters of a URL.
    @ivar headers: bytes of all headers of a task, less than that.
    @ivar batch_create: tasks that are created by one request.
    @ivar batch_delete: tasks that are deleted by one request.
    """

    schedule: int = 720
    task: int = 1_048_569
    rate: float = 500.0
    concurrency: int = 5_000
    url: int = 2_083
    headers: int = 81_920
    batch_create: int = 100
    batch_delete: int = 1_000
