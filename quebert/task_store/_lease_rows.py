"""
The rows of leases, in the database of created tasks: a L{LeaseRows
<quebert.leases.LeaseRows>}.

Each request is some statements in the transaction of a group.  They are the same for
both kinds of database, but for the sign of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred

from quebert.leases import (
    DUE,
    EARLY,
    ENDED,
    HELD,
    LOST,
    Lease,
    LeaseChange,
    LeasedMessage,
    changed_lease,
    early_leases,
    new_lease,
)
from quebert.task_store._boundaries import Statements, WorkRequest
from quebert.task_store._encoding import raw, text

__all__ = ["StoredLeaseRows"]

#: Rows that a sweep removes at most.
SWEPT = 1_000

_COLUMNS = (
    *("id", "identity", "state", "until", "queue", "uuid"),
    *("last", "backoff", "body", "properties"),
)
_ALL = ", ".join(_COLUMNS)
_OVER = (EARLY, ENDED, LOST)
_FIND = f"SELECT {_ALL} FROM leases WHERE id = ?"  # nosec B608
_COPIES = f"SELECT {_ALL} FROM leases WHERE identity = ? AND id <> ?"  # nosec B608
_REMOVE = "DELETE FROM leases WHERE id = ?"
_PLACES = ", ".join("?" * len(_COLUMNS))
_ADD = f"INSERT INTO leases ({_ALL}) VALUES ({_PLACES})"  # nosec B608
_PAGE = (
    f"SELECT {_ALL} FROM leases WHERE state = ?"  # nosec B608
    " AND until <= ? ORDER BY until LIMIT ?"
)
_SWEEP = (
    "DELETE FROM leases WHERE id IN (SELECT id FROM leases"
    " WHERE state IN (?, ?, ?) AND until <= ? LIMIT ?)"
)


class LeaseRowsStore(Protocol):
    """
    Carries out requests in groups; see L{StoredTaskRows
    <quebert.task_store.StoredTaskRows>}.
    """

    def ask(self, request: WorkRequest) -> Deferred[Any]: ...


class StoredLeaseRows:
    """
    @param rows: of the tasks, whose database it is.
    """

    def __init__(self, rows: LeaseRowsStore) -> None:
        self._ask: Callable[[WorkRequest], Deferred[Any]] = rows.ask

    def hold(self, messages: Sequence[LeasedMessage]) -> Deferred[None]:
        """
        Messages have come.
        """

        def hold(statements: Statements) -> None:
            for each in messages:
                _hold(statements, each)

        return self._ask(WorkRequest(hold))

    def change(self, change: LeaseChange) -> Deferred[Lease | None]:
        """
        Change a row.
        """
        return self._ask(WorkRequest(lambda statements: _change(statements, change)))

    def complete_early(self, lease: Lease) -> Deferred[Sequence[Lease]]:
        """
        Write rows, unless the lease has one.
        """

        def complete(statements: Statements) -> Sequence[Lease]:
            if _find(statements, lease.id) is not None:
                return []
            copies = _copies(statements, lease.identity, lease.id)
            rows = early_leases(lease, copies)
            for each in rows:
                _write(statements, each)
            return rows

        return self._ask(WorkRequest(complete))

    def find(self, id: str) -> Deferred[Lease | None]:
        """
        A row.
        """
        return self._ask(WorkRequest(lambda statements: _find(statements, id)))

    def page(self, state: str, until: float, size: int) -> Deferred[list[Lease]]:
        """
        Some rows.
        """

        def page(statements: Statements) -> list[Lease]:
            found = statements.execute(_PAGE, (state, until, size))
            return [_decoded(each) for each in found]

        return self._ask(WorkRequest(page))

    def sweep(self, now: float) -> Deferred[int]:
        """
        Remove some rows.
        """
        values = (*_OVER, now, SWEPT)
        return self._ask(WorkRequest(lambda s: s.change(_SWEEP, values)))


def _hold(statements: Statements, message: LeasedMessage) -> None:
    copies = _copies(statements, message.identity, message.id)
    row = new_lease(message, _find(statements, message.id), copies)
    if row is None:
        return
    _write(statements, row)
    for each in copies if row.state == HELD else ():
        if each.state in (HELD, DUE):
            _write(statements, attrs.evolve(each, state=LOST, message=None))


def _copies(statements: Statements, identity: bytes, id: str) -> list[Lease]:
    found = statements.execute(_COPIES, (identity, raw(id)))
    return [_decoded(each) for each in found]


def _change(statements: Statements, change: LeaseChange) -> Lease | None:
    row = changed_lease(_find(statements, change.id), change)
    if row is not None:
        _write(statements, row)
    return row


def _find(statements: Statements, id: str) -> Lease | None:
    found = statements.execute(_FIND, (raw(id),))
    return _decoded(found[0]) if found else None


def _write(statements: Statements, row: Lease) -> None:
    statements.change(_REMOVE, (raw(row.id),))
    statements.change(_ADD, _encoded(row))


def _encoded(row: Lease) -> Sequence[Any]:
    message = row.message
    head = raw(row.id), row.identity, row.state, row.until
    if message is None:
        return (*head, None, b"", 0.0, 0.0, b"", b"")
    return (
        *head,
        raw(message.queue),
        raw(message.uuid),
        message.last,
        message.backoff,
        message.body,
        message.properties,
    )


def _decoded(values: Sequence[Any]) -> Lease:
    id, identity, state, until, queue, uuid, last, backoff, body, properties = values
    message = None
    if queue is not None:
        message = LeasedMessage(
            id=text(id),
            identity=identity,
            queue=text(queue),
            uuid=text(uuid),
            until=until,
            last=last,
            backoff=backoff,
            body=body,
            properties=properties,
        )
    return Lease(
        id=text(id), identity=identity, state=state, until=until, message=message
    )
