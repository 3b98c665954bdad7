"""
Tests for C{quebert cancel} and C{run-now}: from command lines to what is asked for, and
to what is said of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert import operations
from quebert.cli import _main as cli
from quebert.cli import _operating
from quebert.operations import Cancelled, CancelledAll, Match, RunNow


class TaskCommandTests(SynchronousTestCase):
    """
    The commands, with no broker.
    """

    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.most = 0
        self.results = ["cancelled"]
        self.problems: tuple[str, ...] = ()
        self.patch(_operating, "log_problems", lambda *ignored, level: None)

        def run(start: Any) -> Any:
            return self.successResultOf(Deferred.fromCoroutine(start("reactor")))

        self.patch(_operating, "run", run)
        for name in ("cancel", "cancel_all", "run_now"):
            self.patch(operations, name, getattr(self, name))

    async def cancel(
        self, broker: Any, queue: str, uuid: str, *, by: str, most: int
    ) -> Cancelled:
        """
        What stands in for this.
        """
        self.most = most
        self.asked.append((queue, uuid, "@" in by))
        result = self.results.pop(0)
        return Cancelled(uuid, result, None, "so it is", self.problems)

    async def cancel_all(
        self, broker: Any, queue: str, matches: Sequence[Match], **how: Any
    ) -> CancelledAll:
        """
        What stands in for this.
        """
        self.asked.append((queue, *matches))
        how["progress"].seen = 9
        return CancelledAll(5, 2, self.problems)

    async def run_now(self, broker: Any, queue: str, uuid: str, *, most: int) -> RunNow:
        """
        What stands in for this.
        """
        self.most = most
        self.asked.append((queue, uuid))
        return RunNow(uuid, self.results.pop(0), "so it is", self.problems)

    def call(self, line: str, said: str = "") -> Result:
        """
        What comes of a command line.
        """
        return CliRunner().invoke(cli.main, line.split(), said)

    def test_cancel(self) -> None:
        """
        Each task is told of, with who does it; the status is 1 if it is too late for
        one, or it was not found.
        """
        self.results = ["cancelled", "marked"]
        result = self.call("cancel tasks a b")
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(result.output, "cancelled: a: so it is\nmarked: b: so it is\n")
        self.assertEqual(self.asked, [("tasks", "a", True), ("tasks", "b", True)])
        for missed in ("too_late", "not_found"):
            self.results = ["cancelled", missed]
            result = self.call("cancel tasks a b")
            self.assertEqual(result.exit_code, 1)
            self.assertIn(missed.replace("_", " ") + ": b: so it is", result.output)

    def test_beginning(self) -> None:
        """
        Where a uuid that was not found may be the beginning of one, that is told.
        """
        for uuid, is_told in (
            ("7107628d", True),
            ("7107628d-1c3b-4d7f", True),
            ("8f145aec-1c3b-4d7f-9a0e-5b6c7d8e9f01", False),
            ("mail-7", False),
            ("7", False),
        ):
            for command in (f"cancel tasks {uuid}", f"run-now tasks {uuid}"):
                self.results = ["not_found"]
                told = "give the whole one" in self.call(command).output
                self.assertEqual(told, is_told, command)

    def test_cancel_json(self) -> None:
        """
        A line of JSON tells all of it; problems are told besides.
        """
        self.problems = ("nobody answers",)
        told = json.loads(self.call("cancel tasks a --json").output)
        self.assertEqual(
            told,
            {
                "queue": "tasks",
                "uuid": "a",
                "result": "cancelled",
                "attempted": None,
                "text": "so it is",
                "problems": ["nobody answers"],
            },
        )
        self.results = ["cancelled"]
        self.assertIn("nobody answers", self.call("cancel tasks a").output)

    def test_cancel_all(self) -> None:
        """
        With a match it asks first.
        """
        match = Match.parse("url~/a")
        for said, code, count in (("n", 1, 0), ("y", 0, 1)):
            result = self.call("cancel tasks --match url~/a", said)
            self.assertEqual(result.exit_code, code, result.output)
            self.assertEqual(self.asked, [("tasks", match)] * count)
        self.assertIn("cancelled 5 of tasks\n2 are being attempted", result.output)
        result = self.call("cancel tasks --match url~/a --json")
        self.assertEqual(result.exit_code, 2)
        result = self.call("cancel tasks --match url~/a --json --yes")
        told = json.loads(result.output)
        self.assertEqual((told["cancelled"], told["too_late"], told["seen"]), (5, 2, 9))

    def test_cancel_all_problems(self) -> None:
        """
        What could not be seen ends with status 1.
        """
        self.problems = ("nobody answers",)
        result = self.call("cancel tasks --match url~/a --yes")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("nobody answers", result.output)

    def test_usage(self) -> None:
        """
        It wants uuids or a match, not both, and a match that can be read.
        """
        dead = ("kind!=a", "reason~a", "answer=a")  # of dead letters alone
        given = ("a --match uuid=a", "--match colour=red")
        for wrong in ("", *given, *(f"--match {each}" for each in dead)):
            result = self.call(f"cancel tasks {wrong}")
            self.assertEqual(result.exit_code, 2, result.output)
        self.assertEqual(self.asked, [])

    def test_run_now(self) -> None:
        """
        The status is 1 unless it runs.
        """
        for result, code in (("running", 0), ("not_delayed", 1), ("not_found", 1)):
            self.results = [result]
            called = self.call("run-now tasks a")
            word = result.replace("_", " ")
            self.assertEqual(called.output, f"{word}: a: so it is\n")
            self.assertEqual(called.exit_code, code)
        self.assertEqual(self.most, operations.MOST)
        for line in ("run-now tasks a", "cancel tasks a"):
            self.results = ["running"]
            self.call(f"{line} --most 7")
            self.assertEqual(self.most, 7)
            self.most = 0
