"""
Takes the attempts of all mediators into the history: from a durable queue, which holds
them while this process is down, or while the database is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

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

__all__ = ["HistoryFeeder"]

# Seconds until it is tried again.
_AGAIN = 2.0


class HistoryFeeder:
    """
    Reads the durable queue, and has each batch acknowledged once it is written.

    @param newest: when the newest batch was made of which others have heard.
    @ivar gaps: how often something was missing, and C{dropped}: how many attempts.
    """

    log = Logger()

    def __init__(
        self,
        broker: BrokerAccess,
        ledger: HistoryLedger,
        newest: Callable[[], float | None],
    ) -> None:
        self.gaps = 0
        self.dropped = 0
        self._broker = broker
        self._ledger = ledger
        self._newest = newest
        self._problem = "the queue of the history is not read yet"
        self._reader: EventReader | None = None
        self._since: float | None = None
        self._running: Deferred[None] | None = None
        self._stopping: Deferred[None] = Deferred()
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
        if running is not None:
            self._stopping.callback(None)
            await running
        self._warning.end()

    async def _run(self) -> None:
        while not self._stopping.called:
            try:
                await self._read()
            except QuebertError as e:
                self._fail(e)
            except Exception as e:
                self.log.failure("Reading for the history failed.")
                self._fail(e)
            if not self._stopping.called:
                await self._wait()

    async def _wait(self) -> None:
        waiting: Any = deferLater(self._broker.reactor, _AGAIN)
        self._stopping.addCallback(lambda _: waiting.cancel())
        try:
            await waiting
        except CancelledError:
            pass

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
            waiter: Deferred[None] = Deferred()
            self._stopping.addCallback(lambda _: waiter.callback(None))
            await waiter

    def _fail(self, error: BaseException) -> None:
        self._problem = str(error) or type(error).__name__
        self._warning.met(self._problem)

    # -- Events

    async def attempts(self, batch: AttemptBatch, gap: Gap | None) -> None:
        """
        Attempts of a mediator have ended.

        @raise HistoryError: they are not written, and must come again.
        """
        if gap is not None:
            self.gaps += 1
            self.dropped += gap.count
        await self._ledger.record(batch)

    def state(self, state: MediatorState) -> None:
        """
        Nobody keeps how a mediator was.
        """

    # -- How it is

    @property
    def view(self) -> HistoryView:
        """
        How the history is.
        """
        problem = self._ledger.problem or self._problem
        reader = self._reader
        if not problem and (reader is None or not reader.reading):
            problem = "the queue of the history is not read: the broker is away"
        return HistoryView(
            ok=not problem,
            problem=problem,
            behind=self._behind(),
            gaps=self.gaps,
            dropped=self.dropped,
        )

    def _behind(self) -> float:
        newest = self._newest()
        if newest is None:
            return 0.0
        written = None if self._reader is None else self._reader.at
        if written is None:
            self._since = newest if self._since is None else self._since
            written = self._since
        return max(0.0, newest - written)
