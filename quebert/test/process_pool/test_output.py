"""
Tests for C{quebert._process_pool._output}.
"""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._process_pool._output import (
    LINE,
    MOST_BYTES,
    MOST_LINES,
    ProcessOutput,
)


class OutputTests(SynchronousTestCase):
    """
    What functions print is logged.
    """

    def printed(self, *pieces: bytes, name: str | None = "e2c6") -> list[str]:
        """
        What is logged of what a function prints.
        """
        output = ProcessOutput()
        output.process = "process 7"
        with capturedLogs() as logged:
            output.begin()
            if name is not None:
                output.named(name)
            for each in pieces:
                output.feed(each)
            output.end()
        return [formatEvent(event) for event in logged]

    def test_lines(self) -> None:
        """
        By lines, with the task's name; the last one may have no end.
        """
        told = self.printed(b"o", b"ne\ntwo\nthr", b"ee")
        self.assertEqual(told, ["Task e2c6: one", "Task e2c6: two", "Task e2c6: three"])

    def test_harmless(self) -> None:
        """
        Control characters, and what is not UTF-8, do nothing to a terminal.
        """
        (told,) = self.printed(b"\x1b[2J{x}\xff\r\x07\n")
        self.assertEqual(told, "Task e2c6: ?[2J{x}\ufffd ?")

    def test_long_line(self) -> None:
        """
        A long line becomes several.
        """
        told = self.printed(*[b"x" * LINE] * 4)
        self.assertEqual(len(told), 2)
        self.assertTrue(all(len(each) <= LINE + 20 for each in told))

    def test_many_bytes(self) -> None:
        """
        Bytes beyond a limit are counted.
        """
        told = self.printed(*[(b"x" * 999 + b"\n")] * 100)
        self.assertEqual(len(told), MOST_BYTES // 1_000 + 2)
        left = 100_000 - MOST_BYTES
        self.assertEqual(told[-1], f"Task e2c6: {left} more bytes are left out")

    def test_many_lines(self) -> None:
        """
        So are lines.
        """
        told = self.printed(*[b"x\n" * 100] * 20)
        self.assertEqual(len(told), MOST_LINES + 1)
        self.assertEqual(told[-1], "Task e2c6: 3000 more bytes are left out")

    def test_each_task(self) -> None:
        """
        The limits are those of one task.
        """
        output = ProcessOutput()
        for name in ("a", "b"):
            output.begin()
            output.named(name)
            with capturedLogs() as logged:
                output.feed(b"x\n" * MOST_LINES)
            self.assertEqual(len(logged), MOST_LINES)
        output.end()

    def test_name_comes_later(self) -> None:
        """
        What is printed before the name is known waits for it.
        """
        output = ProcessOutput()
        with capturedLogs() as logged:
            output.begin()
            output.feed(b"early\n")
            self.assertEqual(logged, [])
            output.named("e2c6")
            output.feed(b"late\n")
            output.end()
        told = [formatEvent(event) for event in logged]
        self.assertEqual(told, ["Task e2c6: early", "Task e2c6: late"])

    def test_no_name(self) -> None:
        """
        Of a task that was never begun, it is told without one.
        """
        told = self.printed(b"x\n", name=None)
        self.assertEqual(told, ["Task (no uuid): x"])

    def test_between_tasks(self) -> None:
        """
        Before its first task a process itself is named.
        """
        output = ProcessOutput()
        output.process = "process 7"
        with capturedLogs() as logged:
            output.feed(b"imported\n")
        (event,) = logged
        self.assertEqual(formatEvent(event), "process 7: imported")
