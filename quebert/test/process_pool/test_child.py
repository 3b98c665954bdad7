"""
Tests for C{quebert._process_pool._child}, in this process.  What signals, limits and
descriptors do is in C{test_executor_processes}.
"""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from quebert import _process_pool, _workers
from quebert._process_pool import (
    FrameKind,
    FrameParser,
    PoolFrame,
    PoolLimits,
    ProcessSettings,
)
from quebert._process_pool._child import Server, data_size
from quebert.functions import Functions, Retry
from quebert.functions.calling import log

LIMITS = PoolLimits(processes=1, memory=2**40, result=100)


@attrs.frozen
class Told:
    """
    What a process tells of a task.
    """

    status: int
    text: str
    lines: list[tuple[int, str]]
    last: bool


class ServerTests(SynchronousTestCase):
    """
    A process does tasks.
    """

    def setUp(self) -> None:
        """
        Logging is as it was in the end.
        """
        self.addCleanup(log.setLevel, log.level)
        self.patch(log, "handlers", [])
        self.patch(log, "propagate", False)

    def serve(
        self,
        function: Callable[[Any], Any],
        *bodies: bytes,
        limits: PoolLimits = LIMITS,
        subconfig: str | None = None,
    ) -> list[PoolFrame]:
        """
        What is told of tasks.
        """
        functions = Functions()
        functions.add(function, "/a")
        settings = ProcessSettings.of([], subconfig, limits)
        frames = [
            PoolFrame(FrameKind.TASK, ["/a?b", "/a", "here", [], 0.0], body)
            for body in bodies or (b'{"uuid": "e2c6"}',)
        ]
        whole = b"".join(part for frame in frames for part in frame.parts())
        with TemporaryFile() as file:
            Server(settings, functions, file.fileno()).serve(BytesIO(whole))
            file.seek(0)
            return FrameParser(1_000_000).feed(file.read())

    def told(self, function: Callable[[Any], Any], **options: Any) -> Told:
        """
        What is told of one task.
        """
        frame = self.serve(function, **options)[-1]
        self.assertIs(frame.kind, FrameKind.ANSWER)
        status, _, lines, last = frame.head
        return Told(status, frame.body.decode(), [tuple(x) for x in lines], last)

    def test_done(self) -> None:
        """
        First that it begins, then its answer; then those of the next task.
        """
        frames = self.serve(lambda task: task["n"], b'{"uuid": "u", "n": 1}', b"{}")
        kinds = [frame.kind for frame in frames]
        self.assertEqual(kinds, [FrameKind.BEGUN, FrameKind.ANSWER] * 2)
        self.assertEqual([frames[0].head, frames[2].head], ["u", "(no uuid)"])
        self.assertEqual((frames[1].head[0], frames[1].body), (200, b"1"))
        self.assertEqual(frames[1].head[1], [["Content-Type", "application/json"]])
        self.assertEqual(frames[3].body, b"KeyError: 'n'")

    def test_imported_again(self) -> None:
        """
        C{multiprocessing} may start others: these load the main module, which is no
        process of a pool there, and no worker.
        """
        for package in (_process_pool, _workers):
            path = Path(package.__path__[0], "__main__.py")
            found = runpy.run_path(str(path), run_name="__mp_main__")
            self.assertNotIn("main", found)

    def test_no_task(self) -> None:
        """
        What is no task is never begun.
        """
        frames = self.serve(len, b"[]", b"{")
        self.assertEqual([frame.kind for frame in frames], [FrameKind.ANSWER] * 2)
        self.assertEqual([frame.head[0] for frame in frames], [400, 400])

    def test_fails(self) -> None:
        """
        An error is told with its traceback; a wish in a line.
        """

        def fails(task: Any) -> None:
            raise ValueError("no")

        told = self.told(fails)
        self.assertEqual((told.status, told.text), (500, "ValueError: no"))
        ((level, text),) = told.lines
        self.assertEqual(level, logging.ERROR)
        self.assertTrue(text.startswith("Task e2c6 failed.\nTraceback"))
        self.assertIn("in fails", text)
        told = self.told(lambda task: Retry("later"))
        self.assertEqual(told.lines, [(logging.INFO, "Task e2c6: 409: later")])

    def test_logging_configured(self) -> None:
        """
        A module with C{logging.config} disables loggers that it does not know, as ours.
        """
        self.patch(log, "disabled", True)
        told = self.told(lambda task: task["no"])
        self.assertIn("Task e2c6 failed.", told.lines[0][1])

    def test_long_lines(self) -> None:
        """
        Whatever the characters of what is logged, the parent takes it.
        """

        def logs(task: Any) -> None:
            for _ in range(10):
                log.error("\U0001f600" * 10_000)

        told = self.told(logs)
        self.assertEqual([len(text) for _, text in told.lines], [6_000] * 5)

    def test_interrupted(self) -> None:
        """
        An interrupt is an error, too.
        """

        def interrupted(task: Any) -> None:
            raise KeyboardInterrupt

        told = self.told(interrupted)
        self.assertEqual((told.status, told.text), (500, "KeyboardInterrupt"))
        self.assertIn("Task e2c6 failed.", told.lines[0][1])

    def test_too_large(self) -> None:
        """
        A result may have so many bytes.
        """
        self.assertEqual(self.told(lambda task: "x" * 100).status, 200)
        told = self.told(lambda task: "x" * 101)
        self.assertEqual(
            (told.status, told.text),
            (500, "the function's result is larger than 100 bytes"),
        )

    def test_out_of_memory(self) -> None:
        """
        A process that had too little memory is the last to have it.
        """

        def greedy(task: Any) -> None:
            raise MemoryError

        limits = attrs.evolve(LIMITS, memory=2**40 + 2**20)
        told = self.told(greedy, limits=limits)
        self.assertEqual((told.status, told.last), (500, True))
        self.assertEqual(told.text, "the function took more than 1,048,577 MiB")
        told = self.told(greedy, limits=attrs.evolve(LIMITS, memory=None))
        self.assertEqual(told.text, "the function took more memory than there is")

    def test_holds_much(self) -> None:
        """
        So is one that keeps much of what importing the functions has left, where the
        system tells.
        """
        kept = []

        def keeps(task: Any) -> None:
            kept.append(bytearray(48 * 2**20))

        little = attrs.evolve(LIMITS, memory=data_size() + 64 * 2**20)
        self.assertFalse(self.told(len, limits=little).last)
        wanted = sys.platform == "linux"
        self.assertEqual(self.told(keeps, limits=little).last, wanted)
        kept.clear()

    def test_original(self) -> None:
        """
        Functions as they were in 2009 get what they got.
        """

        def original(*arguments: Any) -> Any:
            return str(arguments)

        told = self.told(original, subconfig="x")
        wanted = (b'{"uuid": "e2c6"}', "/a?b", "here", "x")
        self.assertEqual(told.text, str(wanted))
