"""
Threads that ask a database, and how long a question may take.

A thread cannot be ended.  If a database does not answer, as one that is frozen, the
caller gets an error in some seconds.  The thread goes on waiting, until its statement
is ended from outside.  Further questions are refused at once meanwhile, but for one now
and then, which finds out whether the database answers again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

__all__ = ["ANSWER", "DatabaseThreads", "Silence", "shut"]

P = ParamSpec("P")
T = TypeVar("T")

# Seconds that one call to the database may take, and the one that opens it, which may
# change all of its tables.
_LIMIT = 90.0
_OPENING = 3600.0
#: Seconds in which a question is answered: more than the database has for it.
ANSWER = 10.0
# Seconds from which on a question that fails has taken long, and seconds for which
# nobody asks then.
_LONG, _PAUSE = 1.0, 5.0
#: Threads that answer questions.
READERS = 2


class Silence:
    """
    Whether the database is known to say nothing.  Pure: times are passed in.
    """

    def __init__(self) -> None:
        self._why: Exception | None = None
        self._heard_at = float("-inf")
        self._until = 0.0
        self._is_probed = False

    @property
    def is_known(self) -> bool:
        """
        Whether it is.
        """
        return self._why is not None

    def probe(self, now: float) -> bool:
        """
        Whether one is to find out whether it answers again; others may just ask.

        @raise Exception: it says nothing: why the last one who asked failed.
        """
        if self._why is None:
            return False
        if self._is_probed or now < self._until:
            raise self._why.with_traceback(None)
        self._is_probed = True
        return True

    def probed(self) -> None:
        """
        The one who was to find out has ended.
        """
        self._is_probed = False

    def heard(self, now: float) -> None:
        """
        It has done what it was to do.
        """
        self._why, self._heard_at = None, now

    def failed(self, why: Exception, began: float, now: float) -> None:
        """
        It has not.  If that took long, and it did nothing else meanwhile, it is silent.
        """
        if now - began >= _LONG and self._heard_at < began:
            self._why, self._until = why, now + _PAUSE


class DatabaseThreads:
    """
    One thread that writes, and some that read.

    @param abort: ends whatever is asked of the database.
    @param make: makes a pool of so many threads with a name.
    @param name: what the database has, for the names of threads.
    @param limit: seconds that the thread that writes may take for its work; by default
        those of a long transaction.
    """

    def __init__(
        self,
        reactor: Any,
        abort: Callable[[], object],
        make: Callable[[int, str], ThreadPool] | None = None,
        *,
        name: str = "history",
        limit: float | None = None,
    ) -> None:
        self._reactor = reactor
        self._abort = abort
        self._limit = limit
        make = make or _pool
        self._writer = make(1, f"{name} writer")
        self._readers = make(READERS, f"{name} reader")
        self._in_use = {self._writer: 0, self._readers: 0}
        self._silence = Silence()

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
        limit = _LIMIT if self._limit is None else self._limit
        result = await self._run(self._writer, limit, work, *args, **kwargs)
        self._silence.heard(self._reactor.seconds())
        return result

    async def read(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Do work in a thread that reads.

        @raise TimeoutError: it takes too long, or the questions before it do.
        """
        silence, now = self._silence, self._reactor.seconds
        began, is_probe = now(), silence.probe(now())
        try:
            answer = await self._answer(work, *args, **kwargs)
        except CancelledError:
            raise
        except Exception as e:
            silence.failed(e, began, now())
            raise
        finally:
            if is_probe:
                silence.probed()
        silence.heard(now())
        return answer

    async def _answer(
        self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        coroutine = self._run(self._readers, _LIMIT, work, *args, **kwargs)
        running: Deferred[T] = Deferred.fromCoroutine(coroutine)
        answer: Deferred[T] = Deferred()
        running.addBoth(_pass_on, answer)
        try:
            return await answer.addTimeout(ANSWER, self._reactor)
        except defer.TimeoutError:
            raise TimeoutError(f"no answer in {ANSWER:g} s") from None

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


def _pass_on(result: Any, answer: Deferred[Any]) -> None:
    if not answer.called:  # else nobody waits for it any more
        answer.callback(result)


def _pool(threads: int, name: str) -> ThreadPool:
    pool = ThreadPool(0, threads, name)
    # A database that does not come back must not keep the process from its end.
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
    return pool


def shut(descriptor: int) -> None:
    """
    End a connection whose socket another thread waits for.
    """
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        copy.shutdown(socket.SHUT_RDWR)
