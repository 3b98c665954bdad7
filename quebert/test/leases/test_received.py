"""
Tests for L{quebert.leases._received}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import decode_properties, encode_properties
from quebert.leases import LeasedMessage
from quebert.leases._received import received
from quebert.policy import (
    LEASE_BACKOFF,
    LEASE_ID,
    LEASE_LAST,
    LEASE_QUEUE,
    LEASE_UNTIL,
)
from quebert.signatures import LeaseIDs
from quebert.test.mediating import FakeMessage

IDS = LeaseIDs([b"s" * 24])
IDENTITY = b"i" * 16
HEADERS: dict[str, Any] = {
    LEASE_ID: IDS.make(IDENTITY, 1),
    LEASE_QUEUE: "tasks",
    LEASE_UNTIL: 1_300.0,
    LEASE_LAST: 9_000.0,
    LEASE_BACKOFF: 7,
}


def read(headers: dict[str, Any], **properties: Any) -> LeasedMessage:
    """
    What is kept of a message.
    """
    given = {"message-id": "u", "headers": headers, **properties}
    return received(FakeMessage(b"{}", given), encode_properties(given), IDS)


class ReceivedTests(SynchronousTestCase):
    """
    L{received}.
    """

    def test_read(self) -> None:
        """
        A message tells its lease, and is put back without that.
        """
        more = {"quebert-attempts": 1, "x-death": "x"}
        found = read({**HEADERS, **more}, **{"reply-to": "quebert.ended"})
        told = decode_properties(found.properties)
        self.assertEqual(told["headers"], {"quebert-attempts": 1})
        self.assertEqual(told["reply-to"], "quebert.ended")
        self.assertEqual(
            (found.id, found.identity, found.queue, found.uuid, found.body),
            (HEADERS[LEASE_ID], IDENTITY, "tasks", "u", b"{}"),
        )
        times = found.until, found.last, found.backoff
        self.assertEqual(times, (1_300, 9_000, 7))

    def test_wrong(self) -> None:
        """
        A message that no mediator of ours has sent is refused.
        """
        wrong: list[tuple[str, Any, str]] = [
            (LEASE_ID, None, "quebert-lease-id is missing"),
            (LEASE_ID, "x", "quebert-lease-id is none"),
            (LEASE_ID, "\u20ac" * 48, "quebert-lease-id is none"),
            (LEASE_QUEUE, "", "quebert-lease-queue is missing"),
            (LEASE_UNTIL, None, "quebert-lease-until is no number"),
            (LEASE_LAST, "soon", "quebert-lease-last is no number"),
            (LEASE_BACKOFF, True, "quebert-lease-backoff is no number"),
        ]
        for name, value, text in wrong:
            headers = {**HEADERS, name: value}
            with self.assertRaises(ValueError) as caught:
                read({k: v for k, v in headers.items() if v is not None})
            self.assertIn(text, str(caught.exception))

    def test_other_secret(self) -> None:
        """
        A lease that was made with a secret that is not here is kept as well: it takes
        the place of no other.
        """
        id = LeaseIDs([b"t" * 24]).make(IDENTITY, 1)
        found = read({**HEADERS, LEASE_ID: id})
        self.assertEqual((found.id, found.queue), (id, "tasks"))
        self.assertEqual((len(found.identity), found.until), (16, 1_300))
        self.assertNotEqual(found.identity, IDENTITY)

    def test_odd(self) -> None:
        """
        A lease runs out no later than its last time, and no wait is negative.
        """
        found = read({**HEADERS, LEASE_LAST: 5, LEASE_BACKOFF: -1})
        self.assertEqual((found.last, found.backoff), (1_300, 0))
