"""
What is durable, in SQLite: told during a turn of the reactor, written in one
transaction at its end.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from quebert._protocol.values import encode_table
from quebert.broker.state import (
    Binding,
    BindingRecord,
    Entry,
    EntryRecord,
    Exchange,
    ExchangeRecord,
    PublishedMessage,
    Queue,
    QueueRecord,
    Records,
)
from quebert.broker.store._database import DATABASE_ERRORS, described, let_go, opened
from quebert.errors import StoreError

__all__ = ["Store"]

_Row = tuple[Any, ...]


class Store:
    """
    A L{Journal<quebert.broker.state.Journal>} in a file.

    @ivar path: the file.
    @ivar keeps_messages: it does.
    @raise StoreError: the file cannot be used.
    """

    keeps_messages = True

    def __init__(self, path: Path) -> None:
        self._database = opened(path)
        self.path = self._database.path
        # Messages wait here for the end of the turn: one that has come and gone
        # by then need not be written.
        self._new: dict[int, _Row] = {}
        self._gone: list[tuple[int]] = []
        self._delivered: dict[int, Queue] = {}
        self._counted: dict[int, Entry] = {}
        self._uncounted: list[tuple[int]] = []
        # Whether SQLite may write to the files when they are closed.
        self._trusted = False

    @property
    def pending(self) -> bool:
        """
        Whether there is anything to commit.
        """
        waiting = self._new or self._gone or self._delivered or self._counted
        return bool(waiting) or self._database.in_transaction

    # -- Telling

    def exchange_declared(self, vhost: str, exchange: Exchange) -> None:
        """
        There is a durable exchange.
        """
        arguments = encode_table(exchange.arguments)
        kind = exchange.type, exchange.auto_delete, exchange.internal
        values = (_raw(vhost), _raw(exchange.name), *kind, arguments)
        self._execute("INSERT INTO exchanges VALUES (?, ?, ?, ?, ?, ?)", values)

    def exchange_deleted(self, vhost: str, exchange: Exchange) -> None:
        """
        It is gone, and the bindings from it and to it.
        """
        home, name = _raw(vhost), _raw(exchange.name)
        statement = "DELETE FROM exchanges WHERE vhost = ? AND name = ?"
        self._execute(statement, (home, name))
        self._execute(
            "DELETE FROM bindings WHERE vhost = ?"
            " AND (source = ? OR (destination = ? AND NOT to_queue))",
            (home, name, name),
        )

    def queue_declared(self, queue: Queue) -> None:
        """
        There is a durable queue.
        """
        place = _raw(queue.vhost.name), _raw(queue.name)
        arguments = encode_table(queue.arguments)
        values = (queue.id, *place, queue.auto_delete, arguments)
        self._execute("INSERT INTO queues VALUES (?, ?, ?, ?, ?, 0)", values)

    def queue_deleted(self, queue: Queue) -> None:
        """
        It is gone, with its bindings and all that was in it.
        """
        self._write()
        self._execute(
            "DELETE FROM counts WHERE id IN (SELECT id FROM messages WHERE queue = ?)",
            (queue.id,),
        )
        self._execute("DELETE FROM messages WHERE queue = ?", (queue.id,))
        self._execute("DELETE FROM queues WHERE id = ?", (queue.id,))
        self._execute(
            "DELETE FROM bindings WHERE vhost = ? AND destination = ? AND to_queue",
            (_raw(queue.vhost.name), _raw(queue.name)),
        )

    def bound(self, vhost: str, binding: Binding) -> None:
        """
        There is a binding between two that are durable.
        """
        self._execute(
            "INSERT OR IGNORE INTO bindings VALUES (?, ?, ?, ?, ?, ?)",
            _binding(vhost, binding),
        )

    def unbound(self, vhost: str, binding: Binding) -> None:
        """
        It is gone.
        """
        self._execute(
            "DELETE FROM bindings WHERE (vhost, source, destination, to_queue, key,"
            " arguments) = (?, ?, ?, ?, ?, ?)",
            _binding(vhost, binding),
        )

    def put(
        self,
        queue: Queue,
        entry: Entry,
        message: PublishedMessage,
        expires: float | None,
    ) -> None:
        """
        A persistent message is in a durable queue.

        @param expires: when, by the time of day.
        """
        exchange, key = _raw(message.exchange), _raw(message.routing_key)
        content = exchange, key, message.properties, message.body
        place = entry.id, queue.id, entry.priority, expires
        self._new[entry.id] = (*place, _checksum(content), *content)

    def removed(self, entry: Entry) -> None:
        """
        It is out of it.
        """
        if self._new.pop(entry.id, None) is None:
            self._gone.append((entry.id,))
            if entry.counts is not None:
                self._uncounted.append((entry.id,))
        self._counted.pop(entry.id, None)

    def delivered(self, queue: Queue) -> None:
        """
        C{queue.delivered} has become greater.
        """
        self._delivered[queue.id] = queue

    def counted(self, entry: Entry) -> None:
        """
        C{entry.counts} have changed.
        """
        self._counted[entry.id] = entry

    # -- Writing

    def commit(self) -> None:
        """
        Make safe all that was told.

        @raise StoreError: it cannot be, or the files are gone.
        """
        self._write()
        if self._database.in_transaction:
            with self._translated():
                self._database.execute("COMMIT")
                self._database.check_places()
            self._trusted = True

    def _write(self) -> None:
        new, self._new = self._new, {}
        gone, self._gone = self._gone, []
        delivered, self._delivered = self._delivered, {}
        counted, self._counted = self._counted, {}
        uncounted, self._uncounted = self._uncounted, []
        if new:
            self._execute_many(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", new.values()
            )
        if gone:
            self._execute_many("DELETE FROM messages WHERE id = ?", gone)
        if delivered:
            self._execute_many(
                "UPDATE queues SET delivered = ? WHERE id = ?",
                [(queue.delivered, queue.id) for queue in delivered.values()],
            )
        if counted:
            self._execute_many(
                "INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?)",
                map(_counts, counted.values()),
            )
        if uncounted:
            self._execute_many("DELETE FROM counts WHERE id = ?", uncounted)

    def _execute(self, statement: str, values: _Row) -> None:
        with self._transaction():
            self._database.execute(statement, values)

    def _execute_many(self, statement: str, rows: Iterable[_Row]) -> None:
        with self._transaction():
            self._database.executemany(statement, rows)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            if not self._database.in_transaction:
                self._database.execute("BEGIN IMMEDIATE")
            yield

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            self._trusted = False
            raise
        except (*DATABASE_ERRORS, OSError) as e:
            self._trusted = False
            raise StoreError(f"{self.path}: {described(e)}") from e

    def close(self) -> None:
        """
        Let go of the file; what was not committed is forgotten.

        After an error, and if nothing was ever committed, the files are left as they
        are: they may be damaged, or have no room.
        """
        with self._translated():
            if self._trusted:
                self._database.close()
            else:
                let_go(self._database)

    # -- Reading

    def read(self, ids: Iterable[int]) -> Mapping[int, PublishedMessage]:
        """
        The messages of entries, committed or not.

        @raise StoreError: one is not there.
        """
        self._write()
        wanted = list(ids)
        with self._translated():
            columns = "id, exchange, routing_key, properties, body"
            places = ", ".join("?" * len(wanted))
            query = f"SELECT {columns} FROM messages WHERE id IN ({places})"  # nosec B608
            rows = self._database.execute(query, wanted).fetchall()
        found = {
            id: PublishedMessage(_text(exchange), _text(key), properties, body)
            for id, exchange, key, properties, body in rows
        }
        for id in wanted:
            if id not in found:
                raise StoreError(f"{self.path}: message {id} is missing")
        return found

    def records(self) -> Records:
        """
        What there is.

        @raise StoreError: it cannot be read, or is not what was written.
        """
        with self._reading():
            return Records(
                [
                    ExchangeRecord(_text(vhost), _text(name), *rest)
                    for vhost, name, *rest in self._rows(_EXCHANGES)
                ],
                [
                    QueueRecord(id, _text(vhost), _text(name), *rest)
                    for id, vhost, name, *rest in self._rows(_QUEUES)
                ],
                [_binding_record(row) for row in self._rows(_BINDINGS)],
                self._entries(),
                self._last_id(),
            )

    def _last_id(self) -> int:
        last_id = next(self._rows(_LAST_ID))[0] or 0
        if not 0 <= last_id < _MOST_IDS:
            raise self._damaged(f"no message has the number {last_id}")
        return int(last_id)

    def _entries(self) -> Iterator[EntryRecord]:
        # One at a time: there may be many.
        with self._reading():
            for row in self._rows(_ENTRIES):
                id, queue, priority, expires, known, checksum, *content = row[:-3]
                if _checksum(content) != checksum:
                    raise self._damaged(f"message {id} has changed")
                if not known:
                    raise self._damaged(f"message {id} is of no queue")
                size, counts = len(content[-1]), row[-3:]
                yield EntryRecord(id, queue, priority, expires, size, *counts)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._translated():
            try:
                yield
            except (AttributeError, TypeError) as e:  # a column is of another type
                raise self._damaged(described(e)) from e

    def _damaged(self, what: str) -> StoreError:
        return StoreError(f"{self.path}: the database is damaged: {what}")

    def _rows(self, statement: str) -> Iterator[_Row]:
        return iter(self._database.execute(statement))


def _binding(vhost: str, binding: Binding) -> _Row:
    to = binding.destination
    names = _raw(vhost), _raw(binding.source.name), _raw(to.name)
    to_queue = not isinstance(to, Exchange)
    return (*names, to_queue, _raw(binding.key), binding.arguments)


def _binding_record(row: _Row) -> BindingRecord:
    vhost, source, destination, to_queue, key, arguments = row
    names = _text(vhost), _text(source), _text(destination)
    return BindingRecord(*names, bool(to_queue), _text(key), arguments)


def _counts(entry: Entry) -> _Row:
    counts = entry.counts
    assert counts is not None
    return entry.id, counts.acquired, counts.failed, counts.died or counts.out


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _checksum(content: Iterable[bytes]) -> int:
    """
    By which it is told that a message is what was written: SQLite looks after the
    structure of its files, not after what is in them.
    """
    checksum = 0
    for piece in content:
        checksum = zlib.crc32(piece, checksum)
    return checksum


_EXCHANGES = "SELECT vhost, name, type, auto_delete, internal, arguments FROM exchanges"
_QUEUES = "SELECT id, vhost, name, auto_delete, arguments, delivered FROM queues"
_BINDINGS = "SELECT vhost, source, destination, to_queue, key, arguments FROM bindings"
_ENTRIES = (
    "SELECT messages.id, queue, priority, expires, queues.id IS NOT NULL, checksum,"
    " exchange, routing_key, properties, body,"
    " coalesce(acquired, 0), coalesce(failed, 0), coalesce(out, 0) FROM messages"
    " LEFT JOIN queues ON queues.id = queue"
    " LEFT JOIN counts ON counts.id = messages.id ORDER BY messages.id"
)
# More than a broker ever gives, and less than SQLite takes.
_MOST_IDS = 2**62
_LAST_ID = (
    "SELECT max(id) FROM (SELECT max(id) AS id FROM messages UNION"
    " SELECT max(id) FROM queues UNION SELECT max(delivered) FROM queues)"
)
