"""
Tests for L{quebert.doctor}, as far as they need no broker, and for C{quebert doctor}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert import doctor
from quebert.amqp.coordination import rate_queue_of
from quebert.amqp.queues._declared import Declared, amended
from quebert.cli import _doctor as cli_doctor
from quebert.cli import _main as cli
from quebert.config import (
    OIDC,
    Address,
    Broker,
    ClusterWeb,
    QueueSettings,
    Settings,
)
from quebert.doctor import Finding, Level
from quebert.doctor._broker import clock_findings
from quebert.doctor._examine import connection_finding
from quebert.doctor._permissions import needs_of, serves_web
from quebert.doctor._queues import dropped, limited
from quebert.doctor._subject import together
from quebert.doctor._versions import version_findings
from quebert.errors import BrokerRefused, BrokerUnreachable, CertificateRefused
from quebert.limits import Rate
from quebert.signatures import TokenKeys

ERLANG = "Erlang/OTP 25.2.3"


def levels(found: Any) -> list[str]:
    """
    The levels of findings.  All but the good ones say what to do.
    """
    found = list(found)
    for each in found:
        assert (each.remedy == "") == (each.level is Level.OK), each
    return [each.level.value for each in found]


class TogetherTests(SynchronousTestCase):
    """
    Tests for L{together}.
    """

    def test_many(self) -> None:
        """
        Not all of many questions are asked at once, since each takes a channel; the
        answers are in the order of the questions.
        """
        asked: list[Deferred[None]] = []

        async def ask(number: int) -> int:
            asked.append(Deferred())
            await asked[-1]
            return number

        answers = Deferred.fromCoroutine(together(map(ask, range(3_000))))
        self.assertLess(len(asked), 1_000)
        for each in asked:  # which grows meanwhile
            each.callback(None)
        self.assertEqual(self.successResultOf(answers), [*range(3_000)])


class VersionTests(SynchronousTestCase):
    """
    Tests for L{version_findings}.
    """

    def find(self, version: str, **told: Any) -> list[Finding]:
        """
        What is found of a RabbitMQ.
        """
        told = {"product": "RabbitMQ", "platform": ERLANG, "version": version, **told}
        return list(version_findings(told))

    def test_sound(self) -> None:
        """
        Faults that quebert works around are told, and are no reason to worry.
        """
        for version in ("3.10.8", "3.13.7", "4.0.5", "4.3.6", "5.0.0"):
            self.assertEqual(levels(self.find(version)), ["ok"], version)
        self.assertIn("delivery limit", self.find("4.0.5")[0].text)
        self.assertNotIn("delivery limit", self.find("4.3.6")[0].text)

    def test_faulty(self) -> None:
        """
        A version with a fault that quebert cannot work around is named, with the
        version that has it mended.
        """
        for version, count in (("3.9.29", 1), ("4.2.6", 1), ("4.3.0", 2), ("4.3.2", 1)):
            found = self.find(version)
            self.assertEqual(levels(found), ["warn"] * count)
            self.assertIn(f"RabbitMQ {version}", found[0].text)
            self.assertIn("run RabbitMQ 4.", found[0].remedy)

    def test_others(self) -> None:
        """
        The embedded broker is sound; another broker was never tested.
        """
        embedded = self.find("3.13.0", platform="quebert 0.1, Python/Twisted")
        self.assertEqual(levels(embedded), ["ok"])
        other = self.find("1.0", product="LavinMQ", platform="Crystal")
        self.assertEqual(levels(other), ["warn"])


class ArgumentsTests(SynchronousTestCase):
    """
    Tests for L{amended}.
    """

    def amend(self, text: str, **arguments: Any) -> Declared | None:
        """
        What comes of a refusal.
        """
        named = {k.replace("_", "-"): v for k, v in arguments.items()}
        prefix, where = (
            "PRECONDITION_FAILED - inequivalent arg",
            "queue 'q' in vhost '/'",
        )
        told = f"{prefix} {text.replace('Q:', f'for {where}:')}"
        return amended(Declared(arguments=named), told)

    def test_what_rabbitmq_says(self) -> None:
        """
        Each of these was said by RabbitMQ 3.10, 4.0 or 4.3.
        """
        for text, given, expected in (
            (
                "'x-expires' Q: received none but current is the value '600000' of type"
                " 'signedint'",
                {},
                {"x-expires": 600_000},
            ),
            (
                "'x-queue-type' Q: received 'classic' but current is 'quorum'",
                {},
                {"x-queue-type": "quorum"},
            ),
            (
                "'x-delivery-limit' Q: received '-1' but current is '20'",
                {"x_delivery_limit": -1},
                {"x-delivery-limit": 20},
            ),
            (
                "'x-delivery-limit' Q: received the value '20' of type 'signedint' but"
                " current is none",
                {"x_delivery_limit": 20},
                {},
            ),
            (
                "'x-single-active-consumer' Q: received none but current is the value"
                " 'true' of type 'bool'",
                {},
                {"x-single-active-consumer": True},
            ),
        ):
            found = self.amend(text, **given)
            assert found is not None
            self.assertEqual(found.arguments, expected)

    def test_flags(self) -> None:
        """
        Whether it is durable is no argument.
        """
        found = self.amend("'durable' Q: received 'true' but current is 'false'")
        assert found is not None
        self.assertEqual((found.flags, found.arguments), ({"durable": False}, {}))
        self.assertEqual(found.kind, "classic")

    def test_nothing_new(self) -> None:
        """
        A text that tells nothing, or nothing new, ends the questions.
        """
        told = "'x-expires' Q: received '5' but current is '5'"
        self.assertIsNone(self.amend(told, x_expires=5))
        self.assertIsNone(self.amend("'x-expires' Q: received none but curr"))


class QueueTests(SynchronousTestCase):
    """
    Tests for L{dropped} and L{limited}.
    """

    def test_dropped(self) -> None:
        """
        What makes RabbitMQ drop tasks is a failure; what makes it refuse some is not.
        """
        refuse = {"x-overflow": "reject-publish"}
        for arguments, expected in (
            ({}, []),
            ({"x-queue-type": "quorum"}, []),
            ({"x-message-ttl": 5}, ["fail"]),
            ({"x-expires": 5}, ["fail"]),
            ({"x-max-length": 5}, ["fail"]),
            ({"x-max-length-bytes": 5, "x-max-length": 5}, ["fail", "fail"]),
            ({"x-max-length": 5, **refuse}, ["warn"]),
        ):
            how = Declared(arguments=dict(arguments))
            self.assertEqual(levels(dropped("q", how)), expected, arguments)
        transient = Declared({"durable": False})
        self.assertEqual(levels(dropped("q", transient)), ["fail"])

    def test_limited(self) -> None:
        """
        A quorum queue has a limit if it was declared so, or if RabbitMQ 4 gives it one.
        With 0, each task that comes back is lost.
        """
        quorum, name = {"x-queue-type": "quorum"}, "x-delivery-limit"
        for arguments, version, expected in (
            ({}, (4, 0, 5), []),
            (quorum, (3, 10, 8), []),
            (quorum, (4, 0, 5), ["warn"]),
            (quorum, None, []),
            ({**quorum, name: 20}, (3, 10, 8), ["warn"]),
            ({**quorum, name: 0}, (4, 3, 6), ["fail"]),
            ({**quorum, name: -1}, (4, 0, 5), []),
            ({**quorum, name: -1}, None, []),
        ):
            found = limited("q", arguments, version)
            self.assertEqual(levels(found), expected, (arguments, version))

    def test_limit_of_rabbitmq_3(self) -> None:
        """
        RabbitMQ 3 takes a negative limit for 0, so it is no remedy there.
        """
        quorum = {"x-queue-type": "quorum"}
        (found,) = limited("q", {**quorum, "x-delivery-limit": -1}, (3, 10, 8))
        self.assertEqual(found.level, Level.FAIL)
        self.assertIn("that comes back once", found.text)
        for version, how in (((3, 10, 8), "without"), ((4, 0, 5), "with")):
            (found,) = limited("q", {**quorum, "x-delivery-limit": 20}, version)
            self.assertIn(f"anew {how} x-delivery-limit", found.remedy)


class NeedsTests(SynchronousTestCase):
    """
    L{needs_of} and L{serves_web}.
    """

    def test_names(self) -> None:
        """
        It asks for the names that mediators use, which AMQP has room for, whatever the
        queue is called.
        """
        for name in ("tasks", "q" * 255, "é" * 127):
            needs = list(needs_of(QueueSettings(name=name, rate=Rate(1))))
            self.assertIn(rate_queue_of(name), {each.name for each in needs})
            for each in needs:
                self.assertLessEqual(len(each.name.encode()), 255)

    def test_web(self) -> None:
        """
        It looks for what C{quebert web} needs where settings are for that, too, and not
        where mediators alone sign ID tokens.
        """
        issuer = OIDC("https://tasks.example", "keys.pem", TokenKeys(()))
        for web, expected in (
            (ClusterWeb(), False),
            (ClusterWeb(oidc=issuer), False),
            (ClusterWeb(oidc=issuer, tokens="tokens"), True),
        ):
            broker = Broker((Address("localhost", 5672),), "guest", "guest")
            settings = Settings(broker=broker, cluster_web=web)
            self.assertIs(serves_web(settings), expected)


class ClockTests(SynchronousTestCase):
    """
    Tests for L{clock_findings}.
    """

    def test_differences(self) -> None:
        """
        A clock tells whole seconds; 2 s are near enough, and more than 30 s too far.
        """
        for told, expected in (
            (1_000, "ok"),
            (1_002, "ok"),
            (998, "ok"),
            (1_004, "warn"),
            (995, "warn"),
            (1_040, "fail"),
            (900, "fail"),
        ):
            found = list(clock_findings("the executor", told, 1_000.5, 1_000.6))
            self.assertEqual(levels(found), [expected], told)
        self.assertIn("100 s behind ours", found[0].text)


class ConnectionTests(SynchronousTestCase):
    """
    Tests for L{connection_finding}.
    """

    def test_remedies(self) -> None:
        """
        For each reason, another thing is to be done.
        """
        broker = Broker.from_url("amqp://me:secret@example.com/shop")
        remedies = set()
        for why in (
            BrokerRefused(403, "ACCESS_REFUSED - Login was refused"),
            BrokerRefused(530, "NOT_ALLOWED - vhost shop not found"),
            CertificateRefused("no TLS"),
            BrokerUnreachable("nobody"),
        ):
            found = connection_finding(broker, why)
            self.assertEqual(levels([found]), ["fail"])
            self.assertIn(str(why), found.text)
            self.assertNotIn("secret", found.remedy)
            remedies.add(found.remedy)
        self.assertEqual(len(remedies), 4)


class CommandTests(SynchronousTestCase):
    """
    The command, with no broker.
    """

    def setUp(self) -> None:
        self.found: Sequence[Finding] = ()
        self.asked: list[Any] = []
        self.patch(cli_doctor, "log_problems", lambda level: None)
        self.patch(cli_doctor, "run", lambda start: start("reactor"))
        self.patch(doctor, "examine", self.examine)

    def examine(self, *asked: Any) -> list[Finding]:
        """
        What stands in for it.
        """
        self.asked = list(asked)
        return list(self.found)

    def write(self, text: str) -> str:
        """
        The name of a configuration file.
        """
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = Path(folder.name) / "quebert.toml"
        file.write_text(text)
        return str(file)

    def call(self, *arguments: str, **environment: str) -> Result:
        """
        What comes of a command line.
        """
        runner = CliRunner()
        return runner.invoke(cli.main, ["doctor", *arguments], env=environment)

    def test_status(self) -> None:
        """
        The worst finding is the exit status; what nobody can know does not count.
        """
        good = Finding(Level.OK, "version", "fine")
        unknown = Finding(Level.UNKNOWN, "policies", "not known", "look")
        bad = Finding(Level.WARN, "queue q", "it is paused", "quebert resume q")
        worse = Finding(Level.FAIL, "clock", "\x1b[31m off", "set it")
        for found, status in (
            ([good, unknown], 0),
            ([good, bad], 1),
            ([worse, bad, good], 2),
        ):
            self.found = found
            self.assertEqual(self.call().exit_code, status)
        lines = self.call().output.splitlines()
        self.assertEqual(lines[0].split(": ")[0], "fail     clock")
        self.assertIn("→ set it", lines[1])
        self.assertNotIn("\x1b", lines[0])
        self.assertEqual(len(lines), 5)

    def test_json(self) -> None:
        """
        A program reads the same.
        """
        self.found = [Finding(Level.WARN, "queue q", "it is paused", "resume it")]
        result = self.call("--json")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            json.loads(result.output),
            {
                "status": 1,
                "findings": [
                    {
                        "level": "warn",
                        "about": "queue q",
                        "text": "it is paused",
                        "remedy": "resume it",
                    }
                ],
            },
        )

    def test_asked(self) -> None:
        """
        An AMQP URL goes before the file, and the file before the environment.
        """
        file = self.write(
            '[broker]\nurl = "amqp://file.example.com/"\n[queues.q]\nkey = "#"\n'
        )
        for arguments, host in (
            ((), "environment"),
            ((file,), "file"),
            ((file, "--amqp-url=amqp://given.example.com"), "given"),
        ):
            self.call(*arguments, QUEBERT_AMQP_URL="amqp://environment.example.com")
            _, broker, settings, wait = self.asked
            self.assertEqual(broker.addresses[0].host, f"{host}.example.com")
            self.assertEqual((settings is None, wait), (arguments == (), 2.0))
        self.assertEqual(self.call("--amqp-url=").exit_code, 2)

    def test_bad_configuration(self) -> None:
        """
        Each fault of a configuration file is a red line.
        """
        file = self.write('[queues.q]\nkey = "#"\nprefetch = true\ncolour = 7\n')
        result = self.call(file)
        self.assertEqual(result.exit_code, 2)
        self.assertEqual(result.output.count("fail "), 2)
        self.assertIn("colour", result.output)
        missing = self.call("nowhere.toml", "--json")
        self.assertEqual(missing.exit_code, 2)
        self.assertEqual(json.loads(missing.output)["status"], 2)
        self.assertEqual(self.asked, [])
