"""
Records of attempts as columns, which cost little to make and compress well.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from quebert.events._records import AttemptRecord

__all__ = ["Columns"]


@attrs.frozen(kw_only=True)
class Columns:
    """
    Some records of one mediator, in the order in which they ended in each queue.  The
    columns have the same length; each has one field of L{AttemptRecord}, in its form.

    @ivar uuid: C{uuid} of each.
    @ivar queue: C{queue} of each.
    @ivar url: C{url} of each.
    @ivar number: C{number} of each.
    @ivar added: C{added} of each.
    @ivar due: C{due} of each.
    @ivar started: C{started} of each.
    @ivar ended: C{ended} of each.
    @ivar status: C{status} of each.
    @ivar outcome: C{outcome} of each.
    @ivar reason: C{reason} of each.
    @ivar answer: C{answer} of each.
    @ivar retry_at: C{retry_at} of each.
    """

    uuid: Sequence[str]
    queue: Sequence[str]
    url: Sequence[str]
    number: Sequence[int]
    added: Sequence[float | None]
    due: Sequence[float | None]
    started: Sequence[float]
    ended: Sequence[float]
    status: Sequence[int | None]
    outcome: Sequence[str]
    reason: Sequence[str]
    answer: Sequence[str]
    retry_at: Sequence[float | None]

    def __len__(self) -> int:
        return len(self.uuid)

    @classmethod
    def of(cls, records: Iterable[AttemptRecord]) -> Columns:
        """
        The columns of records.
        """
        rows = tuple(records)
        return cls(**{name: [getattr(row, name) for row in rows] for name in NAMES})

    def part(self, start: int, end: int) -> Columns:
        """
        Some of the records.
        """
        return Columns(**{name: getattr(self, name)[start:end] for name in NAMES})

    def records(self) -> tuple[AttemptRecord, ...]:
        """
        The records.
        """
        columns = [getattr(self, name) for name in NAMES]
        return tuple(
            AttemptRecord(**dict(zip(NAMES, row, strict=True)))
            for row in zip(*columns, strict=True)
        )


#: The fields of a record.
NAMES = tuple(each.name for each in attrs.fields(Columns))
