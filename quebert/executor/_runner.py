"""
Where functions run: what the resource asks of a L{Runner}, and gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import attrs
from twisted.internet.defer import Deferred

from quebert.functions import ExecutorAnswer, Function, ReceivedTask
from quebert.functions.loading import for_request

__all__ = ["Runner", "TaskRequest"]


@attrs.define(eq=False)
class TaskRequest:
    """
    A request whose task is to be done.

    @ivar body: empty once it was taken.
    @ivar uri: its path and its query.
    @ivar path: its path, relative to the resource, without percent-encoding.
    @ivar host: its header C{Host}.
    @ivar fields: its headers.
    @ivar began: when it came, by C{time.monotonic}.
    @ivar hung_up: fires if its client goes before it has its answer.
    """

    body: bytes
    uri: str
    path: str
    host: str
    fields: Sequence[tuple[str, str]]
    began: float
    hung_up: Deferred[None]

    def take_body(self) -> bytes:
        """
        Its body, which it has no more: it may be large.
        """
        body, self.body = self.body, b""
        return body

    def received(
        self, function: Function, subconfig: str | None
    ) -> tuple[ReceivedTask, Function]:
        """
        Its task, and what is to be called with it.

        @param function: what the executor runs.
        @param subconfig: the last argument of a function as those of 2009 were;
            C{None} for one that takes a task.
        @raise BadTask: its body is no task.
        """
        body = self.take_body()
        task = ReceivedTask.decode(body, self.fields, path=self.path, began=self.began)
        return task, for_request(function, subconfig, body, self.uri, self.host)


@runtime_checkable
class Runner(Protocol):
    """
    Runs functions: in the reactor, in threads, or in processes.
    """

    def memory_of(self, request: TaskRequest) -> int:
        """
        Bytes of memory of this process that the task takes at most.
        """

    def start(self) -> None:
        """
        Be ready for tasks.
        """

    async def run(self, request: TaskRequest) -> tuple[str, ExecutorAnswer]:
        """
        Do a task.

        @return: its name, empty if it was not begun, and the answer.
        @raise BadTask: the body is no task.
        """

    def stop(self) -> Deferred[None]:
        """
        Give up what still runs, if that can be done.

        @return: fires when nothing is left of it.
        """
