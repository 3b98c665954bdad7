"""
The parent's side: starts processes, gives them tasks, and replaces those that end.

Importing it installs no reactor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IDelayedCall

from quebert._deadlines import Deadlines
from quebert._log import Logger
from quebert._process_pool._child_process import (
    DESCRIPTORS,
    CallResult,
    ChildProcess,
    ChildState,
)
from quebert._process_pool._limits import PoolLimits
from quebert._process_pool._settings import ENVIRONMENT, ProcessSettings
from quebert._reactor import given_or_global
from quebert._repeated import RepeatedWarning
from quebert._waiters import Waiters

__all__ = ["EARLY", "FIRST_DELAY", "LAST_DELAY", "NoProcess", "ProcessPool"]

#: Seconds: a process that ends sooner, and has done no task, was no good start.  The
#: next one waits: half a second, then twice as long for each in a row.
EARLY = 10.0
FIRST_DELAY = 0.5
LAST_DELAY = 30.0


class NoProcess(Exception):
    """
    No process takes a task; the text says why, in a sentence.
    """


class ProcessPool:
    """
    Processes that do tasks.

    @param functions: the paths, C{None} for all others, and the names of functions.
    @param subconfig: see L{ProcessSettings}.
    @param reactor: starts the processes; the global one by default.
    """

    log = Logger()

    def __init__(
        self,
        functions: Sequence[tuple[str | None, str]],
        limits: PoolLimits,
        subconfig: str | None = None,
        reactor: Any = None,
    ) -> None:
        self.limits = limits
        self._functions = functions
        self._subconfig = subconfig
        self._reactor = reactor
        self._running = False
        self._children: dict[ChildProcess, float] = {}  # and when they were started
        self._idle: list[ChildProcess] = []  # the last one is taken first
        self._line: dict[Deferred[ChildProcess], None] = {}
        self._bad_starts = 0
        self._failure: str | None = None  # why no process starts
        self._retry: IDelayedCall | None = None
        self._ended: Waiters[None] = Waiters()
        self._deadlines: Deadlines[ChildProcess] = Deadlines(
            lambda: self.reactor, ChildProcess.late
        )
        self._failing = RepeatedWarning(
            self.log,
            lambda: self.reactor,
            "No process can do tasks",
            "Processes do tasks again",
        )

    @property
    def reactor(self) -> Any:
        """
        The reactor, the global one unless another was given.
        """
        return given_or_global(self._reactor)

    # -- Tasks

    async def call(
        self, head: Any, take_body: Callable[[], bytes], hung_up: Deferred[None]
    ) -> CallResult:
        """
        Have a process do a task.

        @param head: of its frame.
        @param take_body: gives the body when a process takes it.
        @param hung_up: fires when the client has gone.
        @raise NoProcess: none takes it.
        """
        child = await self._taken(hung_up)
        doing = child.call(head, take_body())
        if self.limits.kill_on_hang_up:
            hung_up.addCallback(partial(self._hung_up, child, doing))
        return await doing

    def _hung_up(
        self, child: ChildProcess, doing: Deferred[CallResult], _: Any
    ) -> None:
        if not doing.called:
            child.kill("the client has hung up, and the process was killed")

    async def _taken(self, hung_up: Deferred[None]) -> ChildProcess:
        """
        A process that is idle.
        """
        if not self._running:
            raise NoProcess("the executor is closing down")
        if self._idle:
            return self._idle.pop()
        if self._failure is not None and not self._is_any_up():
            raise NoProcess(self._failure)
        seconds = self.limits.patience
        turn: Deferred[ChildProcess] = Deferred(self._leave_line)
        self._line[turn] = None
        hung_up.addCallback(lambda _: turn.cancel())
        try:
            return await turn.addTimeout(seconds, self.reactor)
        except (CancelledError, TimeoutError):
            raise NoProcess(
                f"no process of {self.limits.processes} was free for {seconds:g} s"
            ) from None

    def _leave_line(self, turn: Deferred[ChildProcess]) -> None:
        self._line.pop(turn, None)

    def _is_any_up(self) -> bool:
        up = (ChildState.IDLE, ChildState.BUSY)
        return any(each.state in up for each in self._children)

    # -- What processes tell

    def ready(self, child: ChildProcess) -> None:
        """
        A process takes a task.
        """
        if not child.calls:
            self._failure = None
            self._failing.succeeded()
            self._fill()
        if not self._line:
            self._idle.append(child)
            return
        turn = next(iter(self._line))
        del self._line[turn]
        turn.callback(child)

    def leaves(self, child: ChildProcess) -> None:
        """
        A process takes no task any more.  Another is started for one that has done any:
        others may have ended since none can work.
        """
        with suppress(ValueError):
            self._idle.remove(child)
        if child.calls:
            self._fill()

    def gone(self, child: ChildProcess) -> None:
        """
        A process has ended.
        """
        lived = self.reactor.seconds() - self._children.pop(child)
        if child.failure is not None:
            self._failed(child.failure)
        elif not (child.calls or child.dismissed) and lived < EARLY:
            self._failed("the processes end before they have done a task")
        else:
            self._bad_starts = 0
        self._fill()
        if not self._children:
            self._ended.fire(None)

    # -- Starts

    def start(self) -> None:
        """
        Start the processes.
        """
        self._running = True
        self._fill()

    def _fill(self) -> None:
        """
        Start the processes that are missing; as long as none could be started, one.
        """
        ends = (ChildState.ENDING, ChildState.GONE)
        while self._running and self._retry is None:
            alive = [each for each in self._children if each.state not in ends]
            starting = any(each.state is ChildState.STARTING for each in alive)
            if len(alive) >= self.limits.processes:
                break
            if self._bad_starts and starting:
                break
            self._start()

    def _start(self) -> None:
        child = ChildProcess(self, self.limits, self._deadlines)
        settings = ProcessSettings.of(self._functions, self._subconfig, self.limits)
        environment = {**os.environ, ENVIRONMENT: settings.text()}
        variables = {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}
        main = Path(__file__).with_name("__main__.py").absolute()
        command = [os.fsencode(sys.executable), os.fsencode(main)]
        self._children[child] = self.reactor.seconds()
        try:
            self.reactor.spawnProcess(
                child, command[0], command, env=variables, childFDs=DESCRIPTORS
            )
        except OSError as e:
            del self._children[child]
            self._failed(f"no process can be started: {e.strerror}")

    def _failed(self, why: str) -> None:
        """
        A process was no good start: wait before the next.
        """
        if not self._running:
            return
        self._failure = why
        self._failing.met(why)
        if self._retry is None:
            delay = min(FIRST_DELAY * 2**self._bad_starts, LAST_DELAY)
            self._bad_starts = min(self._bad_starts + 1, 10)
            self._retry = self.reactor.callLater(delay, self._try_again)
        if not self._is_any_up():
            self._refuse_all(why)

    def _try_again(self) -> None:
        self._retry = None
        self._fill()

    def _refuse_all(self, why: str) -> None:
        line, self._line = self._line, {}
        for turn in line:
            turn.errback(NoProcess(why))

    # -- The end

    def stop(self) -> Deferred[None]:
        """
        End all processes; those that have tasks are killed.

        @return: fires when they have ended.
        """
        self._running = False
        self._failing.end()
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()
        self._refuse_all("the executor is closing down")
        for child in list(self._children):
            child.end()
        return self._ended.wait() if self._children else succeed(None)
