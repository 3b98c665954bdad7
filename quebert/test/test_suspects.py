"""
What mediators know of each other's attempts (L{Suspects}), with an embedded broker in
memory.
"""

from __future__ import annotations

from typing import Any

from quebert.amqp.watch._suspects import Suspects, flight_sign
from quebert.test.memory_network import NetworkTestCase, RefusingWire

FLIGHT = "0123456789abcdef"


class AttemptTests(NetworkTestCase):
    """
    The sign that a message is attempted alone.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ours = Suspects(lambda: self.network)
        self.others = Suspects(lambda: self.network)
        for each in (self.ours, self.others):
            self.addCleanup(each.warn_no_more)

    def test_of_another(self) -> None:
        """
        Who attempts it does not take the sign for the end of another mediator; others
        do, until the attempt has ended.
        """
        self.result(self.ours.begin(self.wire, FLIGHT))
        self.assertFalse(self.result(self.ours.ended(self.wire, FLIGHT)))
        self.assertTrue(self.result(self.others.ended(self.wire, FLIGHT)))
        self.result(self.ours.end(self.wire, FLIGHT))
        self.assertFalse(self.result(self.others.ended(self.wire, FLIGHT)))

    def test_after_ours(self) -> None:
        """
        After our own attempt, a sign is another mediator's.
        """
        self.result(self.ours.begin(self.wire, FLIGHT))
        self.result(self.ours.end(self.wire, FLIGHT))
        self.result(self.others.begin(self.wire, FLIGHT))
        self.assertTrue(self.result(self.ours.ended(self.wire, FLIGHT)))

    def test_refused(self) -> None:
        """
        So it is where we may not make the sign.
        """
        sign = flight_sign(FLIGHT)
        wire: Any = RefusingWire(self.wire, sign)
        self.result(self.ours.begin(wire, FLIGHT))
        self.assertEqual(self.depths(), {})
        self.result(self.others.begin(self.wire, FLIGHT))
        self.assertTrue(self.result(self.ours.ended(self.wire, FLIGHT)))
        self.result(self.ours.end(self.wire, FLIGHT))
        self.assertEqual(list(self.depths()), [sign])

    def test_connection_lost(self) -> None:
        """
        A sign whose attempt was interrupted goes with the next connection.
        """
        self.result(self.ours.begin(self.wire, FLIGHT))
        self.network.cut()
        self.network.settle()
        self.result(self.ours.end(self.wire, FLIGHT))
        self.wire = self.connect()
        self.assertEqual(list(self.depths()), [flight_sign(FLIGHT)])
        self.result(self.ours.reconnected(self.wire))
        self.assertEqual(self.depths(), {})
