"""
Tests for L{quebert.service._watch_events}: what mediators tell of themselves.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp import WatchOptions
from quebert.config import Broker, Events, Listen, QueueSettings, Settings, Web
from quebert.events import MediatorState, OriginState, WatchState
from quebert.limits import BreakerSettings, OriginLimits, Origins, Rate
from quebert.service._watch_events import MOST_ORIGINS, WatchEvents

TASKS = QueueSettings(name="tasks", key="k", priority="high")
SETTINGS = Settings(
    broker=Broker.from_url("amqp://user:hunter2@localhost/"), queues={"tasks": TASKS}
)
NOW = 1_800_000_000.0


def watcher(**fields: Any) -> Any:
    """
    A watch.
    """
    counts = {"received": 9, "done": 3, "retried": 2, "discarded": 1, "buried": 1}
    usual = {
        "consuming": True,
        "paused": False,
        "in_flight": 2,
        "held": 1,
        "pace": None,
        "options": WatchOptions(prefetch=10),
        "counts": SimpleNamespace(**counts, returned=0),
    }
    return SimpleNamespace(**{**usual, **fields})


class FakeEventClient:
    """
    A client that publishes nothing.
    """

    reconnects, unconfirmed = 3, 4

    def __init__(self) -> None:
        self.reactor = Clock()
        self.publishers = 0

    def now(self) -> float:
        """
        The time.
        """
        return NOW

    def make_publisher(self) -> Any:
        """
        A publisher that nobody uses.
        """
        self.publishers += 1
        return SimpleNamespace(ready=False, shut=lambda: None)


class WatchEventsTests(SynchronousTestCase):
    """
    L{WatchEvents}.
    """

    def setUp(self) -> None:
        self.events = WatchEvents()
        self.client: Any = FakeEventClient()

    def state(self, *watching: Any, admission: Any = None) -> MediatorState:
        """
        How the mediator is.
        """
        self.events.change(SETTINGS, self.client, admission, lambda: watching)
        state = self.events.state()
        assert state is not None
        return state

    def test_state(self) -> None:
        """
        What it tells of the process, and its settings without secrets.
        """
        self.assertIsNone(self.events.state())
        state = self.state()
        self.assertEqual((state.mediator, state.at), (self.events.name, NOW))
        self.assertEqual((state.reconnects, state.unconfirmed), (3, 4))
        self.assertGreater(state.memory, 10**6)
        self.assertGreater(state.cpu, 0)
        self.assertEqual(state.settings["queues.tasks.priority"], "high")
        self.assertNotIn("hunter2", str(state))
        self.assertNotEqual(WatchEvents().name, self.events.name)

    def test_queues(self) -> None:
        """
        How each queue is watched; one that is watched twice is told once.
        """
        pace = SimpleNamespace(rate=5.0)
        found = self.state((TASKS, watcher(pace=pace))).queues["tasks"]
        wanted = WatchState(
            consuming=True,
            prefetch=10,
            in_flight=2,
            held=1,
            received=9,
            done=3,
            retried=2,
            discarded=1,
            buried=1,
            priority="high",
            rate=5.0,
        )
        self.assertEqual(found, wanted)
        other = watcher(consuming=False, options=WatchOptions(prefetch=0))
        both = self.state((TASKS, watcher()), (TASKS, other)).queues["tasks"]
        self.assertEqual((both.received, both.prefetch), (18, 0))
        self.assertTrue(both.consuming)
        self.assertFalse(self.state((TASKS, None)).queues["tasks"].consuming)

    def test_watch_before(self) -> None:
        """
        What the watches before have counted is not lost, nor what they have in flight.
        """
        before = watcher().counts
        watching = (TASKS, watcher(), before, before)
        found = self.state(watching).queues["tasks"]
        self.assertEqual((found.received, found.done, found.buried), (27, 9, 3))
        self.assertEqual((found.in_flight, found.held), (2 + 2 + 2, 1))

    def test_origins(self) -> None:
        """
        How each origin is doing; of very many, those that were used last.
        """
        breaker = BreakerSettings(failures=1, pause=10.0)
        limits = OriginLimits(breaker=breaker, adaptive=None, rate=Rate(7.0))
        origins = Origins(limits, most=MOST_ORIGINS + 2)
        clock = self.client.reactor
        for number in range(MOST_ORIGINS + 1):
            origins.admit(f"http://h{number}:80", clock.seconds())
        origins.ended("http://h7:80", clock.seconds(), 503, 0.1)
        clock.advance(4)
        found = self.state(admission=origins).origins
        self.assertEqual(len(found), MOST_ORIGINS)
        self.assertNotIn("http://h0:80", found)
        opened = OriginState(breaker="open", open_until=NOW + 6.0, rate=7.0)
        self.assertEqual(found["http://h7:80"], opened)
        closed = OriginState(breaker="closed", in_flight=1, rate=7.0)
        self.assertEqual(found["http://h8:80"], closed)
        self.assertEqual(self.state(admission=object()).origins, {})

    def test_recorders(self) -> None:
        """
        Where nothing is published and nobody listens, nothing is recorded.
        """
        self.assertIsNotNone(self.events.recorder_of(TASKS, SETTINGS))
        silent = Settings(broker=SETTINGS.broker, events=Events(publish=False))
        self.assertIsNone(self.events.recorder_of(TASKS, silent))
        shown = attrs.evolve(silent, web=Web(Listen("127.0.0.1", 8080)))
        self.assertIsNotNone(self.events.recorder_of(TASKS, shown))
        self.events.listeners.append(lambda columns: None)
        self.assertIsNotNone(self.events.recorder_of(TASKS, silent))

    def test_change(self) -> None:
        """
        Other settings hold at once; over another client, there is another publisher.
        """
        self.state()
        self.state()
        self.assertEqual(self.client.publishers, 1)
        self.client = FakeEventClient()
        self.state()
        self.assertEqual(self.client.publishers, 1)
