"""
Tests for C{quebert dead}, C{pause} and others like them: from command lines to what is
asked for, and to what is said of it.
"""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert import operations
from quebert.cli import _dead_commands, _operating
from quebert.cli import _main as cli
from quebert.cli._operating import whoami
from quebert.errors import BrokerUnreachable, ConfigError
from quebert.operations import DeadLetter, Match, Progress, Status, _dead_letters

LETTER = DeadLetter(
    {"headers": {"quebert-kind": "poison", "quebert-reason": "\x1b[31mred"}}, b"body"
)


class OperatingTests(SynchronousTestCase):
    """
    The commands, with no broker.
    """

    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.status = Status(7, 0, True, 3)
        self.found = [LETTER] * 3
        self.unseen = self.missing = self.others = 0
        self.fails_after: Exception | None = None
        self.error: Exception | None = None
        self.how: dict[str, Any] = {}
        self.patch(_operating, "log_problems", lambda *ignored, level: None)
        self.patch(_operating, "run", lambda start: start("reactor"))
        for name in ("pause", "resume"):
            self.patch(operations, name, self.tell_status)
        for name in ("browse", "find", "redrive", "discard", "purge"):
            self.patch(operations, name, getattr(self, name))

    def note(self, broker: Any, queue: str, *rest: Any) -> None:
        """
        What it was called with.
        """
        self.assertEqual(queue, "tasks")
        self.assertEqual(broker.reactor, "reactor")
        self.asked = [broker.url, *rest]
        if self.error is not None:
            raise self.error

    def tell_status(self, *asked: Any, **how: Any) -> Status:
        """
        What stands in for two of them.
        """
        self.note(*asked)
        self.how = how
        return self.status

    def browse(self, *asked: Any) -> Progress:
        """
        What stands in for this.
        """
        self.note(*asked[:-1])
        for each in self.found:
            asked[-1](each)
        seen = len(self.found)
        return Progress(seen + self.unseen, seen, others=self.others, ended=True)

    def find(self, *asked: Any) -> DeadLetter | None:
        """
        What stands in for this.
        """
        self.note(*asked[:-1])
        asked[-1].others = self.others
        return self.found[0] if self.found else None

    def redrive(self, *asked: Any) -> None:
        """
        What stands in for this.
        """
        progress = asked[-1]
        progress.total, progress.seen, progress.done = 9 + self.unseen, 4, 3
        progress.watch(progress)
        self.note(*asked)
        progress.seen, progress.done, progress.ended = 9, 8, True

    def discard(self, *asked: Any) -> bool:
        """
        What stands in for this.
        """
        self.note(*asked[:-1])
        progress, sure = asked[-2:]
        progress.ended = not self.found
        if sure is not None and not (self.found and sure(len(self.found))):
            return False
        progress.total = progress.seen = progress.done = len(self.found)
        progress.ended, progress.missing = True, self.missing
        return True

    def purge(self, *asked: Any) -> bool:
        """
        What stands in for this.
        """
        self.note(*asked[:-2])
        progress, sure = asked[-2:]
        if sure is not None and not sure(self.status):
            return False
        progress.done = 7
        if self.fails_after is not None:
            raise self.fails_after
        progress.ended = True
        return True

    def call(self, line: str, said: str = "", **environment: str) -> Result:
        """
        What comes of a command line.
        """
        runner = CliRunner()
        return runner.invoke(cli.main, line.split(), said, environment)

    def test_empty_url(self) -> None:
        """
        Where a shell has put nothing, nothing is done to the broker that is there by
        default.
        """
        result = self.call("purge tasks --yes --amqp-url=")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("--amqp-url is empty", result.output)
        self.assertEqual(self.asked, [])

    def says(self, line: str, *parts: str, said: str = "", code: int = 0) -> str:
        """
        What it says, which has these parts.
        """
        result = self.call(line, said)
        self.assertEqual(result.exit_code, code, result.output)
        for each in parts:
            self.assertIn(each, result.output)
        return result.output

    def test_broker(self) -> None:
        """
        It is the one in the environment, or on the line.
        """
        self.call("pause tasks", QUEBERT_AMQP_URL="amqp://here/")
        self.assertEqual(self.asked, ["amqp://here/"])
        self.call("pause tasks --amqp-url=amqp://there/", QUEBERT_AMQP_URL="")
        self.assertEqual(self.asked, ["amqp://there/"])

    def test_errors(self) -> None:
        """
        Each is one sentence.
        """
        self.error = BrokerUnreachable("no\nanswer")
        for line in ("pause", "dead list", "dead redrive", "purge --yes"):
            self.says(f"{line} tasks", "Error: no answer\n", code=1)

    def test_list(self) -> None:
        """
        What is dead is listed, and does nothing to the terminal.
        """
        text = self.says("dead list tasks", "3 poison", "?[31mred")
        self.assertNotIn("not looked at", text)
        self.assertEqual(self.asked[1:], [[]])
        self.assertIn("uuid", text)
        self.unseen = 5
        text = self.says("dead list tasks --first=0", "5 more were not looked at")
        self.assertNotIn("uuid", text)

    def test_list_nothing(self) -> None:
        """
        So is nothing.
        """
        self.found = []
        self.says("dead list tasks", "nothing is dead in tasks.dead\n")
        line = "dead list tasks --match kind=poison --match url~a"
        self.says(line, "nothing that matches is dead in tasks.dead\n")
        matches = [Match.parse("kind=poison"), Match.parse("url~a")]
        self.assertEqual(self.asked[1], matches)

    def test_bad_match(self) -> None:
        """
        What cannot match is refused.
        """
        for command in ("list", "show", "redrive", "discard"):
            said = "Error: --match a must be FIELD=TEXT, "
            self.says(f"dead {command} tasks --match=a", said, code=2)
        self.assertEqual(self.asked, [])

    def test_show(self) -> None:
        """
        One is shown.
        """
        self.says("dead show tasks", "quebert-reason: ?[31mred\n\nbody\n")
        self.found = []
        self.says("dead show tasks", "Error: nothing is dead", code=1)

    def test_redrive(self) -> None:
        """
        It says how many.
        """
        text = self.says("dead redrive tasks", "redriven 8 of 9\n")
        self.assertEqual(text.count("\n"), 1)

    def test_redrive_ended(self) -> None:
        """
        It does so, too, when it comes to an end before.
        """
        self.error = BrokerUnreachable("lost")
        parts = ("redriven 3 of 9\n", "run it again", "Error: lost")
        self.says("dead redrive tasks", *parts, code=1)

    def test_discard(self) -> None:
        """
        It asks first, unless told not to.
        """
        question = "Discard 3 of tasks.dead for ever? [y/N]"
        self.says("dead discard tasks", question, "discarded 3 of 3", said="y\n")
        for answer in ("n\n", "\n", ""):
            text = self.says("dead discard tasks", question, said=answer, code=1)
            self.assertNotIn("discarded", text)
        text = self.says("dead discard tasks --yes", "discarded 3 of 3\n")
        self.assertNotIn("?", text)

    def test_held_by_others(self) -> None:
        """
        Where somebody else may hold dead letters, it does not say that there are none,
        or no more.
        """
        self.others = 1
        said = "Error: not all dead letters can be seen: somebody else looks through"
        self.says("dead list tasks", "3 poison", said, code=1)
        self.found = []
        for command in ("list", "show"):
            text = self.says(f"dead {command} tasks", said, code=1)
            self.assertNotIn("nothing", text)

    def test_discard_missing(self) -> None:
        """
        It tells how many are gone that it has asked about.
        """
        self.missing = 2
        said = "discarded 3 of 3\n2 more are not there any more\n"
        self.says("dead discard tasks", said, said="y\n")

    def test_purge_half(self) -> None:
        """
        Where it fails half-way, it says how far it has come.
        """
        self.fails_after = BrokerUnreachable("it is gone")
        said = "purged 7 of tasks\n", "Error: it is gone\n"
        self.says("purge tasks", *said, said="y\n", code=1)

    def test_discard_nothing(self) -> None:
        """
        It does not ask where there is nothing.
        """
        self.found = []
        self.assertEqual(self.says("dead discard tasks"), "discarded 0 of 0\n")

    def test_pause(self) -> None:
        """
        It says what waits, and who has not stopped.
        """
        self.says("pause tasks", "paused, 7 waiting in tasks\n")
        self.status = Status(7, 2, True, 0)
        self.says("pause tasks", "paused, 7", "Error: 2 consumers of tasks", code=1)
        self.status = Status(None, 0, True, 0)
        self.says("pause tasks", "paused, there is no queue tasks yet\n")

    def test_pause_overtaken(self) -> None:
        """
        Where somebody has resumed it meanwhile, it does not say that it is paused.
        """
        self.status = Status(7, 2, False, 0)
        said = "Error: somebody has resumed tasks meanwhile\n"
        self.assertEqual(self.says("pause tasks", code=1), said)

    def test_pause_in_part(self) -> None:
        """
        What was not done, or cannot be seen, is an error behind what was.
        """
        self.status = Status(None, None, True, None, ("nobody is told", "or seen"))
        said = "paused, an unknown number waiting in tasks\n"
        self.says("pause tasks", said, "Error: nobody is told; or seen\n", code=1)
        self.status = Status(7, 2, True, None, ("nobody is told",))
        said = "Error: nobody is told; 2 consumers of tasks have not stopped"
        self.says("pause tasks", "paused, 7 waiting", said, code=1)
        self.status = Status(7, 2, True, None, ("nobody is told",))
        self.says("resume tasks", "resumed, 7", "Error: nobody is told\n", code=1)
        self.status = Status(7, 2, None)
        self.says("resume tasks", "resumed, 7 waiting in tasks\n")

    def test_resume(self) -> None:
        """
        It says whether it was paused.
        """
        self.says("resume tasks", "resumed, 7 waiting in tasks\n")
        self.status = Status(7, 2, False, 0)
        self.says("resume tasks", "was not paused, 7 waiting in tasks\n")

    def test_purge(self) -> None:
        """
        It asks first, unless told not to, and says how many.
        """
        question = "7 waiting in tasks: drop it for ever? [y/N]"
        self.says("purge tasks", question, "purged 7 of tasks\n", said="y\n")
        text = self.says("purge tasks", question, "Aborted!", said="n\n", code=1)
        self.assertNotIn("purged", text)
        self.assertEqual(self.says("purge tasks --yes"), "purged 7 of tasks\n")
        self.error = ConfigError("there is no queue 'tasks'")
        self.says("purge tasks", "Error: there is no queue", code=1)

    def test_missing(self) -> None:
        """
        A queue that does not exist is paused only if that is asked for; to resume it
        fails, unless it was paused.
        """
        self.call("pause tasks")
        self.assertEqual(self.how, {"missing_ok": False, "by": whoami()})
        self.call("pause tasks --missing-ok")
        self.assertEqual(self.how, {"missing_ok": True, "by": whoami()})
        self.status = Status(None, 0, False)
        said = "Error: there is no queue tasks, nor a pause of it\n"
        self.assertEqual(self.says("resume tasks", code=1), said)
        self.status = Status(None, 0, True)
        self.says("resume tasks", "resumed, there is no queue tasks yet\n")

    # -- JSON

    def plain(self, line: str, code: int = 0) -> Any:
        """
        The one object of JSON that a command writes, with nothing beside it.
        """
        result = self.call(f"{line} --json")
        self.assertEqual(result.exit_code, code, result.output)
        self.assertEqual(result.stderr, "")
        self.assertEqual(result.stdout.count("\n"), 1)
        return json.loads(result.stdout)

    def test_json_of_pauses(self) -> None:
        """
        C{pause} and C{resume} write what they tell.
        """
        told = {"queue": "tasks", "waiting": 7, "consumers": 0, "problems": []}
        self.assertEqual(self.plain("pause tasks"), {**told, "paused": True})
        expected = {**told, "paused": False, "was_paused": True}
        self.assertEqual(self.plain("resume tasks"), expected)

    def test_json_of_dropping(self) -> None:
        """
        C{purge}, C{dead redrive} and C{dead discard} write how far they came.
        """
        told: dict[str, Any] = {"total": 9, "seen": 9, "missing": 0, "ended": True}
        told |= {"queue": "tasks", "held_by_others": False}
        self.assertEqual(self.plain("dead redrive tasks"), {**told, "redriven": 8})
        told |= {"total": 3, "seen": 3}
        said = self.plain("dead discard tasks --yes")
        self.assertEqual(said, {**told, "discarded": 3})
        said = self.plain("purge tasks --yes")
        self.assertEqual(said, {"queue": "tasks", "purged": 7})

    def test_json_asks_nothing(self) -> None:
        """
        A program is asked nothing: it needs C{--yes}.
        """
        for line in ("purge tasks", "dead discard tasks"):
            result = self.call(f"{line} --json", "y\n")
            self.assertEqual((result.exit_code, result.stdout), (2, ""))
            self.assertIn("give --yes", json.loads(result.stderr)["error"])
        self.assertEqual(self.asked, [])

    def test_json_of_dead_letters(self) -> None:
        """
        C{dead list} writes counts and the first ones, C{dead show} a whole one.
        """
        self.unseen = 4
        told = self.plain("dead list tasks --first=1")
        self.assertEqual(told["kinds"], {"poison": 3})
        reason = {"count": 3, "kind": "poison", "reason": "?[31mred"}
        self.assertEqual(told["reasons"], [reason])
        self.assertEqual((len(told["first"]), told["unseen"]), (1, 4))
        self.assertEqual(told["first"][0]["reason"], "?[31mred")
        told = self.plain("dead show tasks")
        self.assertEqual((told["queue"], told["body"]), ("tasks", "body"))
        self.assertEqual(told["headers"]["quebert-reason"], "\x1b[31mred")
        task = b'{"url": "/x", "params": {"password": "p"}}'
        self.found = [DeadLetter({"headers": {"n": 1, "t": True, "b": b"x"}}, task)]
        told = self.plain("dead show tasks")
        self.assertEqual(told["headers"], {"n": 1, "t": True, "b": "x"})
        self.assertNotIn("body", told)
        self.assertEqual(told["task"]["params"], {"password": "..."})
        told = self.plain("dead show tasks --secrets")
        self.assertEqual(told["task"]["params"], {"password": "p"})

    def test_json_errors(self) -> None:
        """
        An error is an object on standard error.
        """
        self.error = BrokerUnreachable("no\nanswer\x1b")
        for line in ("pause tasks", "dead list tasks", "dead show tasks"):
            result = self.call(f"{line} --json")
            self.assertEqual((result.exit_code, result.stdout), (1, ""))
            self.assertEqual(json.loads(result.stderr), {"error": "no answer?"})
        result = self.call("pause --json")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("QUEUE", json.loads(result.stderr)["error"])


class PipeTests(SynchronousTestCase):
    """
    The output of a command goes to a program that ends before the command.
    """

    def test_show(self) -> None:
        """
        The command ends, too, and there is no traceback.
        """

        def echo(*ignored: Any, **how: Any) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        def run(start: Any) -> DeadLetter:
            return LETTER

        self.patch(_operating, "log_problems", lambda *ignored, level: None)
        self.patch(_operating, "run", run)
        self.patch(_dead_commands, "echo", echo)
        result = CliRunner().invoke(cli.main, ["dead", "show", "tasks"])
        self.assertEqual((result.exit_code, result.output), (1, ""))


class DiscardTests(SynchronousTestCase):
    """
    L{discard<quebert.operations.discard>}, with no broker.
    """

    def test_nothing_matches(self) -> None:
        """
        Where nothing matches it does not ask, and tells how many it has looked at, and
        how many there are.
        """

        async def go_through(*asked: Any) -> None:
            progress = asked[3]
            progress.total, progress.seen, progress.others, progress.ended = (
                9,
                7,
                1,
                True,
            )

        class FakeBroker:
            """
            What is connected at once.
            """

            @asynccontextmanager
            async def client(self) -> AsyncIterator[tuple[None, None]]:
                """
                No client.
                """
                yield None, None

        def sure(count: int) -> bool:
            raise AssertionError("it must not ask")

        self.patch(_dead_letters, "go_through", go_through)
        progress, broker = Progress(), FakeBroker()
        discarding = operations.discard(broker, "tasks", [], progress, sure)  # type: ignore[arg-type]
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(discarding)))
        self.assertEqual((progress.done, progress.seen, progress.total), (0, 7, 9))
        self.assertEqual(progress.others, 1)
