"""
Tests for L{quebert.operations._live_hosts}: what several mediators tell of an origin,
and by which clocks.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.events import OriginState
from quebert.operations._live_hosts import clocks_of, hosts_of
from quebert.operations._seen import SeenMediator
from quebert.test.test_live_fold import BEGAN, state


def seen(name: str, ahead: float = 0.0, **fields: float | str) -> SeenMediator:
    """
    A mediator that tells of one origin, whose clock is ahead.
    """
    origins = {"http://a": OriginState(**fields)}  # type: ignore[arg-type]
    return SeenMediator(BEGAN, state(name, BEGAN + ahead, origins=origins), None)


class LiveHostsTests(SynchronousTestCase):
    """
    What is told of an origin.
    """

    def test_together(self) -> None:
        """
        The worst breaker counts, the latest time by the clock here, and the sums of
        what each mediator may do.
        """
        one = seen("m1", breaker="open", open_until=BEGAN + 9, limit=4.0, in_flight=1)
        two = seen("m2", 3600, breaker="open", open_until=BEGAN + 3605, limit=2.0)
        (host,) = hosts_of([one, two, seen("m3", limit=1.0, breaker="odd")])
        self.assertEqual((host.breaker, host.open_until), ("open", BEGAN + 9))
        self.assertEqual((host.limit, host.in_flight, host.mediators), (7.0, 1, 3))
        self.assertIs(host.rate, None)

    def test_clocks(self) -> None:
        """
        Small differences are the way of the events.
        """
        self.assertEqual([*clocks_of([seen("m1", 20.0), seen("m2", -20.0)])], [])
        (told,) = clocks_of([seen("m1", 40.0), seen("m2", -200.0)])
        self.assertIn("2 mediators differ; that of m2 is 3 minutes behind", told)
