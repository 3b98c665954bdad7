"""
Tests for L{quebert.metrics._states}: sums that never fall.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.events import MediatorState, OriginState, WatchState
from quebert.metrics._states import (
    FORGOTTEN,
    MOST_MEDIATORS,
    MOST_ORIGINS,
    SILENT,
    States,
)
from quebert.metrics._totals import OTHERS


def state(
    name: str = "m1", at: float = 10.0, started: float = 5.0, **counts: int
) -> MediatorState:
    """
    Of a mediator that watches one queue.
    """
    watch = WatchState(consuming=True, **counts)  # type: ignore[arg-type]
    return of_queues({"a": watch}, name, at=at, started=started)


def of_queues(
    queues: dict[str, WatchState], name: str = "m1", **fields: Any
) -> MediatorState:
    """
    Of a mediator that watches some queues.
    """
    given: dict[str, Any] = {
        "host": "h",
        "pid": 1,
        "version": "1",
        "started": 5.0,
        "at": 10.0,
    }
    return MediatorState(mediator=name, queues=queues, **(given | fields))


class StatesTests(SynchronousTestCase):
    """
    L{States} sums up what mediators count.
    """

    def received(self, states: States, queue: str = "a") -> int:
        """
        The sum of what was received.
        """
        return states.counts()[queue]["received"]

    def test_sum(self) -> None:
        """
        The counts of all mediators are summed up; one that restarts, or whose watch
        does, begins at 0 again.
        """
        states = States()
        states.add(state(received=5, done=4), 0)
        states.add(state(received=8, done=7, at=12.0), 2)
        states.add(state("m2", received=100), 2)
        self.assertEqual(self.received(states), 108)
        states.add(state(received=3, done=3, at=14.0), 4)
        states.add(state("m3", received=1), 4)
        self.assertEqual(self.received(states), 112)
        self.assertEqual(states.counts()["a"]["done"], 10)

    def test_late(self) -> None:
        """
        A state that is older than one before changes nothing.
        """
        states = States()
        states.add(state(received=8, at=12.0), 2)
        states.add(state(received=5, at=10.0), 2)
        states.add(state(received=9, at=14.0), 2)
        self.assertEqual(self.received(states), 9)

    def test_clock_set_back(self) -> None:
        """
        A mediator whose clock is set back goes on counting; while ours is, mediators
        are lost all the same.
        """
        states = States()
        states.add(state(received=8, at=7200.0), 7200)
        states.add(state(received=9, at=3600.0), 7202)
        self.assertEqual(self.received(states), 9)
        [(_, is_there)] = states.mediators(7100)
        self.assertFalse(is_there)

    def test_other_clock(self) -> None:
        """
        Whether a mediator was there before is seen by its own clock.
        """
        for ahead in (3600.0, -3600.0):
            states = States(since=10_000.0)
            began, at = 9_000.0 + ahead, 10_001.0 + ahead
            old = state(received=1_000_000, at=at, started=began)
            new = state("m2", received=7, at=at + 2.0, started=at)
            states.add(old, 10_001.0)
            states.add(new, 10_003.0)
            self.assertEqual(self.received(states), 7)

    def test_weight(self) -> None:
        """
        States that tell very much are not kept without bound: the oldest are forgotten.
        """
        queues = {f"q{n}": WatchState(consuming=True) for n in range(5_000)}
        states = States()
        for number in range(50):
            states.add(of_queues(queues, f"m{number}"), 0)
        self.assertEqual(len(list(states.mediators(0))), 39)

    def test_there_before(self) -> None:
        """
        What a mediator counted before we came is not known; what it counts in a queue
        that it watches since is.
        """
        states = States(since=8.0)
        states.add(state(received=1_000_000, started=5.0), 0)
        self.assertEqual(self.received(states), 0)
        queues = {
            "a": WatchState(consuming=True, received=1_000_003),
            "b": WatchState(consuming=True, received=2),
        }
        states.add(of_queues(queues, at=12.0), 2)
        states.add(state("m2", received=7, started=9.0), 2)
        self.assertEqual((self.received(states), self.received(states, "b")), (10, 2))

    def test_lost(self) -> None:
        """
        A mediator that says nothing is lost, and forgotten in the end; its counts stay.
        """
        states = States()
        states.add(state(received=5), 0)
        there = [is_there for _, is_there in states.mediators(SILENT)]
        lost = [is_there for _, is_there in states.mediators(SILENT + 1)]
        self.assertEqual((there, lost), ([True], [False]))
        self.assertEqual(list(states.mediators(FORGOTTEN + 1)), [])
        states.add(state(received=6, at=FORGOTTEN), FORGOTTEN + 2)
        self.assertEqual(self.received(states), 6)

    def test_ended(self) -> None:
        """
        One that has ended is not lost; nor is it there when its last word comes late.
        """
        states = States()
        states.add(state(received=5), 0)
        states.forget("m1")
        states.forget("m2")
        states.add(state(received=5), 0)
        self.assertEqual(list(states.mediators(0)), [])
        self.assertEqual(self.received(states), 5)

    def test_floods(self) -> None:
        """
        Mediators, queues and origins are bounded.
        """
        states = States(most_queues=2)
        for number in range(MOST_MEDIATORS + 5):
            states.add(state(f"m{number}", received=1), 0)
        self.assertEqual(len(list(states.mediators(0))), MOST_MEDIATORS)
        queues = {f"q{n}": WatchState(consuming=True, received=1) for n in range(9)}
        flood = of_queues(queues, "flood")
        states.add(flood, 0)
        self.assertEqual(set(states.counts()), {"a", "q0", OTHERS})
        self.assertEqual(self.received(states, OTHERS), 8)
        self.assertEqual(len(states.watches([flood])[OTHERS]), 8)

    def test_origins(self) -> None:
        """
        Of too many origins, those have figures of their own whose circuit breaker is
        open, then the busiest.
        """
        origins = {
            f"http://h{n}:80": OriginState(breaker="closed", in_flight=n)
            for n in range(MOST_ORIGINS + 10)
        }
        origins["http://sick:80"] = OriginState(breaker="open")
        found = States.origins([of_queues({}, origins=origins)])
        self.assertEqual(len(found), MOST_ORIGINS + 1)
        self.assertIn("http://sick:80", found)
        self.assertIn("http://h59:80", found)
        self.assertEqual(len(found[OTHERS]), 11)
