"""
Threads in which a database is asked, and how long that may take.

A thread cannot be ended.  Where a database says nothing, as one that is frozen, who
asks is told so in some seconds.  The thread goes on waiting, until what it waits for is
ended from outside.  While that is so of all threads that read, others are refused at
once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

__all__ = ["DatabaseThreads"]

P = ParamSpec("P")
T = TypeVar("T")

# Seconds that one call to the database may take, and the one that opens it, which may
# change all of its tables.
_LIMIT = 90.0
_OPENING = 3600.0
#: Seconds in which a question is answered: more than the database has for it.
ANSWER = 10.0
#: Threads that answer questions.
READERS = 2


class DatabaseThreads:
    """
    One thread that writes, and some that read.

    @param abort: ends whatever is asked of the database.
    @param make: makes a pool of so many threads with a name.
    """

    def __init__(
        self,
        reactor: Any,
        abort: Callable[[], object],
        make: Callable[[int, str], ThreadPool] | None = None,
    ) -> None:
        self._reactor = reactor
        self._abort = abort
        make = make or _pool
        self._writer = make(1, "history writer")
        self._readers = make(READERS, "history reader")
        self._in_use = {self._writer: 0, self._readers: 0}
        # What was not answered in time, and is still asked.
        self._overdue: set[Deferred[Any]] = set()

    def start(self) -> None:
        """
        Begin to take work.
        """
        for pool in self._in_use:
            pool.start()

    async def open(self, work: Callable[[], object]) -> None:
        """
        Open the database.
        """
        await self._run(self._writer, _OPENING, work)

    async def write(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Do work in the thread that writes.
        """
        return await self._run(self._writer, _LIMIT, work, *args, **kwargs)

    async def read(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Do work in a thread that reads.

        @raise TimeoutError: it takes too long, or what was asked before does.
        """
        silence = TimeoutError(f"no answer in {ANSWER:g} s")
        if len(self._overdue) >= READERS:
            raise silence
        coroutine = self._run(self._readers, _LIMIT, work, *args, **kwargs)
        running: Deferred[T] = Deferred.fromCoroutine(coroutine)
        answer: Deferred[T] = Deferred()
        running.addBoth(self._returned, answer)
        try:
            return await answer.addTimeout(ANSWER, self._reactor)
        except defer.TimeoutError:
            self._overdue.add(answer)
            raise silence from None

    def _returned(self, result: Any, answer: Deferred[Any]) -> None:
        self._overdue.discard(answer)
        if not answer.called:
            answer.callback(result)

    async def stop(self, close: Callable[[], object]) -> None:
        """
        Close the database, and end the threads.  One that does not come back from the
        database is left behind.
        """
        if not self._in_use[self._writer]:
            await self.write(close)
        for pool, in_use in self._in_use.items():
            if not in_use:
                pool.stop()

    async def _run(
        self,
        pool: ThreadPool,
        limit: float,
        work: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        aborting = self._reactor.callLater(limit, self._abort)
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
