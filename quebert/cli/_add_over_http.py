"""
C{quebert add} with C{QUEBERT_URL}: a task is added over the HTTP API.
"""

from __future__ import annotations

from typing import Any

from quebert.client import APIAccess, APIError, AsyncClient
from quebert.errors import QuebertError

__all__ = ["add"]

#: Seconds in which the API must have added a task.
PATIENCE = 20.0
_MAYBE = "the task may be there"


async def add(reactor: Any, access: APIAccess, wait: float, **fields: Any) -> str:
    """
    Add a task, and give its uuid once the API has added it.

    @param wait: seconds to wait for an API that is about to start.
    @param fields: as for L{AsyncClient.add_task}.
    @raise QuebertError: it is none, or nobody knows whether it is added.
    """
    client = AsyncClient(
        access.url, access.token, patience=wait + PATIENCE, reactor=reactor
    )
    try:
        return await client.add_task(**fields)
    except APIError as e:
        if e.done is None:
            raise QuebertError(f"{e}: {_MAYBE}") from None
        raise
