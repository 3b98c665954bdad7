"""
Writes the attempts of all mediators into the history.  They come from a durable queue,
which keeps them while this process, or the database, is down.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AsyncExitStack

from twisted.internet.defer import Deferred

from quebert._log import Logger
from quebert.events import (
    ATTEMPTS,
    HISTORY,
    AttemptBatch,
    EventReader,
    Gap,
    MediatorState,
    reading,
)
from quebert.history import HistoryLedger
from quebert.operations import BrokerAccess
from quebert.web import HistoryView
from quebert.web.cluster._keep_going import KeepGoing

__all__ = ["HistoryFeeder", "HistoryLag"]

# Batches that are not written yet, and mediators.
_MOST_HEARD = 10_000


class HistoryFeeder:
    """
    Reads the durable queue.  Each batch is acknowledged after the history has written
    it.

    @ivar gaps: how many gaps there were.
    @ivar dropped: how many attempts these gaps have, so far as that is known.
    """

    log = Logger()

    def __init__(self, broker: BrokerAccess, ledger: HistoryLedger) -> None:
        self.gaps = 0
        self.dropped = 0
        self._broker = broker
        self._ledger = ledger
        self._reader: EventReader | None = None
        self._lag = HistoryLag()
        self._going = KeepGoing(
            self._read,
            broker.reactor,
            self.log,
            "Attempts do not reach the history",
            "Attempts reach the history again",
            "the queue of the history is not read yet",
        )

    def start(self) -> None:
        """
        Begin.
        """
        self._going.start()

    async def stop(self) -> None:
        """
        Read no more.
        """
        await self._going.stop()

    async def _read(self) -> None:
        positions = await self._ledger.positions()
        async with AsyncExitStack() as stack:
            client, _ = await stack.enter_async_context(self._broker.client())
            self._reader = await stack.enter_async_context(
                reading(
                    client,
                    self,
                    queue=HISTORY,
                    keys=[ATTEMPTS],
                    positions=positions,
                )
            )
            self._going.goes()
            await self._going.wait(Deferred())

    # -- Events

    async def attempts(self, batch: AttemptBatch, gap: Gap | None) -> None:
        """
        Write the attempts of a batch.

        @raise HistoryError: they are not written, and must come again.
        """
        await self._ledger.record(batch)
        self._lag.written(batch.mediator, batch.sequence)
        if gap is not None:  # now: what is not written comes again, with its gap
            self.gaps += 1
            self.dropped += gap.count

    def state(self, state: MediatorState) -> None:
        """
        The history has no states of mediators.
        """

    # -- What others hear

    def attempted(self, batch: AttemptBatch) -> None:
        """
        The live view has a batch, which comes out of the durable queue, too.
        """
        now = self._broker.reactor.seconds()
        self._lag.heard(batch.mediator, batch.sequence, now)

    def lost(self, mediator: str, count: int | None) -> None:
        """
        The live view has a gap.  The durable queue may have none.
        """

    # -- How it is

    @property
    def view(self) -> HistoryView:
        """
        The state of the history, for the overview.
        """
        problem = self._ledger.problem or self._going.problem
        reader = self._reader
        if not problem and (reader is None or not reader.reading):
            problem = "the queue of the history is not read: the broker is away"
        return HistoryView(
            ok=not problem,
            problem=problem,
            behind=self._lag.behind(self._broker.reactor.seconds()),
            gaps=self.gaps,
            dropped=self.dropped,
        )


class HistoryLag:
    """
    How many seconds the history is behind the live view.  Pure; the clocks of mediators
    do not matter.
    """

    def __init__(self) -> None:
        # When, by mediator and sequence; the oldest first.
        self._heard: OrderedDict[tuple[str, int], float] = OrderedDict()
        self._written: OrderedDict[str, int] = OrderedDict()

    def heard(self, mediator: str, sequence: int, now: float) -> None:
        """
        The live view has a batch.
        """
        if self._written.get(mediator, 0) < sequence:
            self._heard[mediator, sequence] = now
            if len(self._heard) > _MOST_HEARD:
                self._heard.popitem(last=False)

    def written(self, mediator: str, sequence: int) -> None:
        """
        The history has written a batch, and so all batches that were heard before, of
        any mediator: the durable queue keeps their order.
        """
        self._written[mediator] = sequence
        self._written.move_to_end(mediator)
        if len(self._written) > _MOST_HEARD:
            self._written.popitem(last=False)
        key = mediator, sequence
        while key in self._heard:
            self._heard.popitem(last=False)

    def behind(self, now: float) -> float:
        """
        Seconds since the oldest batch was heard that is not written.
        """
        return now - next(iter(self._heard.values())) if self._heard else 0.0
