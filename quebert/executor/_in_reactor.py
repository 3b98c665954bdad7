"""
Functions that run in the reactor: asynchronous ones, or such as end at once.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import partial
from inspect import isasyncgen, isgenerator
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.web import http

from quebert._bounds import memory_of
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert.executor._runner import TaskRequest
from quebert.functions import AnsweredError, ExecutorAnswer, Function
from quebert.functions.answers import (
    Pieces,
    answer_to_error,
    answer_to_result,
    name_of,
)

__all__ = ["InReactor"]


class InReactor:
    """
    Runs functions in the reactor.  Nothing stops one that has been begun.

    @param function: called with each task.
    @param subconfig: calls C{function(body, uri, host, subconfig)} instead.
    """

    log = Logger()

    def __init__(
        self, function: Function, *, subconfig: str | None = None, reactor: Any = None
    ) -> None:
        self._function = function
        self._subconfig = subconfig
        self._reactor = reactor

    def memory_of(self, request: TaskRequest) -> int:
        """
        That of the body and of the task decoded.
        """
        return memory_of(request.body)

    def start(self) -> None:
        """
        There is nothing to start.
        """

    def stop(self) -> Deferred[None]:
        """
        What runs is left behind.
        """
        return succeed(None)

    async def run(self, request: TaskRequest) -> tuple[str, ExecutorAnswer]:
        """
        Call the function, and wait for its result.
        """
        task, function = request.received(self._function, self._subconfig)
        del request
        name = name_of(task)  # the function may change it
        calling = maybeDeferred(function, task).addCallback(self._joined)
        ended, failed = partial(self._ended, name), partial(self._failed, name)
        return name, await calling.addCallbacks(ended, failed)

    def _failed(self, name: str, failure: Failure) -> ExecutorAnswer:
        """
        The answer to what a function has raised: its C{exit()} is not the server's.
        """
        error = failure.value
        assert error is not None
        if isinstance(error, AnsweredError):
            return self._ended(name, error)
        self.log.failure("Task {name} failed.", failure, LogLevel.error, name=name)
        return answer_to_error(error)

    def _ended(self, name: str, result: Any) -> ExecutorAnswer:
        """
        The answer to what a function has returned, or wished.
        """
        answer = answer_to_result(result)
        wished = isinstance(result, AnsweredError)
        if wished or answer.status >= http.INTERNAL_SERVER_ERROR:
            level = LogLevel.info if wished else LogLevel.error
            values = {"name": name, "status": answer.status, "why": answer.sentence}
            self.log.emit(level, "Task {name}: {status}: {why}", **values)
        return answer

    def _joined(self, result: Any) -> Any:
        """
        What a generator yields, joined, and any other result as it is.
        """
        if isasyncgen(result):
            return Deferred.fromCoroutine(Pieces.joined(result))
        if isgenerator(result):
            return Deferred.fromCoroutine(self._pieces(result))
        return result

    async def _pieces(self, result: Generator[Any, Any, Any]) -> Any:
        """
        The pieces, joined; other events have their turn after each.
        """
        pieces = Pieces()
        with closing(result):
            while True:
                try:
                    pieces.add(next(result))
                except StopIteration as e:
                    return pieces.result(e.value)
                await deferLater(given_or_global(self._reactor), 0)
