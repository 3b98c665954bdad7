"""
What a process of a pool is told when it starts.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import attrs

from quebert._process_pool._limits import PoolLimits

__all__ = ["ANSWERS", "ENVIRONMENT", "OUTPUT", "TASKS", "ProcessSettings"]

#: The environment variable that holds them.
ENVIRONMENT = "QUEBERT_POOL_PROCESS"
#: Descriptors of a process.
TASKS, OUTPUT, ANSWERS = 0, 2, 3


@attrs.frozen
class ProcessSettings:
    """
    @ivar functions: the paths, C{None} for all others, and the names of the functions.
    @ivar subconfig: the last argument of functions as the first quebert had them;
        C{None} for functions that take a task.
    @ivar path: where modules are.
    @ivar parent: the id of the process that started it.
    @ivar memory: see L{PoolLimits}; C{result} likewise.
    """

    functions: Sequence[tuple[str | None, str]]
    subconfig: str | None
    path: Sequence[str]
    parent: int
    memory: int | None
    result: int

    @classmethod
    def of(
        cls,
        functions: Sequence[tuple[str | None, str]],
        subconfig: str | None,
        limits: PoolLimits,
    ) -> ProcessSettings:
        """
        Those of a process of this one, which looks for modules where this one does.
        """
        path = [os.path.abspath(each) for each in sys.path]
        parent, memory, result = os.getpid(), limits.memory, limits.result
        return cls(functions, subconfig, path, parent, memory, result)

    def text(self) -> str:
        """
        Itself as text, for the environment.
        """
        return json.dumps(attrs.astuple(self, recurse=False))

    @classmethod
    def parse(cls, text: str) -> ProcessSettings:
        """
        What L{text} has written.
        """
        functions, *others = json.loads(text)
        return cls([(path, name) for path, name in functions], *others)
