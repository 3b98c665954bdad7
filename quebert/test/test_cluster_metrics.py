"""
Tests for L{quebert.metrics._cluster} and C{_exposition}: metrics as Prometheus reads
them.
"""

from __future__ import annotations

import builtins
import math
import shutil
import subprocess
from typing import Any
from unittest import SkipTest, mock

import attrs
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as plain_text
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ConfigError
from quebert.events import (
    AttemptBatch,
    AttemptRecord,
    MediatorState,
    OriginState,
    WatchState,
)
from quebert.metrics import FAMILIES, ClusterMetrics, QueueDepth
from quebert.metrics._exposition import FRESH
from quebert.test.checks import refusal

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def record(queue: str = "a", **changed: Any) -> AttemptRecord:
    """
    A task that was done.
    """
    fields: dict[str, Any] = {
        "uuid": "u",
        "url": "/",
        "number": 1,
        "added": 100.0,
        "started": 101.0,
        "ended": 103.0,
        "status": 200,
        "outcome": "done",
    }
    return AttemptRecord(queue=queue, **(fields | changed))


def batch(*records: AttemptRecord, sequence: int = 1, dropped: int = 0) -> AttemptBatch:
    """
    Of the mediator C{m1}.
    """
    return AttemptBatch(
        mediator="m1", sequence=sequence, at=0.0, records=records, dropped=dropped
    )


def state(name: str = "m1", **fields: Any) -> MediatorState:
    """
    Of a mediator that is well.
    """
    watch = WatchState(
        consuming=True,
        prefetch=100,
        received=9,
        done=7,
        buried=1,
        in_flight=1,
        rate=5.0,
    )
    origin = OriginState(breaker="open", limit=3.5, in_flight=1, rate=2.0)
    given: dict[str, Any] = {
        "host": "h",
        "pid": 1,
        "version": "1",
        "started": 5.0,
        "at": 10.0,
        "queues": {"a": watch},
        "origins": {"http://x:80": origin},
        "lag": 0.25,
        "cpu": 1.5,
        "memory": 4096,
        "reconnects": 2,
        "unconfirmed": 3,
    }
    return MediatorState(mediator=name, **(given | fields))


class ClusterMetricsTests(SynchronousTestCase):
    """
    L{ClusterMetrics} takes what mediators tell, and gives metrics.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000.0)
        self.metrics = ClusterMetrics(since=0.0, now=self.clock.seconds)

    def value(self, name: str, **labels: str) -> float | None:
        """
        The value of a sample, as a reader of OpenMetrics gets it.
        """
        self.clock.advance(FRESH)
        content_type, text = self.metrics.exposition(OPEN_METRICS)
        self.assertIn("openmetrics-text", content_type)
        for family in open_metrics(text.decode()):
            for sample in family.samples:
                if (sample.name, sample.labels) == (f"quebert_{name}", labels):
                    return float(sample.value)
        return None

    def full(self) -> None:
        """
        Have each metric have a sample.
        """
        self.metrics.attempts(batch(record()))
        self.metrics.state(state())
        depth = QueueDepth(ready=4, delayed=3, retrying=2, dead=1, oldest=60.0)
        self.metrics.depths({"a": depth})
        self.metrics.ready = lambda: True

    def test_attempts(self) -> None:
        """
        Attempts are counted, and measured.
        """
        done, failed = record(), record(status=None, outcome="retry")
        self.metrics.attempts(batch(done, failed, done))
        value = self.value("attempts_total", queue="a", status="2xx", outcome="done")
        self.assertEqual(value, 2)
        value = self.value("attempts_total", queue="a", status="none", outcome="retry")
        self.assertEqual(value, 1)
        self.assertEqual(self.value("request_duration_seconds_count", queue="a"), 3)
        self.assertEqual(self.value("request_duration_seconds_sum", queue="a"), 6)
        bucket = "request_duration_seconds_bucket"
        self.assertEqual(self.value(bucket, queue="a", le="1.0"), 0)
        self.assertEqual(self.value(bucket, queue="a", le="2.5"), 3)
        self.assertEqual(self.value(bucket, queue="a", le="+Inf"), 3)

    def test_twice(self) -> None:
        """
        A batch that is delivered a second time does not count again.
        """
        for _ in range(2):
            self.metrics.attempts(batch(record(), dropped=5))
        self.metrics.attempts(batch(record(), sequence=2))
        value = self.value("attempts_total", queue="a", status="2xx", outcome="done")
        self.assertEqual((value, self.value("events_dropped_total")), (2, 5))

    def test_lost(self) -> None:
        """
        What was lost on the way counts as dropped.
        """
        self.metrics.lost(7)
        self.assertEqual(self.value("events_dropped_total"), 7)

    def test_states(self) -> None:
        """
        How mediators are is told, and summed up by queue and origin.
        """
        self.metrics.state(state())
        self.metrics.state(state("m2", origins={"http://x:80": OriginState()}))
        expected = {
            "tasks_received_total": 18,
            "tasks_in_flight": 2,
            "consumers": 2,
            "queue_paused": 0,
            "prefetch": 200,
            "rate_limit": 5,
        }
        for name, number in expected.items():
            self.assertEqual(self.value(name, queue="a"), number, name)
        settled = self.value("tasks_settled_total", queue="a", fate="buried")
        self.assertEqual(settled, 2)
        breakers = self.value("origin_breakers", origin="http://x:80", state="open")
        self.assertEqual(breakers, 1)
        # One of the two has no limit.
        self.assertIsNone(self.value("origin_rate_limit", origin="http://x:80"))
        self.assertEqual(self.value("mediator_reconnects_total", mediator="m2"), 2)
        self.assertEqual(
            self.value("mediator_reactor_lag_seconds", mediator="m1"), 0.25
        )
        self.assertEqual(self.value("mediators"), 2)

    def test_no_limit(self) -> None:
        """
        A mediator without a limit of tasks has an endless one.
        """
        watch = WatchState(consuming=True, prefetch=0)
        self.metrics.state(state(queues={"a": watch}))
        self.assertEqual(self.value("prefetch", queue="a"), math.inf)

    def test_lost_mediator(self) -> None:
        """
        A mediator that is silent is down, and what it had is not counted as there.
        """
        self.metrics.state(state())
        self.clock.advance(20.0)
        self.assertEqual(self.value("mediator_up", mediator="m1"), 0)
        self.assertEqual(self.value("mediators"), 0)
        self.assertIsNone(self.value("consumers", queue="a"))
        self.assertEqual(self.value("tasks_received_total", queue="a"), 9)
        self.metrics.ended("m1")
        self.assertIsNone(self.value("mediator_up", mediator="m1"))

    def test_last_word(self) -> None:
        """
        A mediator that says that it ends is not down: it is told of no more, and what
        it has counted stays.
        """
        self.metrics.state(state())
        self.metrics.state(attrs.evolve(state(), ended=True))
        self.assertIsNone(self.value("mediator_up", mediator="m1"))
        self.assertEqual(self.value("tasks_received_total", queue="a"), 9)

    def test_depths(self) -> None:
        """
        What is not known of a queue has no sample.
        """
        self.metrics.depths({"a": QueueDepth(ready=4)})
        self.assertEqual(self.value("queue_ready_tasks", queue="a"), 4)
        self.assertIsNone(self.value("queue_oldest_seconds", queue="a"))

    def test_merge(self) -> None:
        """
        What one process took, another adds, once.
        """
        other = ClusterMetrics(since=0.0, now=self.clock.seconds)
        other.attempts(batch(record(), record(), dropped=3))
        for _ in range(2):
            self.metrics.merge(other.take())
        value = self.value("attempts_total", queue="a", status="2xx", outcome="done")
        self.assertEqual((value, self.value("events_dropped_total")), (2, 3))

    def test_every_family(self) -> None:
        """
        Each metric that is in the table is told, and no other, in both formats, as they
        were meant.
        """
        self.full()
        expected = {each.full_name.removesuffix("_total"): each for each in FAMILIES}
        for parse, accept in ((open_metrics, OPEN_METRICS), (plain_text, "")):
            _, text = self.metrics.exposition(accept)
            families = {
                each.name.removesuffix("_total"): each for each in parse(text.decode())
            }
            self.assertEqual(families.keys(), expected.keys())
            for name, family in families.items():
                self.assertEqual(family.type, expected[name].kind)
                labels = {key for each in family.samples for key in each.labels}
                self.assertEqual(labels - {"le"}, set(expected[name].labels))

    def test_strange_names(self) -> None:
        """
        The name of a queue may have any characters.
        """
        self.metrics.attempts(batch(record("\ud800é"), record("\udfffé")))
        strange = 'a"b\\c\nd é \U0001f600'
        self.metrics.attempts(batch(record(strange), sequence=2))
        value = self.value("request_duration_seconds_count", queue=strange)
        self.assertEqual(value, 1)

    def test_made_once(self) -> None:
        """
        However often somebody asks, figures are asked for once a second.
        """
        asked: list[None] = []
        self.metrics.refresh = lambda: asked.append(None)
        first, *_ = [self.metrics.exposition("") for _ in range(10)]
        self.metrics.attempts(batch(record()))
        self.assertEqual(self.metrics.exposition(""), first)
        self.assertEqual(len(asked), 1)
        self.clock.advance(FRESH)
        self.assertNotEqual(self.metrics.exposition(""), first)

    def test_flood(self) -> None:
        """
        A flood of queues, hosts and mediators leaves the exposition small.
        """
        metrics = ClusterMetrics(since=0.0, now=self.clock.seconds, most_queues=10)
        for number in range(300):
            queue = f"queue {number}"
            metrics.attempts(batch(record(queue), sequence=number + 1))
            origins = {f"http://{number}:80": OriginState(breaker="closed")}
            queues = {queue: WatchState(consuming=True, received=1)}
            metrics.state(state(queues=queues, origins=origins, at=float(number)))
            metrics.depths({f"{queue} {n}": QueueDepth(ready=1) for n in range(50)})
        _, text = metrics.exposition("")
        self.assertLess(text.count(b"\n"), 1_500)

    def test_missing(self) -> None:
        """
        Without prometheus-client, a sentence names the extra that brings it.
        """
        there = builtins.__import__

        def missing(name: str, *args: Any, **options: Any) -> Any:
            if name == "quebert.metrics._exposition":
                raise ImportError("No module named 'prometheus_client'")
            return there(name, *args, **options)

        with mock.patch.object(builtins, "__import__", missing):
            text = refusal(ConfigError, self.metrics.prepare)
        self.assertIn("quebert-mediator[metrics]", text)

    def test_promtool(self) -> None:
        """
        Prometheus's own tool finds nothing wrong with names, kinds and texts.
        """
        promtool = shutil.which("promtool")
        if promtool is None:
            raise SkipTest("there is no promtool (Debian's prometheus)")
        self.full()
        checked = subprocess.run(
            [promtool, "check", "metrics"],
            input=self.metrics.exposition("")[1],
            capture_output=True,
            check=False,
        )
        self.assertEqual((checked.returncode, checked.stderr.decode()), (0, ""))
