"""
Tests for L{quebert.leases._leases}.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BrokerUnreachable, LeaseLost, PublishRefused
from quebert.leases import (
    DUE,
    EARLY,
    ENDED,
    ENDING,
    HELD,
    LOST,
    Lease,
    LeaseChange,
    LeaseRows,
    Leases,
    _leases,
)
from quebert.leases._leases import AGAIN, KEPT
from quebert.leases._states import RUN_OUT
from quebert.test.leases.doubles import MemoryLeaseBroker, MemoryLeaseRows, leased

T = TypeVar("T")


class LeasesTests(SynchronousTestCase):
    """
    L{Leases}, with rows and a broker in memory.  Subclasses have other rows.
    """

    def new_rows(self) -> LeaseRows:
        """
        Rows, of which there are none yet.
        """
        return MemoryLeaseRows()

    def settle(self) -> None:
        """
        Have the rows do what they were asked for.
        """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.rows = self.new_rows()
        self.broker = MemoryLeaseBroker()
        self.leases = Leases(self.rows, self.broker, self.clock.seconds)

    def done(self, work: Coroutine[Any, Any, T]) -> T:
        """
        Do something, at once.
        """
        return self.successResultOf(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """
        Do something, at once; it may fail.
        """
        begun = Deferred.fromCoroutine(work)
        self.settle()
        return begun

    def row(self, id: str = "l") -> Lease:
        """
        A row, which must be there.
        """

        async def find() -> Lease | None:
            return await self.rows.find(id)

        found = self.done(find())
        assert found is not None
        return found

    def lost(self, work: Coroutine[Any, Any, object]) -> str:
        """
        What is said of something that cannot be done, since the lease is lost.
        """
        return str(self.failureResultOf(self.begin(work), LeaseLost).value)

    def hold(self, id: str = "l", **fields: Any) -> None:
        """
        A message comes.
        """
        self.done(self.leases.held([leased(id, **fields)]))

    def complete(self, id: str = "l") -> str:
        """
        Complete a task; gives the state.
        """
        return self.done(self.leases.complete(id, b"i")).state

    def go_on(self, seconds: float = 0.0) -> int:
        """
        Let time pass, and go on.
        """
        self.clock.advance(seconds)
        return self.done(self.leases.go_on())

    def put(self) -> list[str]:
        """
        The leases whose messages were put back.
        """
        return [each.id for each in self.broker.put]

    def test_completed(self) -> None:
        """
        A task that is completed has ended, and its end is told; it is not put back.
        """
        self.hold()
        self.assertEqual(self.complete(), ENDED)
        self.assertEqual(self.broker.told, ["u"])
        self.assertIsNone(self.row().message)
        self.go_on(1_000)
        self.assertEqual(self.put(), [])

    def test_completed_twice(self) -> None:
        """
        Of two who complete a task one is told that it has.
        """
        self.hold()
        self.complete()
        said = self.lost(self.leases.complete("l", b"i"))
        self.assertEqual(said, "the task is completed already")
        self.assertEqual(self.broker.told, ["u"])

    def test_run_out(self) -> None:
        """
        A message is put back when its lease runs out, not before, and once.
        """
        self.hold()
        self.assertEqual(self.go_on(299), 0)
        self.assertEqual(self.go_on(2), 1)
        self.assertEqual(self.put(), ["l"])
        self.assertEqual(self.go_on(), 0)
        for late in (
            self.leases.complete("l", b"i"),
            self.leases.renew("l", 60),
            self.leases.fail("l"),
        ):
            said = self.lost(late)
            self.assertIn("has run out, and the task is attempted again", said)

    def test_completed_late(self) -> None:
        """
        A lease that has run out can be completed until its message is put back.
        """
        self.hold()
        self.clock.advance(400)
        self.assertEqual(self.complete(), ENDED)
        self.go_on()
        self.assertEqual(self.put(), [])

    def test_renewed(self) -> None:
        """
        A lease that is renewed runs out later, but not beyond its last time.
        """
        self.hold(last=1_500.0)
        self.clock.advance(200)
        self.assertEqual(self.done(self.leases.renew("l", 250)).until, 1_450)
        self.assertEqual(self.done(self.leases.renew("l", 900)).until, 1_500)
        self.assertEqual(self.go_on(299), 0)
        self.assertEqual(self.go_on(1), 1)

    def test_renewed_in_time(self) -> None:
        """
        A lease that is renewed just when it is found to have run out does not run out.
        """
        self.hold()
        self.clock.advance(400)
        self.done(self.leases.renew("l", 60))
        change = LeaseChange(id="l", event=RUN_OUT, until=1_400)

        async def run_out() -> Lease | None:
            return await self.rows.change(change)

        self.assertIsNone(self.done(run_out()))
        self.assertEqual(self.row().state, HELD)
        self.assertEqual(self.complete(), ENDED)

    def test_failed(self) -> None:
        """
        A message whose executor says that it has failed is put back after a while: the
        one that the executor says, or else that of the mediator.
        """
        self.hold()
        self.hold("m", identity=b"m")
        self.done(self.leases.fail("l"))
        self.done(self.leases.fail("m", 2.0))
        self.assertEqual(self.row().state, DUE)
        self.go_on(2)
        self.assertEqual(self.put(), ["m"])
        self.go_on(5)
        self.assertEqual(self.put(), ["m", "l"])

    def test_early(self) -> None:
        """
        An executor may complete a task before its message has come.
        """
        self.assertEqual(self.complete(), EARLY)
        self.lost(self.leases.complete("l", b"i"))
        self.hold()
        self.assertEqual(self.row().state, ENDING)
        self.go_on()
        self.assertEqual(self.broker.told, ["u"])
        self.assertEqual(self.row().until, 1_000 + KEPT)
        self.go_on(1_000)
        self.assertEqual(self.put(), [])

    def test_full_queue(self) -> None:
        """
        Where the end of a task cannot be told, since its queue is full, those of other
        queues are told all the same; and it is told later.
        """
        self.broker.refused = {"full"}
        self.hold("m", queue="full", uuid="first", identity=b"m")
        self.hold("l", identity=b"l")
        self.done(self.leases.complete("m", b"m"))
        self.broker.problem = BrokerUnreachable("away")
        self.done(self.leases.complete("l", b"l"))
        self.broker.problem = None
        self.failureResultOf(self.begin(self.leases.go_on()), PublishRefused)
        self.assertEqual(self.broker.told, ["u"])
        self.broker.refused = set()
        self.go_on()
        self.assertEqual(self.broker.told, ["u", "first"])

    def test_early_beside_another(self) -> None:
        """
        A task that was attempted twice is done when the first attempt completes it,
        although its message has never come; the second attempt cannot complete it.
        """
        self.hold("m")
        self.assertEqual(self.complete("l"), ENDED)
        self.assertEqual(self.row("m").state, ENDED)
        self.assertEqual(self.broker.told, ["u"])
        said = self.lost(self.leases.complete("m", b"i"))
        self.assertEqual(said, "the task is completed already")
        self.go_on(1_000)
        self.assertEqual(self.put(), [])

    def test_early_after_another(self) -> None:
        """
        A task that the second attempt has completed cannot be completed by the first,
        whose message has never come.
        """
        self.hold("m")
        self.complete("m")
        said = self.lost(self.leases.complete("l", b"i"))
        self.assertEqual(said, "the task is completed already")

    def test_early_before_another(self) -> None:
        """
        A message whose task was completed by an attempt whose message has never come
        ends, and its end is told.
        """
        self.complete("l")
        self.hold("m")
        self.assertEqual(self.row("m").state, ENDING)
        self.go_on()
        self.assertEqual(self.broker.told, ["u"])
        self.lost(self.leases.complete("m", b"i"))
        self.go_on(1_000)
        self.assertEqual(self.put(), [])

    def test_renewed_early(self) -> None:
        """
        To renew or to fail, the message must have come.
        """
        self.assertIn("has not come yet", self.lost(self.leases.renew("l", 60)))
        self.assertIn("has not come yet", self.lost(self.leases.fail("l")))

    def test_repeated(self) -> None:
        """
        A message that comes twice changes nothing.
        """
        self.hold()
        self.complete()
        self.hold()
        self.assertEqual(self.row().state, ENDED)

    def test_redriven(self) -> None:
        """
        A message that was put back, and then became a dead letter and was redriven, may
        come with the lease that it had first: that one is held, and runs out.
        """
        self.hold()
        self.go_on(400)
        self.assertEqual(self.row().state, LOST)
        self.hold(until=1_500.0)
        self.assertEqual(self.row().state, HELD)
        self.go_on(200)
        self.assertEqual(self.put(), ["l", "l"])

    def test_late_copy(self) -> None:
        """
        A copy that comes again with a lease that has run out does not take the place of
        a newer lease.
        """
        self.hold()
        self.go_on(400)
        self.hold("m", until=1_900.0)
        self.hold(until=1_500.0)
        self.assertEqual((self.row().state, self.row("m").state), (LOST, HELD))
        self.assertEqual(self.complete("m"), ENDED)

    def test_copy(self) -> None:
        """
        Another lease of the same message takes the place of the one that is held.
        """
        self.hold()
        self.hold("m")
        self.assertEqual(self.row().state, LOST)
        self.lost(self.leases.complete("l", b"i"))
        self.assertEqual(self.complete("m"), ENDED)

    def test_copy_of_completed(self) -> None:
        """
        A copy of a message that is done already is not attempted again, and cannot be
        completed.
        """
        self.hold()
        self.complete()
        self.hold("m")
        said = self.lost(self.leases.complete("m", b"i"))
        self.assertEqual(said, "the task is completed already")
        self.go_on(1_000)
        self.assertEqual(self.put(), [])

    def test_away(self) -> None:
        """
        While RabbitMQ is away, a task can be completed, and messages wait.
        """
        self.hold()
        self.hold("m", identity=b"m", uuid="v")
        self.broker.problem = BrokerUnreachable("it is away")
        self.assertEqual(self.complete(), ENDING)
        self.clock.advance(400)
        self.failureResultOf(self.begin(self.leases.go_on()), BrokerUnreachable)
        self.broker.problem = None
        self.go_on(AGAIN)
        self.assertEqual(self.put(), ["m"])
        self.assertEqual(self.broker.told, ["u"])
        self.assertEqual(self.row().state, ENDED)

    def test_refused(self) -> None:
        """
        Messages that RabbitMQ does not take wait, and others are put back meanwhile.
        """
        self.patch(_leases, "_FEW", 1)
        self.broker.refused.add("gone")
        self.hold(queue="gone", until=1_299.0)
        self.hold("m", identity=b"m")
        self.assertEqual(self.go_on(400), 0)
        self.go_on()
        self.assertEqual(self.put(), ["m"])
        self.broker.refused.clear()
        self.go_on(AGAIN)
        self.assertEqual(self.put(), ["m", "l"])

    def test_kept(self) -> None:
        """
        What a message has is kept as it is, and is put back so.
        """
        odd: dict[str, Any] = {
            "uuid": "u\0\ud800",
            "body": b"\0\xff",
            "properties": b"\x00\x01",
        }
        self.hold(queue="\u20ac", until=1_234.5678901234, **odd)
        self.assertEqual(
            self.row().message,
            leased(queue="\u20ac", until=1_234.5678901234, **odd),
        )
        self.done(self.leases.renew("l", 1.25))
        self.go_on(2)
        [put] = self.broker.put
        self.assertEqual((put.uuid, put.body), (odd["uuid"], odd["body"]))

    def test_swept(self) -> None:
        """
        Rows of leases that are over go after a while; others stay.
        """
        self.hold()
        self.complete()
        self.hold("m", identity=b"m", until=1e9, last=1e9)
        self.assertEqual(self.go_on(KEPT - 1), 0)
        self.assertEqual(self.go_on(2), 1)
        self.assertIn("there is no lease", self.lost(self.leases.renew("l", 1)))
        self.assertEqual(self.row("m").state, HELD)
