"""
How far a reader has come with each mediator: which batches come a second time, and
how many records are missing.  Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import attrs

from quebert.events._records import AttemptBatch, Gap

__all__ = ["Positions"]

#: Mediators that are remembered: each start of one is another.
MOST = 10_000


@attrs.frozen
class _LastBatch:
    """
    @ivar total: that of the last batch.
    @ivar at: when it was made, if that is known.
    """

    total: int
    at: float | None = None


class Positions:
    """
    @param totals: L{AttemptBatch.total} of the last batch that was read of each
        mediator.  If there are any, the reader has read from the first records of every
        other mediator on.
    """

    def __init__(self, totals: Mapping[str, int]) -> None:
        self._known: OrderedDict[str, _LastBatch] = OrderedDict()
        self._all_known = bool(totals)
        for mediator, total in totals.items():
            self._know(mediator, _LastBatch(total))

    def is_known(self, batch: AttemptBatch) -> bool:
        """
        Whether a batch was read before.
        """
        position = self._known.get(batch.mediator)
        return position is not None and batch.total <= position.total

    def gap_before(self, batch: AttemptBatch) -> Gap | None:
        """
        The records that are missing between the batch before and this one.
        """
        position = self._known.get(batch.mediator)
        if position is None:
            if not self._all_known:
                return None
            position = _LastBatch(0)
        count = batch.total - len(batch.records) - position.total
        if count <= 0:
            return None
        return Gap(
            mediator=batch.mediator, count=count, since=position.at, until=batch.at
        )

    def passed(self, batch: AttemptBatch) -> None:
        """
        A batch was read.
        """
        self._know(batch.mediator, _LastBatch(batch.total, batch.at))

    def _know(self, mediator: str, position: _LastBatch) -> None:
        self._known[mediator] = position
        self._known.move_to_end(mediator)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
