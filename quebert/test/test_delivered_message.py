"""
Tests for L{quebert.amqp.watch._delivered_message}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
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

    def test_times(self) -> None:
        """
        It tells when it was sent, and until when it has waited, if its properties do,
        and they can be read.
        """
        m = DeliveredMessage("tag", 1, False, "flow", "key")
        for properties, times in (
            ({}, (None, None)),
            ({"message-id": "u", "timestamp": 1_800_000_000}, (1_800_000_000, None)),
            ({"headers": {"quebert-not-before": 5.5}}, (None, 5.5)),
        ):
            m = DeliveredMessage("tag", 1, False, "flow", "key")
            m.encoded_properties = encode_properties(properties)
            self.assertEqual((m.sent_at, m.due_at), times)
        for unreadable in (b"", b"\x20", b"\x00\x40", b"\x20\x40\x00\x00\x00\x09?"):
            m = DeliveredMessage("tag", 1, False, "flow", "key")
            m.encoded_properties = unreadable
            self.assertEqual((m.sent_at, m.due_at), (None, None))

    def test_was_refused(self) -> None:
        """
        The places are told that its origin takes no request, if it has any.
        """
        for places, seconds in ((None, 0.0), (FakePlaces(), 2.0)):
            m = DeliveredMessage("tag", 1, False, "flow", "key")
            m.request_places = places
            m.was_refused(2.0)
            self.assertEqual(m.refused_for, seconds)
