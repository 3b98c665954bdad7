"""
Tests for L{quebert.cli}: from command lines to what is asked for.
"""

from __future__ import annotations

import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from click.testing import CliRunner, Result
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, globalLogBeginner
from twisted.trial.unittest import SynchronousTestCase

import quebert
from quebert.cli import _broker, _dev, _dev_asked, _echo, _running
from quebert.cli import _main as cli
from quebert.cli._broker import Served
from quebert.cli._dev_asked import Dev
from quebert.cli._echo import Echo
from quebert.config import Broker, LeaseSettings
from quebert.errors import StoreError
from quebert.signatures import SharedSecret
from quebert.test.checks import folder, refusal


def function(task: object) -> object:
    """
    For C{--function}.
    """
    return task


def _options(command: click.Command) -> list[str]:
    """
    The options of a command.
    """
    return [o for p in command.params for o in p.opts if o.startswith("--")]


class CommandTests(SynchronousTestCase):
    """
    The commands, with nothing run.
    """

    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.error: Exception | None = None
        self.patch(cli, "log_problems", lambda *ignored, level, told=(): None)
        self.patch(cli, "run", self.run_it)
        self.patch(_dev, "dev", self.note)
        self.patch(_broker, "serve", self.note)

    def note(self, reactor: object, *args: Any, **options: Any) -> str:
        """
        What stands in for what does the work.
        """
        self.asked = [*args, options] if options else [*args]
        if self.error is not None:
            raise self.error
        return "the result"

    def run_it(self, start: Any) -> Any:
        """
        What stands in for the reactor's run.
        """
        return start(None)

    def call(self, *arguments: str, **environment: str) -> Result:
        """
        What comes of a command line.
        """
        runner = CliRunner()
        return runner.invoke(cli.main, arguments, env=environment, prog_name="quebert")

    def done(self, *arguments: str, **environment: str) -> Any:
        """
        What a right one asks for first.
        """
        result = self.call(*arguments, **environment)
        self.assertEqual(result.exit_code, 0, result.output)
        return self.asked[0]

    def refused(self, *arguments: str, code: int = 2, **environment: str) -> str:
        """
        What a wrong one is told: one sentence, after the usage if that is wrong.
        """
        result = self.call(*arguments, **environment)
        self.assertEqual((result.exit_code, self.asked), (code, []), result.output)
        self.assertEqual(result.stdout, "")
        if code == 1:
            self.assertEqual(result.stderr.count("\n"), 1)
        return result.stderr.splitlines()[-1].removeprefix("Error: ")

    # -- All

    def test_help(self) -> None:
        """
        With no arguments it tells of its commands.
        """
        for arguments in ([], ["--help"], ["-h"]):
            said = self.call(*arguments).output
            for command in ("dev", "broker", "add"):
                self.assertIn(f"  {command} ", said)
        self.assertIn(quebert.__version__, self.call("--version").output)

    def test_errors_of_ours(self) -> None:
        """
        Errors of ours are one sentence, and exit status 1.
        """
        self.error = StoreError("the database\nis damaged\x1b[2J")
        for command in (["dev"], ["broker"]):
            result = self.call(*command)
            self.assertEqual(result.exit_code, 1)
            self.assertEqual(result.output, "Error: the database is damaged?[2J\n")

    def test_data(self) -> None:
        """
        What is kept is kept in C{.quebert}, in another folder, or nowhere.
        """
        for command in ("dev", "broker"):
            asked = self.done(command)
            self.assertEqual(getattr(asked, "broker", asked).data, Path(".quebert"))
            asked = self.done(command, "--data=a/b")
            self.assertEqual(getattr(asked, "broker", asked).data, Path("a/b"))
            asked = self.done(command, "--memory")
            self.assertIsNone(getattr(asked, "broker", asked).data)
            self.asked = []
            told = self.refused(command, "--data=x", "--memory")
            self.assertEqual(told, "give --data or --memory, not both")

    # -- dev

    def test_dev_config(self) -> None:
        """
        With a file, the file says it all, leases too; the place of the broker is not
        looked for.
        """
        path = folder(self) / "quebert.toml"
        path.write_text(
            'broker.url_env = "NO_SUCH_VARIABLE"\n'
            '[queues]\na.key = "a"\na.guard.ports = [1]\nb = { key = "b" }\n'
        )
        asked = self.done("dev", f"--config={path}")
        self.assertFalse(asked.needs_executor)
        broker = Broker.from_url("amqp://localhost:1234/")
        leases = LeaseSettings("http://127.0.0.1:8080", "", (b"s" * 24,))
        own = self.done("dev").settings(broker, leases=leases)
        self.assertEqual([each.leases for each in own.queues.values()], [leases])
        settings = asked.settings(broker, leases=leases)
        self.assertIs(settings.broker, broker)
        self.assertEqual([each.leases for each in settings.queues.values()], [None] * 2)
        self.assertEqual(list(settings.queues), ["a", "b"])
        self.assertFalse(settings.service.log_tasks)
        a, b = settings.queues.values()
        self.assertEqual((a.mediator, a.sign), ("delay-on-error", None))
        self.assertEqual(a.default_url, "http://localhost:8000/")
        secret = SharedSecret.generate()
        settings = asked.settings(broker, "http://127.0.0.1:8001/", secret)
        a, b = settings.queues.values()
        self.assertEqual(a.default_url, "http://127.0.0.1:8001/")
        assert a.sign is not None
        self.assertEqual(a.sign.keys, (secret,))
        self.assertEqual((a.guard.ports, b.guard.ports), ((1, 8001), ()))

    def test_dev_wrong_config(self) -> None:
        """
        All that is wrong with the file is told.
        """
        path = folder(self) / "quebert.toml"
        path.write_text('[queues.a]\nkey = "a"\nx = 1\ny = 2\n')
        result = self.call("dev", f"--config={path}")
        self.assertEqual(result.exit_code, 1)
        lines = result.output.splitlines()
        self.assertEqual(len(lines), 2, result.output)
        self.assertIn(f"{path}:3: queues.a.x is not known", lines[0])
        for option in ("--queue=tasks", "--key=k", "--exchange=e"):
            result = self.call("dev", f"--config={path}", option)
            self.assertIn("exclude each other", result.output)

    def test_dev(self) -> None:
        """
        By default it suits what C{add_task} does by default.
        """
        asked = self.done("dev")
        broker = Served(data=Path(".quebert"), port_option="--amqp-port")
        self.assertEqual(asked, Dev(broker))
        self.assertIsNone(asked.function)
        self.assertTrue(asked.needs_executor)

    def test_dev_options(self) -> None:
        """
        All can be otherwise.
        """
        asked = self.done(
            *("dev", "--amqp-port=0", "--http-port=8001", "--exchange=e"),
            *("--queue=q", "--key=k.*", f"--function={__name__}.function"),
        )
        self.assertEqual((asked.broker.port, asked.http_port), (0, 8001))
        self.assertEqual((asked.exchange, asked.queue, asked.key), ("e", "q", "k.*"))
        self.assertEqual(asked.function({"a": 1}), {"a": 1})
        self.assertEqual(asked.function_name, f"{__name__}.function")
        names = (f"/a={__name__}.function", "json.dumps")
        asked = self.done("dev", *(f"--function={each}" for each in names))
        self.assertEqual(asked.function({"url": "/a"}), {"url": "/a"})
        self.assertEqual(asked.function({"url": "/b"}), '{"url": "/b"}')
        self.assertEqual(asked.function_name, ", ".join(names))
        asked = self.done("dev", "--default-url=http://localhost:3000/")
        self.assertEqual(asked.default_url, "http://localhost:3000/")

    def test_dev_refusals(self) -> None:
        """
        What cannot be is told before anything is begun.
        """
        name = f"--function={__name__}.function"
        told = self.refused("dev", name, "--default-url=http://localhost/")
        self.assertEqual(told, "give --function or --default-url, not both")
        told = self.refused("dev", "--default-url=localhost:3000")
        right = "must be an HTTP URL, such as http://localhost:3000/"
        self.assertEqual(told, f"--default-url=localhost:3000 {right}")
        told = self.refused("dev", f"--function={__name__}.nothing", code=1)
        self.assertIn("has no nothing", told)
        self.assertIn("65535", self.refused("dev", "--amqp-port=65536"))
        self.assertIn("integer", self.refused("dev", "--http-port=x"))
        told = self.refused("dev", f"--data={__file__}")
        self.assertIn("is a file", told)

    # -- broker

    def test_broker(self) -> None:
        """
        By default it is for this machine, and guest is let in.
        """
        asked = self.done("broker", "--memory")
        self.assertEqual(asked, Served())
        self.assertEqual(asked.url(1234), "amqp://guest:guest@127.0.0.1:1234/")

    def test_broker_options(self) -> None:
        """
        Virtual hosts and users may be many; passwords are not told.
        """
        asked = self.done(
            *("broker", "--host=::", "--vhost=a/b", "--vhost=c"),
            *("--user=me@home:se:cret", "--user=you:x"),
        )
        self.assertEqual(asked.vhosts, ("a/b", "c"))
        self.assertEqual(asked.users, {"me@home": "se:cret", "you": "x"})
        self.assertEqual(asked.url(1), "amqp://me%40home:...@[::]:1/a%2Fb")
        self.assertNotIn("se:cret", repr(asked))
        asked = self.done("broker", QUEBERT_BROKER_USERS="a:b c:d")
        self.assertEqual(asked.users, {"a": "b", "c": "d"})

    def test_password_file(self) -> None:
        """
        Users may be in a file, beside others.
        """
        path = Path(self.enterContext(TemporaryDirectory())) / "users"
        path.write_text("me:s3cret\n")
        path.chmod(0o600)
        asked = self.done("broker", f"--password-file={path}", "--user=you:x")
        self.assertEqual(asked.users, {"you": "x", "me": "s3cret"})
        self.asked = []
        path.chmod(0o644)
        told = self.refused("broker", f"--password-file={path}", code=1)
        self.assertIn("chmod 600 it", told)

    def test_known_password(self) -> None:
        """
        Where others than this machine are let in, guest's password is refused.
        """
        for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
            self.assertEqual(self.done("broker", f"--host={host}").host, host)
        self.asked = []
        for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
            users: list[list[str]] = [[], ["--user=a:b", "--user=guest:guest"]]
            for each in users:
                told = self.refused("broker", f"--host={host}", *each, code=1)
                self.assertEqual(
                    told,
                    f"--host {host} lets in others than this machine: give --user"
                    " name:password, since guest's is known to everybody",
                )
        self.assertEqual(self.done("broker", "--host=::", "--user=a:b").host, "::")

    def test_virtual_hosts(self) -> None:
        """
        A virtual host that no client can name is refused.
        """
        for name in ("", "v" * 256, "\u20ac" * 86):
            told = self.refused("broker", f"--vhost={name}", code=1)
            self.assertIn("must have 1 to 255 bytes", told)
        self.assertEqual(self.done("broker", "--vhost=a").vhosts[0], "a")

    def test_broker_refusals(self) -> None:
        """
        A user has a name and a password, and neither is told.
        """
        for wrong in ("secret", ":secret", "secret:"):
            told = self.refused("broker", f"--user={wrong}")
            self.assertEqual(told, "--user must be name:password")

    def test_misspelt_options(self) -> None:
        """
        No command takes an option that it does not have, or a part of its name.
        """
        for name, command in cli.main.commands.items():
            groups = getattr(command, "commands", {name: command}).items()
            for inner, each in groups:
                words = [name] if inner == name else [name, inner]
                for option in _options(each):
                    underscored = "--" + option[2:].replace("-", "_")
                    for wrong in (option[:-1], option + "s", underscored):
                        if wrong not in _options(each):
                            told = self.refused(*words, f"{wrong}=1")
                            self.assertIn("No such option", told)
                            self.assertIn(wrong, told)


class AddLineTests(SynchronousTestCase):
    """
    The command that C{quebert dev} shows for adding a task.
    """

    def add_line(self, asked: Dev, port: int) -> str:
        """
        The command, for the queue that is watched.
        """
        settings = asked.settings(Broker.from_url(asked.broker.url(port)))
        return asked.add_line(port, settings.queues[asked.queue])

    def test_default(self) -> None:
        """
        With the defaults it is short.
        """
        self.assertEqual(self.add_line(Dev(Served()), 5672), _ADD)

    def test_otherwise(self) -> None:
        """
        What is otherwise is said.
        """
        asked = Dev(Served(), "python -m quebert", exchange="my flow", key="a.*.#")
        self.assertEqual(
            self.add_line(asked, 5673),
            f"python -m {_ADD} --amqp-url amqp://guest:guest@127.0.0.1:5673/"
            " --exchange 'my flow' --key a.any.any",
        )

    def test_other_environment(self) -> None:
        """
        As it is where the environment says that the broker is elsewhere.
        """
        self.patch(_dev_asked, "default_amqp_url", lambda: "amqp://elsewhere")
        line = self.add_line(Dev(Served()), 5672)
        self.assertEqual(line, f"{_ADD} --amqp-url amqp://guest:guest@127.0.0.1:5672/")


_ADD = """quebert add /hello '{"name": "you"}'"""


class LogProblemsTests(SynchronousTestCase):
    """
    L{log_problems} writes what is logged.
    """

    def test_told_otherwise(self) -> None:
        """
        From a level on, and no warnings that are told otherwise.
        """
        begun: list[Any] = []
        self.patch(
            globalLogBeginner,
            "beginLoggingTo",
            lambda observers, **options: begun.extend(observers),
        )
        out = StringIO()
        self.patch(sys, "stderr", out)
        told = ("quebert.mediator.",)
        _running.log_problems(StoreError, level=LogLevel.warn, told=told)
        [observe] = begun
        for namespace in ("quebert.mediator._mediator", "quebert.service"):
            log = Logger(namespace, observer=observe)
            log.info("info")
            log.warn("warning of {log_namespace}")
            log.error("error of {log_namespace}")
            log.error("{error}", error=StoreError("unimportant"))
        wanted = [
            "quebert: error of quebert.mediator._mediator",
            "quebert: warning of quebert.service",
            "quebert: error of quebert.service",
        ]
        self.assertEqual(out.getvalue().splitlines(), wanted)


class EchoTests(SynchronousTestCase):
    """
    L{Echo} executes tasks for want of anything else.
    """

    def test_params(self) -> None:
        """
        Its result is the params.
        """
        echo = Echo()
        for params in ({"name": "you"}, [1], "text", 0):
            self.assertEqual(echo({"url": "/", "params": params}), params)
        self.assertEqual(echo({"url": "/"}), {})

    def test_fail(self) -> None:
        """
        It fails as often as it is to.
        """
        echo, params = Echo(), {"fail": 2}
        error = _echo.AskedToFail
        one, other = ({"uuid": uuid, "params": params} for uuid in "ab")
        self.assertEqual(refusal(error, echo, one), "1 of 2")
        self.assertEqual(refusal(error, echo, other), "1 of 2")
        self.assertEqual(refusal(error, echo, one), "2 of 2")
        self.assertEqual(echo(one), params)
        task = {"params": params, "failures": 1}
        self.assertEqual(refusal(error, echo, task), "2 of 2")
        self.assertEqual(echo({"params": params, "failures": 2}), params)
        self.assertEqual(echo({"params": {"fail": "x"}}), {"fail": "x"})


class ListenTests(SynchronousTestCase):
    """
    A broker that cannot listen.
    """

    def test_folder(self) -> None:
        """
        A folder that cannot be is told.
        """
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = Path(folder.name) / "file"
        file.touch()
        served = Served(data=file / "folder")
        error = quebert.errors.ConfigError
        told = refusal(error, _broker._broker, Clock(), served)
        self.assertEqual(told, f"--data {file}/folder: Not a directory")
