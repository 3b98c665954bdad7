"""
Tests for L{LiveFold<quebert.operations.LiveFold>}: from what is told of mediators and
queues to one view.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.events import (
    AttemptBatch,
    AttemptRecord,
    Gap,
    MediatorState,
    OriginState,
    WatchState,
)
from quebert.operations import Due, Live, LiveFold, Overview, Status
from quebert.operations._live_fold import FORGOTTEN
from quebert.operations._seen import LOST, SeenQueue

BEGAN = 1_000_000.0


def record(queue: str = "mail", **fields: Any) -> AttemptRecord:
    """
    An attempt.
    """
    given = {
        "uuid": "u",
        "queue": queue,
        "url": "http://a/x",
        "number": 1,
        "started": 10.0,
        "ended": 10.1,
        "status": 200,
        "outcome": "done",
    }
    return AttemptRecord(**{**given, **fields})


def state(name: str = "m1", at: float = BEGAN, **fields: Any) -> MediatorState:
    """
    What a mediator tells of itself.
    """
    given = {"host": "h", "pid": 1, "version": "1", "started": BEGAN}
    return MediatorState(mediator=name, at=at, **{**given, **fields})


class LiveFoldTests(SynchronousTestCase):
    """
    What one sees.
    """

    def setUp(self) -> None:
        """
        Make an empty one.
        """
        self.clock = Clock()
        self.clock.advance(BEGAN)
        self.fold = LiveFold(self.clock.seconds)

    def attempts(
        self,
        *records: AttemptRecord,
        dropped: int = 0,
        missing: int = 0,
        ahead: float = 0.0,
    ) -> None:
        """
        A mediator tells, whose clock is ahead.
        """
        at = self.clock.seconds() + ahead
        gap = Gap(mediator="m1", count=missing, since=None, until=0.0)
        batch = AttemptBatch(
            mediator="m1", sequence=1, at=at, records=records, dropped=dropped
        )
        self.fold.attempts(batch, gap if missing else None)

    def look(self, **queues: Status) -> None:
        """
        The broker tells.
        """
        self.fold.looked(Overview(queues))

    def view(self) -> Live:
        """
        What one sees, which JSON has, too.
        """
        view = self.fold.view()
        json.dumps(view.plain, allow_nan=False)
        return view

    def test_nothing(self) -> None:
        """
        Before anything is told there is nothing; after a while that is a problem.
        """
        self.assertEqual(self.view(), Live(at=BEGAN))
        self.clock.advance(LOST + 1)
        self.assertIn("no mediator", self.view().problems[0])

    def test_queue_of_the_broker(self) -> None:
        """
        Of a queue for which no mediator works, one sees what the broker tells.
        """
        self.look(mail=Status(3, 1, True, 2, delayed=Due(1, 2), retrying=4, running=5))
        (mail,) = self.view().queues
        self.assertEqual((mail.name, mail.exists, mail.ready), ("mail", True, 3))
        self.assertEqual((mail.consumers, mail.paused, mail.dead), (1, True, 2))
        self.assertEqual((mail.delayed, mail.retrying, mail.running), (3, 4, 5))
        self.assertEqual(mail.p50, None)
        self.assertEqual(mail.rate_in, None)

    def test_too_many(self) -> None:
        """
        Mediators that are too many are counted, and not seen.
        """
        for number in range(1_003):
            self.fold.state(state(f"m{number}"))
        view = self.view()
        self.assertEqual(len(view.mediators), 1_000)
        self.assertIn("more than 1000 queues or mediators", view.problems[-1])

    def test_missing(self) -> None:
        """
        A queue that does not exist is a problem of its own.
        """
        self.look(mail=Status(None, 0, False))
        (mail,) = self.view().queues
        self.assertFalse(mail.exists)
        self.assertEqual(mail.problems, ("there is no such queue",))

    def test_rates(self) -> None:
        """
        What ends is counted; what comes in is what is there, or has ended, and was not
        there before.
        """
        ready = 100
        self.look(mail=Status(ready, 1, False))
        for _ in range(10):
            self.clock.advance(1)
            self.attempts(*[record() for _ in range(30)])
            ready += 20  # so 50 come
            self.look(mail=Status(ready, 1, False))
            self.fold.state(state(queues={"mail": WatchState(consuming=True)}))
        self.clock.advance(1)
        (mail,) = self.view().queues
        self.assertEqual(mail.rate_out, 30.0)
        assert mail.rate_in is not None
        self.assertAlmostEqual(mail.rate_in, 50.0)
        self.assertEqual(mail.series_out[-3:], (30.0, 30.0, 30.0))
        self.assertEqual(len(mail.series_in), 60)
        self.assertEqual(self.view().plain["queues"][0]["series"]["out"][-1], 30.0)

    def test_rate_of_management(self) -> None:
        """
        Where RabbitMQ tells what comes in, that is told.
        """
        self.look(mail=Status(1, 1, False, rate_in=7.5))
        self.assertEqual(self.view().queues[0].rate_in, 7.5)

    def test_heard(self) -> None:
        """
        Attempts count, whatever the broker tells of a queue.
        """
        self.look(mail=Status(None, 0, False, rate_out=0.0))
        self.assertEqual(self.view().queues[0].rate_out, 0.0)
        self.attempts(*[record() for _ in range(30)])
        self.clock.advance(1)
        self.assertEqual(self.view().queues[0].rate_out, 6.0)

    def test_durations(self) -> None:
        """
        Requests count, and tasks that were not attempted do not.
        """
        self.attempts(
            record(started=1.0, ended=1.5),
            record(started=1.0, ended=900.0, status=None, outcome="expired"),
        )
        (mail,) = self.view().queues
        assert mail.p50 is not None
        assert mail.p99 is not None
        self.assertTrue(0.5 <= mail.p50 <= mail.p99 < 0.6)
        latency = self.fold.latency("mail")
        assert latency is not None
        self.assertEqual(sum(map(len, (c for _, c in latency.columns(BEGAN)))), 1)
        # A request without an answer took its time, too.
        self.attempts(record(started=1.0, ended=31.0, status=None, outcome="retry"))
        (mail,) = self.view().queues
        assert mail.p99 is not None
        self.assertTrue(29.0 < mail.p99 < 33.0, mail.p99)
        self.assertIs(self.fold.latency("other"), None)

    def test_oldest(self) -> None:
        """
        The one that waits longest came after the one that began last.
        """
        self.look(mail=Status(0, 1, False))
        self.assertEqual(self.view().queues[0].oldest, 0.0)
        self.look(mail=Status(5, 1, False))
        self.assertIs(self.view().queues[0].oldest, None)
        self.attempts(record(added=BEGAN - 30))
        self.clock.advance(12)
        self.assertEqual(self.view().queues[0].oldest, 42)

    def test_clock_of_a_mediator(self) -> None:
        """
        Times of a mediator whose clock differs by an hour are told by the clock here,
        and that it differs is told.
        """
        for hour, where in ((3600.0, "ahead of"), (-3600.0, "behind")):
            self.setUp()
            self.look(mail=Status(5, 1, False))
            shut = OriginState(breaker="open", open_until=BEGAN + hour + 9)
            began, hosts = BEGAN + hour - 50, {"http://a": shut}
            self.fold.state(state(at=BEGAN + hour, started=began, origins=hosts))
            self.attempts(record(added=BEGAN + hour - 30), ahead=hour)
            view = self.view()
            (one,) = view.mediators
            self.assertEqual((one.started, one.at), (BEGAN - 50, BEGAN))
            self.assertEqual(view.hosts[0].open_until, BEGAN + 9)
            self.assertEqual(view.queues[0].oldest, 30)
            self.assertEqual(
                view.problems,
                (
                    f"the clock of mediator m1 is 60 minutes {where} the one here, and"
                    " attempts are shown with the times of their mediators",
                ),
            )
            self.fold.state(state("m2", at=BEGAN + 2 * hour))
            self.assertIn("of 2 mediators differ; that of m2", self.view().problems[0])

    def test_clock_set_back(self) -> None:
        """
        While the clock here is set back, mediators that end are lost all the same.
        """
        self.fold.state(state())
        self.clock.rightNow = BEGAN - 100
        self.assertTrue(self.view().mediators[0].lost)
        self.fold.state(state(at=BEGAN - 100))
        self.assertFalse(self.view().mediators[0].lost)
        self.clock.rightNow = BEGAN - 3600
        self.assertEqual(self.view().mediators, ())

    def test_deleted(self) -> None:
        """
        A queue that was deleted, and that nobody watches, is forgotten after a while;
        one that was asked for is not, and neither is one that comes back.
        """
        self.fold = LiveFold(self.clock.seconds, kept=["kept"])
        there, gone = Status(0, 0, False), Status(None, 0, False)
        self.look(mail=there, kept=there, back=there)
        self.fold.state(state(queues={"watched": WatchState(consuming=True)}))
        self.look(mail=gone, kept=gone, back=gone, watched=gone)
        self.clock.advance(1)
        self.look(mail=gone, kept=gone, back=there, watched=gone)
        self.assertEqual(len(self.view().queues), 4)
        self.clock.advance(FORGOTTEN)
        self.fold.state(state(queues={"watched": WatchState(consuming=True)}))
        self.look(mail=gone, kept=gone, back=gone, watched=gone)
        self.assertEqual(
            [each.name for each in self.view().queues], ["back", "kept", "watched"]
        )

    def test_running(self) -> None:
        """
        What mediators have is newer than what RabbitMQ counts; what they hold for
        another attempt is not running.
        """
        self.look(mail=Status(5, 2, False, running=1, retrying=10))
        watch = WatchState(consuming=True, in_flight=7, held=2)
        self.fold.state(state(queues={"mail": watch}))
        self.fold.state(state("m2", queues={"mail": watch}))
        (mail,) = self.view().queues
        self.assertEqual((mail.running, mail.retrying), (10, 14))

    def test_queues_of_mediators(self) -> None:
        """
        Queues that mediators watch are known without being asked for.
        """
        self.fold.state(state(queues={"b": WatchState(consuming=True)}))
        self.attempts(record("a"))
        self.assertEqual(sorted(self.fold.queues), ["a", "b"])
        self.assertEqual([each.name for each in self.view().queues], ["a", "b"])

    def test_only(self) -> None:
        """
        Others than those that are asked for are left out.
        """
        self.fold = LiveFold(self.clock.seconds, only=["a"])
        self.fold.state(state(queues={"b": WatchState(consuming=True)}))
        self.attempts(record("a"), record("b"))
        self.assertEqual(self.fold.queues, ("a",))

    def test_hosts(self) -> None:
        """
        What several mediators tell of an origin is told once, with the worst state of
        their breakers; a queue tells which of its origins are shut off.
        """
        shut = OriginState(breaker="open", open_until=BEGAN + 9, limit=4.0, in_flight=1)
        other = OriginState(breaker="closed", limit=2.0, in_flight=2)
        self.fold.state(state(origins={"http://a": shut, "http://b": other}))
        self.fold.state(state("m2", origins={"http://a": other}))
        self.attempts(record(url="http://a/path", outcome="retry", status=503))
        view = self.view()
        a, b = view.hosts
        self.assertEqual((a.origin, a.breaker, a.mediators), ("http://a", "open", 2))
        self.assertEqual((a.limit, a.in_flight, a.open_until), (6.0, 3, BEGAN + 9))
        self.assertEqual((a.rate, b.breaker), (None, "closed"))
        self.assertEqual(view.queues[0].breakers, ("http://a",))

    def test_mediators(self) -> None:
        """
        A mediator that tells nothing is lost, and forgotten later; its hosts and what
        it has do not count.
        """
        watch = {"mail": WatchState(consuming=True, in_flight=7)}
        self.fold.state(
            state(cpu=1.0, queues=watch, origins={"http://a": OriginState()})
        )
        self.assertIs(self.view().mediators[0].cpu, None)
        self.clock.advance(2)
        self.fold.state(state(at=BEGAN + 2, cpu=2.0, queues=watch))
        (one,) = self.view().mediators
        self.assertEqual((one.name, one.cpu, one.lost), ("m1", 0.5, False))
        self.clock.advance(LOST + 1)
        view = self.view()
        self.assertTrue(view.mediators[0].lost)
        self.assertIn("m1", view.problems[0])
        self.assertEqual((view.hosts, view.queues[0].running), ((), None))
        self.clock.advance(FORGOTTEN)
        self.assertEqual(self.view().mediators, ())

    def test_ended(self) -> None:
        """
        A mediator that has said that it ends is not lost.
        """
        self.fold.state(state())
        for _ in range(2):
            self.fold.state(state(ended=True))
        self.assertEqual(self.view().mediators, ())

    def test_killed(self) -> None:
        """
        What a mediator had that was killed is no longer running as soon as RabbitMQ has
        fewer consumers than mediators told of, and one of these is silent.
        """
        watch = {"mail": WatchState(consuming=True, in_flight=7)}
        self.look(mail=Status(0, 2, False))
        self.fold.state(state(queues=watch))
        self.clock.advance(1)
        self.fold.state(state("m2", queues=watch))
        self.look(mail=Status(7, 1, False))
        self.assertEqual(self.view().queues[0].running, 14)
        self.clock.advance(2.5)
        self.look(mail=Status(7, 1, False))
        self.assertEqual(self.view().queues[0].running, 7)
        self.look(mail=Status(7, 2, False))  # another one has come
        self.assertEqual(self.view().queues[0].running, 7)
        self.fold.state(state(at=BEGAN + 4, queues=watch))  # it was only slow
        self.assertEqual(self.view().queues[0].running, 14)

    def test_dropped(self) -> None:
        """
        What was not told is counted, and told.
        """
        self.attempts(record(), dropped=3)
        self.attempts(record(), dropped=3, missing=4)
        view = self.view()
        self.assertEqual(view.dropped, 7)
        self.assertIn("7 attempts of the last minutes", view.problems[0])
        self.clock.advance(FORGOTTEN + 1)  # that is over
        self.assertNotIn("were not told", str(self.view().problems))
        self.attempts(record(), missing=1)
        view = self.view()
        self.assertEqual(view.dropped, 8)
        self.assertIn("1 attempt of the last minutes", str(view.problems))

    def test_bounds(self) -> None:
        """
        Queues without number take no memory without number.
        """
        self.attempts(*[record(f"q{n}") for n in range(1500)])
        for number in range(1500):
            self.fold.state(state(f"m{number}"))
        for number in range(300):
            self.attempts(record("q1", url=f"http://h{number}/"))
        view = self.view()
        self.assertEqual((len(view.queues), len(view.mediators)), (1000, 1000))
        self.assertIn("not all are shown", view.problems[-1])
        self.clock.advance(LOST + 1)  # and no others come
        self.assertNotIn("not all are shown", str(self.view().problems))
        self.assertEqual(len(self.fold._queues["q1"].sent_to(BEGAN)), 100)

    def test_weight(self) -> None:
        """
        Mediators that tell of very many queues take no memory without number either;
        those that end make room for others.
        """
        queues = {f"q{n}": WatchState(consuming=True) for n in range(5_000)}
        taken = [self.fold.state(state(f"m{n}", queues=queues)) for n in range(30)]
        self.assertEqual(taken, [True] * 19 + [False] * 11)
        self.assertTrue(self.fold.state(state("m1", queues=queues)))
        self.fold.state(state("m1", ended=True))
        self.assertTrue(self.fold.state(state("m21", queues=queues)))
        self.assertFalse(self.fold.state(state("m22", queues=queues)))
        self.clock.advance(FORGOTTEN + 1)
        self.assertEqual(self.view().mediators, ())
        self.assertTrue(self.fold.state(state("m22", queues=queues)))


class SeenQueueTests(SynchronousTestCase):
    """
    Tests for L{SeenQueue}.
    """

    def test_came(self) -> None:
        """
        What has come is a mean of three seconds.
        """
        queue = SeenQueue()
        for second, ready in enumerate((0, 0, 0, 30, 30)):
            queue.looked(BEGAN + second, Status(ready, 0, False), 0)
        self.assertEqual(queue.came.series(BEGAN + 5)[-3:], (0.0, 10.0, 10.0))
