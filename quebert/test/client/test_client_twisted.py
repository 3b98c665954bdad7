"""
L{AsyncClient} over an agent that is made up.
"""

from __future__ import annotations

from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.client import APIError, AsyncClient
from quebert.errors import ExecutorError, NameTaken
from quebert.http import Agent
from quebert.producer import TaskResult
from quebert.test.client.test_client_calls import ROW, answer, problem


@attrs.define
class ToldAnswer:
    """
    An answer, as an agent gives it.
    """

    code: int
    body: bytes
    retry_after: str = ""

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """
        Of the header.
        """
        return [(b"Retry-After", self.retry_after.encode())]

    def content(self) -> Deferred[bytes]:
        """
        The body.
        """
        return succeed(self.body)


class ScriptedAgent:
    """
    Keeps requests until they are answered.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes | None]] = []
        self.waiting: list[Deferred[Any]] = []

    def send(
        self, method: str, url: str, headers: Any, body: bytes | None
    ) -> Deferred[Any]:
        """
        Note a request.
        """
        self.asked.append((method, url, dict(headers), body))
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def tell(self, status: int, told: Any, retry_after: str = "") -> None:
        """
        Answer the oldest.
        """
        body = answer(status, told).body
        self.waiting.pop(0).callback(ToldAnswer(status, body, retry_after))


class AsyncClientTests(SynchronousTestCase):
    """
    Tests for L{AsyncClient}.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        self.clock = Clock()
        self.agent = ScriptedAgent()
        self.client = AsyncClient(
            "http://api", "secret", reactor=self.clock, agent=cast("Agent", self.agent)
        )

    def test_add(self) -> None:
        """
        A request is made again, with the same key, until it is answered; not before the
        API wants it.
        """
        adding = self.client.add_task("/", {"to": 1}, name="n")
        self.agent.waiting.pop().errback(ExecutorError("lost"))
        self.clock.advance(0.1)
        self.agent.tell(503, {}, "2")
        self.clock.advance(1.9)
        self.assertEqual(len(self.agent.asked), 2)
        self.clock.advance(0.1)
        self.assertNoResult(adding)
        self.agent.tell(201, ROW)
        self.assertEqual(self.successResultOf(adding), "u")
        first, *others = self.agent.asked
        self.assertEqual(others, [first, first])
        self.assertEqual(first[:2], ("POST", "http://api/v1/tasks"))
        self.assertIn("Idempotency-Key", first[2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """
        What the API refuses is an error of its class.
        """
        adding = self.client.add_task("/", name="n")
        self.agent.waiting.pop().callback(
            ToldAnswer(409, problem(409, "name-taken").body)
        )
        self.failureResultOf(adding, NameTaken)

    def test_late(self) -> None:
        """
        A call ends within its time, and its request with it.
        """
        adding = self.client.add_task("/", idempotency_key="k")
        [request] = self.agent.waiting
        self.clock.advance(20)
        error = self.failureResultOf(adding, APIError).value
        self.assertEqual((error.done, error.idempotency_key), (None, "k"))
        self.assertTrue(request.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_connection(self) -> None:
        """
        Where no connection can be made, anything is asked for again; else only what is
        safe.
        """
        deleting = self.client.delete("u")
        no_connection = ExecutorError("no connection")
        no_connection.__cause__ = ConnectionRefusedError()
        self.agent.waiting.pop().errback(no_connection)
        self.clock.advance(0.1)
        self.agent.waiting.pop().errback(ExecutorError("lost"))
        error = self.failureResultOf(deleting, APIError).value
        self.assertIsNone(error.done)

    def test_cancelled(self) -> None:
        """
        A call that is cancelled ends its request.
        """
        adding = self.client.add_task("/")
        [request] = self.agent.waiting
        adding.cancel()
        self.failureResultOf(adding)
        self.assertTrue(request.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """
        Many tasks are added, batch by batch; an error ends all.
        """
        told: list[TaskResult] = []
        adding = self.client.add_tasks([{"url": "/"}] * 1_001, told.append)
        created = {"status": 201, "task": ROW}
        self.agent.tell(200, {"results": [created] * 1_000})
        self.assertEqual(len(told), 1_000)
        self.agent.tell(200, {"results": [created]})
        self.assertEqual(self.successResultOf(adding), 1_001)
        adding = self.client.add_tasks([{"url": "/"}], told.append)
        self.agent.tell(401, {})
        error = self.failureResultOf(adding, APIError).value
        self.assertIs(told[-1].error, error)

    def test_pages(self) -> None:
        """
        Pages are asked for as they are needed.
        """

        async def names() -> list[str]:
            return [each.uuid async for each in self.client.tasks(queue="mail")]

        found = Deferred.fromCoroutine(names())
        self.agent.tell(200, {"tasks": [ROW], "next_page_token": "7"})
        self.agent.tell(200, {"tasks": [], "next_page_token": "9"})
        self.agent.tell(200, {"tasks": [ROW], "next_page_token": None})
        self.assertEqual(self.successResultOf(found), ["u", "u"])
        self.assertIn("page_token=9", self.agent.asked[-1][1])
