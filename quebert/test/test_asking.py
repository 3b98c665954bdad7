"""
Tests for L{quebert.amqp.coordination._asking}: the answers of mediators.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.coordination._asking import Asker
from quebert.amqp.wire import Message


class AskingAnswersTests(SynchronousTestCase):
    """
    A question whose answers come.
    """

    def test_acknowledged(self) -> None:
        """
        Each answer is acknowledged, even one that cannot be read: a broker may have a
        default prefetch, and deliver no more than that.
        """
        acked: list[int] = []
        wire: Any = SimpleNamespace(clock=Clock())
        asker: Any = Asker(wire)
        asker._channel = SimpleNamespace(ack=acked.append)
        for tag in 1, 2:
            message = Message("", tag, False, "", "answers")
            message.body = b"no answer"
            asker._received(message)
        self.assertEqual(acked, [1, 2])
