"""
Tests for L{quebert.amqp.watch._delivered_message}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch import DeliveredMessage


class FakeGate:
    """
    Knows of some origins that are slow, and admits nothing.
    """

    def __init__(self, *known: str) -> None:
        self.known = dict.fromkeys(known)

    def admits(self, message: DeliveredMessage) -> bool:
        """
        Whether it may request.
        """
        return False

    def refused(self, message: DeliveredMessage, seconds: float) -> None:
        """
        The origin takes none now.
        """
        message.refused_for = seconds


class DeliveredMessageTests(SynchronousTestCase):
    """
    Tests for L{DeliveredMessage}.
    """

    def test_new(self) -> None:
        """
        Nothing has happened to it yet.
        """
        m = DeliveredMessage("tag", 1, False, "flow", "key")
        self.assertEqual((m.came, m.errors, m.memory, m.url), (0.0, 0, 0, ""))
        self.assertEqual((m.may_have_past, m.was_begun), (True, False))
        self.assertEqual((m.turned_away, m.gate, m.origin), (False, None, None))

    def test_may_request(self) -> None:
        """
        It may, unless there is a gate that knows of slow origins, and admits none.
        """
        for gate, may in (
            (None, True),
            (FakeGate(), True),
            (FakeGate("http://a"), False),
        ):
            m = DeliveredMessage("tag", 1, False, "flow", "key")
            m.gate = gate
            self.assertEqual(m.may_request("http://a/b"), may)
            self.assertEqual(m.url, "http://a/b")
            m.was_unanswered()
            self.assertEqual(m.url, "")

    def test_was_refused(self) -> None:
        """
        Its gate is told that its origin takes no request, if it has a gate.
        """
        for gate, seconds in ((None, 0.0), (FakeGate(), 2.0)):
            m = DeliveredMessage("tag", 1, False, "flow", "key")
            m.gate = gate
            m.was_refused(2.0)
            self.assertEqual(m.refused_for, seconds)
