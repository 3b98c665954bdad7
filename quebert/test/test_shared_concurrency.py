"""
Tests for L{quebert.amqp.coordination._shared_concurrency}: places that several watches
of a queue share, with the broker in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from quebert.amqp import Watcher, WatchOptions
from quebert.amqp.coordination import places_queue_of
from quebert.errors import ConfigError
from quebert.test.checks import refusal
from quebert.test.memory_network import NetworkTestCase


class SharedConcurrencyTests(NetworkTestCase):
    """
    Watches that share places.
    """

    def setUp(self) -> None:
        super().setUp()
        self.running: dict[Any, list[Deferred[None]]] = {}

    def watch(self, limit: int = 10, **options: Any) -> Watcher:
        """
        One more watch, in a client of its own.
        """
        client = self.client()
        running = self.running[client] = []

        def work(message: object) -> Deferred[None]:
            running.append(Deferred())
            return running[-1]

        given = WatchOptions(shared_concurrency=limit, **options)
        watcher: Watcher = self.result(
            client.watch("", "tasks", "", work, options=given)
        )
        self.network.pass_time(2)
        return watcher

    def add(self, number: int) -> None:
        """
        Add messages.
        """
        client = self.client()
        for _ in range(number):
            self.result(client.publish("", "tasks", b"{}"))
        self.network.pass_time(1)

    def at_work(self) -> list[int]:
        """
        How many messages are at work in each watch.
        """
        return [sum(not each.called for each in some) for some in self.running.values()]

    def end_all(self) -> None:
        """
        All that run have ended.
        """
        for some in self.running.values():
            for each in [each for each in some if not each.called]:
                each.callback(None)
        self.network.pass_time(1)

    def test_alone(self) -> None:
        """
        One watch has all places, and fetches no more than that.
        """
        self.watch(3)
        self.add(10)
        self.assertEqual(self.at_work(), [3])
        self.assertEqual(self.depths()["tasks"], 10)
        self.end_all()
        self.assertEqual(self.at_work(), [3])

    def test_shared(self) -> None:
        """
        Each has an equal part, in whole places; one that comes gets its own as soon as
        others have ended theirs, and one that goes leaves its own to them.
        """
        self.watch(10)
        self.add(100)
        self.assertEqual(self.at_work(), [10])
        others = [self.watch(10), self.watch(10)]
        self.end_all()
        self.assertEqual(self.at_work(), [3, 3, 3])
        self.begin(others[0].stop(0))
        stopped = list(self.running.values())[1]
        for each in stopped:
            if not each.called:
                each.callback(None)
        self.network.pass_time(10)  # although no other ends
        self.assertEqual(self.at_work(), [5, 0, 5])

    def test_long(self) -> None:
        """
        While all places are taken for long, no message waits here: others may have it.
        When a place becomes free, the next one comes.
        """
        self.watch(2)
        self.add(5)
        self.network.pass_time(65, 1.0)
        self.assertEqual(self.ready(), 3)
        (running,) = self.running.values()
        running[0].callback(None)
        self.network.pass_time(1)
        self.assertEqual((self.at_work(), len(running)), ([2], 3))
        self.network.pass_time(65, 1.0)
        self.assertEqual(self.ready(), 2)
        self.watch(2)  # each has one place now
        self.assertEqual(self.at_work(), [2, 1])
        self.end_all()
        self.assertEqual((self.at_work(), self.ready()), ([0, 1], 0))

    def ready(self) -> int:
        """
        How many messages nobody has.
        """
        found = self.call("queue_declare", queue="tasks", passive=True)
        return int(found.message_count)

    def test_few(self) -> None:
        """
        Each has a place at least.
        """
        for _ in range(3):
            self.watch(2)
        self.add(10)
        self.assertEqual(self.at_work(), [1, 1, 1])

    def test_prefetch(self) -> None:
        """
        A watch has no more places than it has without others.
        """
        self.watch(10, prefetch=4)
        self.add(10)
        self.assertEqual(self.at_work(), [4])

    def test_with_a_rate(self) -> None:
        """
        A queue may have a rate, too.
        """
        self.watch(3, rate=1000.0, queue_type="classic")
        self.add(10)
        self.assertEqual(self.at_work(), [3])

    def test_queue(self) -> None:
        """
        The queue by which they are counted has no messages, and a name of its own.
        """
        self.watch(3)
        self.assertEqual(self.depths()[places_queue_of("tasks")], 0)

    def test_wrong(self) -> None:
        """
        There is one place at least.
        """
        told = refusal(ConfigError, WatchOptions, shared_concurrency=0)
        self.assertIn("shared_concurrency=0 must be at least 1", told)
