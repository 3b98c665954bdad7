"""
Entries that match, the newest first, from several places of the indexes at once.

The entries of one queue, say, are in the order of time in one index; those of another
queue are elsewhere.  Each such place is a stream.  Of a stream a bounded number of
entries is read, so that a query ends in time if few of many entries match.  What is
known of all streams then reaches back as far as that one does that was read least.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from quebert.history._schema import entries, urls
from quebert.history._tokens import Place

__all__ = ["OLDEST", "ReadPart", "Scan", "merged"]

#: Beyond the oldest entry.
OLDEST: Place = (-(2**63), 0)
# Entries that are looked at, in all streams; and in one at least.
_BUDGET = 20_000
_LEAST = 200


@attrs.frozen
class ReadPart:
    """
    What was read of a stream, or of all.

    @ivar places: of entries that match, the newest first.
    @ivar end: all entries that match are in C{places}, back to this place.
    """

    places: Sequence[Place]
    end: Place


def merged(parts: Sequence[ReadPart]) -> ReadPart:
    """
    What several streams come to.
    """
    end = max((part.end for part in parts), default=OLDEST)
    found = {place for part in parts for place in part.places if place >= end}
    return ReadPart(sorted(found, reverse=True), end)


@attrs.frozen
class Scan:
    """
    Where entries are looked for, and which match.

    @ivar streams: conditions, for each of which an index has the entries in the order
        of time.
    @ivar matching: conditions on entries, and on their URLs.
    @ivar after: when the first entry may have ended, and C{before} the last one, in
        microseconds.
    """

    streams: Sequence[ColumnElement[bool]]
    matching: Sequence[ColumnElement[bool]] = ()
    after: int | None = None
    before: int | None = None

    def read(self, connection: Connection, place: Place, most: int) -> ReadPart:
        """
        Entries that match and come after C{place}.

        @param most: how many are wanted.
        """
        each = max(_LEAST, _BUDGET // max(1, len(self.streams)))
        parts = (self._read(connection, s, place, most, each) for s in self.streams)
        return merged(list(parts))

    def _read(
        self,
        connection: Connection,
        stream: ColumnElement[bool],
        place: Place,
        most: int,
        budget: int,
    ) -> ReadPart:
        c = entries.c
        following = select(c.ended, c.id).where(stream, *self._times(place))
        following = following.order_by(c.ended.desc(), c.id.desc())
        if not self.matching:
            rows = connection.execute(following.limit(most))
            places = [(ended, id_) for ended, id_ in rows]
            return ReadPart(places, places[-1] if len(places) == most else OLDEST)
        query = self._matching(stream, place, budget).limit(most)
        places = [(ended, id_) for ended, id_ in connection.execute(query)]
        if len(places) == most:
            return ReadPart(places, places[-1])
        last = connection.execute(following.offset(budget - 1).limit(1)).first()
        return ReadPart(places, OLDEST if last is None else (last.ended, last.id))

    def _matching(
        self, stream: ColumnElement[bool], place: Place, budget: int
    ) -> Select[tuple[int, int]]:
        c = entries.c
        seen = select(c.id).where(stream, *self._times(place))
        seen = seen.order_by(c.ended.desc(), c.id.desc()).limit(budget)
        query = select(c.ended, c.id).select_from(
            entries.outerjoin(urls, urls.c.id == c.url_id)
        )
        query = query.where(c.id.in_(seen), *self.matching)
        return query.order_by(c.ended.desc(), c.id.desc())

    def _times(self, place: Place) -> Sequence[ColumnElement[bool]]:
        c = entries.c
        ended, id_ = place
        # The first condition alone is one that an index has a range for.
        following = c.ended <= ended, or_(c.ended < ended, c.id < id_)
        bounds = [and_(*following)]
        if self.after is not None:
            bounds.append(c.ended >= self.after)
        if self.before is not None:
            bounds.append(c.ended <= self.before)
        return bounds
