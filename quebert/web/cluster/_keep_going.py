"""
Work that goes on as long as the process does: it is begun again some seconds after it
has failed, such as while RabbitMQ is away.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from quebert._repeated import RepeatedWarning
from quebert.errors import QuebertError

__all__ = ["KeepGoing"]

# Seconds until it is tried again.
_AGAIN = 2.0


class KeepGoing:
    """
    Does some work until it is stopped.

    @param work: does it, as long as it can; it waits by L{wait}, and looks at
        L{is_stopped} then.
    @param reactor: gives the time.
    @param log: told of failures.
    @param fault: the warning where it fails.
    @param over: the line that tells that it goes on.
    @param problem: that it has not begun.
    @ivar problem: why it does not go on now; empty if it does.
    @ivar is_stopped: whether the work is to end.
    """

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, None]],
        reactor: Any,
        log: Logger,
        fault: str,
        over: str,
        problem: str,
    ) -> None:
        self.problem = problem
        self.is_stopped = False
        self._work = work
        self._reactor = reactor
        self._log = log
        self._fault = fault
        self._running: Deferred[None] | None = None
        self._waiter: Deferred[None] | None = None
        self._warning = RepeatedWarning(log, lambda: reactor, fault, over)

    def start(self) -> None:
        """
        Begin.
        """
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda f: f.trap(CancelledError))

    async def stop(self) -> None:
        """
        Have the work end; returns when it has.
        """
        running, self._running = self._running, None
        self.is_stopped = True
        if self._waiter is not None:
            self._waiter.cancel()
        if running is not None:
            await running
        self._warning.end()

    async def _run(self) -> None:
        while not self.is_stopped:
            try:
                await self._work()
            except QuebertError as e:
                self._fail(e)
            except Exception as e:
                self._log.failure(f"{self._fault}.")
                self._fail(e)
            await self.wait(deferLater(self._reactor, _AGAIN))

    async def wait(self, waiter: Deferred[None]) -> None:
        """
        Wait for C{waiter}, or until the work is to end.
        """
        if self.is_stopped:
            waiter.cancel()
        self._waiter = waiter
        with suppress(CancelledError):
            await waiter
        self._waiter = None

    def goes(self) -> None:
        """
        The work goes on well.
        """
        self.problem = ""
        self._warning.succeeded()

    def _fail(self, error: BaseException) -> None:
        self.problem = str(error) or type(error).__name__
        self._warning.met(self.problem)
