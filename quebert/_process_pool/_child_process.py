"""
One process of a pool, as its parent sees it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from quebert._deadlines import Deadlines
from quebert._log import Logger, of_lines
from quebert._process_pool._frames import (
    FrameKind,
    FrameParser,
    MalformedFrame,
    PoolFrame,
)
from quebert._process_pool._limits import PoolLimits
from quebert._process_pool._output import ProcessOutput
from quebert._process_pool._settings import ANSWERS, OUTPUT, TASKS
from quebert._signals import signal_in_words
from quebert.functions import ExecutorAnswer

__all__ = ["DESCRIPTORS", "MERCY", "ChildOwner", "ChildProcess", "ChildState"]

#: What the descriptors of a process are to us: what we write to and read from.
DESCRIPTORS = {TASKS: "w", 1: "r", OUTPUT: "r", ANSWERS: "r"}
#: Seconds in which a process must end that was told to; it is killed then.
MERCY = 5.0
# Bytes that the pipe of tasks holds, so that most tasks go over it at once.
_PIPE = 2**18
# How often a pipe is read for what is in it: more than fits into one.
_READS = 32
_LEVELS = {logging.INFO: LogLevel.info, logging.WARNING: LogLevel.warn}


class ChildState(Enum):
    """
    See L{quebert._process_pool}.
    """

    STARTING = auto()
    IDLE = auto()
    BUSY = auto()
    ENDING = auto()
    GONE = auto()


class ChildOwner(Protocol):
    """
    What is told of a process.
    """

    def ready(self, child: ChildProcess) -> None:
        """
        It takes a task: it has imported the functions, or done the task before.
        """

    def leaves(self, child: ChildProcess) -> None:
        """
        It takes no task any more.
        """

    def gone(self, child: ChildProcess) -> None:
        """
        It has ended, and all its descriptors are closed.
        """


@attrs.frozen
class CallResult:
    """
    What became of a task.

    @ivar name: of the task; empty if it was never begun.
    """

    name: str
    answer: ExecutorAnswer


class ChildProcess(ProcessProtocol):
    """
    A process, from its start to its end.

    @param deadlines: ends what takes too long: C{late} is to be called.
    @ivar calls: how many tasks it has been given.
    @ivar dismissed: it was killed, or told to end.
    @ivar failure: why it could not import the functions.
    """

    log = Logger()

    def __init__(
        self, owner: ChildOwner, limits: PoolLimits, deadlines: Deadlines[ChildProcess]
    ) -> None:
        self.state = ChildState.STARTING
        self.calls = 0
        self.dismissed = False
        self.failure: str | None = None
        self._started = False  # it has imported the functions
        self._closed = False  # a pipe of frames, so that it can do no other task
        self.pid: int | None = None
        self._owner = owner
        self._limits = limits
        self._deadlines = deadlines
        # The sentences of other answers are short.
        self._frames = FrameParser(max(limits.result, 65_536))
        self._output = ProcessOutput()
        self._done: Deferred[CallResult] | None = None
        self._name: str | None = None  # of the task, once it is begun
        self._why: str | None = None  # it was killed
        self._came = 0  # bytes

    @property
    def _process(self) -> Any:
        return self.transport

    def __str__(self) -> str:
        return f"process {self.pid}"

    def connectionMade(self) -> None:
        """
        The process runs.
        """
        self.pid = self._process.pid
        self._output.process = str(self)
        self._deadlines.begin(self, self._limits.start_time)
        pipe = self._process.pipes.get(TASKS)
        with suppress(AttributeError, OSError):  # it is Linux's, and may be refused
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)

    # -- Tasks

    def call(self, head: Any, body: bytes) -> Deferred[CallResult]:
        """
        Give it a task, for which it must be idle.

        @return: fires with what becomes of it, whatever that is.
        """
        assert self.state is ChildState.IDLE
        self.state = ChildState.BUSY
        self.calls += 1
        self._name = None
        self._output.begin()
        done: Deferred[CallResult] = Deferred()
        self._done = done
        for part in PoolFrame(FrameKind.TASK, head, body).parts():
            self._process.writeToChild(TASKS, part)
        self._deadlines.begin(self, self._limits.seconds)
        return done

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Something has come by a pipe.
        """
        self._came += len(data)
        if childFD != ANSWERS:
            self._output.feed(data)
            return
        try:
            for frame in self._frames.feed(data):
                self._received(frame)
        except (MalformedFrame, ValueError, TypeError) as e:
            self.kill(f"the process broke its own protocol, and was killed: {e}")

    def _received(self, frame: PoolFrame) -> None:
        match self.state, frame.kind:
            case ChildState.STARTING, FrameKind.READY:
                self._deadlines.end(self)
                self._started = True
                self._free()
            case _, FrameKind.BROKEN:  # it may have closed its pipes since
                self.failure = str(frame.head)
                self.end()
            case ChildState.BUSY, FrameKind.BEGUN:
                self._name = str(frame.head)
                self._output.named(self._name)
            case ChildState.BUSY, FrameKind.ANSWER:
                self._answered(frame)
            case ChildState.ENDING | ChildState.GONE, _:
                pass
            case state, kind:
                raise MalformedFrame(f"{kind.name} while {state.name}")

    def _answered(self, frame: PoolFrame) -> None:
        status, headers, told, last = frame.head
        fields = tuple((str(name), str(value)) for name, value in headers)
        answer = ExecutorAnswer(int(status), frame.body, fields)
        self._deadlines.end(self)
        self._drain(OUTPUT)
        self._output.end()
        for level, text in told:
            event = of_lines(text)
            shown = event.pop("log_format")
            self.log.emit(_LEVELS.get(level, LogLevel.error), shown, **event)
        done, name = self._done, self._name
        self._done = None
        if last or self._closed or self.calls == self._limits.tasks:
            self.end()
        else:
            self._free()
        assert done is not None
        done.callback(CallResult(name or "", answer))

    def _free(self) -> None:
        self.state = ChildState.IDLE
        self._owner.ready(self)

    def _drain(self, descriptor: int) -> None:
        """
        Read what is in a pipe.  What a process has printed before its answer may come
        after it, since these are two pipes.
        """
        pipe = self._process.pipes.get(descriptor)
        for _ in range(_READS):
            before = self._came
            if pipe is None or pipe.doRead() is not None or self._came == before:
                break

    # -- The end

    def end(self) -> None:
        """
        Tell it to end.  One that has a task, or imports the functions, is killed.
        """
        match self.state:
            case ChildState.STARTING if self.failure is None:
                self.kill("it was not needed")
            case ChildState.BUSY if self._done is not None:
                self.kill("the executor closes down: the process was killed")
            case ChildState.ENDING | ChildState.GONE:
                pass
            case _:
                self.dismissed = True
                self._leave()
                self._process.closeChildFD(TASKS)
                self._deadlines.begin(self, MERCY)

    def late(self) -> None:
        """
        It has taken too long.
        """
        if self.state is ChildState.BUSY:
            seconds = self._limits.seconds
            self.kill(f"the function took more than {seconds:g} s, and was killed")
        elif self.state is ChildState.STARTING:
            seconds = self._limits.start_time
            self.failure = f"the functions were not imported in {seconds:g} s"
            self.kill(self.failure)
        else:
            self._kill_group()

    def kill(self, why: str) -> None:
        """
        Kill it.

        @param why: a sentence, with which its task is answered.
        """
        if self.state is ChildState.GONE:
            return
        self._why = self._why or why
        self.dismissed = True
        self._leave()
        self._kill_group()

    def _leave(self) -> None:
        self._deadlines.end(self)
        if self.state is not ChildState.ENDING:
            self.state = ChildState.ENDING
            self._owner.leaves(self)

    def _kill_group(self) -> None:
        if self.pid is not None:
            kill_group(self.pid, reaped=self._process.pid is None)

    def childConnectionLost(self, childFD: int) -> None:
        """
        It has closed a pipe, as it does when it ends: give it no task.
        """
        if childFD not in (TASKS, ANSWERS):
            return
        self._closed = True
        if self.state in (ChildState.STARTING, ChildState.IDLE):
            self._leave()
            self._deadlines.begin(self, MERCY)

    def processExited(self, reason: Failure) -> None:
        """
        It is dead.  What it has written is read, and its pipes are closed, which what
        it has started may hold open.
        """
        self._closed = True
        for descriptor in (OUTPUT, ANSWERS):
            self._drain(descriptor)
        self._leave()
        self._kill_group()  # what it has started
        for descriptor in DESCRIPTORS:
            self._process.closeChildFD(descriptor)

    def processEnded(self, reason: Failure) -> None:
        """
        It is dead, and its pipes are closed.
        """
        self.state = ChildState.GONE
        self._output.end()
        why = self._why or how_ended(reason.value)
        if self._done is not None:
            self._died(why)
        elif not self.dismissed and self.failure is None:
            self.log.warn("{process}: {why}.", process=str(self), why=why)
            if not self._started:
                self.failure = f"{why} before it had imported the functions"
        self._owner.gone(self)

    def _died(self, why: str) -> None:
        done, self._done = self._done, None
        assert done is not None
        if self._name is None and self._why is None:
            text = f"{why} before it began the task"
            answer = ExecutorAnswer.unavailable(text)
        else:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            answer = ExecutorAnswer.text(status, why)
        name = self._name or "(no uuid)"
        self.log.error("Task {name}: {why}.", name=name, why=why)
        done.callback(CallResult(name, answer))


def kill_group(pid: int, *, reaped: bool) -> None:
    """
    Kill a process and those of its group.

    @param reaped: it has ended, so that C{pid} may be another process by now, but no
        other group as long as somebody is left of it.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if not reaped:  # it leads no group as long as it is starting
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def how_ended(ended: Any) -> str:
    """
    How a process ended by itself, as the reactor tells it.
    """
    if ended.signal is None:
        return f"the process exited with status {ended.exitCode}"
    text = f"the process ended by {signal_in_words(ended.signal)}"
    if ended.signal == signal.SIGKILL:
        text += ", as when the system runs out of memory"
    return text
