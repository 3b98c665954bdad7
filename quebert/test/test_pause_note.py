"""
Tests for L{quebert.amqp.coordination._pause_note}: who has paused a queue.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from quebert._protocol.properties import encode_properties
from quebert.amqp.coordination import (
    PauseNote,
    leave_note,
    read_note,
    remove_note,
    sign_of,
)
from quebert.errors import BrokerError, BrokerRefused
from quebert.test.memory_network import NetworkTestCase, RefusingWire

NOTE = PauseNote("ada@laptop", 1234.5)


class PauseNoteTests(NetworkTestCase):
    """
    The message beside the sign of a pause.
    """

    def read(self) -> PauseNote | None:
        """
        What is told of the pause.
        """
        return self.result(read_note(self.wire, "tasks"))

    async def publish(self, body: bytes) -> None:
        """
        Leave something else.
        """
        channel = await self.wire.open_channel()
        await channel.publish("", sign_of("tasks"), body, encode_properties({}))
        await channel.shut()

    def test_left(self) -> None:
        """
        All readers find what was told last, until it is removed.
        """
        self.assertIsNone(self.read())
        self.result(leave_note(self.wire, "tasks", PauseNote("bob", 1.0)))
        self.result(leave_note(self.wire, "tasks", NOTE))
        for _ in range(3):
            self.assertEqual(self.read(), NOTE)
        self.assertEqual(self.depths(), {sign_of("tasks"): 1})
        self.result(remove_note(self.wire, "tasks"))
        self.assertIsNone(self.read())
        self.result(remove_note(self.wire, "tasks"))

    def test_other_reader(self) -> None:
        """
        While another reader has it, one waits; if that lasts, nothing is known.
        """
        self.result(leave_note(self.wire, "tasks", NOTE))
        channel = self.result(self.wire.open_channel())
        self.result(channel.get(sign_of("tasks")))
        reading = self.begin(read_note(self.wire, "tasks"))
        self.network.settle(0.05)
        self.assertNoResult(reading)
        self.result(channel.shut())
        self.assertEqual(self.result(reading), NOTE)
        channel = self.result(self.wire.open_channel())
        self.result(channel.get(sign_of("tasks")))
        self.assertIsNone(self.read())

    def test_odd(self) -> None:
        """
        A message of another kind tells nothing, and a name is one short line.
        """
        for body in (b"", b"\xff", b"[]", b'["a", "b"]', b"7", b"[" * 10_000):
            self.result(leave_note(self.wire, "tasks", NOTE))
            self.result(self.publish(body))
            self.assertIsNone(self.read(), body)
        note = PauseNote("a\n\x1b[31m" * 100, 1.0)
        self.result(leave_note(self.wire, "tasks", note))
        found = self.read()
        assert found is not None
        self.assertTrue(found.by.isprintable())
        self.assertLessEqual(len(found.by), 200)

    def test_refused(self) -> None:
        """
        Who may not read it finds nothing; who may not leave it is told so.
        """
        self.result(leave_note(self.wire, "tasks", NOTE))
        wire: Any = RefusingWire(self.wire, sign_of("tasks"))
        self.assertIsNone(self.result(read_note(wire, "tasks")))
        self.result(remove_note(wire, "tasks"))
        self.failure(leave_note(wire, "tasks", NOTE), BrokerRefused)

    def test_no_answer(self) -> None:
        """
        A RabbitMQ that takes no messages is not waited for.
        """
        wire: Any = RefusingWire(self.wire, published=Deferred())
        error = self.failure(leave_note(wire, "tasks", NOTE), BrokerError)
        self.assertIn("takes no messages", str(error))
