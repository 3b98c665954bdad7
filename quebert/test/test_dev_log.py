"""
Tests for L{quebert.cli._dev_log}: a line for whatever becomes of a task.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._dev_log import DevLog
from quebert.outcome import Bury, Discard, Done, Outcome, Retry
from quebert.policy import LEASES
from quebert.task_events import AttemptBegun, AttemptEnded, NotAttempted, TaskAttempt

NOW = 1_800_000_000.0
UUID = "8f145aec-5b4a-464e-b5bc-69f9794aece0"
HELLO = TaskAttempt(UUID, "/hello", 3)


class DevLogTests(SynchronousTestCase):
    """
    L{DevLog} tells what becomes of tasks.
    """

    def setUp(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.log = DevLog(
            lambda word, text: self.told.append((word, text)), "tasks", lambda: NOW
        )

    def ended(
        self, outcome: Outcome, status: int | None = None, *more: Any
    ) -> tuple[str, str]:
        """
        What is told of an attempt that has ended, without the time and the names.
        """
        self.log(AttemptEnded(HELLO, status, 0.25, outcome, *more))
        return self.only()

    def only(self) -> tuple[str, str]:
        """
        What was told, without the time and the names.
        """
        [(word, text)] = self.told
        self.told.clear()
        clock = time.strftime("%H:%M:%S", time.localtime(NOW))
        start = f"{clock} 8f145aec /hello            "
        self.assertEqual(text[: len(start)], start)
        return word, text[len(start) :]

    def test_begun(self) -> None:
        """
        That a request begins is not told.
        """
        self.log(AttemptBegun(HELLO))
        self.assertEqual(self.told, [])

    def test_done(self) -> None:
        """
        A success, with its status and the time it took; or without a request.
        """
        said = self.ended(Done(), 201)
        self.assertEqual(said, ("done", "attempt 3: 201, 250 ms"))
        said = self.ended(Done())
        self.assertEqual(said, ("done", "attempt 3: no request, 250 ms"))

    def test_leased(self) -> None:
        """
        That an executor goes on with a task is no failure.
        """
        said = self.ended(Retry(after=3_600.0, queue=LEASES), 202, "", "it goes on")
        self.assertEqual(said, ("leased", "attempt 3: 202, 250 ms, for 3600 s"))

    def test_failed(self) -> None:
        """
        A failure always has its reason: what the answer says, or the meaning of its
        status, or why there was none.
        """
        retry = Retry(after=1.25)
        for status, more, text in [
            (
                500,
                ("why", "Oh:\n\x1b[2J no"),
                "500, 250 ms, again in 1.25 s: Oh: ?[2J no",
            ),
            (500, ("why", "<p>Oh", True), "500, 250 ms, again in 1.25 s: Oh"),
            (503, ("why",), "503, 250 ms, again in 1.25 s: Service Unavailable"),
            (299, ("why",), "299, 250 ms, again in 1.25 s: why"),
            (None, ("no way",), "250 ms, again in 1.25 s: no way"),
        ]:
            said = self.ended(retry, status, *more)
            self.assertEqual(said, ("retry", f"attempt 3: {text}"))

    def test_given_up(self) -> None:
        """
        A task that is buried or discarded.
        """
        said = self.ended(Bury("it keeps failing"), 500, "why")
        self.assertEqual(said, ("buried", "now in queue tasks.dead: it keeps failing"))
        said = self.ended(Discard("it is no use"), 200)
        self.assertEqual(said, ("discarded", "it is no use"))

    def test_not_attempted(self) -> None:
        """
        A task that has to wait, has expired, or is none.
        """
        for after, form in ((3 * 86_400.0, "%Y-%m-%d %H:%M:%S"), (1.0, "%H:%M:%S")):
            self.log(NotAttempted(HELLO, Retry(after=after, attempted=False), "early"))
            until = time.strftime(form, time.localtime(NOW + after))
            self.assertEqual(self.only(), ("waiting", f"until {until}: early"))
        self.log(NotAttempted(HELLO, Discard("it has expired"), "why"))
        self.assertEqual(self.only(), ("discarded", "it has expired"))
        self.log(NotAttempted(HELLO, Bury("not a task"), "why"))
        self.assertEqual(self.only(), ("buried", "now in queue tasks.dead: not a task"))

    def test_short_waits(self) -> None:
        """
        Waits of a moment are not told: there may be thousands.
        """
        self.log(NotAttempted(HELLO, Retry(after=0.5, attempted=False), "host"))
        self.assertEqual(self.told, [])

    def test_no_names(self) -> None:
        """
        Without a uuid the columns are where they are.
        """
        self.log(NotAttempted(TaskAttempt("", "?", 1), Bury("not a task"), "why"))
        [(_, text)] = self.told
        self.assertEqual(text[8:36], " " * 10 + "?" + " " * 17)
