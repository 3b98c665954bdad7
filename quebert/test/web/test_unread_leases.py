"""
Tests for L{quebert.web.cluster._unread_leases}.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.queues import Depth
from quebert.errors import BrokerUnreachable
from quebert.web.cluster import _unread_leases
from quebert.web.cluster._unread_leases import PACE, UnreadLeases


class UnreadLeasesTests(SynchronousTestCase):
    """
    Tests for L{UnreadLeases}.
    """

    def test_unread(self) -> None:
        """
        Leased tasks that nobody reads are a problem as long as it lasts; one that is
        not known is none.
        """
        found: list[Depth | Exception | None] = [
            *(None, Depth(0, 0), Depth(2, 1), Depth(2, 0)),
            *(BrokerUnreachable("away"), Depth(0, 0)),
        ]
        clock = Clock()

        @asynccontextmanager
        async def client():  # type: ignore[no-untyped-def]
            yield None, None

        self.patch(_unread_leases, "depth", mock.AsyncMock(side_effect=found))
        unread = UnreadLeases(mock.Mock(reactor=clock, client=client))
        unread.start()
        seen = []
        for number in range(len(found)):
            clock.advance(PACE if number else 0)
            seen.append(bool(unread.problems))
        self.assertEqual(seen, [False, False, False, True, True, False])
        self.successResultOf(Deferred.fromCoroutine(unread.stop()))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_text(self) -> None:
        """
        The problem says what to do.
        """
        unread = UnreadLeases(mock.Mock(reactor=Clock()))
        unread._tell(1)
        [text] = unread.problems
        self.assertIn("wait in quebert.leases, and no quebert web reads them", text)
        self.assertIn("give quebert web the [leases] of the mediators", text)
