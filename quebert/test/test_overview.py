"""
Tests for L{overview<quebert.operations.overview>}, with an embedded broker in memory:
what it tells of queues, and of tasks that wait elsewhere.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert import operations
from quebert.amqp.delays import FIRST_WAITS, WAITS, Rungs
from quebert.amqp.queues import _browse
from quebert.errors import BrokerRefused
from quebert.operations import (
    BrokerAccess,
    Due,
    Overview,
    _access,
    _elsewhere,
    _management,
    _overview,
)
from quebert.operations._management import Management
from quebert.outcome import Bury, Retry
from quebert.test.memory_network import _Client
from quebert.test.test_client_in_memory import URL, ClientTestCase

ALL_RUNGS = {Rungs(quorum=False).name(wait) for wait in WAITS}


class DueTests(SynchronousTestCase):
    """
    When tasks are due.
    """

    def test_of(self) -> None:
        """
        Each task is counted once.
        """
        seconds = [0, 60, 61, 3600, 3601, 86400, 86401, float("inf")]
        self.assertEqual(Due.of(seconds), Due(2, 2, 2, 2))
        self.assertEqual(Due.of(seconds).total, 8)
        self.assertEqual(Due.of([]), Due())
        many = Due.of_many([(1, 10**9), (2, 5), (70, 10**9)])
        self.assertEqual(many, Due(10**9 + 5, 10**9))


class OverviewTests(ClientTestCase):
    """
    A queue C{tasks} that is watched.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_access, "TxAMQPClient", _Client)
        self.watch()

    def look(self, *queues: str) -> Overview:
        """
        How queues are now.
        """
        access = BrokerAccess(self.network, URL)
        return self.result(operations.overview(access, queues or ("tasks",)))

    def retried(self, *outcomes: Any) -> None:
        """
        Have tasks end so.
        """
        self.answers = list(outcomes)
        self.publish(*(b"{}" for _ in outcomes))
        self.network.pass_time(5)

    def test_nothing(self) -> None:
        """
        Nothing waits, and what only RabbitMQ's API tells is unknown.
        """
        found = self.look()
        now = found.queues["tasks"]
        self.assertEqual((now.ready, now.consumers, now.paused), (0, 1, False))
        self.assertEqual((now.dead, now.arrived, now.unclaimed), (0, 0, 0))
        self.assertEqual((now.retrying, now.delayed), (0, Due()))
        why = "the broker is no RabbitMQ with a management API"
        names = ("running", "rate_in", "rate_out")
        self.assertEqual(now.unknown, dict.fromkeys(names, why))
        self.assertEqual([getattr(now, each) for each in names], [None] * 3)
        self.assertEqual((found.elsewhere, found.exact), (Due(), True))
        self.assertIsNone(found.management)
        self.assertEqual((now.problems, found.problems), ((), ()))

    def test_waiting_elsewhere(self) -> None:
        """
        Tasks that were tried are told from those that were only delayed, and all come
        in time.
        """
        tried = {"quebert-attempts": 1}
        self.retried(
            *(Retry(after=each) for each in (20, 100, 5000, 200_000)),
            Retry(after=30, headers=tried),
            Retry(after=50_000, headers=tried),
        )
        found = self.look("tasks", "others")
        now = found.queues["tasks"]
        self.assertEqual((now.retrying, now.delayed), (2, Due(1, 1, 1, 1)))
        self.assertEqual((found.elsewhere, found.exact), (Due(2, 1, 2, 1), True))
        other = found.queues["others"]
        self.assertEqual((other.retrying, other.delayed), (0, Due()))
        self.assertEqual((other.exists, other.running, other.rate_in), (False, 0, 0))
        for _ in range(30):  # looks do no harm
            self.look()
        self.network.pass_time(40)
        self.assertEqual(self.look().queues["tasks"].retrying, 1)
        self.network.pass_time(80)
        self.assertEqual(len(self.bodies), 6 + 3)

    def test_many(self) -> None:
        """
        Many tasks are not looked at: it is told how many there are, and when they are
        due at the latest, and that nobody knows of which queue they are.
        """
        waits = [Retry(after=30.0)] * 25 + [Retry(after=200_000.0)]
        self.retried(*waits)
        found = self.look()
        now = found.queues["tasks"]
        self.assertEqual((now.retrying, now.delayed), (None, None))
        self.assertIn("26 such tasks wait in RabbitMQ", now.unknown["delayed"])
        self.assertEqual((found.elsewhere, found.exact), (Due(25, 0, 0, 1), False))
        self.network.pass_time(40)
        self.assertEqual(self.look().queues["tasks"].delayed, Due(later=1))

    def test_many_on_an_old_rabbitmq(self) -> None:
        """
        Before RabbitMQ 4, fewer are looked at.
        """
        self.retried(*[Retry(after=30.0)] * 9)
        self.assertEqual(self.look().queues["tasks"].delayed, Due(minute=9))
        self.patch(_browse, "version_of", lambda wire: (3, 10, 8))
        self.assertIsNone(self.look().queues["tasks"].delayed)
        self.patch(_elsewhere, "_FEW", 8)
        self.patch(_browse, "version_of", lambda wire: (4, 0, 5))
        self.assertIsNone(self.look().queues["tasks"].delayed)

    def test_large(self) -> None:
        """
        Large tasks are not looked at, either.
        """
        self.patch(_elsewhere, "_MOST_BYTES", 10)
        self.retried(Retry(b"x" * 11, after=30.0))
        now = self.look().queues["tasks"]
        self.assertEqual((now.retrying, now.delayed), (None, None))

    def test_refused(self) -> None:
        """
        Where the user may not look at tasks, they are counted, and the reason is told.
        """
        self.retried(Retry(after=30.0))

        def refuse(looks: Any, *asked: Any) -> Any:
            raise BrokerRefused(403, "ACCESS_REFUSED - read")

        self.patch(_elsewhere.LadderLooks, "_first", refuse)
        found = self.look()
        now = found.queues["tasks"]
        self.assertIn("may not look at such tasks: ", now.unknown["retrying"])
        self.assertIn("ACCESS_REFUSED", now.unknown["retrying"])
        self.assertEqual((found.elsewhere, found.exact), (Due(minute=1), False))
        self.assertEqual((now.problems, found.problems), ((), ()))

    def test_dead(self) -> None:
        """
        Dead letters are counted.
        """
        self.retried(Bury("it is bad"), Bury("it is bad"))
        self.assertEqual(self.look().queues["tasks"].dead, 2)

    def rounds(self) -> list[list[str]]:
        """
        Which rungs each of four looks asks for: one after the other, a second later,
        half a minute later, and over another connection.
        """
        asked: list[str] = []
        depth: Any = vars(_elsewhere)["depth"]

        def counted(wire: Any, queue: str) -> Any:
            asked.append(queue)
            return depth(wire, queue)

        self.patch(_elsewhere, "depth", counted)
        looking = Deferred.fromCoroutine(self.look_again(asked))
        self.network.pass_time(60)
        return self.successResultOf(looking)

    def test_again(self) -> None:
        """
        One may look again and again, and a lost connection is made again.
        """
        self.retried(Retry(after=30.0))
        for each in self.rounds():
            self.assertEqual(set(each), ALL_RUNGS)

    def test_again_on_rabbitmq(self) -> None:
        """
        Only rungs that were there are asked for again within half a minute, since
        RabbitMQ has an error in its log for any other.
        """
        self.patch(_elsewhere, "version_of", lambda wire: (4, 0))
        self.retried(Retry(after=600.0))
        first, second, third, fourth = self.rounds()
        self.assertEqual(set(first), ALL_RUNGS)
        self.assertIn(Rungs(quorum=False).name(30), first)
        self.assertLess(len(second), 10)
        self.assertEqual((third, fourth), (first, first))

    def test_kinds(self) -> None:
        """
        A kind of queues of which there are no first rungs has no others, which are not
        asked for.
        """
        self.patch(_elsewhere, "has_quorum", lambda wire: True)
        self.retried(Retry(after=30.0))
        quorum = {Rungs(quorum=True).name(wait) for wait in FIRST_WAITS}
        first, *_ = self.rounds()
        self.assertEqual(set(first), ALL_RUNGS | quorum)

    def test_held(self) -> None:
        """
        A task that a mediator looks at just then is not forgotten.
        """
        self.retried(Retry(after=30.0), Retry(after=30.0))
        rung = Rungs(quorum=False).name(30)
        holder = self.result(self.wire.open_channel(confirms=False))
        self.result(holder.get(rung))
        first = _elsewhere.LadderLooks._first

        async def released(looks: Any, *asked: Any) -> Any:
            found = await first(looks, *asked)
            if not holder.closed:
                await holder.shut()
            return found

        counted = _elsewhere.LadderLooks._counts

        async def both(looks: Any, there: Any) -> dict[str, int]:
            await counted(looks, there)
            return {rung: 2}

        self.patch(_elsewhere.LadderLooks, "_first", released)
        self.patch(_elsewhere.LadderLooks, "_counts", both)
        self.assertEqual(self.look().queues["tasks"].delayed, Due(minute=2))

    def test_api_fails(self) -> None:
        """
        A management API that does not answer is not asked at each look.
        """
        asked: list[object] = []

        async def told(api: Any, *rest: object) -> Management:
            asked.append(api)
            return Management(None, "it does not answer")

        self.patch(_overview, "version_of", lambda wire: (4, 0))
        self.patch(_management.ManagementAPI, "told", told)
        self.rounds()
        self.assertEqual(len(asked), 2)

    def test_known(self) -> None:
        """
        If the names of the rungs are known, only these are asked for.
        """
        self.retried(Retry(after=30.0), Retry(after=20.0))
        name = Rungs(quorum=False).name(20)
        looks = _elsewhere.LadderLooks(self.wire, lambda: 0.0)
        found = self.result(looks.look({name, "others"}))
        self.assertEqual(found.counts, ((20, 1),))

    def test_few(self) -> None:
        """
        All are looked at if these are at most 200, of which 24 in each rung.
        """
        looks = _elsewhere.LadderLooks(self.wire, lambda: 0.0)
        for counts, few in (
            ([24] * 8 + [8], True),
            ([24] * 8 + [9], False),
            ([25], False),
        ):
            named = {str(number): count for number, count in enumerate(counts)}
            self.assertIs(looks._are_few(named), few, counts)

    async def look_again(self, asked: list[str]) -> list[list[str]]:
        """
        Which rungs each of four looks asks for.
        """
        access, rounds = BrokerAccess(self.network, URL), []
        async with operations.observing(access, ["tasks"]) as look:
            for wait in (1, 31, 1, 0):
                await look()
                rounds.append(sorted(asked))
                asked.clear()
                passed: Deferred[None] = Deferred()
                self.network.callLater(wait, passed.callback, None)
                await passed
                if wait == 1 and len(rounds) == 3:
                    self.network.cut()
        return rounds
