"""
Functions that run in processes: such as compute, or may harm the process they are in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred

from quebert._process_pool import PoolLimits
from quebert._process_pool.pool import NoProcess, ProcessPool
from quebert.executor._runner import TaskRequest
from quebert.functions import ExecutorAnswer

__all__ = ["InProcesses"]

# The header that a process is told, and how much of it: more is no number.
_TOLD, _CHARACTERS, _TIMES = "quebert-attempt", 20, 2


class InProcesses:
    """
    Runs functions in a pool of processes.

    @param functions: names of functions, C{module.function}, each with the path whose
        tasks it does, C{None} for all others.  Only the processes import them.
    @param limits: how many processes there are, and what each may take.
    @param subconfig: calls C{function(body, uri, host, subconfig)} instead of
        C{function(task)}.
    """

    def __init__(
        self,
        functions: Sequence[tuple[str | None, str]],
        limits: PoolLimits,
        *,
        subconfig: str | None = None,
        reactor: Any = None,
    ) -> None:
        self._pool = ProcessPool(functions, limits, subconfig, reactor)

    def memory_of(self, request: TaskRequest) -> int:
        """
        That of the body: the task is decoded in a process.
        """
        return len(request.body)

    def start(self) -> None:
        """
        Start the processes.
        """
        self._pool.start()

    async def run(self, request: TaskRequest) -> tuple[str, ExecutorAnswer]:
        """
        Have a process do a task.
        """
        told = (v[:_CHARACTERS] for k, v in request.fields if k.lower() == _TOLD)
        fields = [(_TOLD, value) for value in islice(told, _TIMES)]
        head = [request.uri, request.path, request.host, fields, request.began]
        try:
            done = await self._pool.call(head, request.take_body, request.hung_up)
        except NoProcess as e:
            return "", ExecutorAnswer.unavailable(str(e))
        return done.name, done.answer

    def stop(self) -> Deferred[None]:
        """
        End the processes; those that have tasks are killed.
        """
        return self._pool.stop()
