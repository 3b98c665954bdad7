"""
C{quebert add}: from command lines to what is asked for, and from what came of it to
words and an exit status.
"""

from __future__ import annotations

import json
import uuid as uuids
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.bulk import Count
from quebert.cli import _add, _add_many, _add_one, _add_over_http
from quebert.cli import _main as cli
from quebert.cli._meant_url import check_url
from quebert.client import APIAccess, APIError
from quebert.errors import BadTask, BrokerUnreachable, QuebertError


class AddTests(SynchronousTestCase):
    """
    The command, with nothing run.
    """

    def setUp(self) -> None:
        self.asked: dict[str, Any] = {}
        self.error: Exception | None = None
        self.patch(_add, "log_problems", lambda *ignored, level: None)
        self.patch(_add, "run", lambda start: start(None))
        self.patch(_add_one, "add", self.note)
        self.patch(_add_over_http, "add", self.note)
        self.patch(_add_many, "run", lambda start: None)
        self.many: list[_add_many.Many] = []

    def note(self, reactor: object, **options: Any) -> str:
        """
        What stands in for what adds a task.
        """
        self.asked = options
        if self.error is not None:
            raise self.error
        return "the uuid"

    def call(self, *arguments: str, **environment: str) -> Result:
        """
        What comes of a command line.
        """
        runner = CliRunner()
        words = ["add", *arguments]
        return runner.invoke(cli.main, words, env=environment, prog_name="quebert")

    def done(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """
        What a right one asks for.
        """
        result = self.call(*arguments, **environment)
        self.assertEqual(result.exit_code, 0, result.output)
        return self.asked

    def refused(self, *arguments: str, code: int = 2, **environment: str) -> str:
        """
        What a wrong one is told: one sentence, after the usage if that is wrong.
        """
        result = self.call(*arguments, **environment)
        self.assertEqual((result.exit_code, self.asked), (code, {}), result.output)
        self.assertEqual(result.stdout, "")
        if code == 1:
            self.assertEqual(result.stderr.count("\n"), 1)
        return result.stderr.splitlines()[-1].removeprefix("Error: ")

    # -- One task

    def test_one(self) -> None:
        """
        It prints the uuid; a task has nothing that was not asked for.
        """
        result = self.call("/hello", '{"name": "you"}')
        self.assertEqual((result.exit_code, result.output), (0, "the uuid\n"))
        uuids.UUID(self.asked.pop("uuid"))
        self.assertEqual(
            self.asked,
            {
                "amqp_url": "amqp://guest:guest@localhost:5672/",
                "exchange": "flow",
                "key": None,
                "wait": 0,
                "url": "/hello",
                "params": {"name": "you"},
            },
        )

    def test_options(self) -> None:
        """
        A task has all the fields that it could have from a program.
        """
        asked = self.done(
            *("/", "--amqp-url=amqp://a", "--exchange=", "--key=queue", "--wait=2m"),
            *("--ttl=9.5", "--delay=2h", "--timeout=90s", "--method=get"),
            *("--header", "A: b: c", "--header", "D:", '--extra={"colour": "red"}'),
            *('--retry={"max_attempts": 3}', "--uuid=u", "--run-at=2027-01-31"),
            "--callback-url=/ended",
        )
        self.assertEqual((asked["amqp_url"], asked["exchange"]), ("amqp://a", ""))
        self.assertEqual((asked["key"], asked["wait"]), ("queue", 120.0))
        self.assertNotIn("params", asked)
        times = asked["ttl"], asked["delay"], asked["timeout"], asked["run_at"]
        self.assertEqual(times, (9.5, 7200.0, 90.0, "2027-01-31"))
        self.assertEqual((asked["method"], asked["uuid"]), ("get", "u"))
        self.assertEqual(asked["headers"], {"A": "b: c", "D": ""})
        self.assertEqual(asked["extra"], {"colour": "red"})
        self.assertEqual(asked["callback_url"], "/ended")
        self.assertEqual(asked["retry"], {"max_attempts": 3})

    def test_payload(self) -> None:
        """
        A payload is what a file has, or standard input.
        """
        with TemporaryDirectory() as folder:
            path = Path(folder) / "payload"
            path.write_bytes(b"\x00\xff\r\n")
            asked = self.done("/", f"--payload={path}")
        self.assertEqual(asked["payload"], b"\x00\xff\r\n")
        result = CliRunner().invoke(
            cli.main, ["add", "/", "--payload=-"], input=b"\xfe"
        )
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(self.asked["payload"], b"\xfe")
        self.asked = {}
        self.assertIn("none.bin", self.refused("/", "--payload=none.bin"))

    def test_priority(self) -> None:
        """
        A priority is the end of the routing key, which can be given as a whole instead.
        """
        asked = self.done("/", "--priority=high")
        self.assertEqual((asked["priority"], asked["key"]), ("high", None))
        self.asked = {}
        told = self.refused("/", "--priority=high", "--key=a")
        self.assertEqual(told, "give --key or --priority, not both")

    def test_json(self) -> None:
        """
        With C{--json} it prints an object.
        """
        said = self.call("/", "--json").output
        self.assertEqual(json.loads(said), {"uuid": "the uuid"})

    def test_elsewhere(self) -> None:
        """
        The environment may say where the broker is.
        """
        asked = self.done("/", QUEBERT_AMQP_URL="amqp://there")
        self.assertEqual(asked["amqp_url"], "amqp://there")

    def test_refusals(self) -> None:
        """
        What is no task is told.
        """
        self.assertIn("PARAMS must be JSON", self.refused("/", "{x", code=1))
        deep = "[" * 100_000
        self.assertIn("PARAMS must be JSON", self.refused("/", deep, code=1))
        told = self.refused("/", "--header=nonsense")
        self.assertEqual(told, "--header nonsense must be name:value")
        for option in ("--extra", "--retry"):
            self.assertIn(
                f"{option} must be JSON", self.refused("/", f"{option}=x", code=1)
            )
            for wrong in ("null", "[]", "5"):
                told = self.refused("/", f"{option}={wrong}", code=1)
                self.assertEqual(told, f"{option} must be a JSON object, such as {{}}")
        told = self.refused("/", "--header=A:1", "--header=a:2")
        self.assertEqual(told, "--header a is given twice")
        self.assertEqual(self.refused(), "Missing argument 'URL'.")
        for wrong in ("soon", "5x", "-1", "nan", "1e99"):
            told = self.refused("/", f"--delay={wrong}")
            self.assertIn("Invalid value for '--delay'", told)
            self.assertIn('"90s", "5m", "2h"', told)

    def test_no_scheme(self) -> None:
        """
        A URL without a scheme is refused if it begins with a host.
        """
        hosts = (
            *("example.com/x", "localhost:8000/x", "10.0.0.1/x", "localhost"),
            *("example.com", "a.b.example.com.?x=1", "[::1]:80/", "shop:8000"),
            "m\u00fcller.example/x",
        )
        for url in hosts:
            told = self.refused(url, code=1)
            self.assertIn(f"url has no scheme: write http://{url}, or /{url}", told)
        told = self.refused("/", "--callback-url=localhost:8000/x", code=1)
        self.assertIn("callback_url has no scheme: write http://localhost:8000/x", told)
        partial = "/example.com/x", "hello", "hello/x.html", "?a=b.c", "#x", ""
        others: tuple[object, ...] = "http://localhost", "https://a.b/", "../x", None, 5
        for other in (*partial, *others):
            check_url(other)

    def test_long_url_is_cut(self) -> None:
        """
        The hint has no more than a part of a long URL.
        """
        with self.assertRaises(BadTask) as caught:
            check_url("example.com/" + "x" * 10_000)
        self.assertLess(len(str(caught.exception)), 400)

    def test_options_of_others(self) -> None:
        """
        An option that other task queues have is told with the one that means it.
        """
        others = ("countdown", "delay"), ("expires", "ttl"), ("eta", "run-at")
        for other, ours in others:
            told = self.refused("/", f"--{other}=1")
            self.assertIn("No such option", told)
            self.assertIn(f"Did you mean --{ours}?", told)

    # -- Over the HTTP API

    def test_api(self) -> None:
        """
        Where the environment has the URL of the API, it is asked, and the client makes
        an Idempotency-Key in place of a uuid.
        """
        there = {"QUEBERT_URL": "http://web", "QUEBERT_TOKEN": "secret"}
        asked = self.done("/", "{}", "--name=n", "--queue=mail", "--wait=9", **there)
        access = APIAccess("http://web", "secret")
        fields = {"url": "/", "params": {}, "name": "n", "queue": "mail"}
        self.assertEqual(asked, {"access": access, "wait": 9.0, **fields})
        self.assertEqual(self.done("/", "--uuid=u", **there)["uuid"], "u")
        asked = self.done("/", "--amqp-url=amqp://a", **there)
        self.assertEqual(asked["amqp_url"], "amqp://a")

    def test_for_api(self) -> None:
        """
        Names need the API, and the API has no routing keys.
        """
        there = "http://web"
        over = "need the HTTP API, and this task goes over AMQP: set QUEBERT_URL"
        for option, of in (("name", "names"), ("queue", "queues by their names")):
            for more in ({}, {"--amqp-url=amqp://a": ""}):
                told = self.refused("/", f"--{option}=n", *more)
                self.assertIn(f"--{option}: {of} {over}", told)
        for option in ("priority", "key", "exchange"):
            told = self.refused("/", f"--{option}=flow", QUEBERT_URL=there)
            self.assertIn(f"--{option} is for AMQP, and QUEBERT_URL is set", told)
        told = self.refused("--from=a.csv", QUEBERT_URL=there)
        self.assertIn("--from adds over AMQP, not over QUEBERT_URL", told)
        told = self.refused("--from=a.csv", "--name=n", QUEBERT_URL=there)
        self.assertIn("--name: names need the HTTP API", told)
        self.call("--from=a.csv", QUEBERT_AMQP_URL="amqp://a", QUEBERT_URL=there)
        told = self.refused("/", code=1, QUEBERT_URL="nonsense")
        self.assertIn("QUEBERT_URL nonsense cannot be requested", told)

    def test_errors(self) -> None:
        """
        What the broker refuses is one sentence, and exit status 1.
        """
        self.error = BrokerUnreachable("it is\naway\x1b[2J")
        result = self.call("/")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(result.stderr, "Error: it is away?[2J\n")


class AddOverHTTPTests(SynchronousTestCase):
    """
    Adding a task over the HTTP API, with a client that is made up.
    """

    def add(self, error: APIError) -> str:
        """
        What is told where the client fails.
        """
        made: list[Any] = []

        class FailingClient:
            def __init__(self, *place: str, **options: Any) -> None:
                made.append((place, options))

            async def add_task(self, **fields: Any) -> str:
                made.append(fields)
                raise error

        self.patch(_add_over_http, "AsyncClient", FailingClient)
        access = APIAccess("http://web", "secret")
        adding = _add_over_http.add(Clock(), access, 9.0, url="/", name="n")
        failure = self.failureResultOf(Deferred.fromCoroutine(adding), QuebertError)
        (place, options), fields = made
        self.assertEqual((place, options["patience"]), (("http://web", "secret"), 29.0))
        self.assertEqual(fields, {"url": "/", "name": "n"})
        return str(failure.value)

    def test_doubt(self) -> None:
        """
        Where nobody knows, that is told.
        """
        told = self.add(APIError("no answer", done=None))
        self.assertEqual(told, "no answer: the task may be there")
        self.assertEqual(self.add(APIError("refused")), "refused")


class AddManyTests(SynchronousTestCase):
    """
    The command with C{--from}, with nothing run.
    """

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.many: _add_many.Many | None = None
        self.count = Count()
        self.error: Exception | None = None
        self.patch(_add, "log_problems", lambda *ignored, level: None)
        self.patch(_add_many, "run", self.run_it)
        self.patch(_add_many, "_opened", lambda source: nullcontext(0))
        self.patch(_add_many, "Count", lambda: self.count)

    def run_it(self, start: object) -> None:
        """
        What stands in for the reactor's run.
        """
        if self.error is not None:
            raise self.error

    def call(self, *arguments: str) -> Result:
        """
        What comes of a command line.
        """
        real = _add_many.add_many

        def noted(many: _add_many.Many) -> int:
            self.many = many
            return real(many)

        self.patch(_add_many, "add_many", noted)
        try:
            return CliRunner().invoke(cli.main, ["add", *arguments])
        finally:
            _add_many.add_many = real

    def asked(self, *arguments: str) -> _add_many.Many:
        """
        What a right one asks for.
        """
        self.count.ended = True
        result = self.call(*arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        assert self.many is not None
        return self.many

    def test_files(self) -> None:
        """
        The format comes from the suffix, and the file of bad lines has its name.
        """
        for name, format in (
            ("a.jsonl", "jsonl"),
            ("a.NDJSON", "jsonl"),
            ("a.json", "jsonl"),
            ("a.csv", "csv"),
        ):
            asked = self.asked("--from", name)
            self.assertEqual((asked.source, asked.format), (name, format))
            self.assertEqual(asked.rejects, Path(f"{name}.rejects"))
            self.assertIsNone(asked.state)
        asked = self.asked("--from=-", "--format=csv", "--state=s", "--rejects=r")
        self.assertEqual((asked.source, asked.format), ("-", "csv"))
        self.assertEqual((asked.state, asked.rejects), (Path("s"), Path("r")))
        asked = self.asked("--from=-", "--format=jsonl")
        self.assertEqual(asked.rejects, Path("quebert-add.rejects"))

    def test_defaults(self) -> None:
        """
        Options are for the lines that do not say it.
        """
        asked = self.asked(
            "/u", "--from=a.csv", "--delay=5m", "--header=A:b", "--key=k"
        )
        self.assertEqual(
            asked.defaults, {"url": "/u", "delay": 300.0, "headers": {"A": "b"}}
        )
        self.assertEqual(asked.key, "k")

    def test_usage(self) -> None:
        """
        What makes no sense is refused.
        """
        for arguments, text in (
            (("--from=tasks",), "--from tasks does not say its format: add"),
            (("--from=-",), "--from - does not say its format: add --format=jsonl"),
            (("--from=a.csv", "--uuid=u"), "each line has uuid of its own"),
            (("/", "{}", "--from=a.csv"), "each line has params of its own"),
            (("/", "--state=s"), "--state is for --from"),
            (("/", "--rejects=s"), "--rejects is for --from"),
            (("/", "--format=csv"), "--format is for --from"),
            (("--from=a.csv", "--state=./a.csv"), "must be different files"),
            (("--from=a.csv", "--rejects=/dev/null"), "is not a regular file"),
            (("--from=a.csv", "--state=a.csv.rejects"), "must be different files"),
        ):
            result = self.call(*arguments)
            self.assertEqual(result.exit_code, 2, result.output)
            self.assertIn(text, result.stderr)

    def test_summary(self) -> None:
        """
        It tells how many were added, were there, and were refused; the exit status is 0
        only if all are there.
        """
        self.count = Count(added=5, there=3, ended=True)
        result = self.call("--from=a.csv")
        self.assertEqual(
            (result.exit_code, result.output),
            (0, "read 8: 5 added, 3 already there, 0 refused\n"),
        )
        self.count.refused = 2
        result = self.call("--from=a.csv")
        self.assertEqual(
            (result.exit_code, result.output),
            (1, "read 10: 5 added, 3 already there, 2 refused (see a.csv.rejects)\n"),
        )

    def test_ended_early(self) -> None:
        """
        Ctrl-C and errors have exit statuses of their own, and it says how to go on.
        """
        self.count = Count(added=5)
        result = self.call("--from=a.csv", "--state=s")
        self.assertEqual(result.exit_code, 130)
        self.assertIn("run the same command again to go on", result.stderr)
        result = self.call("--from=a.csv")
        self.assertIn("with --state FILE one can go on", result.stderr)
        self.error = BrokerUnreachable("it is away")
        result = self.call("--from=a.csv", "--state=s")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("Error: it is away\n", result.stderr)
        early, self.count = self.count, Count()
        result = self.call("--from=a.csv", "--state=s")
        self.assertEqual(result.output, "Error: it is away\n")
        self.count = early
        result = self.call("--from=a.csv", "--state=s")
        self.assertIn("run the same command again to go on", result.stderr)

    def test_summary_as_json(self) -> None:
        """
        With C{--json} the summary is an object.
        """
        self.count = Count(added=5, there=3, refused=1, again=2, ended=True)
        result = self.call("--from=a.csv", "--json")
        self.assertEqual(
            json.loads(result.stdout),
            {
                "read": 9,
                "added": 5,
                "already_there": 3,
                "refused": 1,
                "maybe_twice": 2,
                "rejects": "a.csv.rejects",
                "ended": True,
                "error": None,
            },
        )
        self.assertIn("2 tasks may be there twice", result.stderr)
