"""
A plugin for pytest: a test that fails shows the last lines of the log.

pytest itself shows the log of the standard library, and Twisted has one of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

import pytest
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import implementer

#: How many events of a test are kept.
EVENTS = 200


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
        self,
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """
        Add the log to the report of a failure.
        """
        report = yield
        if report.failed and self._lines:
            report.sections.append(("Twisted log", "\n".join(self._lines)))
        return report


def pytest_configure(config: pytest.Config) -> None:
    """
    Keep the log.
    """
    config.pluginmanager.register(FailureLog())
