"""
Calls a function for a task, without Twisted: L{call} where a server does, L{call_alone}
in a thread or a process of our own, L{call_async} in a loop of asyncio.

They log by C{logging}, whose users have it told to their error trackers: a function
that fails with its traceback, what it wishes and what it should not return in a line.
An exit is the function's, not the server's.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Generator
from contextlib import closing
from typing import Any

from quebert._text import one_line
from quebert.functions._answer import AnsweredError, ExecutorAnswer
from quebert.functions._registry import Function, function_for
from quebert.functions.answers import (
    Pieces,
    answer_to_error,
    answer_to_result,
    name_of,
)
from quebert.task import Task

__all__ = ["call", "call_alone", "call_async", "is_async", "log"]

# Characters of a reason, which a task may have chosen.
_REASON_LIMIT = 400

#: Where functions are told of.  Our runners, which listen to it, enable it for each
#: task: logging.config disables loggers that it does not know, by default.
log = logging.getLogger("quebert.functions")


def call(function: Function, task: Task) -> ExecutorAnswer:
    """
    Call a function, and wait for its result.  A coroutine gets a loop of asyncio of its
    own.
    """
    return _call(function, task, (Exception, SystemExit, asyncio.CancelledError))


def call_alone(function: Function, task: Task) -> ExecutorAnswer:
    """
    The same where no interrupt can be somebody else's: whatever the function raises is
    answered.
    """
    return _call(function, task, (BaseException,))


def _call(
    function: Function, task: Task, caught: tuple[type[BaseException], ...]
) -> ExecutorAnswer:
    name = name_of(task)  # the function may change its task
    try:
        result = _waited_for(function_for(function, task)(task))
    except caught as e:
        return _failed(name, e)
    return _ended(name, result)


async def call_async(function: Function, task: Task) -> ExecutorAnswer:
    """
    Call a function in this loop if it is asynchronous, and else in a thread.
    """
    name = name_of(task)
    try:
        chosen = function_for(function, task)
        if is_async(chosen):
            result = chosen(task)
        else:
            result, error = await asyncio.to_thread(_in_thread, chosen, task)
            if error is not None:
                return _failed(name, error)
        result = await _awaited(result)
    except (Exception, SystemExit) as e:
        return _failed(name, e)
    except asyncio.CancelledError as e:
        task_of_loop = asyncio.current_task()
        if task_of_loop is None or task_of_loop.cancelling():
            raise  # the server does not wait any more
        return _failed(name, e)  # the function has awaited what was cancelled
    return _ended(name, result)


def is_async(function: Function) -> bool:
    """
    Whether a function runs in a loop: it is a coroutine function, or one that is an
    asynchronous generator, or an object that is called like one.
    """
    tests = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    kinds = (function, getattr(function, "__call__", None))  # noqa: B004
    return any(test(each) for test in tests for each in kinds)


def _failed(name: str, error: BaseException) -> ExecutorAnswer:
    if isinstance(error, AnsweredError):
        return _ended(name, error)
    log.error("Task %s failed.", name, exc_info=error)
    return answer_to_error(error)


def _ended(name: str, result: Any) -> ExecutorAnswer:
    answer = answer_to_result(result)
    wished = isinstance(result, AnsweredError)
    if wished or answer.status >= 500:
        level = logging.INFO if wished else logging.ERROR
        told = one_line(answer.sentence, _REASON_LIMIT)
        log.log(level, "Task %s: %d: %s", name, answer.status, told)
    return answer


def _in_thread(function: Function, task: Task) -> tuple[Any, BaseException | None]:
    """
    Its result, of a generator joined, or what it has raised: a future holds no
    C{StopIteration}, and loops take an interrupt for their own.
    """
    try:
        result = function(task)
        return _joined(result) if inspect.isgenerator(result) else result, None
    except BaseException as e:
        return None, e


def _waited_for(result: Any) -> Any:
    if inspect.isgenerator(result):
        return _joined(result)
    if inspect.isasyncgen(result) or inspect.isawaitable(result):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(_awaited(result))
        if inspect.iscoroutine(result):
            result.close()
        text = "a coroutine cannot be run beside another of the same thread: it needs"
        text = f"{text} an ASGI server, or a server with threads"
        raise AnsweredError(ExecutorAnswer.unavailable(text))
    return result


async def _awaited(result: Any) -> Any:
    if inspect.isasyncgen(result):
        return await Pieces.joined(result)
    if not inspect.isawaitable(result):
        return result
    if hasattr(result, "addCallbacks"):
        raise TypeError("a Deferred needs Twisted: twistd quexecutor")
    return await result


def _joined(generator: Generator[Any, Any, Any]) -> Any:
    pieces = Pieces()
    with closing(generator):
        while True:
            try:
                pieces.add(next(generator))
            except StopIteration as e:
                return pieces.result(e.value)
