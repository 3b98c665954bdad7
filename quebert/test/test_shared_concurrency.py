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
        self.network.pass_time(6)
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
        Each has an equal part, in whole places, and some have one more; one that comes
        gets its own once others have ended theirs, and one that goes leaves its own to
        them.
        """
        self.watch(10)
        self.add(100)
        self.assertEqual(self.at_work(), [10])
        others = [self.watch(10), self.watch(10)]
        self.assertEqual(self.at_work(), [10, 0, 0])
        self.end_all()
        self.network.pass_time(3)
        self.assertEqual(self.at_work(), [4, 3, 3])
        self.begin(others[0].stop(0))
        stopped = list(self.running.values())[1]
        for each in stopped:
            if not each.called:
                each.callback(None)
        self.network.pass_time(10)  # although no other ends
        self.assertEqual(self.at_work(), [5, 0, 5])

    def test_odd_place(self) -> None:
        """
        The place that is left over goes to another watch when its watch has gone.
        """
        watchers = [self.watch(5) for _ in range(3)]
        self.add(100)
        for _ in range(2):
            self.network.pass_time(6)
            self.end_all()
        self.assertEqual(sorted(self.at_work()), [1, 2, 2])
        self.begin(watchers[0].stop(0))
        self.end_all()
        self.network.pass_time(20)
        self.assertEqual(sorted(self.at_work()), [0, 2, 3])

    def test_fetched(self) -> None:
        """
        Each consumer of a watch fetches as many messages as the watch has places.
        """
        watcher = self.watch(1)
        self.assertEqual(watcher._deliveries.consumer.prefetch_count, 1)

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
        self.assertEqual(self.at_work(), [2, 0])
        for each in running:
            if not each.called:
                each.callback(None)
        self.add(1)  # one more may have come to the first before
        self.network.pass_time(3)
        self.assertEqual((self.at_work(), self.ready()), ([1, 1], 0))

    def ready(self) -> int:
        """
        How many messages nobody has.
        """
        found = self.call("queue_declare", queue="tasks", passive=True)
        return int(found.message_count)

    def test_few(self) -> None:
        """
        Where there are fewer places than watches, some have none; when one that has a
        place goes, another gets it.
        """
        watchers = [self.watch(2) for _ in range(3)]
        self.add(10)
        self.assertEqual(sorted(self.at_work()), [0, 1, 1])
        self.end_all()
        self.assertEqual(sorted(self.at_work()), [0, 1, 1])
        gone = self.at_work().index(1)
        self.begin(watchers[gone].stop(0))
        list(self.running.values())[gone][-1].callback(None)
        self.network.pass_time(10)
        at_work = self.at_work()
        self.assertEqual(at_work.pop(gone), 0)
        self.assertEqual(at_work, [1, 1])

    def test_one(self) -> None:
        """
        One place is never used twice, whoever comes and goes, and whatever connection
        is lost.
        """
        watchers = [self.watch(1) for _ in range(3)]
        self.add(10)
        for _ in range(3):
            self.assertEqual(sum(self.at_work()), 1)
            owner = self.at_work().index(1)
            self.begin(watchers[owner].stop(0))
            list(self.running.values())[owner][-1].callback(None)
            self.network.pass_time(10)
            watchers.append(self.watch(1))
        self.assertEqual(sum(self.at_work()), 1)

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
        The queue by which they are counted has no messages, and a name of its own, as
        has the one of a number.
        """
        self.watch(3)
        for suffix in ("", "#0"):
            self.assertEqual(self.depths()[places_queue_of("tasks", suffix)], 0)

    def test_wrong(self) -> None:
        """
        There is one place at least.
        """
        told = refusal(ConfigError, WatchOptions, shared_concurrency=0)
        self.assertIn("shared_concurrency=0 must be at least 1", told)
