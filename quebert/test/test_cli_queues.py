"""
Tests for C{quebert queues}: from command lines to definitions of queues, and to words,
with the embedded broker in memory.
"""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner
from twisted.internet.defer import Deferred

from quebert import operations
from quebert.amqp.coordination import QUEUES
from quebert.cli import _main as cli
from quebert.cli import _operating
from quebert.config import QueueDefinition
from quebert.operations import BrokerAccess, _access
from quebert.policy import RetryPolicy
from quebert.test.memory_network import NetworkTestCase, _Client

URL = "amqp://guest:guest@rabbit.example/?heartbeat=0"


class QueuesCommandTests(NetworkTestCase):
    """
    The commands.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_access, "TxAMQPClient", _Client)
        self.patch(_operating, "log_problems", lambda *ignored, level: None)
        self.patch(_operating, "run", self.run_now)

    def run_now(self, start: Any) -> Any:
        """
        What stands in for a reactor.
        """
        done = self.begin(start(self.network))
        self.network.pass_time(6)
        result: list[Any] = []
        Deferred.addBoth(done, result.append)
        if hasattr(result[0], "raiseException"):
            result[0].raiseException()
        return result[0]

    def command(self, line: str, code: int = 0, answer: str = "") -> str:
        """
        What C{quebert queues} prints.
        """
        options = [] if line.endswith("-h") else [f"--amqp-url={URL}"]
        result = CliRunner().invoke(
            cli.main, ["queues", *line.split(), *options], input=answer
        )
        self.assertEqual(result.exit_code, code, result.output)
        return result.output

    def definition(self, name: str = "mail") -> QueueDefinition | None:
        """
        What is kept of a queue.
        """
        access = BrokerAccess(self.network, URL)
        return self.result(operations.made_queues(access)).of(name)

    def test_made(self) -> None:
        """
        All that is said is in the definition.
        """
        told = self.command(
            "make mail --type classic --rate 30/m --burst 2 --concurrency 5"
            " --max-attempts 3 --max-retry-duration 2h --min-backoff 1s"
            " --max-backoff 5m --max-doublings 4"
        )
        self.assertEqual(told, "queue mail is made\n")
        retry = RetryPolicy(
            max_attempts=3,
            max_retry_duration=7200.0,
            min_backoff=1.0,
            max_backoff=300.0,
            max_doublings=4,
        )
        wanted = QueueDefinition(
            name="mail",
            queue_type="classic",
            rate=0.5,
            burst=2,
            concurrency=5,
            retry=retry,
        )
        self.assertEqual(self.definition(), wanted)
        told = self.command("make mail", 1)
        self.assertIn("there is a queue mail already", told)

    def test_changed(self) -> None:
        """
        What is not named stays; a limit can be taken back.
        """
        self.assertIn(
            "there is no queue mail", self.command("change mail --burst 2", 1)
        )
        self.command("make mail --rate 5/s --concurrency 5")
        told = self.command("change mail --rate none --max-attempts -1")
        self.assertEqual(told, "queue mail is changed\n")
        wanted = QueueDefinition(
            name="mail",
            concurrency=5,
            retry=RetryPolicy(max_attempts=-1),
            version=2,
        )
        self.assertEqual(self.definition(), wanted)
        self.assertIn("give an option", self.command("change mail", 2))

    def test_deleted(self) -> None:
        """
        It asks before it deletes, and tells that the name is not free yet.
        """
        self.command("make mail")
        told = self.command("delete mail", 1, "n\n")
        self.assertIn("delete mail with its tasks, for ever?", told)
        self.assertIn("queue mail is deleted", self.command("delete mail", 0, "y\n"))
        self.assertIn("there is no queue mail", self.command("delete mail --yes", 1))
        told = self.command("make mail", 1)
        self.assertIn("was deleted less than 7 days ago", told)
        self.assertIn("give --yes, too", self.command("delete mail --json", 2))

    def test_list(self) -> None:
        """
        A line for each, or JSON.
        """
        self.assertIn("no queue was made", self.command("list"))
        self.command("make mail --rate 5/s --concurrency 5")
        self.command("make reports --max-attempts -1")
        self.command("make old")
        self.command("delete old --yes")
        self.assertEqual(
            self.command("list"),
            "mail     5/s       5 at once           100 attempts\n"
            "old      deleted\n"
            "reports  any rate  any number at once  any number of attempts\n",
        )
        told = json.loads(self.command("list --json"))
        self.assertEqual(told["unreadable"], {})
        mail = {"name": "mail", "version": 1, "rate": 5.0, "concurrency": 5}
        self.assertEqual(told["queues"][0], mail)

    def test_unreadable(self) -> None:
        """
        A definition of a later version is told, and is not overwritten.
        """
        self.command("make mail")
        newer = {"queues": [{"name": "b", "version": 2, "colour": "red"}]}
        self.result(self.client().publish("", QUEUES, json.dumps(newer).encode()))
        for line in ("list", "change b --rate 5/s", "make b"):
            told = self.command(line, 1)
            self.assertIn("'colour' is not known to this version", told)

    def test_json(self) -> None:
        """
        The result is an object.
        """
        told = json.loads(self.command("make mail --json"))
        plain = {"name": "mail", "version": 1}
        self.assertEqual(told, {"result": "made", "queue": plain, "problems": []})

    def test_wrong(self) -> None:
        """
        What is wrong is told with its option.
        """
        for line, text in (
            ("make quebert.a", "name cannot be watched"),
            ("make mail --rate fast", "--rate 'fast' is no rate"),
            ("make mail --burst much", "--burst much must be a number, or none"),
            ("make mail --burst 0", "burst must be a whole number from 1"),
            ("make mail --max-attempts 0", "max_attempts must be a whole number"),
            ("make mail --min-backoff soon", "--min-backoff must be seconds"),
            ("make mail --min-backoff 5s --max-backoff 1s", "max_backoff must be at"),
        ):
            self.assertIn(text, self.command(line, 2), line)
