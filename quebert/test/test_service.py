"""
Tests for L{quebert.service}: options, and the service that they ask for.
"""

from __future__ import annotations

import os
import re
import signal
from typing import Any
from unittest import mock
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

import quebert.service._service
from quebert._twistd import Lifecycle
from quebert._workers.supervisor import MERCY
from quebert.config import Settings
from quebert.errors import ConfigError
from quebert.guard import Place
from quebert.metrics import ClusterMetrics
from quebert.service import MediatorService, Options, makeService
from quebert.test.checks import QUICK, folder, refusal
from quebert.test.test_twistd import FakeReactor

PASSWORD = "tr0ub4dor"

# What a command line may hold: no NUL, and bytes that are no UTF-8 as halves of
# surrogate pairs.
TEXTS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    | st.integers(0xDC80, 0xDCFF).map(chr)
)
URLS = TEXTS.map(lambda text: f"http://h/{quote(os.fsencode(text))}é")
PARTS = TEXTS.map(lambda text: text.replace(":", ""))
QUEUES = PARTS.map(lambda text: re.sub(r"[\0-\x1f\x7f]", "", text)).filter(
    lambda text: text and not text.startswith(("amq.", "quebert."))
)
WATCHES = st.builds(
    lambda *parts: ":".join(parts),
    PARTS,
    QUEUES,
    st.one_of(
        PARTS,
        st.builds("{}:{}".format, PARTS, st.integers(0, 65535)),
        PARTS.map("{}:".format),
    ),
)


def parsed(*arguments: str) -> Options:
    """
    What is made of a command line.
    """
    options = Options()
    options.parseOptions(list(arguments))
    return options


def config(options: Any) -> Any:
    """
    For C{--config}.
    """
    return None


class FileTests(SynchronousTestCase):
    """
    C{--config=FILE.toml} says all.
    """

    def setUp(self) -> None:
        self.path = folder(self) / "quebert.toml"
        self.write()

    def write(self, text: str = "") -> None:
        """
        Write the file.
        """
        least = '[queues.mail]\nkey = "m"\n'
        self.path.write_text(f"service.grace = 5\nservice.processes = 3\n{least}{text}")

    def test_read(self) -> None:
        """
        It is read at once.
        """
        options = parsed(f"--config={self.path}")
        self.assertEqual(list(options["settings"].queues), ["mail"])
        self.assertEqual(options["processes"], 3)

    def test_processes(self) -> None:
        """
        The number of processes may be said otherwise; each of several is one.
        """
        arguments = parsed(f"--config={self.path}").arguments()
        self.assertEqual(parsed(*arguments)["processes"], 1)
        options = parsed(f"--config={self.path}", "--processes=1")
        self.assertEqual(options["processes"], 1)
        self.assertIsInstance(makeService(options), MediatorService)

    def test_web(self) -> None:
        """
        Where it is shown may be said, too, and counts more.
        """
        self.write("[web]\nlisten = 8080\n")
        self.assertEqual(
            parsed(f"--config={self.path}")["settings"].web.listen.port, 8080
        )
        options = parsed(f"--config={self.path}", "--web=8081")
        self.assertEqual(options["settings"].web.listen.port, 8081)
        self.assertEqual(options.read_settings().web.listen, options["web"])

    def test_others(self) -> None:
        """
        Nothing else may.
        """
        for option in (
            "--watch=a:b:c",
            f"--amqp-url=amqp://me:{PASSWORD}@h/",
            "--grace=0",
            "--default-url=http://h/",
        ):
            said = refusal(UsageError, parsed, f"--config={self.path}", option)
            name = option.partition("=")[0]
            self.assertIn(f"{name} and --config={self.path} exclude each other", said)
            self.assertNotIn(PASSWORD, said)

    def test_wrong(self) -> None:
        """
        All that is wrong with it is told.
        """
        self.write('rate = 0\nprehooks = ["no.such"]')
        said = refusal(UsageError, parsed, f"--config={self.path}").splitlines()
        self.assertEqual(len(said), 2)
        self.assertTrue(said[0].startswith(f"{self.path}:5: queues.mail.rate must be"))
        self.assertIn("there is no module no", said[1])

    def test_same_without(self) -> None:
        """
        C{--watch} and the options beside it say the same as a file does, so that what
        they do not say has the same defaults.
        """
        self.path.write_text(
            """
            broker.url = "amqp://me@h/v"
            service = { grace = 5, default_url = "http://u/" }
            [queues]
            b = { exchange = "a", key = "c", prefetch = 5 }
            d = { exchange = "", key = "" }
            """
        )
        said = parsed(
            *("--watch=a:b:c:5", "--watch=:d:", "--amqp-url=amqp://me@h/v"),
            *("--grace=5", "--default-url=http://u/"),
        )
        self.assertEqual(said["settings"], parsed(f"--config={self.path}")["settings"])

    def test_several_keys(self) -> None:
        """
        A queue may be watched several times, with one key or with several.
        """
        said = parsed("--watch=a:b:c", "--watch=a:b:d", "--watch=a:b:d")
        queues = said["settings"].queues.values()
        wanted = [("b", "c"), ("b", "d"), ("b", "d")]
        self.assertEqual([(q.name, q.key) for q in queues], wanted)

    def test_workers(self) -> None:
        """
        Workers are given its whole path, and read all else there.
        """
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.path.parent)
        options = parsed("--config=quebert.toml", "--processes=2")
        wanted = [f"--config={self.path}", "--processes=1"]
        self.assertEqual(options.arguments(), wanted)
        options.parent = Options()
        service: Any = makeService(options)
        self.assertEqual(service.patience("worker 1"), 5 + MERCY)
        self.assertTrue(service._reloads)


class ReloadTests(SynchronousTestCase):
    """
    L{MediatorService.reload} reads the file again.
    """

    def setUp(self) -> None:
        self.path = folder(self) / "quebert.toml"
        self.write('[queues.mail]\nkey = "m"\n')
        self.events: Any = self.enterContext(capturedLogs())
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.watches = FakeWatches()
        module = quebert.service._service
        self.patch(module, "Watches", lambda *args, **options: self.watches)
        self.patch(module, "calm_garbage_collector", lambda: None)
        self.reactor = FakeReactor()
        options = parsed(f"--config={self.path}")
        self.service = MediatorService(options, self.reactor)
        self.service.startService()

    def write(self, text: str) -> None:
        """
        Write the file.
        """
        self.path.write_text(text)

    def reload(self) -> list[str]:
        """
        SIGHUP: what is logged.
        """
        self.events.clear()
        signal.raise_signal(signal.SIGHUP)
        self.reactor.turn()
        return [formatEvent(each) for each in self.events]

    def test_changes(self) -> None:
        """
        What has changed is told, a line each, and done.
        """
        self.write(
            '[queues.mail]\nkey = "n"\nprefetch = 5\n[service]\nprocesses = 3\n'
            '[queues."a.b"]\nkey = "k"'
        )
        self.assertEqual(
            self.reload(),
            [
                "Reloaded; changes: 4.",
                "queues.a.b added",
                "queues.mail.key changed from m to n; the broker keeps the old"
                " binding, too",
                "queues.mail.prefetch changed from nothing to 5",
                "service.processes changed from 1 to 3, which takes a restart",
            ],
        )
        self.assertEqual(len(self.watches.settings), 2)
        self.assertEqual(list(self.watches.settings[1].queues), ["mail", "a.b"])
        self.assertEqual(self.reload(), ["Reloaded; changes: 0."])

    def test_broken(self) -> None:
        """
        A file that cannot be used changes nothing.
        """
        self.write('[queues.mail]\nkey = "n"\nrate = 0\nx = 1\n')
        said = self.reload()
        self.assertEqual(len(said), 2)
        wanted = f"Not reloaded: {self.path}:3: queues.mail.rate must be"
        self.assertTrue(said[0].startswith(wanted), said)
        self.assertEqual(len(self.watches.settings), 1)
        self.write('[queues.mail]\nkey = "n"\n')
        self.watches.error = ConfigError("no such certificate")
        self.assertEqual(self.reload(), ["Not reloaded: no such certificate"])
        self.watches.error = None
        self.assertEqual(self.reload()[0], "Reloaded; changes: 1.")

    def test_at_the_end(self) -> None:
        """
        While it stops, nothing is read any more.
        """
        self.service.stopService()
        self.assertEqual(self.watches.stopped, [30.0])
        self.assertEqual(self.reload(), [])


class FakeWatches:
    """
    Notes what is wanted of it.
    """

    def __init__(self) -> None:
        self.settings: list[Settings] = []
        self.stopped: list[float] = []
        self.client = None
        self.error: ConfigError | None = None

    async def start(self, settings: Settings) -> None:
        """
        Begin.
        """
        self.settings.append(settings)

    def change(self, settings: Settings) -> None:
        """
        Change.
        """
        if self.error is not None:
            raise self.error
        self.settings.append(settings)

    async def stop(self, grace: float) -> None:
        """
        End.
        """
        self.stopped.append(grace)


class ProcessesTests(SynchronousTestCase):
    """
    C{--processes} is how many workers there are.
    """

    def test_default(self) -> None:
        """
        Without it, there is one process, which does it all.
        """
        self.assertEqual(parsed("--watch=a:b:c")["processes"], 1)

    def test_number(self) -> None:
        """
        It is a number.
        """
        self.assertEqual(parsed("--watch=a:b:c", "--processes=16")["processes"], 16)
        self.assertEqual(parsed("--watch=a:b:c", "--processes=1000")["processes"], 1000)

    def test_wrong(self) -> None:
        """
        Anything else is refused with one sentence.
        """
        for text in (
            "0",
            "-1",
            "x",
            "",
            "1.5",
            "1001",
            "1000000",
            "\u0663",
            "9" * 5000,
        ):
            said = refusal(UsageError, parsed, "-wa:b:c", f"--processes={text}")
            wanted = f"--processes={text} must be a number from 1 to 1000"
            self.assertEqual(said, wanted)


class ArgumentsTests(SynchronousTestCase):
    """
    L{Options.arguments} says the same again.
    """

    @given(st.lists(WATCHES, min_size=1, max_size=4), URLS, st.floats(0, 1e300))
    @QUICK
    def test_round_trip(self, watches: list[str], url: str, grace: float) -> None:
        """
        Whatever is in the texts, and in whatever form it was given.
        """
        given = [part for text in watches for part in ("-w", text)]
        options = parsed(*given, "-u", url, f"--grace={grace!r}", "--processes=4")
        again = parsed(*options.arguments())
        self.assertEqual({**again, "processes": 4}, {**options})
        self.assertEqual(again["processes"], 1)

    def test_config(self) -> None:
        """
        The name of a function is passed on, and not what it stands for.
        """
        name = f"--config={__name__}.config"
        arguments = parsed(name, "--processes=4").arguments()
        self.assertIn(name, arguments)
        self.assertIs(parsed(*arguments)["function"], config)

    def test_web(self) -> None:
        """
        Where it is shown may be said; the workers of a supervisor are told, too.
        """
        options = parsed("--watch=a:b:c", "--web=0.0.0.0:8080", "--processes=4")
        self.assertEqual(str(options["settings"].web.listen), "0.0.0.0:8080")
        again = parsed(*options.arguments())
        self.assertEqual(again["settings"].web, options["settings"].web)
        (queue,) = again["settings"].queues.values()
        self.assertIn(Place.of("127.0.0.1", 8080), queue.guard.own)
        text = refusal(UsageError, parsed, "--watch=a:b:c", "--web=x")
        self.assertIn("--web=x must be a port, or an address and a port", text)

    def test_kept(self) -> None:
        """
        Passwords are not passed on, nor what is the supervisor's own business.
        """
        options = parsed(
            "--watch=a:b:c",
            f"--amqp-url=amqp://me:{PASSWORD}@localhost",
            "--processes=4",
            "--with_syslog_prefix=syslog",
        )
        said = " ".join(options.arguments())
        for each in (PASSWORD, "syslog"):
            self.assertNotIn(each, said)
        self.assertTrue(said.endswith(" --processes=1"))


class MakeServiceTests(SynchronousTestCase):
    """
    L{makeService} makes a mediator, or a supervisor of several processes.
    """

    def supervisor(self, *arguments: str, **of_twistd: Any) -> Any:
        """
        The supervisor that is made.
        """
        options = parsed("--watch=a:b:c", *arguments)
        options.parent = Options()
        options.parent.update(of_twistd)
        return makeService(options)

    def command(self, *arguments: str, **of_twistd: Any) -> list[str]:
        """
        The command line of its workers.
        """
        monitor = self.supervisor("--processes=2", *arguments, **of_twistd)._monitor
        commands = [each.args for each in monitor._processes.values()]
        self.assertEqual(len(commands), 2)
        self.assertEqual(commands[0], commands[1])
        command: list[str] = commands[0]
        return command

    def test_one(self) -> None:
        """
        One process is no worker, and watches no supervisor.
        """
        service = self.supervisor()
        self.assertIsInstance(service, MediatorService)
        self.assertEqual(list(service), [])

    def test_missing_extra(self) -> None:
        """
        Where metrics are to be shown, what they need is missed at once.
        """
        error = ConfigError("metrics need prometheus-client")
        with mock.patch.object(ClusterMetrics, "prepare", side_effect=error):
            self.supervisor()
            with self.assertRaises(SystemExit) as told:
                self.supervisor("--web=8080")
        self.assertIn("web.listen cannot be used: metrics need", str(told.exception))

    def test_several(self) -> None:
        """
        Each of several runs the same plugin with the same options.
        """
        command = self.command("--grace=5")
        plugin = command[command.index("quebert") :]
        self.assertIn("--nodaemon", command)
        self.assertIn("--pidfile=", command)
        self.assertEqual(parsed(*plugin[1:])["grace"], 5)
        self.assertNotIn("--reactor", " ".join(command))

    def test_reactor(self) -> None:
        """
        The reactor that was chosen is chosen for the workers, under twist, too.
        """
        twist = {"reactor": object(), "reactorName": "poll"}
        for chosen in ({"reactor": "poll"}, twist):
            command = self.command(**chosen)
            self.assertLess(command.index("--reactor=poll"), command.index("quebert"))

    def test_url(self) -> None:
        """
        The AMQP URL is in the environment of the workers, and ours is as it was.
        """
        url = f"amqp://me:{PASSWORD}@localhost"
        service = self.supervisor("--processes=2", f"--amqp-url={url}")
        for process in service._monitor._processes.values():
            self.assertEqual(process.env["QUEBERT_AMQP_URL"], url)
            self.assertEqual(process.env["PATH"], os.environ["PATH"])
            self.assertNotIn(PASSWORD, " ".join(process.args))


class DefaultURLTests(SynchronousTestCase):
    """
    C{--default-url} completes the partial URLs of tasks.
    """

    def test_wrong(self) -> None:
        """
        One that completes nothing is refused at the start, with one that would.
        """
        cases = {
            "localhost:8004": "http://localhost:8004/",
            "": "http://localhost:8000/",
            "http://h:99999/": (
                "http://localhost:8000/: it needs a host, and a port from 1 to 65535"
            ),
        }
        for url, right in cases.items():
            said = refusal(UsageError, parsed, "-wa:b:c", f"--default-url={url}")
            wanted = f"--default-url={url} must be an HTTP URL, such as {right}"
            self.assertEqual(said, wanted)

    def test_password(self) -> None:
        """
        A password in it is not told.
        """
        said = refusal(UsageError, parsed, "-wa:b:c", "-u", "me:hunter2@localhost")
        self.assertNotIn("hunter2", said)


class StartedTests(SynchronousTestCase):
    """
    L{MediatorService} tells when it has started.
    """

    def start(self, function: Any) -> list[str]:
        """
        Run it with a function for C{--config}; what it tells.
        """
        told: list[str] = []
        self.patch(quebert.service._service, "calm_garbage_collector", lambda: None)
        self.patch(
            quebert.service._service,
            "exit_with_failure",
            lambda reactor: told.append("failed"),
        )
        options = parsed(f"--config={__name__}.config")
        options["function"] = function
        reactor = FakeReactor()
        lifecycle = Lifecycle()
        self.patch(lifecycle, "started", lambda: told.append("started"))
        service = MediatorService(options, reactor, lifecycle)
        service.startService()
        return told

    def test_started(self) -> None:
        """
        Once the function has set up all that it wants.
        """
        self.assertEqual(self.start(config), ["started"])
        setting_up: Deferred[None] = Deferred()
        told = self.start(lambda options: setting_up)
        self.assertEqual(told, [])
        setting_up.callback(None)
        self.assertEqual(told, ["started"])

    def test_failed(self) -> None:
        """
        Never, when it fails.
        """
        self.assertEqual(self.start(lambda options: 1 / 0), ["failed"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
