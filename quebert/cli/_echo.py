"""
The function that C{quebert dev} calls for tasks if it is given none.
"""

from __future__ import annotations

from collections import OrderedDict

from quebert.task import Task

__all__ = ["AskedToFail", "Echo"]

#: Tasks whose failures are remembered.
_REMEMBERED = 10_000


class AskedToFail(Exception):
    """
    What the echo fails with.
    """


class Echo:
    """
    Gives the C{params} of a task; with C{{"fail": n}} in them, not at the first n
    attempts.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[object, int] = OrderedDict()

    def __call__(self, task: Task) -> object:
        """
        @raise AskedToFail: at those.
        """
        params, uuid = task.get("params"), str(task.get("uuid"))
        wanted = params.get("fail") if isinstance(params, dict) else None
        failures = self._failures.pop(uuid, 0) or task.get("failures", 0)
        if isinstance(wanted, int) and failures < wanted:
            self._failures[uuid] = failures + 1
            if len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)
            raise AskedToFail(f"{failures + 1} of {wanted}")
        return {} if params is None else params
