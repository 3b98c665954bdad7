"""
The ledger of attempts: takes batches, and answers questions, without blocking.

L{HistoryLedger.record} returns once a batch is written: a reader of the queue of the
broker acknowledges it no earlier, so the broker keeps batches that are not written.
While the database fails, L{HistoryLedger.problem} tells why.  Where too much waits,
C{record} fails.

A statement that takes too long is ended from outside: a database that is frozen keeps
nobody waiting for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.python.threadpool import ThreadPool

from quebert._database_threads import DatabaseThreads
from quebert.errors import HistoryError, HistoryRefused, QuebertError
from quebert.events import AttemptBatch
from quebert.history._recorder import HistoryRecorder, RecorderStore
from quebert.history._values import (
    DueCount,
    HistoryGap,
    HistoryPage,
    HistoryQuery,
    LatencyMap,
    LifeRecord,
    Lives,
    PastAttempt,
    Retention,
    TaskHistory,
    TaskTries,
    Totals,
)

__all__ = ["HistoryLedger", "LedgerStore"]

P = ParamSpec("P")
T = TypeVar("T")

# Questions that wait for an answer.
_ASKED = 100
#: Tasks or attempts of one answer.
MOST = 500


class LedgerStore(RecorderStore, Protocol):
    """
    The questions of the ledger to its database.  Threads call these methods.
    """

    def find_tasks(
        self, query: HistoryQuery, page_token: str, page_size: int, /
    ) -> HistoryPage: ...
    def life_of(self, uuid: str, /) -> TaskHistory | None: ...
    def tries_of(self, uuids: Sequence[str], /) -> Mapping[str, TaskTries]: ...
    def attempts_of(
        self, queue: str, before: float | None, most: int, /
    ) -> Sequence[PastAttempt]: ...
    def latency(self, queue: str, since: float, /) -> LatencyMap: ...
    def due(self, queue: str, now: float, width: float, /) -> Sequence[DueCount]: ...
    def totals(self, since: float | None, /) -> Totals: ...
    def gaps_between(
        self, after: float | None, before: float | None, /
    ) -> Sequence[HistoryGap]: ...
    def positions(self) -> Mapping[str, int]: ...


class HistoryLedger:
    """
    Made by L{quebert.history.open_ledger}.
    """

    def __init__(
        self,
        store: LedgerStore,
        retention: Retention,
        reactor: Any,
        clock: Callable[[], float] = time.time,
        pool: Callable[[int, str], ThreadPool] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._threads = DatabaseThreads(reactor, store.abort, pool)
        self._recorder = HistoryRecorder(
            store, self._threads, retention, reactor, clock
        )
        self._asked = 0

    async def start(self) -> None:
        """
        Open the database.  If it cannot be reached now, that is tried again and again.

        @raise HistoryRefused: the history cannot be kept there.
        """
        self._threads.start()
        error = None
        try:
            await self._recorder.open()
        except HistoryRefused:
            await self.close()
            raise
        except Exception as e:
            error = e
        self._recorder.start(error)

    async def close(self) -> None:
        """
        Write what waits, if that takes no more than some seconds, and end.  What waits
        then fails.
        """
        if not self._recorder.closed:
            await self._recorder.close()
            await self._threads.stop(self._store.close)

    # -- Writing

    @property
    def problem(self) -> str:
        """
        Why the database fails to write or to remove entries, in one sentence; empty if
        it does not fail.
        """
        return self._recorder.problem

    @property
    def refused(self) -> int:
        """
        How many batches had something in them that no database takes.
        """
        return self._recorder.refused

    @property
    def waiting(self) -> int:
        """
        How many records wait to be written.
        """
        return self._recorder.size

    async def record(self, batch: AttemptBatch) -> None:
        """
        Write the attempts of a batch; returns once they are written.  A batch that was
        written already changes nothing.  What is missing before it is a gap.

        @raise HistoryError: too much waits, or the ledger is closed; the batch must
            come again.
        """
        await self._recorder.write_later(batch)

    async def record_lives(self, records: Sequence[LifeRecord]) -> None:
        """
        Write what has happened to tasks without an attempt.

        @raise HistoryError: too much waits, or the ledger is closed.
        """
        await self._recorder.write_later(Lives(tuple(records)))

    # -- Asking

    async def tasks(
        self, query: HistoryQuery, page_token: str = "", page_size: int = 50
    ) -> HistoryPage:
        """
        Tasks that match, the one first that was attempted last.

        @param page_token: C{next_page_token} of the page before.
        @param page_size: how many tasks, 1 to 500.
        @raise UnknownPageToken: the token is none, or of another query.
        @raise HistoryError: the database does not answer.
        """
        size = max(1, min(page_size, MOST))
        return await self._ask(self._store.find_tasks, query, page_token, size)

    async def task(self, uuid: str) -> TaskHistory | None:
        """
        All that is known of a task; C{None} for nothing.

        @raise HistoryError: the database does not answer.
        """
        return await self._ask(self._store.life_of, uuid)

    async def tries(self, uuids: Sequence[str]) -> Mapping[str, TaskTries]:
        """
        The requests that were made for tasks, in sum, by their uuids; only of tasks for
        which the history has any.  It has them once mediators have published them,
        about a quarter of a second after each, and they are written.

        @param uuids: up to some hundred.
        @raise HistoryError: the database does not answer.
        """
        return await self._ask(self._store.tries_of, uuids)

    async def attempts_of(
        self, queue: str, *, before: float | None = None, most: int = 50
    ) -> Sequence[PastAttempt]:
        """
        The newest attempts at tasks of a queue, the newest first.

        @param before: only those that ended earlier.
        @param most: how many, up to 500.
        @raise HistoryError: the database does not answer.
        """
        size = max(1, min(most, MOST))
        return await self._ask(self._store.attempts_of, queue, before, size)

    async def latency(self, queue: str, since: float) -> LatencyMap:
        """
        How long the requests of a queue took, minute by minute.

        @raise HistoryError: the database does not answer.
        """
        return await self._ask(self._store.latency, queue, since)

    async def due(self, queue: str, *, width: float = 60.0) -> Sequence[DueCount]:
        """
        How many tasks of a queue are due when, as far as the history knows of them.

        @param width: seconds of a span.
        @raise HistoryError: the database does not answer.
        """
        return await self._ask(self._store.due, queue, self._clock(), width)

    async def totals(self, since: float | None = None) -> Totals:
        """
        Count attempts by queue and outcome, since the history began.

        @param since: only attempts that ended in this minute or later, and are not too
            old to be kept.
        @raise HistoryError: the database does not answer.
        """
        return await self._ask(self._store.totals, since)

    async def gaps(
        self, after: float | None = None, before: float | None = None
    ) -> Sequence[HistoryGap]:
        """
        The gaps of a span of time; the newest first.

        @raise HistoryError: the database does not answer.
        """
        return await self._ask(self._store.gaps_between, after, before)

    async def positions(self) -> Mapping[str, int]:
        """
        C{AttemptBatch.total} of the newest batch that is written, for each mediator.

        @raise HistoryError: the database does not answer.
        """
        return await self._ask(self._store.positions)

    async def _ask(
        self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if self._recorder.closed:
            raise HistoryError("the history is closed")
        if not self._recorder.is_open:
            raise HistoryError(self.problem or "the history is not open yet")
        if self._asked >= _ASKED:
            raise HistoryError(f"{self._asked} others wait for the history already")
        self._asked += 1
        try:
            return await self._threads.read(question, *args, **kwargs)
        except QuebertError:
            raise
        except Exception as e:
            raise HistoryError(self._store.problem_of(e)) from e
        finally:
            self._asked -= 1
