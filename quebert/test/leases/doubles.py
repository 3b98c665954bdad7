"""
Rows and a broker in memory, for L{Leases}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed

from quebert.errors import BrokerError, PublishRefused, QuebertError, Unroutable
from quebert.leases import (
    DUE,
    EARLY,
    ENDED,
    HELD,
    LOST,
    Lease,
    LeaseChange,
    LeasedMessage,
)
from quebert.leases._states import changed_lease, early_leases, new_lease

__all__ = ["MemoryLeaseBroker", "MemoryLeaseRows", "leased"]

_OVER = (EARLY, ENDED, LOST)


def leased(id: str = "l", **fields: Any) -> LeasedMessage:
    """
    A message that is leased until 1,300.
    """
    given = {
        "identity": b"i",
        "queue": "tasks",
        "uuid": "u",
        "until": 1_300.0,
        "last": 9_000.0,
        "backoff": 7.0,
        "body": b"{}",
        **fields,
    }
    return LeasedMessage(id=id, **given)


class MemoryLeaseRows:
    """
    Rows that are kept in a dict.

    @ivar rows: all rows, by their ids.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Lease] = {}

    def hold(self, messages: Sequence[LeasedMessage]) -> Deferred[None]:
        """
        Messages have come.
        """
        for message in messages:
            self._hold(message)
        return succeed(None)

    def _hold(self, message: LeasedMessage) -> None:
        own = self.rows.get(message.id)
        copies = [
            each
            for each in self.rows.values()
            if each.identity == message.identity and each.id != message.id
        ]
        row = new_lease(message, own, copies)
        if row is None:
            return
        self.rows[row.id] = row
        for each in copies if row.state == HELD else ():
            if each.state in (HELD, DUE):
                self.rows[each.id] = attrs.evolve(each, state=LOST, message=None)

    def change(self, change: LeaseChange) -> Deferred[Lease | None]:
        """
        Change a row.
        """
        row = changed_lease(self.rows.get(change.id), change)
        if row is not None:
            self.rows[row.id] = row
        return succeed(row)

    def complete_early(self, lease: Lease) -> Deferred[Sequence[Lease]]:
        """
        Write rows.
        """
        rows = self.rows
        if lease.id in rows:
            return succeed([])
        copies = [each for each in rows.values() if each.identity == lease.identity]
        written = early_leases(lease, copies)
        rows.update((each.id, each) for each in written)
        return succeed(written)

    def find(self, id: str) -> Deferred[Lease | None]:
        """
        A row.
        """
        return succeed(self.rows.get(id))

    def page(self, state: str, until: float, size: int) -> Deferred[list[Lease]]:
        """
        Some rows.
        """
        found = [
            each
            for each in self.rows.values()
            if each.state == state and each.until <= until
        ]
        found.sort(key=lambda each: each.until)
        return succeed(found[:size])

    def sweep(self, now: float) -> Deferred[int]:
        """
        Remove rows.
        """
        old = [
            each.id
            for each in self.rows.values()
            if each.state in _OVER and each.until <= now
        ]
        for id in old:
            del self.rows[id]
        return succeed(len(old))


class MemoryLeaseBroker:
    """
    A broker that has what is put back.

    @ivar put: the messages.
    @ivar told: the uuids whose ends were told.
    @ivar problem: why it takes nothing, if set.
    @ivar refused: the queues that take nothing.
    """

    def __init__(self) -> None:
        self.put: list[LeasedMessage] = []
        self.told: list[str] = []
        self.problem: BrokerError | None = None
        self.refused: set[str] = set()

    def put_back(
        self, messages: Sequence[LeasedMessage]
    ) -> Deferred[list[BrokerError | None]]:
        """
        Take messages, or refuse them.
        """
        problems = [self._problem_of(each) for each in messages]
        self.put += [m for m, p in zip(messages, problems, strict=True) if p is None]
        return succeed(problems)

    def _problem_of(self, message: LeasedMessage) -> BrokerError | None:
        if message.queue in self.refused:
            return Unroutable(f"there is no queue {message.queue}")
        return self.problem

    def tell_end(self, messages: Sequence[LeasedMessage]) -> Deferred[None]:
        """
        Hear of the end of tasks.
        """
        problem: QuebertError | None = self.problem
        if not self.refused.isdisjoint(each.queue for each in messages):
            problem = PublishRefused("the queue is full")
        if problem is not None:
            return fail(problem)
        self.told.extend(each.uuid for each in messages)
        return succeed(None)
