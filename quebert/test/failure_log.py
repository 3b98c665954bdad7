"""
A plugin for pytest: a test that fails shows the last lines of the log, where each
coroutine waits, and what the RabbitMQs of the test hold and have logged.

pytest itself shows the log of the standard library, and Twisted has one of its own.
"""

from __future__ import annotations

import gc
import os
import re
from collections import deque
from collections.abc import Generator, Iterator
from itertools import chain
from types import CoroutineType

import pytest
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import implementer

#: How many events of a test are kept.
EVENTS = 200
# How many lines of the log of a RabbitMQ are shown, and which are not: quebert asks for
# queues that are not there.
_LINES = 60
_USUAL = re.compile("Channel error on connection|channel exception not_found")
# What is told of its queues, and of which nothing.
_COLUMNS = ("name", "type", "state", "messages_ready", "messages_unacknowledged")
_IDLE = re.compile(r"\trunning\t0\t0$")


@implementer(ILogObserver)
class FailureLog:
    """
    Keeps the log of the test that runs.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=EVENTS)
        globalLogPublisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """
        Keep an event.
        """
        # As text: an event would keep alive the objects that it names.
        self._lines.append(eventAsText(event))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, bool, bool]:
        """
        Forget the log of the test before.
        """
        self._lines.clear()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """
        Add the log, and the state of the program and of RabbitMQ, to the report of a
        failure.
        """
        report = yield
        if report.failed:
            told = {
                "Twisted log": self._lines,
                "Coroutines that wait": sorted(waiting()),
                "RabbitMQ": of_rabbitmq(item),
            }
            for title, lines in told.items():
                if text := "\n".join(lines):
                    report.sections.append((title, text))
        return report


def waiting() -> Iterator[str]:
    """
    Where each coroutine waits: its own place, and those of the coroutines that it
    awaits.
    """
    # Not isinstance(), which has lazy objects of others do their work.
    found = [each for each in gc.get_objects() if type(each) is CoroutineType]
    awaited = {id(each.cr_await) for each in found}
    for each in found:
        if each.cr_frame is not None and id(each) not in awaited:
            yield " > ".join(_places(each))


def _places(coroutine: CoroutineType[object, object, object]) -> Iterator[str]:
    inner: object = coroutine
    while isinstance(inner, CoroutineType) and inner.cr_frame is not None:
        file = os.path.basename(inner.cr_code.co_filename)
        yield f"{inner.__qualname__} ({file}:{inner.cr_frame.f_lineno})"
        inner = inner.cr_await


def of_rabbitmq(item: pytest.Item) -> Iterator[str]:
    """
    The queues of the RabbitMQs of a test that hold messages, and the last lines that
    these RabbitMQs have logged.
    """
    from quebert.errors import QuebertError
    from quebert.test.cluster import RabbitMQCluster
    from quebert.testing import RabbitMQNode

    values = getattr(item, "funcargs", {}).values()
    clusters = (each.nodes for each in values if isinstance(each, RabbitMQCluster))
    nodes = (each for each in values if isinstance(each, RabbitMQNode))
    for node in dict.fromkeys([*nodes, *chain(*clusters)]):
        if node.running:
            try:
                listed = node.ctl("list_queues", "--timeout", "20", *_COLUMNS)
            except QuebertError as e:
                listed = str(e)
            yield from (each for each in listed.splitlines() if not _IDLE.search(each))
        logged = [each for each in node.log.splitlines() if not _USUAL.search(each)]
        yield from logged[-_LINES:]


def pytest_configure(config: pytest.Config) -> None:
    """
    Keep the log.
    """
    config.pluginmanager.register(FailureLog())
