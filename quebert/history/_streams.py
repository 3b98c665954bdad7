"""
Entries that match, the newest first, from several places of the indexes at once.

The entries of one queue, say, are in the order of time in one index; those of another
queue are elsewhere.  Each such place is a stream.  Of a stream a bounded number of
entries is read, so that a query ends in time if few of many entries match.  The result
then reaches back as far as the stream of which least was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from sqlalchemy import BindParameter, ColumnElement, Connection, bindparam, or_, select

from quebert.history._schema import entries, urls
from quebert.history._tokens import FIRST, Place

__all__ = ["OLDEST", "ReadPart", "Scan", "merged"]

#: Beyond the oldest entry.
OLDEST: Place = (-(2**63), 0)
# Entries that are looked at, in all streams; and in one at least.
_BUDGET = 6_000
_LEAST = 100


@attrs.frozen
class ReadPart:
    """
    The part of a stream, or of all streams, that was read.

    @ivar found: places of entries that match, the newest first, with the uuids.
    @ivar end: all entries that match are in C{found}, back to this place.
    """

    found: Mapping[Place, bytes]
    end: Place


def merged(parts: Sequence[ReadPart]) -> ReadPart:
    """
    Merge the parts of several streams.
    """
    end = max((part.end for part in parts), default=OLDEST)
    every = {place: uuid for part in parts for place, uuid in part.found.items()}
    reached = sorted((place for place in every if place >= end), reverse=True)
    return ReadPart({place: every[place] for place in reached}, end)


class Scan:
    """
    Where entries are looked for, and which match.  Statements are made once, since that
    takes longer than most of them.

    @param stream: a condition, for which an index has the entries in the order of time.
    @param streams: the parameters of the condition, for each stream.
    @param matching: conditions on entries, and on their URLs.
    @param after: when the first entry may have ended, and C{before} the last one, in
        microseconds.
    """

    def __init__(
        self,
        stream: ColumnElement[bool],
        streams: Sequence[Mapping[str, Any]],
        matching: Sequence[ColumnElement[bool]],
        after: int | None,
        before: int | None,
    ) -> None:
        c = entries.c
        self._streams = streams
        # One bound above, not two: SQLite's index heeds the first of them alone.
        self._newest = FIRST if before is None else (before, FIRST[1])
        ended: BindParameter[int] = bindparam("ended")
        id_: BindParameter[int] = bindparam("id")
        # The first condition alone is one that an index has a range for.
        times = [c.ended <= ended, or_(c.ended < ended, c.id < id_)]
        if after is not None:
            times.append(c.ended >= after)
        order = c.ended.desc(), c.id.desc()
        following = select(c.ended, c.id, c.uuid).where(stream, *times)
        self._following = following.order_by(*order).limit(bindparam("most"))
        self._matching = None
        if matching:
            ids = select(c.id).where(stream, *times).order_by(*order)
            query = select(c.ended, c.id, c.uuid).select_from(
                entries.outerjoin(urls, urls.c.id == c.url_id)
            )
            query = query.where(c.id.in_(ids.limit(bindparam("budget"))), *matching)
            self._matching = query.order_by(*order).limit(bindparam("most"))
            last = select(c.ended, c.id).where(stream, *times).order_by(*order)
            self._last = last.offset(bindparam("budget")).limit(1)

    def read(self, connection: Connection, place: Place, most: int) -> ReadPart:
        """
        Entries that match and come after C{place}.

        @param most: how many are wanted.
        """
        place = min(place, self._newest)
        budget = max(_LEAST, _BUDGET // max(1, len(self._streams)))
        values = {"ended": place[0], "id": place[1], "most": most, "budget": budget}
        return merged([self._read(connection, {**values, **s}) for s in self._streams])

    def _read(self, connection: Connection, values: dict[str, Any]) -> ReadPart:
        query = self._following if self._matching is None else self._matching
        rows = connection.execute(query, values)
        found = {(ended, id_): bytes(uuid) for ended, id_, uuid in rows}
        if len(found) == values["most"]:
            return ReadPart(found, min(found))
        if self._matching is None:
            return ReadPart(found, OLDEST)
        values["budget"] -= 1
        last = connection.execute(self._last, values).first()
        return ReadPart(found, OLDEST if last is None else (last.ended, last.id))
