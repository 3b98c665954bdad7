"""
Tests for L{quebert.amqp.delays.LadderSearch}, with the embedded broker in memory: what
is not taken comes when it is due.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.delays import LadderSearch, Rungs
from quebert.amqp.delays._ladder import Ladder
from quebert.amqp.queues import Visit
from quebert.amqp.wire import NOT_BEFORE
from quebert.errors import BrokerError
from quebert.outcome import Retry
from quebert.test.memory_network import NetworkTestCase


class LadderSearchTests(NetworkTestCase):
    """
    Messages that wait for their times.
    """

    def setUp(self) -> None:
        super().setUp()
        self.mediator = self.client()
        self.came: dict[bytes, float] = {}
        self.due: dict[bytes, float] = {}
        for queue in ("a", "b"):
            self.result(self.mediator.watch("", queue, "", self.received))

    def received(self, message: Any) -> Retry | None:
        """
        Have a message wait when it comes first.
        """
        if message.body in self.due:
            self.came[message.body] = self.network.seconds()
            return None
        delay = float(message.body)
        self.due[message.body] = self.network.seconds() + delay
        return Retry(after=delay)

    def wait(self, queue: str, *delays: float) -> None:
        """
        Have messages wait for so many seconds.
        """
        for each in delays:
            body = str(each).encode()
            self.result(self.mediator.publish("", queue, body, {"delivery-mode": 2}))
        self.network.pass_time(1)

    def search(
        self, *bodies: bytes, most: int = 10_000, wrong: float = 0.0
    ) -> LadderSearch:
        """
        Take these out.
        """

        async def visit(message: Message) -> bool:
            return message.body in bodies

        return self.result(self.through(visit, most, wrong))

    async def through(
        self, visit: Visit, most: int = 10_000, wrong: float = 0.0
    ) -> LadderSearch:
        """
        Visit all messages, by a client whose clock may be wrong by some seconds.
        """
        client: TxAMQPClient = self.client()
        search = LadderSearch(
            await client.connected(),
            client.ladder,
            client.make_publisher(),
            lambda: client.now() + wrong,
            most,
            client.spare,
        )
        await search.through(visit)
        return search

    def all_come(self, *but: bytes) -> None:
        """
        All but these come, and none is early or late.
        """
        self.network.pass_time(max(self.due.values()) - self.network.seconds() + 10)
        self.assertEqual(self.came.keys(), self.due.keys() - set(but))
        for body, when in self.came.items():
            self.assertGreaterEqual(when, self.due[body] - 0.01, body)
            self.assertLess(when, self.due[body] + 3, body)

    def test_nothing(self) -> None:
        """
        Where no ladder is, nothing is made.
        """
        search = self.search()
        self.assertEqual((search.seen, search.total, search.unseen), (0, 0, 0))

    def test_few(self) -> None:
        """
        A few messages wait on as they were.
        """
        self.wait("a", 20, 21, 300)
        self.wait("b", 22.5)
        search = self.search(b"21", b"300")
        self.assertEqual((search.seen, search.total, search.unseen), (4, 4, 0))
        self.all_come(b"21", b"300")

    def test_many(self) -> None:
        """
        Of many messages, each goes on to wait for what is left, again and again.
        """
        delays = [200 + n / 4 for n in range(40)]
        self.wait("a", *delays[::2])
        self.wait("b", *delays[1::2])
        gone = [str(delays[n]).encode() for n in (3, 10)]
        search = self.search(gone[0])
        self.assertEqual(search.unseen, 0)
        self.network.pass_time(50)
        self.search(gone[1])
        self.all_come(*gone)

    def test_for_days(self) -> None:
        """
        Messages of the longest rung may have days left, and wait for all of them.
        """
        self.wait("a", *(200_000 + n for n in range(30)))
        search = self.search()
        self.assertEqual((search.seen, search.total, search.unseen), (30, 30, 0))
        self.network.pass_time(190_000, 5_000.0)
        self.assertEqual(self.came, {})

    def test_in_a_shorter_rung(self) -> None:
        """
        So do messages that were put into a shorter rung, since theirs was new.
        """
        with patch.object(Ladder, "_old", lambda ladder, wire, wait: min(wait, 64)):
            self.wait("a", *(600 + n / 8 for n in range(30)))
            self.search()
        self.all_come()

    def test_most(self) -> None:
        """
        No more are looked at than were asked for.
        """
        self.wait("a", *(100 + n / 8 for n in range(40)))
        search = self.search(most=30)
        self.assertEqual((search.seen, search.total, search.unseen), (30, 40, 10))
        self.all_come()

    def test_wrong_clock(self) -> None:
        """
        Where the clock of who searches is wrong, none is late for that.
        """
        self.wait("a", *(60 + n / 8 for n in range(40)))
        for wrong in (-5000.0, 5000.0):
            self.search(wrong=wrong)
        self.all_come()

    def test_wrong_clock_and_no_delay(self) -> None:
        """
        Nor is one late that does not say for how long it was to wait.
        """
        self.wait("a", 40)
        rung = Rungs().name(40)
        for n in range(30):
            body, now = f"message {n}".encode(), self.mediator.now()
            self.due[body] = self.network.seconds() + 40
            headers = {"headers": {NOT_BEFORE: now + 40}}
            self.result(self.mediator.publish(rung, "a", body, headers))
        self.search(wrong=-5000.0)
        self.all_come()

    def test_visit_fails(self) -> None:
        """
        If looking at a message fails, all are still there.
        """

        async def visit(message: Message) -> bool:
            raise ValueError(message.body)

        self.wait("a", *(50 + n / 8 for n in range(30)))
        self.failure(self.through(visit), ValueError)
        self.all_come()

    def test_lost(self) -> None:
        """
        Where the connection is lost before RabbitMQ has settled all, a search fails.
        """

        async def visit(message: Message) -> bool:
            self.network.cut()
            return True

        self.wait("a", 50)
        self.failure(self.through(visit), BrokerError)
        self.all_come()
