"""
Tests for C{quebert status}: from command lines to what is asked for, and from overviews
to lines, tables and JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from click.testing import CliRunner, Result
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert import operations
from quebert.cli import _main as cli
from quebert.cli import _operating, _overview_text, _status
from quebert.errors import BrokerUnreachable
from quebert.operations import Due, Overview, Status

NOW = Status(
    ready=7,
    consumers=2,
    paused=False,
    dead=3,
    arrived=0,
    unclaimed=0,
    running=4,
    retrying=5,
    delayed=Due(1, 2, 3, 4),
    rate_in=1.25,
    rate_out=0.0,
)
UNKNOWN = attrs.evolve(
    NOW,
    running=None,
    rate_in=None,
    rate_out=None,
    retrying=None,
    delayed=None,
    unknown={
        "running": "no API",
        "rate_in": "no API",
        "rate_out": "no API",
        "retrying": "too many",
        "delayed": "too many",
    },
)
MISSING = attrs.evolve(Status(None, 0, False, 0, arrived=0), running=0)
ALL = Due(1, 0, 0, 2)


class StatusCommandTests(SynchronousTestCase):
    """
    The command, with no broker.
    """

    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.found = Overview({"tasks": NOW}, ALL, exact=True, unclaimed=0)
        self.patch(_operating, "log_problems", lambda *ignored, level: None)
        self.patch(_operating, "run", lambda start: start("reactor"))
        self.patch(operations, "overview", self.overview)
        self.patch(_status, "_now", lambda: "NOW")

    def overview(self, broker: Any, queues: Sequence[str]) -> Overview:
        """
        What stands in for this.
        """
        place = broker.url if broker.configured is None else broker.configured
        self.asked = [place, broker.management_url, *queues]
        return self.found

    def call(self, *line: str, code: int = 0, **environment: str) -> Result:
        """
        What comes of a command line.
        """
        result = CliRunner().invoke(cli.main, ["status", *line], None, environment)
        self.assertEqual(result.exit_code, code, result.output)
        return result

    def config(self, text: str) -> str:
        """
        A configuration file.
        """
        path = Path(self.enterContext(TemporaryDirectory())) / "a.toml"
        path.write_text(text)
        return str(path)

    def test_one(self) -> None:
        """
        One queue is shown in lines.
        """
        self.assertEqual(
            self.call("tasks").stdout.splitlines(),
            [
                "waiting    7",
                "running    4",
                "retrying   5",
                "delayed    10: 1 within a minute, 2 within an hour, 3 within a day, 4"
                " later",
                "dead       3",
                "paused     no",
                "consumers  2",
                "rate       1.2 in, 0.0 out a second",
            ],
        )

    def test_unknown(self) -> None:
        """
        What nobody tells is unknown, and each reason is told once; that is no failure.
        """
        self.found = Overview({"tasks": UNKNOWN}, ALL)
        lines = self.call("tasks").stdout.splitlines()
        self.assertIn("running    unknown", lines)
        self.assertIn("delayed    unknown", lines)
        self.assertIn("rate       unknown in, unknown out a second", lines)
        told = "1 within a minute, 0 within an hour, 0 within a day, 2 later"
        self.assertEqual(
            lines[-3:],
            [
                f"elsewhere  3 of all queues, at the latest: {told}",
                "unknown: running, in/s, out/s: no API",
                "unknown: retrying, delayed: too many",
            ],
        )

    def test_several(self) -> None:
        """
        Several queues are rows of a table.
        """
        self.found = Overview({"tasks": NOW, "mail": UNKNOWN}, ALL, unclaimed=6)
        lines = self.call("tasks", "mail").stdout.splitlines()
        head = "queue waiting running retrying dead paused consumers in/s out/s"
        self.assertEqual(
            lines[0].split(), [*head.split(), *_overview_text._DUE.values()]
        )
        row = ["tasks", "7", "4", "5", "3", "no", "2", "1.2", "0.0", *"1234"]
        self.assertEqual(lines[1].split(), row)
        row = ["mail", "7", "?", "?", "3", "no", "2", "?", "?", *"????"]
        self.assertEqual(lines[2].split(), row)
        self.assertTrue(lines[4].startswith("unclaimed  6 (due, of all queues"))

    def test_missing(self) -> None:
        """
        A queue that does not exist is an error, unless something of it is there.
        """
        self.found = Overview({"tasks": MISSING}, unclaimed=5)
        result = self.call("tasks", code=1)
        self.assertTrue(result.stdout.startswith("unclaimed  5 ("), result.stdout)
        self.assertEqual(result.stdout.count("\n"), 1)
        self.assertEqual(result.stderr, "Error: there is no queue tasks\n")
        for more in ({"arrived": 5}, {"dead": 5}, {"paused": True}):
            now = attrs.evolve(MISSING, **more)
            self.found = Overview({"tasks": now})
            self.assertIn("waiting    0\n", self.call("tasks").stdout)
        self.found = Overview({"tasks": NOW, "mail": MISSING})
        result = self.call("tasks", "mail", code=1)
        self.assertEqual(result.stderr, "Error: there is no queue mail\n")

    def test_arrived(self) -> None:
        """
        Tasks that are due and cannot enter the queue have a line, which tells why.
        """
        self.found = Overview({"tasks": attrs.evolve(NOW, arrived=5)})
        said = self.call("tasks").stdout
        self.assertIn("arrived    5 (due, in quebert.delay.arrivals.tasks: the q", said)
        now = attrs.evolve(NOW, arrived=5, consumers=0)
        self.found = Overview({"tasks": now, "mail": NOW})
        said = self.call("tasks", "mail").stdout
        self.assertIn("tasks: arrived    5 (due, in", said)
        self.assertIn("nobody consumes)", said)

    def test_problems(self) -> None:
        """
        What the user may not see is unknown, and an error.
        """
        now = Status(None, None, None, None, ("it may not be seen",))
        self.found = Overview({"tasks": now}, problems=("nor this",))
        result = self.call("tasks", code=1)
        self.assertEqual(result.stderr, "Error: nor this; it may not be seen\n")
        self.assertEqual(result.stdout.count("unknown"), 9)

    def test_json(self) -> None:
        """
        With C{--json} it is one object.
        """
        self.found = Overview(
            {"tasks": UNKNOWN, "mail": NOW}, ALL, True, 6, "http://m", ()
        )
        result = self.call("tasks", "mail", "--json")
        self.assertEqual(result.stdout.count("\n"), 1)
        told = json.loads(result.stdout)
        tasks, mail = told.pop("queues")
        self.assertEqual(
            told,
            {
                "time": "NOW",
                "elsewhere": {**attrs.asdict(ALL), "exact": True},
                "unclaimed": 6,
                "management": "http://m",
                "problems": [],
            },
        )
        self.assertEqual(
            mail,
            {
                "queue": "mail",
                "exists": True,
                "waiting": 7,
                "running": 4,
                "retrying": 5,
                "delayed": attrs.asdict(Due(1, 2, 3, 4)),
                "dead": 3,
                "paused": False,
                "paused_by": "",
                "paused_since": None,
                "consumers": 2,
                "arrived": 0,
                "rate_in": 1.25,
                "rate_out": 0.0,
                "unknown": {},
                "problems": [],
            },
        )
        self.assertEqual((tasks["running"], tasks["delayed"]), (None, None))
        self.assertEqual(tasks["unknown"]["running"], "no API")

    # -- What is asked for

    def test_places(self) -> None:
        """
        Broker and management API are on the line, or in the file, or in the
        environment.  The management API of the file gets no password that is meant for
        another broker.
        """
        self.call("tasks", QUEBERT_AMQP_URL="amqp://here/")
        self.assertEqual(self.asked, ["amqp://here/", None, "tasks"])
        self.call("tasks", "--amqp-url=amqp://x/", "--management-url=http://m:1/")
        self.assertEqual(self.asked, ["amqp://x/", "http://m:1", "tasks"])
        path = self.config(
            '[broker]\nurl = "amqp://b.example/"\nmanagement_url = "https://m"\n'
            '[queues]\nmail.key = "m"\nreports.key = "r"\n'
        )
        self.call("--config", path)
        broker, *rest = self.asked
        self.assertEqual(broker.addresses[0].host, "b.example")
        self.assertEqual(rest, ["https://m", "mail", "reports"])
        self.call("--config", path, "--amqp-url=amqp://x/", "q")
        self.assertEqual(self.asked, ["amqp://x/", None, "q"])

    def test_refusals(self) -> None:
        """
        What cannot be is refused, and nothing is asked; a file with a line for each
        mistake, as all commands do, and with C{--json} in one object.
        """
        said = self.call(code=2).stderr
        self.assertIn("name a QUEUE, or give --config FILE", said)
        for url in ("m:15672", "http://me:secret@m", "http://m?x", "ftp://m", ""):
            said = self.call("q", f"--management-url={url}", code=2).stderr
            self.assertIn("--management-url must be like http://", said)
            self.assertNotIn("secret", said)
        path = self.config("[queues.mail]\nkey = 1\nx = 2")
        key, x = self.call("--config", path, code=1).stderr.splitlines()
        self.assertIn("a.toml:2: queues.mail.key", key)
        self.assertIn("a.toml:3: queues.mail.x", x)
        told = json.loads(self.call("--config", path, "--json", code=1).stderr)
        for each in (key, x):
            self.assertIn(each, told["error"])
        self.assertIn("cannot be read", self.call("--config=nope", code=1).stderr)
        self.assertEqual(self.asked, [])


class WatchTests(SynchronousTestCase):
    """
    C{quebert status --watch}, with no broker.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.found: list[Overview | Exception] = []
        self.patch(_operating, "log_problems", lambda *ignored, level: None)
        self.patch(operations, "observing", self.observing)
        self.patch(_status, "_now", lambda: "NOW")
        self.out = StringIO()
        self.err = StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    @asynccontextmanager
    async def observing(
        self, broker: Any, queues: Sequence[str]
    ) -> AsyncIterator[Callable[[], Awaitable[Overview]]]:
        """
        What stands in for this.
        """

        async def look() -> Overview:
            found = self.found.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        yield look

    def run_for(self, seconds: int) -> Callable[[Any], Any]:
        """
        What stands in for the reactor's run, until Ctrl-C.
        """

        def run(start: Any) -> Any:
            running = Deferred.fromCoroutine(start(self.clock))
            for _ in range(seconds):
                self.clock.advance(1)
            running.addErrback(lambda failure: failure.trap(CancelledError))
            running.cancel()
            raise KeyboardInterrupt

        return run

    def watch(self, *line: str) -> None:
        """
        Have it watch C{tasks} until all looks are over.
        """
        self.patch(_operating, "run", self.run_for(len(self.found) - 1))
        arguments = ["status", "tasks", "--watch", *line]
        with self.assertRaises(SystemExit) as ended:
            cli.main(arguments, prog_name="quebert")
        self.assertEqual((ended.exception.code, self.found), (0, []))
        self.assertEqual(self.err.getvalue(), "")

    def looks(self) -> list[Overview | Exception]:
        """
        Two looks, and a failure between them.
        """
        later = attrs.evolve(NOW, ready=8)
        lost = BrokerUnreachable("it is gone")
        return [Overview({"tasks": NOW}), lost, Overview({"tasks": later})]

    def test_lines(self) -> None:
        """
        Without a terminal it writes a line for each queue every second, and goes on
        when the broker is gone for a while.  Ctrl-C ends it well.
        """
        self.found = self.looks()
        self.watch()
        rest = "running=4 retrying=5 dead=3 paused=no consumers=2 in/s=1.2 out/s=0.0"
        rest += " <1min=1 <1h=2 <1d=3 later=4"
        self.assertEqual(
            self.out.getvalue().splitlines(),
            [
                f"NOW tasks waiting=7 {rest}",
                "NOW Error: it is gone",
                f"NOW tasks waiting=8 {rest}",
            ],
        )

    def test_problems(self) -> None:
        """
        A queue that is not there, and what the user may not see, are told at each look,
        on a terminal, too.
        """
        hidden = Status(None, None, None, None, ("it may not be seen",))
        queues = {"tasks": hidden, "mail": MISSING}
        wanted = ["nor this", "there is no queue mail", "it may not be seen"]
        self.patch(shutil, "get_terminal_size", lambda: os.terminal_size((99, 99)))
        for is_terminal in (False, True):
            self.patch(self.out, "isatty", lambda told=is_terminal: told)
            self.found = [Overview(queues, problems=("nor this",))]
            self.watch()
            said = self.out.getvalue().splitlines()[-3:]
            told = [each.removeprefix("NOW ") for each in said]
            self.assertEqual(told, [f"Error: {each}" for each in wanted])

    def test_json(self) -> None:
        """
        With C{--json} each look is an object, and so is a failure.
        """
        self.found = self.looks()
        self.watch("--json")
        told = [json.loads(line) for line in self.out.getvalue().splitlines()]
        self.assertEqual([t["time"] for t in told], ["NOW"] * 3)
        self.assertEqual(told[1]["error"], "it is gone")
        self.assertEqual(told[2]["queues"][0]["waiting"], 8)

    def test_terminal(self) -> None:
        """
        On a terminal it is drawn anew each time, as far as there is room.
        """
        size = os.terminal_size((20, 5))
        self.patch(self.out, "isatty", lambda: True)
        self.patch(shutil, "get_terminal_size", lambda: size)
        self.found = self.looks()
        self.watch()
        _, *shown = self.out.getvalue().split("\x1b[2J\x1b[H")
        self.assertEqual(len(shown), 3)
        for each in shown:
            lines = each.splitlines()
            self.assertLessEqual(len(lines), 4)
            self.assertTrue(all(len(line) <= 20 for line in lines), lines)
        self.assertIn("waiting    7", shown[0])
        self.assertTrue(shown[0].startswith("NOW, until Ctrl-C\n\nwaiting"))
        self.assertIn("Error: it is gone", shown[1])

    def test_first(self) -> None:
        """
        If the first look fails, it ends with the error.
        """

        def run(start: Any) -> Any:
            running = Deferred.fromCoroutine(start(self.clock))
            self.failureResultOf(running).raiseException()

        self.found = [BrokerUnreachable("there is none")]
        self.patch(_operating, "run", run)
        with self.assertRaises(SystemExit) as ended:
            cli.main(["status", "tasks", "--watch"], prog_name="quebert")
        self.assertEqual(ended.exception.code, 1)
        self.assertEqual(self.err.getvalue(), "Error: there is none\n")
