"""
Tests for C{quebert token}, for the options of C{quebert web}, and for the page of
C{quebert dev} where something is missing.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.cli import _web, main
from quebert.cli._dev_page import DevPage
from quebert.config import (
    TLS,
    Broker,
    CloudTasksAPI,
    ClusterWeb,
    LeaseSettings,
    Listen,
    read,
)
from quebert.errors import ConfigError, PortTaken
from quebert.limits import Rate
from quebert.test.checks import folder
from quebert.web import Tokens
from quebert.web.cluster import WebService
from quebert.web.cluster._service import access_warnings


class TokenTests(SynchronousTestCase):
    """
    C{quebert token FILE NAME} makes a token.
    """

    def setUp(self) -> None:
        """
        A file that is not there yet.
        """
        self.path = folder(self) / "tokens"

    def make(self, *options: str) -> Result:
        """
        Run the command.
        """
        return CliRunner().invoke(main, ["token", str(self.path), *options])

    def test_made(self) -> None:
        """
        It is printed once, and its hash is in the file, which nobody else may read.
        """
        anna = self.make("anna").stdout.strip()
        options = ("--right=operate", "--right=read", "--queue=mail*", "--queue=x")
        bob = json.loads(self.make("bob", *options, "--json").stdout)["token"]
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertNotIn(anna, self.path.read_text())
        tokens = Tokens.read(self.path)
        found, other = tokens.find(anna), tokens.find(bob)
        assert found is not None
        assert other is not None
        self.assertEqual((found.name, found.queues), ("anna", ("*",)))
        self.assertEqual(found.rights, {"read"})
        self.assertEqual(other.rights, {"read", "operate"})
        self.assertEqual(other.queues, ("mail*", "x"))

    def test_added(self) -> None:
        """
        What was in the file stays there, also if its last line has no end.
        """
        self.make("anna")
        self.path.write_text("# ours\n" + self.path.read_text().rstrip("\n"))
        self.make("bob")
        names = [each.name for each in Tokens.read(self.path).grants]
        self.assertEqual(names, ["anna", "bob"])
        self.assertTrue(self.path.read_text().startswith("# ours\n"))

    def test_refused(self) -> None:
        """
        A name that is there, and one that cannot be in the file, change nothing.
        """
        self.make("anna")
        before = self.path.read_text()
        for name, why in (
            ("anna", "has a token of anna already"),
            ("a b", "it must be NAME"),
            ("a/b", "the name must be"),
        ):
            result = self.make(name)
            self.assertEqual(result.exit_code, 1)
            self.assertIn(why, result.stderr)
        result = self.make("carl", "--queue=a,b")
        self.assertIn("no comma", result.stderr)
        self.assertEqual(self.make("carl", "--right=fly").exit_code, 2)
        self.assertEqual(self.path.read_text(), before)
        self.path = Path("/no/such/file")
        self.assertIn("cannot be written", self.make("anna").stderr)


class WebOptionsTests(SynchronousTestCase):
    """
    C{quebert web}: what is asked for.
    """

    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.patch(_web, "run", lambda main: main(None))
        self.patch(_web, "_log", lambda log_format: None)
        self.patch(_web, "_serve", lambda reactor, *asked: self.asked.append(asked))

    def call(self, *options: str) -> Result:
        """
        Run the command.
        """
        return CliRunner().invoke(main, ["web", *options])

    def web(self, *options: str) -> tuple[Any, ClusterWeb, tuple[str, ...]]:
        """
        What a command that is right asks for.
        """
        result = self.call(*options)
        self.assertEqual((result.exit_code, result.output), (0, ""))
        found: tuple[Any, ClusterWeb, tuple[str, ...]] = self.asked.pop()
        return found

    def test_defaults(self) -> None:
        """
        By default it listens on the loopback, and lets nobody change anything.
        """
        access, asked, queues = self.web()
        self.assertEqual((asked, queues), (ClusterWeb(), ()))
        self.assertTrue(asked.listen.is_private)
        self.assertIsNone(access.configured)

    def test_options(self) -> None:
        """
        Options count more than the file.
        """
        path = folder(self) / "web.toml"
        path.write_text(
            '[broker]\nurl = "amqp://rabbit.example/"\n'
            'management_url = "https://manager.example"\n'
            '[queues.a]\nkey = "a"\n[queues.b]\nkey = "b"\n'
            '[web.cluster]\nlisten = 9000\nhistory = "h"\naudit = "log"\n'
            'hosts = ["box"]\nqueues = ["c"]\nopen_reading = false\n'
            'tasks = "t"\nrate_limit = "9/s"\n'
            'history_age = "12h"\ntls = { certfile = "pem" }\n'
            '[web.cluster.cloud_tasks]\nhome = "shop/here"\nprojects = ["shop"]\n'
            'grpc = 9001\nlongest_schedule = "30d"\nlargest_task = 5000\n'
            'most_rate = 10\nmost_concurrency = 20\nqueue_type = "quorum"\n'
        )
        access, asked, queues = self.web(f"--config={path}")
        self.assertEqual(queues, ("a", "b"))
        self.assertEqual(asked.listen, Listen("127.0.0.1", 9000))
        self.assertEqual(asked.history, str(path.parent / "h"))
        self.assertEqual(asked.tasks, str(path.parent / "t"))
        self.assertEqual(asked.rate_limit, Rate(9.0))
        self.assertEqual(asked.history_age, 43_200)
        self.assertEqual((asked.hosts, asked.queues), (("box",), ("c",)))
        self.assertEqual(asked.tls, TLS(certfile=str(path.parent / "pem")))
        self.assertFalse(asked.open_reading)
        self.assertEqual(
            asked.cloud_tasks,
            CloudTasksAPI(
                home="shop/here",
                projects=("shop",),
                grpc=Listen("127.0.0.1", 9001),
                longest_schedule=30 * 86_400.0,
                largest_task=5_000,
                most_rate=10.0,
                most_concurrency=20,
                queue_type="quorum",
            ),
        )
        self.assertEqual(access.broker.addresses[0].host, "rabbit.example")
        self.assertEqual(access.management_url, "https://manager.example")
        access, asked, _ = self.web(
            f"--config={path}",
            "--listen=0.0.0.0:1",
            "--history=postgresql://u@h/d",
            "--history-age=1d",
            "--tasks=postgresql://u@h/t",
            "--queue=d",
            "--amqp-url=amqp://other/",
            "--certfile=c",
            "--keyfile=k",
        )
        self.assertEqual(asked.listen, Listen("0.0.0.0", 1))
        self.assertEqual(asked.history, "postgresql://u@h/d")
        self.assertEqual(asked.tasks, "postgresql://u@h/t")
        self.assertEqual((asked.history_age, asked.queues), (86_400, ("d",)))
        self.assertEqual(asked.tls, TLS(certfile="c", keyfile="k"))
        self.assertEqual(access.broker.addresses[0].host, "other")
        # The one of the file must not get the password for another broker.
        self.assertIsNone(access.management_url)

    def test_warnings(self) -> None:
        """
        A server that other machines reach says so if they may read nothing, or if their
        tokens are seen on the way.
        """
        for options, why in (
            ([], ""),
            (["--tokens=t"], ""),
            (["--listen=0.0.0.0:1"], "may read nothing"),
            (["--listen=0.0.0.0:1", "--tokens=t"], "unencrypted"),
            (["--listen=0.0.0.0:1", "--tokens=t", "--certfile=c"], ""),
        ):
            _, asked, _ = self.web(*options)
            warnings = list(access_warnings(asked))
            self.assertEqual(len(warnings), bool(why), options)
            self.assertIn(why, "".join(warnings))
        grpc = CloudTasksAPI(grpc=Listen("0.0.0.0", 2))
        [warning] = access_warnings(ClusterWeb(tokens="t", cloud_tasks=grpc))
        self.assertIn("0.0.0.0:2 unencrypted", warning)

    def test_place(self) -> None:
        """
        No task may request the page, if the file says where it is: by default another
        web server may have that port.
        """
        path = folder(self) / "web.toml"
        grpc = "[web.cluster]\nlisten = 9001\ncloud_tasks = { grpc = 9000 }\n"
        listen = "[web.cluster]\nlisten = 9000\n"
        for table, is_own in (("", False), (listen, True), (grpc, True)):
            path.write_text(f'[queues.a]\nkey = "a"\n{table}')
            settings = read(str(path), {}, broker=Broker.from_url("amqp://x/"))
            own = settings.queues["a"].guard.own
            self.assertEqual(9000 in {each.port for each in own}, is_own)
            self.assertNotIn(8080, {each.port for each in own})
            told = settings.shown()
            self.assertNotIn("9000", " ".join([*told, *told.values()]))

    def test_wrong(self) -> None:
        """
        What is wrong is told in a sentence, with its place.
        """
        for option, why in (
            ("--listen=x", "--listen must be a port"),
            ("--listen=70000", "--listen must be a port"),
            ("--history-age=soon", "--history-age must be"),
            ("--history-age=1s", "--history-age must be seconds from 60"),
            ("--keyfile=k", "--keyfile needs --certfile"),
            ("--amqp-url=", "empty"),
            ("--management-url=x", "--management-url must be"),
        ):
            result = self.call(option)
            self.assertEqual(result.exit_code, 2, option)
            self.assertIn(why, result.stderr)
        path = folder(self) / "web.toml"
        for line, why in (
            ("listen = 0", "web.cluster.listen must be a port"),
            ('history = "postgresql://u:p@h/d"', "holds a password"),
            ('history_env = "NO_SUCH"', "which is not set"),
            ('history = "a"\nhistory_file = "web.toml"', "is there twice"),
            ('tasks = "postgresql://u:p@h/d"', "tasks_env or tasks_file names"),
            ('tasks = "a"\ntasks_file = "web.toml"', "tasks is there twice"),
            ('rate_limit = "fast"', "web.cluster.rate_limit must be"),
            ('hosts = ["a/b"]', "web.cluster.hosts[0] is wrong"),
            ('history_age = "1s"', "web.cluster.history_age must be"),
            ("tls = {}", "web.cluster.tls needs a certfile"),
            ("lisen = 1", "did you mean listen?"),
            ('cloud_tasks = { home = "x" }', "cloud_tasks.home must be a project and"),
            ("cloud_tasks = { largest_task = 1 }", "cloud_tasks.largest_task must be"),
            ("cloud_tasks = { house = 1 }", "did you mean home?"),
        ):
            path.write_text(f'[queues.a]\nkey = "a"\n[web.cluster]\n{line}\n')
            result = self.call(f"--config={path}")
            self.assertEqual(result.exit_code, 1, line)
            self.assertIn(why, result.stderr)
            self.assertIn("web.toml:", result.stderr)
        self.assertEqual(self.asked, [])


_ASKED = ClusterWeb()


class DevPageTests(SynchronousTestCase):
    """
    The page of C{quebert dev}, where something is missing.
    """

    def setUp(self) -> None:
        self.data = folder(self)
        self.told: list[tuple[str, str]] = []
        self.started: list[int] = []
        self.errors: list[Exception] = []
        self.patch(WebService, "start", lambda service: self._start())

    async def _start(self) -> None:
        self.started.append(len(self.started))
        if self.errors:
            raise self.errors.pop(0)

    def serve(
        self, port: int | None, asked: ClusterWeb = _ASKED
    ) -> Deferred[LeaseSettings | None]:
        """
        Serve it.
        """
        page = DevPage("amqp://guest:guest@localhost/", port, self.data, asked)
        stack = AsyncExitStack()
        serving = page.serve(Clock(), ("tasks",), self._tell, stack)
        return Deferred.fromCoroutine(serving)

    def _tell(self, word: str, text: str) -> None:
        self.told.append((word, text))

    def test_extra(self) -> None:
        """
        Without a package that it needs there is no page, and all else goes on.
        """
        self.errors = [ConfigError("the history needs sqlalchemy: pip install it")]
        self.successResultOf(self.serve(None))
        told = ("page", "none: the history needs sqlalchemy: pip install it")
        self.assertEqual(self.told, [told])

    def test_token(self) -> None:
        """
        Programs have its token in a file that nobody else may read, whatever was there.
        """
        path = self.data / "token"
        path.write_text("qbt_of_the_last_start\n")
        self.successResultOf(self.serve(None))
        [(_, text)] = self.told
        self.assertEqual(path.read_text(), f"{text.partition('#token=')[2]}\n")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_leases(self) -> None:
        """
        Executors have leases whose secret the next start knows, too, unless the file
        says otherwise.
        """
        first = self.successResultOf(self.serve(None))
        again = self.successResultOf(self.serve(8081))
        assert first is not None
        assert again is not None
        self.assertEqual(first.url, "http://127.0.0.1:8080")
        self.assertEqual(again, attrs.evolve(first, url="http://127.0.0.1:8081"))
        self.assertEqual((self.data / "leases.secret").stat().st_mode & 0o777, 0o600)
        other = LeaseSettings("https://page.example", "secrets", (b"s" * 24,))
        asked = attrs.evolve(_ASKED, leases=other)
        self.assertEqual(self.successResultOf(self.serve(None, asked)), other)

    def test_taken(self) -> None:
        """
        If its port is taken it takes another, unless it was told that one.
        """
        self.errors = [PortTaken("port 8080 is taken")]
        self.successResultOf(self.serve(None))
        self.assertEqual(len(self.started), 2)
        [(word, text)] = self.told
        self.assertEqual(word, "page")
        self.assertIn("#token=qbt_", text)
        self.errors = [PortTaken("port 8080 is taken")]
        self.failureResultOf(self.serve(8080), PortTaken)
