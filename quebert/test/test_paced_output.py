"""
Tests for L{quebert.cli._paced_output}: no faster than they are read.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._paced_output import PacedOutput
from quebert.cli._running import OutputLost


class _WritingReactor:
    """
    Notes who wants to write.
    """

    def __init__(self) -> None:
        self.writers: list[Any] = []
        self.addWriter = self.writers.append

    def removeWriter(self, writer: Any) -> None:
        """
        It wants to no more.
        """
        if writer in self.writers:
            self.writers.remove(writer)


class PacedOutputTests(SynchronousTestCase):
    """
    Standard output is a pipe.
    """

    def setUp(self) -> None:
        """
        Open it.
        """
        self.end, writing = os.pipe()
        self.addCleanup(self.close)
        os.set_blocking(writing, False)
        stream = os.fdopen(writing, "w", encoding="utf-8")
        self.addCleanup(stream.close)
        self.patch(sys, "stdout", stream)
        self.reactor = _WritingReactor()
        self.output = PacedOutput(self.reactor)

    def close(self) -> None:
        """
        Its reader goes.
        """
        if self.end >= 0:
            os.close(self.end)
        self.end = -1

    def write(self, text: str) -> Deferred[None]:
        """
        Write.
        """
        return Deferred.fromCoroutine(self.output.write(text))

    def test_writes(self) -> None:
        """
        All is written, as far as there is room.
        """
        text = "é" * 100_000
        writing = self.write(text)
        read = b""
        while not writing.called:
            for _ in range(100):
                if self.reactor.writers:
                    self.output.doWrite()
            read += os.read(self.end, 2**20)
        self.successResultOf(writing)
        self.assertEqual(read.decode(), text)
        self.assertEqual(self.reactor.writers, [])
        empty = self.write("")
        self.output.doWrite()
        self.successResultOf(empty)

    def test_lost(self) -> None:
        """
        A reader that goes is told.
        """
        writing = self.write("x")
        self.close()
        self.output.doWrite()
        self.failureResultOf(writing, OutputLost)
        writing = self.write("x")
        self.output.connectionLost(None)
        self.failureResultOf(writing, OutputLost)
        self.assertEqual(self.reactor.writers, [])

    def test_closed(self) -> None:
        """
        So is standard output that was closed from the beginning.
        """
        self.patch(sys, "stdout", None)
        self.failureResultOf(self.write("x"), OutputLost)

    def test_cancelled(self) -> None:
        """
        What is cancelled is written no more.
        """
        writing = self.write("x")
        writing.cancel()
        self.failureResultOf(writing, CancelledError)
        self.assertEqual(self.reactor.writers, [])
