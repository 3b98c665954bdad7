"""
Tests for C{quebert.amqp.link._hosts}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.link._hosts import (
    LONGEST_WAIT,
    LONGEST_WAIT_REFUSED,
    Hosts,
    retry_delay,
)
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
        self.assertLessEqual(ours.delay(100), LONGEST_WAIT / 2)
        self.assertGreaterEqual(ours.delay(100), LONGEST_WAIT / 4)
        for _ in range(100):
            ours.failed(refused=True)
        self.assertEqual(ours.delay(100), LONGEST_WAIT_REFUSED)
        ours.succeeded()
        self.assertLess(ours.delay(1), LONGEST_WAIT / 2)

    def refused(self, times: int, *, again: bool = False) -> float:
        """
        Seconds to wait after so many refusals, and perhaps a success before them.
        """
        ours = hosts()
        if again:
            ours.failed(refused=True)
            ours.succeeded()
        for _ in range(times):
            ours.failed(refused=True)
        return ours.delay(1)

    def test_delay_after_refusals(self) -> None:
        """
        Four times as long after each round of refusals; one that was let in begins
        with the first round.
        """
        for again in (False, True):
            self.assertLess(self.refused(1, again=again), 1)
            waits = [self.refused(n, again=again) for n in (2, 3, 4, 5, 6)]
            self.assertEqual(waits, [4, 4, 16, 16, 60])

    def test_other_failures_between(self) -> None:
        """
        A host that does not answer is no refusal: the round begins anew.
        """
        ours = hosts()
        for refused in (True, False, True):
            ours.failed(refused=refused)
        self.assertLess(ours.delay(1), 1)

    def test_retry_delay(self) -> None:
        """
        It grows by half with each attempt, up to four seconds; the jitter is the part
        of that which is waited.
        """
        waits = [retry_delay(n, 1.0) for n in (0, 1, 2, 6, 7, 100)]
        self.assertEqual(waits, [0.25, 0.375, 0.5625, 1.5**6 / 4, 4, 4])
        self.assertEqual(retry_delay(100, 0.5), 2)

    def test_a_round(self) -> None:
        """
        The wait grows once all hosts were tried, and each gets its part of it.
        """
        ours = hosts()
        for attempt, least, most in ((1, 0.0625, 0.125), (2, 0.09375, 0.1875)):
            self.assertTrue(least <= ours.delay(attempt) <= most)
