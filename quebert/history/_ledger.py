"""
The ledger of attempts: takes batches, and answers questions, without blocking.

Batches wait in a bounded buffer, in the order in which they came.  A thread writes many
of them in one transaction, and L{HistoryLedger.record} fires then: whoever has a batch
from a queue of the broker acknowledges it no earlier, so the broker holds what is not
written.  While the database fails, the same batches are tried again and again, and
L{HistoryLedger.problem} tells why.  Where the buffer is full, C{record} fails.

A statement that takes too long is ended from outside: a database that is frozen keeps
nobody waiting for ever.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, ParamSpec, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._waiters import Waiters, another_waiter
from quebert.errors import HistoryError, HistoryRefused, QuebertError
from quebert.events import AttemptBatch
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
    Totals,
    Write,
)

__all__ = ["HistoryLedger", "LedgerStore"]

P = ParamSpec("P")
T = TypeVar("T")

#: Records that wait at most; those of one batch more may.
BUFFER = 200_000
# Records that one transaction writes, about.
_TRANSACTION = 50_000
# Seconds until it is tried again, at first and at most.
_SOON, _LATE = 0.5, 10.0
# Seconds that one call to the database may take.
_LIMIT = 90.0
# Seconds that what is being written gets to finish when the ledger is closed.
_LAST = 10.0
# Seconds between two looks for what is not to be kept.
_RETAIN = 5.0
# Entries that are removed in one go, about.
_SLICE = 4000
#: Threads that answer questions.
READERS = 2
# Questions that wait for an answer.
_ASKED = 100
#: Tasks or attempts of one answer.
MOST = 500


class LedgerStore(Protocol):
    """
    What the ledger asks of its database, in threads.  All may raise, but C{problem_of},
    C{is_of_the_records}, C{abort} and C{close}.
    """

    def find_tasks(
        self, query: HistoryQuery, page_token: str, page_size: int, /
    ) -> HistoryPage: ...
    def life_of(self, uuid: str, /) -> TaskHistory | None: ...
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

    def open(self) -> None: ...
    def write(self, writes: Sequence[Write]) -> None: ...
    def refuse(self, write: Write) -> None: ...
    def retain(self, retention: Retention, now: float) -> bool: ...
    def problem_of(self, error: BaseException) -> str: ...
    def is_of_the_records(self, error: BaseException) -> bool: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


@attrs.frozen(eq=False)
class _Waiting:
    """
    What is to be written, and who waits for that.
    """

    write: Write
    done: Deferred[None]

    @property
    def size(self) -> int:
        """
        How many records it has.
        """
        return 1 + len(self.write.records)


class HistoryLedger:
    """
    Made by L{quebert.history.open_ledger}.

    @ivar problem: why the database does not take or find what it should, in one
        sentence; empty if it does.
    @ivar refused: how many batches had something in them that no database takes.
    """

    log = Logger()

    def __init__(
        self,
        store: LedgerStore,
        retention: Retention,
        reactor: Any,
        clock: Callable[[], float] = time.time,
        pool: Callable[[int, str], ThreadPool] | None = None,
    ) -> None:
        self.problem = ""
        self.refused = 0
        self._store = store
        self._retention = retention
        self._reactor = reactor
        self._clock = clock
        make = pool or _pool
        self._writer = make(1, "history writer")
        self._readers = make(READERS, "history reader")
        self._in_use = {self._writer: 0, self._readers: 0}
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._is_open = self._closed = False
        self._came: Waiters[None] = Waiters()
        self._ended: Waiters[None] = Waiters()
        self._running: Deferred[None] | None = None
        self._retaining = False
        self._retained_at = 0.0
        self._asked = 0
        self._failing = RepeatedWarning(
            self.log,
            lambda: reactor,
            "The history is not written",
            "The history is written again",
        )
        self._refusing = RepeatedWarning(
            self.log,
            lambda: reactor,
            "The history lacks records that no database takes",
            "The history takes all records again",
        )

    # -- Life

    async def start(self) -> None:
        """
        Open the database.  If it cannot be reached now, that is tried again and again.

        @raise HistoryRefused: the history cannot be kept there.
        """
        self._writer.start()
        self._readers.start()
        try:
            await self._open()
        except HistoryRefused:
            await self.close()
            raise
        except Exception as e:
            self._fails(e)
        self._running = Deferred.fromCoroutine(self._run())

    async def close(self) -> None:
        """
        Write what waits, if that takes no more than some seconds, and end.  What waits
        then fails.
        """
        if self._closed:
            return
        self._closed = True
        self._came.fire(None)
        self._ended.fire(None)
        if self._running is not None:
            aborting = self._reactor.callLater(_LAST, self._store.abort)
            ending = another_waiter(self._running)
            with suppress(TimeoutError):
                await ending.addTimeout(2 * _LAST, self._reactor)
            if aborting.active():
                aborting.cancel()
        self._failing.end()
        self._refusing.end()
        while self._waiting:
            failure = HistoryError("the history is closed")
            self._waiting.popleft().done.errback(failure)
        # A thread that does not come back from its database is left behind.
        if not self._in_use[self._writer]:
            await self._in(self._writer, self._store.close)
        for pool, in_use in self._in_use.items():
            if not in_use:
                pool.stop()

    async def _open(self) -> None:
        await self._in(self._writer, self._store.open)
        self._is_open = True

    # -- Writing

    @property
    def waiting(self) -> int:
        """
        How many records wait to be written.
        """
        return self._size

    async def record(self, batch: AttemptBatch) -> None:
        """
        Write the attempts of a batch; returns once they are written.  A batch that was
        written already changes nothing.  What is missing before it is a gap.

        @raise HistoryError: too much waits, or the ledger is closed; the batch must
            come again.
        """
        await self._write_later(batch)

    async def record_lives(self, records: Sequence[LifeRecord]) -> None:
        """
        Write what has happened to tasks without an attempt.

        @raise HistoryError: too much waits, or the ledger is closed.
        """
        await self._write_later(Lives(tuple(records)))

    def _write_later(self, write: Write) -> Deferred[None]:
        if self._closed:
            raise HistoryError("the history is closed")
        if self._size >= BUFFER:
            raise HistoryError(f"{self._size:,} records wait for the history already")
        waiting = _Waiting(write, Deferred())
        self._waiting.append(waiting)
        self._size += waiting.size
        self._came.fire(None)
        return waiting.done

    async def _run(self) -> None:
        """
        Write what comes, and remove what is not to be kept, until the ledger is closed.
        """
        seconds = _SOON
        while not self._closed or (self._waiting and not self.problem):
            try:
                await self._work()
            except Exception as e:
                self._fails(e)
                await self._wait(self._ended, seconds)
                seconds = min(2 * seconds, _LATE)
            else:
                seconds = _SOON

    async def _work(self) -> None:
        if not self._is_open:
            await self._open()
        some = self._next()
        if some:
            await self._write(some)
        elif not self._retaining and not self._closed:
            await self._wait(self._came, _RETAIN)
            self._retaining = not self._waiting
            return
        if self._retaining or self._reactor.seconds() >= self._retained_at + _RETAIN:
            # More is removed than was added, so that this keeps up.
            await self._retain(2 + sum(each.size for each in some) // _SLICE)

    def _next(self) -> Sequence[_Waiting]:
        """
        What one transaction writes.
        """
        some: list[_Waiting] = []
        size = 0
        for each in self._waiting:
            if some and size + each.size > _TRANSACTION:
                break
            some.append(each)
            size += each.size
        return some

    async def _write(self, some: Sequence[_Waiting]) -> None:
        try:
            await self._in(self._writer, self._store.write, [e.write for e in some])
        except Exception as e:
            if not self._store.is_of_the_records(e):
                raise
            if len(some) > 1:
                for each in some:
                    await self._write([each])
                return
            await self._refuse(some[0].write, e)
        self._succeeds()
        for each in some:
            if self._waiting:  # else the ledger was closed meanwhile
                self._waiting.popleft()
                self._size -= each.size
            if not each.done.called:
                each.done.callback(None)

    async def _refuse(self, write: Write, error: Exception) -> None:
        """
        Write that there is something that no database takes, in place of it.
        """
        self.refused += 1
        self._refusing.met(self._store.problem_of(error), len(write.records))
        try:
            await self._in(self._writer, self._store.refuse, write)
        except Exception as e:
            if not self._store.is_of_the_records(e):
                raise

    async def _retain(self, slices: int) -> None:
        for _ in range(slices):
            now = self._clock()
            retaining = self._in(self._writer, self._store.retain, self._retention, now)
            self._retaining = await retaining
            if not self._retaining or self._closed:
                break
        self._retained_at = self._reactor.seconds()
        self._succeeds()

    async def _wait(self, event: Waiters[None], seconds: float) -> None:
        if not self._closed:
            with suppress(TimeoutError):
                await event.wait().addTimeout(seconds, self._reactor)

    def _fails(self, error: Exception) -> None:
        self.problem = self._store.problem_of(error)
        self._failing.met(self.problem)

    def _succeeds(self) -> None:
        if self.problem:
            self.problem = ""
            self._failing.succeeded()

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
        How many attempts came to what, by queue and outcome, since the history began.

        @param since: only attempts that ended in this minute or later, and are not too
            old to be kept.
        @raise HistoryError: the database does not answer.
        """
        return await self._ask(self._store.totals, since)

    async def gaps(
        self, after: float | None = None, before: float | None = None
    ) -> Sequence[HistoryGap]:
        """
        What is missing of some time; the newest gap first.

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
        if self._closed:
            raise HistoryError("the history is closed")
        if not self._is_open:
            raise HistoryError(self.problem or "the history is not open yet")
        if self._asked >= _ASKED:
            raise HistoryError(f"{self._asked} others wait for the history already")
        self._asked += 1
        try:
            return await self._in(self._readers, question, *args, **kwargs)
        except QuebertError:
            raise
        except Exception as e:
            raise HistoryError(self._store.problem_of(e)) from e
        finally:
            self._asked -= 1

    async def _in(
        self, pool: ThreadPool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        aborting = self._reactor.callLater(_LIMIT, self._store.abort)
        self._in_use[pool] += 1
        try:
            doing: Deferred[T] = deferToThreadPool(
                self._reactor, pool, work, *args, **kwargs
            )
            return await doing
        finally:
            self._in_use[pool] -= 1
            if aborting.active():
                aborting.cancel()


def _pool(threads: int, name: str) -> ThreadPool:
    pool = ThreadPool(0, threads, name)
    # A database that does not come back must not keep the process from its end.
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
    return pool
