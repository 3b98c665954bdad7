"""
A plugin for pytest: tests that measure time run beside no others.

Such a test is marked C{timed}.  All of them come last, and where pytest-xdist runs
tests side by side, they begin when the others are over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import pytest


def is_timed(item: pytest.Item) -> bool:
    """
    Whether a test measures time.
    """
    return item.get_closest_marker("timed") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Put the timed tests last.
    """
    items.sort(key=is_timed)


def pytest_configure(config: pytest.Config) -> None:
    """
    Have the workers of pytest-xdist take turns.
    """
    if hasattr(config, "workerinput"):
        # The parent of a worker's folder belongs to all workers of this run.
        config.pluginmanager.register(Turns(Path(config.option.basetemp).parent))


class Turns:
    """
    Keeps two kinds of tests apart, timed ones and others: while one of a kind runs in
    any worker, none of the other kind does.  Each kind has a lock, which the workers
    that run such tests share.

    @param folder: the same in all workers.
    """

    def __init__(self, folder: Path) -> None:
        # Closed as the worker ends.
        self._locks = [
            os.open(folder / f"{kind}.lock", os.O_CREAT | os.O_RDWR)
            for kind in ("others", "timed")
        ]
        self._held: int | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """
        Run a test when it is its turn, and keep the turn for others of its kind.
        """
        timed = is_timed(item)
        if self._held is None:
            self._held = self._locks[timed]
            self._share(self._held, self._locks[not timed])
        try:
            return (yield)
        finally:
            if nextitem is None or is_timed(nextitem) != timed:
                fcntl.flock(self._held, fcntl.LOCK_UN)
                self._held = None

    def _share(self, mine: int, other: int) -> None:
        """
        Share a lock, once nobody has the other one.
        """
        while True:
            fcntl.flock(mine, fcntl.LOCK_SH)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(mine, fcntl.LOCK_UN)
                fcntl.flock(other, fcntl.LOCK_EX)
                fcntl.flock(other, fcntl.LOCK_UN)
            else:
                fcntl.flock(other, fcntl.LOCK_UN)
                return
