"""
Writes batches into the history, in order, and removes entries that are too old.

Batches wait in a bounded buffer, in the order in which they came.  The thread that
writes takes many of them in one transaction.  While the database fails, the same ones
are tried again and again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ParamSpec, Protocol, TypeVar

import attrs
from twisted.internet import defer
from twisted.internet.defer import Deferred

from quebert._database_threads import DatabaseThreads
from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._waiters import Waiters, another_waiter
from quebert.errors import HistoryError
from quebert.history._values import Retention, Write

__all__ = ["HistoryRecorder", "RecorderStore"]

P = ParamSpec("P")
T = TypeVar("T")

#: Records that wait at most; those of one batch more may.
BUFFER = 200_000
# Records that one transaction writes, about.
_TRANSACTION = 50_000
# Seconds until it is tried again, at first and at most.
_SOON, _LATE = 0.5, 10.0
# Seconds that what is being written gets to finish at the end.
_LAST = 10.0
# Seconds after which a database that does not come back is said to be silent.
_SILENT = 10.0
# Seconds between two looks for what is not to be kept.
_RETAIN = 5.0
# Entries that are removed in one go, about.
_SLICE = 4000


class RecorderStore(Protocol):
    """
    The methods of the database that the thread calls.  The first four may raise.
    """

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
    Records to write, and the Deferred of the caller.
    """

    write: Write
    done: Deferred[None]

    @property
    def size(self) -> int:
        """
        How many records it has.
        """
        return 1 + len(self.write.records)


class HistoryRecorder:
    """
    @ivar problem: why the database does not do what it should; empty if it does.
    @ivar refused: how many batches had something in them that no database takes.
    @ivar size: how many records wait.
    @ivar is_open: whether the database was opened.
    @ivar closed: whether all has ended.
    """

    log = Logger()

    def __init__(
        self,
        store: RecorderStore,
        threads: DatabaseThreads,
        retention: Retention,
        reactor: Any,
        clock: Callable[[], float],
    ) -> None:
        self.problem = ""
        self.refused = self.size = 0
        self.is_open = self.closed = False
        self._store = store
        self._threads = threads
        self._retention = retention
        self._reactor = reactor
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._came: Waiters[None] = Waiters()
        self._ended: Waiters[None] = Waiters()
        self._running: Deferred[None] | None = None
        self._retaining = False
        self._retained_at = 0.0
        self._failing = self._warning(
            "The history is not written", "The history is written again"
        )
        self._refusing = self._warning(
            "The history lacks records that no database takes",
            "The history takes all records again",
        )

    def _warning(self, fault: str, over: str) -> RepeatedWarning:
        return RepeatedWarning(self.log, lambda: self._reactor, fault, over)

    async def open(self) -> None:
        """
        Open the database.

        @raise Exception: it cannot be opened.
        """
        await self._threads.open(self._store.open)
        self.is_open = True

    def start(self, error: Exception | None) -> None:
        """
        Begin.

        @param error: why the database could not be opened.
        """
        if error is not None:
            self._fails(error)
        self._running = Deferred.fromCoroutine(self._run())

    async def close(self) -> None:
        """
        Write what waits, if that takes no more than some seconds, and end.  What waits
        then fails.
        """
        self.closed = True
        self._came.fire(None)
        self._ended.fire(None)
        if self._running is not None:
            aborting = self._reactor.callLater(_LAST, self._store.abort)
            ending = another_waiter(self._running)
            with suppress(defer.TimeoutError):
                await ending.addTimeout(2 * _LAST, self._reactor)
            if aborting.active():
                aborting.cancel()
        self._failing.end()
        self._refusing.end()
        while self._waiting:
            failure = HistoryError("the history is closed")
            self._waiting.popleft().done.errback(failure)

    def write_later(self, write: Write) -> Deferred[None]:
        """
        Write something; fires once it is written.

        @raise HistoryError: too much waits, or the ledger is closed.
        """
        if self.closed:
            raise HistoryError("the history is closed")
        if self.size >= BUFFER:
            raise HistoryError(f"{self.size:,} records wait for the history already")
        waiting = _Waiting(write, Deferred())
        self._waiting.append(waiting)
        self.size += waiting.size
        self._came.fire(None)
        return waiting.done

    async def _run(self) -> None:
        """
        Write records, and remove old entries, until the ledger is closed.
        """
        seconds = _SOON
        while not self.closed or (self._waiting and not self.problem):
            try:
                await self._work()
            except Exception as e:
                self._fails(e)
                await self._wait(self._ended, seconds)
                seconds = min(2 * seconds, _LATE)
            else:
                seconds = _SOON

    async def _work(self) -> None:
        if not self.is_open:
            await self.open()
        some = self._next()
        if some:
            await self._write(some)
        elif not self._retaining and not self.closed:
            await self._wait(self._came, _RETAIN)
            self._retaining = not self._waiting
            return
        if self._retaining or self._reactor.seconds() >= self._retained_at + _RETAIN:
            # More is removed than was added, so that this keeps up.
            await self._retain(2 + sum(each.size for each in some) // _SLICE)

    def _next(self) -> Sequence[_Waiting]:
        """
        Take the records of the next transaction.
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
            await self._do(self._store.write, [e.write for e in some])
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
                self.size -= each.size
            if not each.done.called:
                each.done.callback(None)

    async def _refuse(self, write: Write, error: Exception) -> None:
        """
        Write that there is something that no database takes, in place of it.
        """
        self.refused += 1
        self._refusing.met(self._store.problem_of(error), len(write.records))
        try:
            await self._do(self._store.refuse, write)
        except Exception as e:
            if not self._store.is_of_the_records(e):
                raise

    async def _retain(self, slices: int) -> None:
        for _ in range(slices):
            now = self._clock()
            self._retaining = await self._do(self._store.retain, self._retention, now)
            if not self._retaining or self.closed:
                break
        self._retained_at = self._reactor.seconds()
        self._succeeds()

    async def _do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Do work in the thread that writes, and tell where that does not come back.
        """
        silence = TimeoutError(f"no answer in {_SILENT:g} s")
        telling = self._reactor.callLater(_SILENT, self._fails, silence)
        try:
            return await self._threads.write(work, *args, **kwargs)
        finally:
            if telling.active():
                telling.cancel()

    async def _wait(self, event: Waiters[None], seconds: float) -> None:
        if not self.closed:
            with suppress(defer.TimeoutError):
                await event.wait().addTimeout(seconds, self._reactor)

    def _fails(self, error: Exception) -> None:
        self.problem = self._store.problem_of(error)
        self._failing.met(self.problem)

    def _succeeds(self) -> None:
        if self.problem:
            self.problem = ""
            self._failing.succeeded()
