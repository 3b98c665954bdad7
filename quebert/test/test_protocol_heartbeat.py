"""
Tests for L{quebert._protocol.heartbeat}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.heartbeat import Heartbeat


class HeartbeatTests(SynchronousTestCase):
    """
    Tests for L{Heartbeat}, with an interval of ten seconds.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[float] = []
        self.died: list[float] = []
        self.heartbeat = Heartbeat(
            self.clock,
            lambda: self.sent.append(self.clock.seconds()),
            lambda: self.died.append(self.clock.seconds()),
        )

    def pass_time(self, seconds: int) -> None:
        """
        Let C{seconds} pass, one after the other.
        """
        self.clock.pump([1] * seconds)

    def test_sent(self) -> None:
        """
        Something is sent each half interval, at first after one.
        """
        self.heartbeat.start(10)
        for _ in range(4):
            self.heartbeat.heard = True
            self.pass_time(5)
        self.assertEqual(self.sent, [5, 10, 15, 20])

    def test_dead(self) -> None:
        """
        The peer is given up once nothing was heard for two intervals; then nothing more
        is sent.
        """
        self.heartbeat.start(10)
        self.pass_time(60)
        self.assertEqual(self.died, [25])  # the first beat counts as heard
        self.assertEqual(self.sent, [5, 10, 15, 20])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_heard(self) -> None:
        """
        Whenever something was heard last, the peer is given up after two intervals, and
        within another half.
        """
        for moment in range(20):
            self.setUp()
            self.heartbeat.start(10)
            self.pass_time(moment)
            self.heartbeat.heard = True
            self.pass_time(40)
            (died,) = self.died
            self.assertGreaterEqual(died - moment, 20, moment)
            self.assertLessEqual(died - moment, 25, moment)

    def test_slept(self) -> None:
        """
        A machine that was asleep for hours gives the peer a chance to be heard.
        """
        self.heartbeat.start(10)
        self.clock.advance(36_000)
        self.pass_time(14)
        self.heartbeat.heard = True
        self.pass_time(19)
        self.assertEqual(self.died, [])

    def test_none(self) -> None:
        """
        With an interval of 0 there are no heartbeats.
        """
        self.heartbeat.start(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.heartbeat.stop()

    def test_stopped(self) -> None:
        """
        Nothing is sent after the end, which may come twice.
        """
        self.heartbeat.start(10)
        self.pass_time(6)
        self.heartbeat.stop()
        self.heartbeat.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.sent, [5])

    def test_stopped_within(self) -> None:
        """
        It may be stopped while it sends, or gives the peer up.
        """
        heartbeat = Heartbeat(
            self.clock, lambda: heartbeat.stop(), lambda: heartbeat.stop()
        )
        heartbeat.start(10)
        self.pass_time(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.heartbeat = Heartbeat(
            self.clock, lambda: None, lambda: self.heartbeat.stop()
        )
        self.heartbeat.start(10)
        self.pass_time(60)
        self.assertEqual(self.clock.getDelayedCalls(), [])
