"""
Tests for C{quebert.amqp.link._hosts}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.link._hosts import RETRY_LIMIT, RETRY_REFUSED_LIMIT, Hosts
from quebert.config import Address

ADDRESSES = [Address("one", 5672), Address("two", 5672)]


def hosts(sibling: Hosts | None = None, *, optional: bool = False) -> Hosts:
    """
    Two hosts.
    """
    return Hosts(ADDRESSES, sibling, optional=optional)


class HostsTests(SynchronousTestCase):
    """
    The hosts of a broker.
    """

    def test_in_turn(self) -> None:
        """
        Each failure, and each loss, makes it the turn of the next.
        """
        ours = hosts()
        seen = [ours.address.host]
        for refused in (False, True):
            ours.failed(refused=refused)
            seen.append(ours.address.host)
        ours.lost()
        seen.append(ours.address.host)
        ours.succeeded()
        seen.append(ours.address.host)
        self.assertEqual(seen, ["one", "two", "one", "two", "two"])

    def test_refuse(self) -> None:
        """
        They refuse once each has refused, one after the other.
        """
        ours = hosts()
        for refused in (True, False, True):
            ours.failed(refused=refused)
            self.assertFalse(ours.refuse)
        ours.failed(refused=True)
        self.assertTrue(ours.refuse)

    def test_was_let_in(self) -> None:
        """
        Hosts that have let us in, or the sibling, may refuse for now.
        """
        sibling = hosts()
        sibling.succeeded()
        for ours, refuse in (
            (sibling, False),
            (hosts(sibling), False),
            (hosts(sibling, optional=True), True),
            (hosts(hosts()), True),
        ):
            for _ in ADDRESSES:
                ours.failed(refused=True)
            self.assertEqual(ours.refuse, refuse)

    def test_begins_with_what_answers(self) -> None:
        """
        The first is the one that answers the sibling.
        """
        sibling = hosts()
        sibling.failed(refused=False)
        ours = hosts(sibling)
        ours.begin()
        self.assertEqual(ours.address.host, "two")
        alone = hosts()
        alone.lost()
        alone.begin()
        self.assertEqual(alone.address.host, "two")

    def test_delay(self) -> None:
        """
        All hosts together are tried as often as one would be, and seldom where they
        refuse.
        """
        ours = hosts()
        self.assertLessEqual(ours.delay(100), RETRY_LIMIT / 2)
        self.assertGreaterEqual(ours.delay(100), RETRY_LIMIT / 4)
        for _ in range(100):
            ours.failed(refused=True)
        self.assertEqual(ours.delay(100), RETRY_REFUSED_LIMIT)
        ours.succeeded()
        self.assertLess(ours.delay(1), RETRY_LIMIT / 2)
