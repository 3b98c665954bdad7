"""
Tests for C{quebert why}, with no broker: from command lines to what is asked for, and
from reasons to lines and JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from quebert import operations
from quebert.cli import _main as cli
from quebert.cli import _operating, _why
from quebert.errors import BrokerUnreachable, ConfigError
from quebert.operations import Live, Why, WhyReason

FOUND = Why(
    uuid="u",
    queue="mail",
    reasons=(
        WhyReason(reason="paused", text="queue mail was paused\x1b by ada", by="ada"),
        WhyReason(reason="behind", text="3 tasks are before it", position=3),
    ),
    unseen=("the 5000 dead of mail were not looked at",),
)
LIFE = {
    "attempts": [
        {
            "uuid": "u",
            "queue": "mail",
            "url": "http://a/",
            "number": 1,
            "started": 1.0,
            "ended": 2.0,
            "outcome": "retry",
        }
    ]
}


class WhyCommandTests(SynchronousTestCase):
    """
    The command.
    """

    def setUp(self) -> None:
        """
        Have nobody asked.
        """
        self.asked: list[Any] = []
        self.error: Exception | None = None
        self.patch(_operating, "log_problems", lambda *ignored, level: None)
        self.patch(_operating, "run", self.run_now)
        self.patch(operations, "why", self.why)
        self.patch(_why, "_heard", self.heard)
        self.patch(_why, "past_of", lambda database, *rest: self.past_of(database))

    def run_now(
        self, start: Callable[[Any], Coroutine[Deferred[Any], Any, Any]]
    ) -> Any:
        """
        What stands in for the reactor.
        """
        return self.successResultOf(ensureDeferred(start("reactor")))

    async def heard(self, broker: Any, queues: tuple[str, ...]) -> Live:
        """
        What mediators tell.
        """
        return Live(at=1.0)

    async def why(self, broker: Any, uuid: str, queue: str | None, **known: Any) -> Why:
        """
        What stands in for this.
        """
        if self.error is not None:
            raise self.error
        self.asked = [broker.url, uuid, queue, *known["attempts"]]
        return FOUND

    def past_of(self, database: str | None) -> Any:
        """
        The history.
        """
        if database is None:
            return None

        async def past(reactor: Any, uuid: str) -> Any:
            if database == "broken":
                raise ConfigError("it is broken")
            return LIFE

        return past

    def call(self, *line: str, code: int = 0) -> Result:
        """
        What comes of a command line.
        """
        result = CliRunner().invoke(cli.main, ["why", "u", *line])
        self.assertEqual(result.exit_code, code, result.output)
        return result

    def test_lines(self) -> None:
        """
        Each reason has a line, and so has what was not seen.
        """
        result = self.call("--queue", "mail", "--amqp-url", "amqp://a:b@h/")
        self.assertEqual(
            result.stdout.splitlines(),
            [
                "paused           queue mail was paused? by ada",
                "behind           3 tasks are before it",
                "not seen:        the 5000 dead of mail were not looked at",
            ],
        )
        self.assertEqual(self.asked, ["amqp://a:b@h/", "u", "mail"])

    def test_json(self) -> None:
        """
        With C{--json} it is what the API answers.
        """
        told = json.loads(self.call("--json").stdout)
        self.assertEqual((told["reason"], told["by"]), ("paused", "ada"))
        self.assertEqual(told["all"][1]["position"], 3)
        self.assertEqual(len(told["unseen"]), 1)

    def test_history(self) -> None:
        """
        The attempts come from the history; that it cannot be asked is told.
        """
        self.call("--history", "there")
        self.assertEqual(self.asked[-1].outcome, "retry")
        result = self.call("--history", "broken")
        self.assertIn("the history cannot be asked: it is broken", result.stdout)

    def test_fails(self) -> None:
        """
        An error is one sentence.
        """

        def run(start: Any) -> Any:
            raise BrokerUnreachable("no broker")

        self.patch(_operating, "run", run)
        self.assertIn("Error: no broker", self.call(code=1).output)
