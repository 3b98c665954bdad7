"""
A plugin for pytest: tests that measure time run beside no others.

Such a test is marked C{timed}.  They come first, and where pytest-xdist runs tests
side by side, the others begin when these are over.  Were they last, a worker that has
come to them would wait until the others have done all other tests.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


def is_timed(item: pytest.Item) -> bool:
    """
    Whether a test measures time.
    """
    return item.get_closest_marker("timed") is not None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """
    Have each worker begin with its share of the timed tests, after one that starts its
    RabbitMQ: the start of another's takes seconds of a processor.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = timed_first(items, is_timed, is_on_rabbitmq, workers)


def is_on_rabbitmq(item: pytest.Item) -> bool:
    """
    Whether a test runs on the RabbitMQ of its worker, and on another broker, too.
    """
    callspec = getattr(item, "callspec", None)
    return callspec is not None and "rabbitmq" in callspec.params.values()


def timed_first(
    tests: Sequence[T],
    timed: Callable[[T], bool],
    starts: Callable[[T], bool],
    workers: int,
) -> list[T]:
    """
    The tests in such an order that of the tests of each worker the timed ones come
    first, and each worker has as many of these as the others.

    @param starts: tells which tests start what must not be started beside timed ones;
        one of them comes before these.
    @param workers: among which C{--dist worksteal} divides the tests, in their order,
        into as equal parts as it can.
    """
    those = [each for each in tests if timed(each)]
    others = [each for each in tests if not timed(each)]
    before = [*islice(filter(starts, others), workers)] if those else []
    rest = iter([each for each in others if each not in before])
    ordered: list[T] = []
    for n in range(workers):
        share = [*before[n::workers], *those[n::workers]]
        size = (len(tests) - len(ordered)) // (workers - n)
        ordered += [*share, *islice(rest, max(0, size - len(share)))]
    return [*ordered, *rest]


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
