"""
Tests for L{quebert.amqp.coordination._pause_sign}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from quebert.amqp.coordination._pause_sign import (
    CONTROL,
    MARK,
    TELLING,
    is_paused,
    set_paused,
    sign_of,
)
from quebert.amqp.wire import Unconfirmed
from quebert.errors import BrokerError, ChannelLost, PublishRefused
from quebert.test.memory_network import NetworkTestCase, RefusingWire


class PauseSignTests(NetworkTestCase):
    """
    The sign that a queue is paused.
    """

    def pause(self, paused: bool = True, *refused: str) -> BrokerError | None:
        """
        Pause the queue, or end its pause, as a user who may not touch some exchanges.
        """
        wire: Any = RefusingWire(self.wire, *refused)
        return self.result(set_paused(wire, "tasks", paused))

    def exchanges(self) -> set[str]:
        """
        Those of quebert that exist.
        """
        names = self.network.broker.vhosts["/"].exchanges
        return {name for name in names if name.startswith("quebert.")}

    def test_pause_and_resume(self) -> None:
        """
        A queue is paused while its sign is there, and others are not.
        """
        self.assertFalse(self.result(is_paused(self.wire, "tasks")))
        self.assertIsNone(self.pause())
        self.assertEqual(self.exchanges(), {sign_of("tasks")})
        self.assertTrue(self.result(is_paused(self.wire, "tasks")))
        self.assertFalse(self.result(is_paused(self.wire, "others")))
        self.assertIsNone(self.pause(False))
        self.assertFalse(self.result(is_paused(self.wire, "tasks")))
        self.assertEqual(self.exchanges(), set())

    def test_watches_are_told(self) -> None:
        """
        The watches of the queue get a message, and the mark is deleted.
        """
        self.call("exchange_declare", exchange=CONTROL, exchange_type="direct")
        self.call("exchange_declare", exchange=MARK, exchange_type="fanout")
        for queue in ("tasks", "others"):
            self.call("queue_declare", queue=queue)
            self.call("queue_bind", queue=queue, exchange=CONTROL, routing_key=queue)
        self.assertIsNone(self.pause())
        self.assertEqual(self.depths(), {"tasks": 1, "others": 0})
        self.assertNotIn(MARK, self.exchanges())

    def test_sign_refused(self) -> None:
        """
        Where RabbitMQ does not make the sign, its reason is raised.
        """
        sign = {"exchange": sign_of("tasks"), "exchange_type": "direct"}
        self.call("exchange_declare", **sign)
        error = self.failure(set_paused(self.wire, "tasks", True), BrokerError)
        self.assertIn("PRECONDITION_FAILED", str(error))

    def test_mark_refused(self) -> None:
        """
        Where RabbitMQ does not delete the mark, watches hear of the pause all the same.
        """
        self.call("exchange_declare", exchange=CONTROL, exchange_type="direct")
        self.call("queue_declare", queue="tasks")
        self.call("queue_bind", queue="tasks", exchange=CONTROL, routing_key="tasks")
        self.assertIsNone(self.pause(True, MARK))
        self.assertTrue(self.result(is_paused(self.wire, "tasks")))
        self.assertEqual(self.depths(), {"tasks": 1})

    def test_nobody_can_be_told(self) -> None:
        """
        Where neither the mark is deleted nor a message can be published, the reason is
        told; that nobody listens is none.
        """
        self.assertIsNone(self.pause(True, MARK))
        told = self.pause(False, MARK, CONTROL)
        assert told is not None
        self.assertIn("ACCESS_REFUSED", str(told))
        self.assertFalse(self.result(is_paused(self.wire, "tasks")))

    def test_lost(self) -> None:
        """
        Where the connection is lost, or the broker refuses it otherwise, watches may
        not be told.
        """
        for error in (Unconfirmed(ChannelLost("gone")), PublishRefused("full")):
            wire: Any = RefusingWire(self.wire, MARK, published=fail(error))
            told = self.result(set_paused(wire, "tasks", True))
            self.assertIs(told, error)

    def test_no_answer(self) -> None:
        """
        A RabbitMQ that takes no messages is waited for no longer than two seconds.
        """
        wire: Any = RefusingWire(self.wire, MARK, published=Deferred())
        done = self.begin(set_paused(wire, "tasks", True))
        self.network.pass_time(TELLING - 0.5)
        self.assertNoResult(done)
        self.network.pass_time(1)
        self.assertIn("takes no messages", str(self.successResultOf(done)))
