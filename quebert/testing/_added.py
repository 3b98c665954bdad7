"""
L{AddedTask}: a task as a producer has added it.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import attrs

from quebert import task as tasks
from quebert.errors import BadTask

__all__ = ["AddedTask", "decoded"]


def decoded(body: bytes) -> dict[str, Any]:
    """
    The task in a body; empty if it has none.
    """
    try:
        task = tasks.decode(body)
    except BadTask:
        return {}
    return task if isinstance(task, dict) else {}


@attrs.define(eq=False, repr=False, slots=False)
class AddedTask:
    """
    A task that was added, as its executor gets it: what was a tuple or a date has its
    form in JSON.

    @ivar exchange: where it would have been published.
    @ivar routing_key: with which key: C{kind.priority}.
    @ivar body: its bytes.
    @ivar properties: of its message, by their AMQP names.
    @ivar answer: of the executor, an L{Answer<quebert.testing.Answer>}, where it was
        done at once; else C{None}.
    @ivar result: what became of it then: C{"done"}, C{"retry"}, C{"dead"} or
        C{"dropped"}; else C{""}.
    """

    exchange: str
    routing_key: str
    body: bytes
    properties: Mapping[str, Any]
    answer: Any = None
    result: str = ""

    def __repr__(self) -> str:
        """
        What a failed assertion shows.
        """
        later = f" in {self.delay:g} s" if self.delay else ""
        result = f": {self.result}" if self.result else ""
        return f"<AddedTask {self.url} {self.params!r:.200}{later}{result}>"

    @cached_property
    def task(self) -> dict[str, Any]:
        """
        All its fields; empty if it is no task, as one of C{add_raw_task} may be.
        """
        return decoded(self.body)

    @property
    def url(self) -> str:
        """
        As it was given: it may be partial.
        """
        return str(self.task.get("url", ""))

    @property
    def params(self) -> Any:
        """
        Its parameters.
        """
        return self.task.get("params")

    @property
    def uuid(self) -> str:
        """
        What C{add_task} has returned.
        """
        return str(self.task.get("uuid", ""))

    @property
    def kind(self) -> str:
        """
        The first part of the routing key.
        """
        return self.routing_key.rpartition(".")[0]

    @property
    def priority(self) -> str:
        """
        The last part of the routing key: C{"high"}, C{"medium"} or C{"low"}.
        """
        return self.routing_key.rpartition(".")[2]

    @property
    def run_at(self) -> datetime | None:
        """
        Before which time it is not done, in UTC; C{None} if it may be done at once.
        """
        return self._time("run_at")

    @property
    def delay(self) -> float:
        """
        Seconds from when it was added until L{run_at}; 0 if it may be done at once.
        """
        run_at, added = self.run_at, self._time("timestamp")
        if run_at is None or added is None:
            return 0.0
        return max(0.0, (run_at - added).total_seconds())

    def _time(self, name: str) -> datetime | None:
        text = self.task.get(name)
        if not isinstance(text, str):
            return None
        try:
            return datetime.fromtimestamp(tasks.parse_time(text), UTC)
        except (ValueError, OverflowError, OSError):  # of a raw task
            return None
