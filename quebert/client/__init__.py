"""
The HTTP API of C{quebert web} for programs: L{Client}, which blocks, and
L{AsyncClient} on Twisted.

  - C{_access}: where the API is, and with which token.
  - C{_calls}: a call of each kind, as a request and a function that reads its answer.
  - C{_new_tasks}: from the keywords of C{add_task} to JSON, and to batches.
  - C{_values}: what answers tell.
  - C{_problems}: from an answer to an exception.
  - C{_retrying}: which requests are made again, and when.
  - C{_blocking} and C{_connections}, C{_twisted}: what makes the requests.

To add a call: a function in C{_calls}, and a method of both clients.  To add a field of
a task: C{_new_tasks}, and both C{add_task}.

Only L{AsyncClient} needs Twisted, which is imported when a program asks for it.
"""

from typing import TYPE_CHECKING, Any

from quebert.client._access import APIAccess
from quebert.client._blocking import Client, LeaseClient
from quebert.client._problems import APIError
from quebert.client._values import AttemptInfo, ChangeResult, TaskInfo, TaskRow

if TYPE_CHECKING:
    from quebert.client._twisted import AsyncClient, AsyncLeaseClient

__all__ = [
    "APIAccess",
    "APIError",
    "AsyncClient",
    "AsyncLeaseClient",
    "AttemptInfo",
    "ChangeResult",
    "Client",
    "LeaseClient",
    "TaskInfo",
    "TaskRow",
]


def __getattr__(name: str) -> Any:
    if name not in ("AsyncClient", "AsyncLeaseClient"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from quebert.client import _twisted

    found = globals()[name] = getattr(_twisted, name)
    return found
