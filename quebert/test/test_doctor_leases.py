"""
Tests for L{quebert.doctor._leases}.
"""

from __future__ import annotations

from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.queues import Depth
from quebert.doctor import _leases
from quebert.doctor._findings import Level


class LeasesTests(SynchronousTestCase):
    """
    Tests for L{_leases.check_leases}.
    """

    def found(self, depth: Depth | None, has_leases: bool) -> list[tuple[Level, str]]:
        """
        What is found where the queue has so many messages and consumers.
        """
        self.patch(_leases, "depth", mock.AsyncMock(return_value=depth))
        subject = mock.Mock()
        subject.settings.leases = object() if has_leases else None
        checking = Deferred.fromCoroutine(_leases.check_leases(subject))
        return [(each.level, each.text) for each in self.successResultOf(checking)]

    def test_read(self) -> None:
        """
        Where somebody reads them, or nobody leases tasks, all is well.
        """
        read = (Level.OK, "a quebert web reads quebert.leases")
        self.assertEqual(self.found(Depth(0, 1), True), [read])
        self.assertEqual(self.found(Depth(3, 1), False), [])
        self.assertEqual(self.found(Depth(0, 0), False), [])
        self.assertEqual(self.found(None, False), [])

    def test_unread(self) -> None:
        """
        Leased tasks that nobody reads are a fault, whatever the file says; and it is
        warned of before there are any.
        """
        text = "3 leased tasks wait in quebert.leases, and nobody reads them"
        for has_leases in (True, False):
            found = self.found(Depth(3, 0), has_leases)
            self.assertEqual(found, [(Level.FAIL, text)])
        text = "executors may lease tasks, and nobody reads quebert.leases"
        for depth in (None, Depth(0, 0)):
            self.assertEqual(self.found(depth, True), [(Level.WARN, text)])
