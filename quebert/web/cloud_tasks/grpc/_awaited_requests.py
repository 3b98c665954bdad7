"""
The calls over gRPC whose requests have not come yet, and which of them are ended.

Theory of operation.  Each such call has a thread, so that one client with some hundred
calls and no request could have all threads, and every other client wait.  A call is
ended when its request has not come for a while.  Where a client has more than half of
the threads, its calls are ended sooner, and for a minute no more than a few of its
calls may wait: others are refused at once.  The requests of most clients come with
their calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from threading import Lock
from typing import Any

__all__ = ["AwaitedRequests"]

#: Seconds for which a client that had too many threads may have a few alone.
REMEMBERED = 60.0
# By how much sooner the calls of such a client are ended.
_SOONER = 5


class AwaitedRequests:
    """
    Counts these calls, in any thread.

    @param threads: how many there are for all clients.
    @param patience: seconds for which a call may wait for its request.
    """

    def __init__(self, threads: int, patience: float) -> None:
        self._crowd = threads // 2
        self._few = max(1, threads // 8)
        self._patience = patience
        self._calls: dict[Any, tuple[str, float]] = {}
        self._slow: dict[str, float] = {}
        self._lock = Lock()

    @property
    def pace(self) -> float:
        """
        Seconds between two looks for calls that are late.
        """
        return self._patience / _SOONER / 2

    def begin(self, call: Any, client: str, now: float) -> bool:
        """
        A call waits for its request; C{False} where its client may have no more such.
        """
        with self._lock:
            if self._slow.get(client, now) > now:
                found = sum(each == client for each, _ in self._calls.values())
                if found >= self._few:
                    return False
            self._calls[call] = client, now
            return True

    def end(self, call: Any) -> None:
        """
        The request has come, or the call has ended.
        """
        with self._lock:
            del self._calls[call]

    def late(self, now: float) -> Sequence[Any]:
        """
        The calls to end.
        """
        with self._lock:
            self._slow = {c: until for c, until in self._slow.items() if until > now}
            counts = Counter(client for client, _ in self._calls.values())
            found = []
            for call, (client, began) in self._calls.items():
                is_crowd = counts[client] > self._crowd
                patience = self._patience / _SOONER if is_crowd else self._patience
                if began <= now - patience:
                    found.append(call)
                    if is_crowd:
                        self._slow[client] = now + REMEMBERED
            return found
