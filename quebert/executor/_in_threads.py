"""
Functions that run in threads: such as wait for something else, and block meanwhile.
"""

from __future__ import annotations

import logging
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    TimeoutError,
    succeed,
)
from twisted.internet.threads import deferToThreadPool
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from quebert._bounds import memory_of
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert.executor._runner import TaskRequest
from quebert.functions import ExecutorAnswer, Function
from quebert.functions.answers import name_of
from quebert.functions.calling import call_alone, log

__all__ = ["InThreads"]

_LEVELS = {logging.INFO: LogLevel.info, logging.WARNING: LogLevel.warn}


class _FunctionLog(logging.Handler):
    """
    Brings what is logged of functions, in their threads, to Twisted's log.
    """

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor

    def emit(self, record: logging.LogRecord) -> None:
        """
        Something is logged.
        """
        level = _LEVELS.get(record.levelno, LogLevel.error)
        tell = partial(self.log.emit, level, "{text}", text=record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            tell = partial(tell, log_failure=Failure(record.exc_info[1]))
        self._reactor.callFromThread(tell)


class InThreads:
    """
    Runs functions in threads.  Nothing stops one that has been begun.

    @param function: called with each task.
    @param threads: how many there are, 1 or more.
    @param subconfig: calls C{function(body, uri, host, subconfig)} instead.
    @param patience: seconds that a task waits for a thread.
    """

    def __init__(
        self,
        function: Function,
        threads: int,
        *,
        subconfig: str | None = None,
        patience: float = 30.0,
        reactor: Any = None,
    ) -> None:
        self._function = function
        self._subconfig = subconfig
        self._threads = threads
        self._patience = patience
        self._reactor = reactor
        self._places = DeferredSemaphore(threads)
        self._pool: ThreadPool | None = None
        self._log: _FunctionLog | None = None

    def memory_of(self, request: TaskRequest) -> int:
        """
        That of the body and of the task decoded.
        """
        return memory_of(request.body)

    def start(self) -> None:
        """
        Start the pool of threads, which has none yet.
        """
        if self._pool is not None:
            return
        self._pool = ThreadPool(0, self._threads, "executor")
        # A function that never returns must not keep the process from its end.
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
        self._pool.start()
        self._log = _FunctionLog(given_or_global(self._reactor))
        log.addHandler(self._log)
        log.setLevel(logging.INFO)

    async def run(self, request: TaskRequest) -> tuple[str, ExecutorAnswer]:
        """
        Wait for a thread, and for the function in it.
        """
        reactor, turn = given_or_global(self._reactor), self._places.acquire()
        request.hung_up.addCallback(lambda _: turn.cancel())
        try:
            await turn.addTimeout(self._patience, reactor)
        except (CancelledError, TimeoutError):
            text = f"no thread of {self._threads} was free for {self._patience:g} s"
            return "", ExecutorAnswer.unavailable(text)
        try:
            if self._pool is None:
                return "", ExecutorAnswer.unavailable("the executor is closing down")
            return await deferToThreadPool(reactor, self._pool, self._call, request)
        finally:
            self._places.release()

    def _call(self, request: TaskRequest) -> tuple[str, ExecutorAnswer]:
        task, function = request.received(self._function, self._subconfig)
        log.disabled = False
        return name_of(task), call_alone(function, task)

    def stop(self) -> Deferred[None]:
        """
        End the threads; those with a function that runs are left behind.
        """
        pool, self._pool = self._pool, None
        if pool is not None and self._places.tokens == self._places.limit:
            pool.stop()
        handler, self._log = self._log, None
        if handler is not None:
            log.removeHandler(handler)
        return succeed(None)
