"""
The process's side: calls functions, one task after the other, until the pipe of tasks
closes.  It is as light as the functions allow: no Twisted, no reactor.
"""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import gc
import logging
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from http import HTTPStatus
from math import inf
from typing import Any, BinaryIO

from quebert._process_pool._frames import FrameKind, PoolFrame, read_frame
from quebert._process_pool._limits import in_mib
from quebert._process_pool._settings import ANSWERS, OUTPUT, TASKS, ProcessSettings
from quebert.errors import BadTask, ConfigError
from quebert.functions import ExecutorAnswer, Functions, ReceivedTask
from quebert.functions.answers import name_of
from quebert.functions.calling import call_alone, log
from quebert.functions.loading import for_request, load_functions

__all__ = ["main"]

# Descriptors of ours are moved there and above: a function that closes or writes to
# small ones by mistake does not meet them.
_OURS = 100
_PR_SET_PDEATHSIG = 1
# Characters of a traceback that are told: its beginning, and its end.
_HEAD, _TAIL = 1_000, 2_000
# Characters of what is logged of a task, together with the traceback.
_MOST_TOLD = 6_000
# How often something is logged of it: the functions can do so, too.
_MOST_LINES = 5
# The part which a process may keep after a task, of the memory that importing the
# functions has left.
_REST = 0.5
_PAGE = resource.getpagesize()


def main(given: str) -> None:
    """
    Be a process of a pool.

    @param given: the L{ProcessSettings}, as text.
    """
    settings = ProcessSettings.parse(given)
    _leave_group(settings.parent)
    tasks, answers = _take_pipes()
    _limit(settings.memory)
    errors = fcntl.fcntl(OUTPUT, fcntl.F_DUPFD_CLOEXEC, _OURS)
    faulthandler.enable(errors, all_threads=False)
    try:
        functions = load_functions(settings.functions, settings.subconfig)
    except ConfigError as e:
        _send(answers, PoolFrame(FrameKind.BROKEN, str(e)))
        sys.exit(1)
    gc.collect()
    gc.freeze()  # the functions' modules are no garbage
    _send(answers, PoolFrame(FrameKind.READY))
    Server(settings, functions, answers).serve(tasks)


def _leave_group(parent: int) -> None:
    """
    Lead a session, which Ctrl-C does not reach, and which can be killed as one; and end
    when the parent does.
    """
    with suppress(PermissionError):  # it leads a group already
        os.setsid()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it has ended before
        os._exit(1)


def _take_pipes() -> tuple[BinaryIO, int]:
    """
    Move the pipes of frames to where no function meets them, and no program that it
    starts gets them; and lead standard output to where standard error goes.
    """
    tasks = fcntl.fcntl(TASKS, fcntl.F_DUPFD_CLOEXEC, _OURS)
    answers = fcntl.fcntl(ANSWERS, fcntl.F_DUPFD_CLOEXEC, _OURS)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, TASKS)
    os.close(null)
    os.close(ANSWERS)
    os.dup2(OUTPUT, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(  # type: ignore[union-attr]
            errors="backslashreplace", line_buffering=True
        )
    return open(tasks, "rb"), answers


def _limit(memory: int | None) -> None:
    if memory is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            memory = min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _send(answers: int, frame: PoolFrame) -> None:
    for part in frame.parts():
        view = memoryview(part)
        while view:
            view = view[os.write(answers, view) :]


def data_size() -> int:
    """
    Bytes of memory that this process has for its data; 0 if that is not known.
    """
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[5]) * _PAGE
    except OSError:  # another system, or no descriptor is left
        return 0


class _Told(logging.Handler):
    """
    Keeps what is logged of a task.  The parent logs it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.task = "(no uuid)"
        self.lines: list[tuple[int, str]] = []
        self.out_of_memory = False

    def emit(self, record: logging.LogRecord) -> None:
        """
        Something is logged.
        """
        text = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self.out_of_memory = isinstance(error, MemoryError)
            text = f"{text}\n{_traceback(error)}"
        if len(self.lines) < _MOST_LINES:
            self.lines.append((record.levelno, text[:_MOST_TOLD]))

    def begin(self) -> None:
        """
        What is logged now is of another task.
        """
        log.disabled = False
        self.task = "(no uuid)"
        self.lines.clear()
        self.out_of_memory = False


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # whatever its __str__ does
        return "(its traceback cannot be had)"
    if len(text) <= _HEAD + _TAIL:
        return text
    return f"{text[:_HEAD]}\n...\n{text[-_TAIL:]}"


class Server:
    """
    Does tasks.

    @param answers: the descriptor to which frames are written.
    """

    def __init__(
        self, settings: ProcessSettings, functions: Functions, answers: int
    ) -> None:
        self._settings = settings
        self._functions = functions
        self._answers = answers
        self._pid = os.getpid()
        begun, limit = data_size(), settings.memory
        self._rest = inf if limit is None else begun + (limit - begun) * _REST

    def serve(self, tasks: BinaryIO) -> None:
        """
        Do the tasks that come, until there are no more, or this process has had enough.
        """
        told = _Told()
        log.addHandler(told)
        log.setLevel(logging.INFO)
        while (frame := read_frame(tasks)) is not None:
            told.begin()
            answer = self._answer(frame, told)
            del frame
            much = self._holds_much()
            if much:
                text = f"After task {told.task}, its process keeps {in_mib(much)}"
                told.lines.append((logging.INFO, f"{text}, and is replaced."))
            last = told.out_of_memory or bool(much)
            head = [answer.status, answer.headers, told.lines, last]
            self._flush()
            _send(self._answers, PoolFrame(FrameKind.ANSWER, head, answer.body))
            if last:
                break

    def _answer(self, frame: PoolFrame, told: _Told) -> ExecutorAnswer:
        uri, path, host, fields, began = frame.head
        try:
            task = ReceivedTask.decode(frame.body, fields, path=path, began=began)
        except BadTask as e:
            return ExecutorAnswer.text(HTTPStatus.BAD_REQUEST, str(e))
        except MemoryError:
            told.out_of_memory = True
            return self._too_much_memory()
        told.task = name_of(task)
        _send(self._answers, PoolFrame(FrameKind.BEGUN, told.task))
        subconfig, body = self._settings.subconfig, frame.body
        function = for_request(self._functions, subconfig, body, uri, host)
        answer = self._called(function, task)
        if told.out_of_memory:
            return self._too_much_memory()
        if len(answer.body) > self._settings.result:
            most = self._settings.result
            text = f"the function's result is larger than {in_mib(most)}"
            return ExecutorAnswer.text(HTTPStatus.INTERNAL_SERVER_ERROR, text)
        return answer

    def _called(self, function: Any, task: ReceivedTask) -> ExecutorAnswer:
        try:
            return call_alone(function, task)
        finally:
            if os.getpid() != self._pid:  # the function has forked, and returned twice
                os._exit(0)

    def _too_much_memory(self) -> ExecutorAnswer:
        limit = self._settings.memory
        much = "memory than there is" if limit is None else f"than {in_mib(limit)}"
        text = f"the function took more {much}"
        return ExecutorAnswer.text(HTTPStatus.INTERNAL_SERVER_ERROR, text)

    def _holds_much(self) -> int:
        """
        Bytes of memory that are still taken, if they may be missed by the next task.
        """
        size = 0 if self._rest == inf else data_size()
        return size if size > self._rest else 0

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the function may have put anything there
                stream.flush()
