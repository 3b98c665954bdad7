"""
The columns of C{quebert top}: which fit, and what stands in them.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from quebert._text import printable
from quebert.cli._amounts import amount, duration, rate
from quebert.operations import LiveQueue

__all__ = ["LONG_NAME", "LONG_SPARK", "NAME", "TopColumn", "fitting", "padded"]

# Columns of a name, and of a sparkline, at least and at most.
NAME, LONG_NAME = 12, 48
_SPARK, LONG_SPARK = 8, 60


@attrs.frozen
class TopColumn:
    """
    @ivar weight: those of the least weight are left out where there is no room.
    """

    head: str
    width: int
    weight: int
    cell: Callable[[LiveQueue], tuple[str, str]]


def _plain(name: str, form: Callable[[Any], str]) -> Callable[[LiveQueue], Any]:
    return lambda queue: (form(getattr(queue, name)), "")


def _dead(queue: LiveQueue) -> tuple[str, str]:
    return amount(queue.dead), "red" if queue.dead else ""


def _consumers(queue: LiveQueue) -> tuple[str, str]:
    return amount(queue.consumers), "" if queue.consumers or queue.paused else "yellow"


def _state(queue: LiveQueue) -> tuple[str, str]:
    if queue.exists is False:
        return "none", "red"
    if queue.paused:
        return "paused", "yellow"
    return ("broken", "red") if queue.breakers else ("", "")


_COLUMNS = (
    TopColumn("ready", 5, 9, _plain("ready", amount)),
    TopColumn("delay", 5, 6, _plain("delayed", amount)),
    TopColumn("run", 5, 8, _plain("running", amount)),
    TopColumn("retry", 5, 7, _plain("retrying", amount)),
    TopColumn("dead", 5, 8, _dead),
    TopColumn("in/s", 5, 6, _plain("rate_in", rate)),
    TopColumn("out/s", 5, 9, _plain("rate_out", rate)),
    TopColumn("p50", 5, 4, _plain("p50", duration)),
    TopColumn("p99", 5, 5, _plain("p99", duration)),
    TopColumn("old", 5, 3, _plain("oldest", duration)),
    TopColumn("cons", 4, 2, _consumers),
    TopColumn("state", 6, 7, _state),
)


def fitting(names: Sequence[str], columns: int) -> tuple[list[TopColumn], int, int]:
    """
    The columns that there is room for, and the width of names and of sparklines.
    """
    kept = list(_COLUMNS)
    while kept and NAME + sum(each.width + 1 for each in kept) > columns:
        kept.remove(min(kept, key=lambda each: each.weight))
    left = columns - sum(each.width + 1 for each in kept)
    wanted = max([NAME, *map(len, names)])
    name = max(min(wanted, LONG_NAME, left), min(NAME, left))
    spark = min(left - name - 1, LONG_SPARK)
    if spark < _SPARK:
        return kept, max(0, left), 0
    return kept, name, spark


def padded(text: str, columns: int) -> str:
    """
    A text of exactly so many columns, cut in the middle, since names of queues differ
    at their ends.
    """
    from rich.cells import cell_len, set_cell_size

    text = printable(text)
    if cell_len(text) > columns > 4:
        half = (columns - 1) // 2
        text = f"{set_cell_size(text, columns - 1 - half).rstrip()}~{text[-half:]}"
    return set_cell_size(text, columns)
