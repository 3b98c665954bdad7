"""
One of many tasks to add: a mapping with the keywords of C{add_task}, and what became of
it.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from quebert.errors import BadTask, ConfigError
from quebert.producer._letter import Letter, new_letter

__all__ = [
    "WINDOW",
    "OnResult",
    "ResultTeller",
    "TaskResult",
    "check_window",
    "item_letter",
]

#: How many tasks of C{add_tasks} may be unconfirmed.
WINDOW = 1_000


def check_window(size: int) -> None:
    """
    @raise ConfigError: no task could be unconfirmed.
    """
    if size < 1:
        raise ConfigError(f"window must be 1 or more, not {size!r}")


@attrs.frozen
class TaskResult:
    """
    What became of one item of C{add_tasks}.

    @ivar index: its place among the items, from 0.
    @ivar item: the item, as it was given.
    @ivar uuid: the task's; C{None} where the item has none and is no task.
    @ivar error: C{None} if the broker has confirmed the task.  After a L{BadTask} it is
        not there.  After a L{BrokerError<quebert.errors.BrokerError>} whose C{added} is
        C{None}, or a C{CancelledError}, it may be there: add it again with the same
        C{uuid}.
    """

    index: int
    item: Mapping[str, Any]
    uuid: str | None
    error: Exception | None = None

    @classmethod
    def without_task(
        cls, index: int, item: Mapping[str, Any], error: Exception
    ) -> TaskResult:
        """
        The result of an item of which no task was made.
        """
        uuid = item.get("uuid") if isinstance(item, Mapping) else None
        return cls(index, item, uuid, error)

    @property
    def added(self) -> bool:
        """
        Whether the broker has confirmed it.
        """
        return self.error is None


#: Called once with the result of each item, in the order in which they come.
OnResult = Callable[[TaskResult], object]


class ResultTeller:
    """
    Tells the results of one C{add_tasks}.

    @param on_result: is told each.
    @ivar added: how many tasks the broker has confirmed.
    @ivar error: what ends all, the first of it: what C{on_result} has raised, too.
    """

    def __init__(self, on_result: OnResult) -> None:
        self.added = 0
        self.error: Exception | None = None
        self._on_result = on_result

    def tell(self, result: TaskResult) -> None:
        """
        Tell one.
        """
        self.added += result.added
        try:
            self._on_result(result)
        except Exception as e:
            self.end_with(e)

    def end_with(self, error: Exception) -> None:
        """
        No more are to be added.
        """
        self.error = self.error or error


def item_letter(item: Mapping[str, Any], now: float) -> tuple[str, Letter]:
    """
    The uuid of the task that an item says, and what carries the task.

    @param item: C{url}, and any other keywords of C{add_task}.
    @param now: seconds since the epoch.
    @raise BadTask: it is no mapping, has another key, or a value is wrong.
    """
    if not isinstance(item, Mapping):
        raise BadTask(f"an item must be a mapping, not of type {type(item).__name__}")
    fields: dict[str, Any] = {"url": None, "params": None, **item}
    url, params = fields.pop("url"), fields.pop("params")
    try:
        return new_letter(now, url, params, **fields)
    except TypeError as e:  # of a key that is no keyword
        raise BadTask(str(e)) from None
