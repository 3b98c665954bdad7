"""
Configuration files on the command line: read, or all that is wrong with them told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from quebert.cli._running import one_line
from quebert.cli._terminal import echo
from quebert.config import BadConfig

__all__ = ["read_or_exit"]

T = TypeVar("T")


def read_or_exit(read: Callable[[], T]) -> T:
    """
    What C{read} gives; where it raises L{BadConfig}, each problem is told in a line of
    its own, and the command ends with status 1.
    """
    try:
        return read()
    except BadConfig as e:
        for each in e.problems:
            echo(one_line(str(each)), err=True)
        raise SystemExit(1) from None
