"""
Tests for L{quebert.amqp.watch._delivered_message}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch import DeliveredMessage
from quebert.limits import WhenFree


class FakePlaces:
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

    def refused(
        self, message: DeliveredMessage, seconds: float, when_free: WhenFree | None
    ) -> None:
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
        self.assertEqual(
            (m.turned_away, m.request_places, m.origin), (False, None, None)
        )

    def test_may_request(self) -> None:
        """
        It may, unless some origins are slow, and there is no place for its request.
        """
        for places, may in (
            (None, True),
            (FakePlaces(), True),
            (FakePlaces("http://a"), False),
        ):
            m = DeliveredMessage("tag", 1, False, "flow", "key")
            m.request_places = places
            self.assertEqual(m.may_request("http://a/b"), may)
            self.assertEqual(m.url, "http://a/b")
            m.was_unanswered()
            self.assertEqual(m.url, "")

    def test_was_refused(self) -> None:
        """
        The places are told that its origin takes no request, if it has any.
        """
        for places, seconds in ((None, 0.0), (FakePlaces(), 2.0)):
            m = DeliveredMessage("tag", 1, False, "flow", "key")
            m.request_places = places
            m.was_refused(2.0)
            self.assertEqual(m.refused_for, seconds)
