"""
The numbers of queues, mediators and URLs.

A book is used in one transaction at a time, and forgets all if that fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, insert, select

from quebert.history._schema import queues, urls

__all__ = ["NumberedNames", "QueueNames", "UrlNames", "chunks"]

T = TypeVar("T")
# Values of one query.
_CHUNK = 500


def chunks(values: Iterable[T], size: int = _CHUNK) -> Iterator[Sequence[T]]:
    """
    C{values} in parts that one query takes.
    """
    several = list(values)
    for start in range(0, len(several), size):
        yield several[start : start + size]


class NumberedNames:
    """
    Names and their numbers in a table.

    @param column: the column with the names.
    """

    def __init__(self, table: Table, column: str) -> None:
        self._table = table
        self._column = table.c[column]
        self._known: dict[str, int] = {}

    def forget(self) -> None:
        """
        Read all anew.
        """
        self._known.clear()

    def numbers(
        self, connection: Connection, names: set[str], following: int, **same: Any
    ) -> Mapping[str, int]:
        """
        The numbers of names, those of others included.  Names that have none get one.

        @param following: the number that the next new name gets.
        @param same: what all names have, and are looked for by.
        """
        known = self._known
        missing = sorted(names - known.keys())
        for part in chunks(missing):
            query = select(self._column, self._table.c.id)
            query = query.filter_by(**same).where(self._column.in_(part))
            known.update((name, number) for name, number in connection.execute(query))
        new = [name for name in missing if name not in known]
        if new:
            rows = [
                {"id": following + n, self._column.name: name, **same}
                for n, name in enumerate(new)
            ]
            connection.execute(insert(self._table), rows)
            known.update((row[self._column.name], row["id"]) for row in rows)
        self.made = len(new)
        return known

    #: How many names were new the last time.
    made = 0


class QueueNames(NumberedNames):
    """
    The names of queues.
    """

    def __init__(self) -> None:
        super().__init__(queues, "name")


class UrlNames(NumberedNames):
    """
    The URLs of one segment.
    """

    def __init__(self) -> None:
        super().__init__(urls, "url")
        self._segment = -1

    def of_segment(
        self, connection: Connection, segment: int, names: set[str], following: int
    ) -> Mapping[str, int]:
        """
        The numbers of URLs in a segment.
        """
        if segment != self._segment:
            self.forget()
            self._segment = segment
        return self.numbers(connection, names, following, segment=segment)
