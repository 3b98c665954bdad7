"""
Writes the attempts of all mediators into the history.  They come from a durable queue,
which keeps them while this process, or the database, is down.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AsyncExitStack, suppress

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.errors import QuebertError
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

__all__ = ["HistoryFeeder", "HistoryLag"]

# Seconds until it is tried again.
_AGAIN = 2.0
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
        self._problem = "the queue of the history is not read yet"
        self._reader: EventReader | None = None
        self._lag = HistoryLag()
        self._running: Deferred[None] | None = None
        self._is_stopped = False
        self._waiter: Deferred[None] | None = None
        self._warning = RepeatedWarning(
            self.log,
            lambda: broker.reactor,
            "Attempts do not reach the history",
            "Attempts reach the history again",
        )

    def start(self) -> None:
        """
        Begin.
        """
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda f: f.trap(CancelledError))

    async def stop(self) -> None:
        """
        Read no more.
        """
        running, self._running = self._running, None
        self._is_stopped = True
        if self._waiter is not None:
            self._waiter.cancel()
        if running is not None:
            await running
        self._warning.end()

    async def _run(self) -> None:
        while not self._is_stopped:
            try:
                await self._read()
            except QuebertError as e:
                self._fail(e)
            except Exception as e:
                self.log.failure("Reading for the history failed.")
                self._fail(e)
            await self._wait(deferLater(self._broker.reactor, _AGAIN))

    async def _wait(self, waiter: Deferred[None]) -> None:
        """
        Wait for C{waiter}, or until this is stopped.
        """
        if self._is_stopped:
            waiter.cancel()
        self._waiter = waiter
        with suppress(CancelledError):
            await waiter
        self._waiter = None

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
            self._problem = ""
            self._warning.succeeded()
            await self._wait(Deferred())

    def _fail(self, error: BaseException) -> None:
        self._problem = str(error) or type(error).__name__
        self._warning.met(self._problem)

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
        problem = self._ledger.problem or self._problem
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
