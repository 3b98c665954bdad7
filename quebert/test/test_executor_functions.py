"""
Tests for L{quebert.executor}: it knows what L{quebert.functions} has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent

from quebert.executor import ExecutorResource
from quebert.functions import Discard, Functions, GiveUp, ReceivedTask, Retry
from quebert.policy import directive
from quebert.task import Task
from quebert.test.test_executor import AS_JSON, Case, Reply, returning

BODY = b'{"url": "/x", "uuid": "u-1", "params": "p"}'


class WishTests(Case):
    """
    What a function wishes.
    """

    def check(self, reply: Reply, code: int, wish: str, reason: str) -> None:
        """
        Expect an answer, and that a mediator can read it.
        """
        self.assertEqual((reply.code, reply.text), (code, reason))
        found = directive(reply.headers["Quebert-Outcome"])
        self.assertEqual((found.verb, found.reason), (wish, reason))

    def test_raised(self) -> None:
        """
        Raised in a function, in a coroutine, or by a Deferred.
        """

        def function(task: Task) -> None:
            raise Retry("später", after=2.5)

        async def coroutine(task: Task) -> None:
            raise GiveUp("no user")

        reply = self.ask(function, BODY)
        self.check(reply, 409, "retry-after", "später")
        self.assertEqual(reply.headers["Retry-After"], "3")
        self.check(self.ask(coroutine, BODY), 422, "bury", "no user")
        reply = self.ask(lambda task: fail(Discard("twice")), BODY)
        self.check(reply, 200, "discard", "twice")

    def test_returned(self) -> None:
        """
        Or returned.
        """
        self.check(self.ask(returning(GiveUp("x")), BODY), 422, "bury", "x")
        self.check(self.ask(returning(succeed(GiveUp("x"))), BODY), 422, "bury", "x")

    def test_logged(self) -> None:
        """
        It is told in one line, without a traceback.
        """
        observer = self.logged()
        self.ask(returning(Retry("busy", after=1)), BODY)
        self.ask(lambda task: fail(GiveUp("never")), BODY)
        levels = [event["log_level"] for event in observer]
        self.assertEqual(levels, [LogLevel.info, LogLevel.info])
        lines = [formatEvent(event) for event in observer]
        self.assertEqual(lines, ["Task u-1: 409: busy", "Task u-1: 422: never"])


class GeneratorTests(Case):
    """
    What generators yield is joined.
    """

    def test_turns(self) -> None:
        """
        Other events have their turn after each piece.
        """
        clock, steps = Clock(), []

        def function(task: Task) -> Iterator[str | None]:
            for n in range(3):
                steps.append(n)
                yield f"{n}{task['params']}"

        stub: Any = StubTreq(ExecutorResource(function, reactor=clock))
        asked = stub.post("http://executor/", data=BODY, headers=AS_JSON)
        self.assertEqual(steps, [0])
        clock.pump([0, 0])
        self.assertEqual(steps, [0, 1, 2])
        self.assertNoResult(asked)
        clock.advance(0)
        stub.flush()
        self.assertEqual(self.reply(stub, asked).text, "0p1p2p")

    def test_asynchronous(self) -> None:
        """
        So is what an asynchronous generator yields, which may await Deferreds.
        """
        waiting: Deferred[bytes] = Deferred()

        async def function(task: Task) -> AsyncIterator[bytes]:
            yield b"a"
            yield await waiting

        stub: Any = StubTreq(ExecutorResource(function))
        asked = stub.post("http://executor/", data=BODY, headers=AS_JSON)
        self.assertNoResult(asked)
        waiting.callback(b"b")
        stub.flush()
        self.assertEqual(self.reply(stub, asked).body, b"ab")

    def test_failing(self) -> None:
        """
        A generator that fails after its first piece has failed.
        """

        async def function(task: Task) -> AsyncIterator[bytes]:
            yield b"a"
            raise ValueError("too late")

        reply = self.ask(function, BODY)
        self.assertEqual((reply.code, reply.text), (500, "ValueError: too late"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class FunctionsTests(Case):
    """
    L{Functions} choose.
    """

    def test_chosen(self) -> None:
        """
        By the path of the request, and 404 where there is none, in one line of the log.
        """
        functions = Functions()
        functions.add(lambda task: "x", "/x")
        self.assertEqual(self.ask(functions, BODY, path="/x?y").text, "x")
        observer = self.logged()
        reply = self.ask(functions, BODY, path="/y")
        said = "no function does tasks at /y: there is /x"
        self.assertEqual((reply.code, reply.text), (404, said))
        lines = [formatEvent(event) for event in observer]
        self.assertEqual(lines, [f"Task u-1: 404: {said}"])

    def test_received(self) -> None:
        """
        The task tells its attempt, and the seconds that are left.
        """
        seen: list[ReceivedTask] = []
        stub: Any = StubTreq(ExecutorResource(seen.append))
        headers = {**AS_JSON, "Quebert-Attempt": "4"}
        stub.post("http://executor/", data=b'{"timeout": 40}', headers=headers)
        self.assertEqual(seen[0].attempt, 4)
        self.assertTrue(20 < seen[0].seconds_left() <= 40)
