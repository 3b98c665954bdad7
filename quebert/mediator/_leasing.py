"""
Offers a lease with each request of a queue, and grants it.  See L{quebert.leases}.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from quebert.boundaries import WatchedMessage
from quebert.errors import ConfigError
from quebert.outcome import Retry
from quebert.policy import (
    LEASE_BACKOFF,
    LEASE_ID,
    LEASE_LAST,
    LEASE_QUEUE,
    LEASE_UNTIL,
    LEASES,
    History,
)
from quebert.signatures import LeaseIDs, identity_of_message

__all__ = ["Leasing"]

#: Seconds of a lease at most, and of one with all its renewals.
LONGEST, LAST = 86_400.0, 7 * 86_400.0


class Leasing:
    """
    The leases of the tasks of one queue.

    @param queue: the queue.
    @param ids: makes the ids.
    @param url: where C{quebert web} is, as executors reach it.
    @ivar longest: seconds of a lease at most.
    @ivar last: seconds after which a lease is not renewed any more.
    @raise ConfigError: one of these seconds is wrong.
    """

    def __init__(
        self,
        queue: str,
        ids: LeaseIDs,
        url: str,
        *,
        longest: float = LONGEST,
        last: float = LAST,
    ) -> None:
        if not 1 <= longest <= last:
            raise ConfigError(
                f"longest={longest:g} must be at least 1 s, and last={last:g} no less"
            )
        self.longest = longest
        self.last = last
        self._queue = queue
        self._ids = ids
        self._url = url.rstrip("/")
        # Of messages that do not say which they are.
        self._own_uuids: WeakKeyDictionary[WatchedMessage, str] = WeakKeyDictionary()

    def offer(self, message: WatchedMessage, attempt: int) -> str:
        """
        The URL of the lease that an attempt may get.

        @param attempt: its number, from 1.
        """
        return f"{self._url}/v1/leases/{self._id(message, attempt)}"

    def grant(
        self,
        message: WatchedMessage,
        history: History,
        seconds: float,
        backoff: float,
        now: float,
    ) -> Retry:
        """
        What becomes of a task that its executor leases.

        @param history: the attempts, with the one that was answered so.
        @param seconds: of the lease.
        @param backoff: seconds that the task waits if its executor fails.
        @param now: seconds since the epoch.
        """
        lease = {
            LEASE_ID: self._id(message, history.attempts),
            LEASE_QUEUE: self._queue,
            LEASE_UNTIL: now + seconds,
            LEASE_LAST: now + max(seconds, self.last),
            LEASE_BACKOFF: backoff,
        }
        return Retry(after=seconds, headers={**history.headers, **lease}, queue=LEASES)

    def _id(self, message: WatchedMessage, attempt: int) -> str:
        properties: Mapping[str, Any] = {}
        try:
            properties = message.properties
        except ValueError:
            pass
        uuid, timestamp = properties.get("message-id"), properties.get("timestamp")
        if not (isinstance(uuid, str) and uuid and isinstance(timestamp, (int, float))):
            # Another message may be just like it: one of them must not end the other.
            uuid, timestamp = self._own_uuid(message), 0
        identity = identity_of_message(self._queue, uuid, int(timestamp), message.body)
        return self._ids.make(identity, attempt)

    def _own_uuid(self, message: WatchedMessage) -> str:
        uuid = self._own_uuids.get(message)
        if uuid is None:
            uuid = self._own_uuids[message] = str(uuids.uuid4())
        return uuid
