"""
A plugin for pytest: a test that hangs fails, and the run goes on.

Each phase of a test (setting up, the call, tearing down) may take C{--time-limit}
seconds.

pytest-timeout does not serve: pytest-twisted runs the reactor in a greenlet of its
own, and the reactor logs an error that is raised there, and waits on.  The test waits
in the parent of that greenlet, so here the error is raised in the parent.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import greenlet
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    The limit, in seconds; 0 is none.
    """
    parser.addoption(
        "--time-limit",
        type=float,
        default=300,
        metavar="SECONDS",
        help="how long each phase of a test may take (default: 300; 0: for ever)",
    )


def is_waiting(frame: FrameType | None) -> bool:
    """
    Whether the reactor waits for events here.
    """
    # Not imported above: pytest-twisted chooses the reactor after plugins are loaded.
    from twisted.internet import reactor

    return frame is not None and frame.f_globals["__name__"] == reactor.__module__


@contextmanager
def time_limit(item: pytest.Item, phase: str) -> Iterator[None]:
    """
    Fail the test where it is when its time is over.
    """
    limit: float = item.config.getoption("--time-limit")

    def stop(number: int, frame: FrameType | None) -> None:
        text = f"{phase} took longer than --time-limit={limit:g} seconds"
        test = greenlet.getcurrent().parent
        if test is not None and is_waiting(frame):
            test.throw(pytest.fail.Exception(text))
        else:
            pytest.fail(text)

    before = signal.signal(signal.SIGALRM, stop)
    # Again each second, should the first error be caught on its way.
    signal.setitimer(signal.ITIMER_REAL, limit, 1 if limit else 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """
    The fixtures of a test.
    """
    with time_limit(item, "setting up"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """
    The test itself.
    """
    with time_limit(item, "the test"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """
    What cleans up after a test.
    """
    with time_limit(item, "tearing down"):
        return (yield)
