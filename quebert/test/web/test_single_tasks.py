"""
L{SingleTasks} and L{RealControls}: from operations to the values of the API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert import operations
from quebert.errors import BrokerError, HistoryError
from quebert.history import LifeRecord, PastAttempt, TaskHistory, TaskSummary
from quebert.operations import BrokerAccess, DeadLetter, Live, Match, Progress
from quebert.web.cluster._controls import LifeNotes, RealControls
from quebert.web.cluster._dead_letters import DeadLetterBook
from quebert.web.cluster._single_tasks import AT_ONCE, MOST_WHYS, SingleTasks


@attrs.define
class ListedLedger:
    """
    A history that has one task, or none, and takes what it gets, or does not.
    """

    problem: str = ""
    lives: list[LifeRecord] = attrs.field(factory=list)
    found: TaskHistory | None = None

    async def task(self, uuid: str) -> TaskHistory | None:
        if self.problem:
            raise HistoryError(self.problem)
        return self.found

    async def record_lives(self, records: Sequence[LifeRecord]) -> None:
        if self.problem:
            raise HistoryError(self.problem)
        self.lives += records


class Onlooker:
    """
    Sees nothing.
    """

    async def view(self) -> Live:
        return Live(at=1.0)


class SingleTasksTests(SynchronousTestCase):
    """
    What is asked of operations, and what is made of their answers.
    """

    def setUp(self) -> None:
        self.ledger = ListedLedger()
        ledger: Any = self.ledger
        live: Any = Onlooker()
        broker = BrokerAccess(Clock())
        self.notes = LifeNotes(ledger, lambda: 7.0)
        write = self.notes.write
        self.tasks = SingleTasks(broker, live, ledger, write, lambda: 7.0)
        letters = DeadLetterBook(broker)
        self.controls = RealControls(broker, letters, self.tasks, self.notes)

    def _result(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_why(self) -> None:
        """
        All reasons are told, and what could not be seen; without the history, too.
        """
        asked: list[Any] = []

        async def why(broker: BrokerAccess, uuid: str, queue: Any, **more: Any) -> Any:
            asked.append((uuid, queue, more))
            reasons = (
                operations.WhyReason(reason="paused", text="it is paused", by="anna"),
                operations.WhyReason(reason="behind", text="it is behind", position=3),
            )
            return operations.Why(
                uuid=uuid, queue="q", reasons=reasons, unseen=("a rung",)
            )

        self.patch(operations, "why", why)
        for problem in ("", "the disk is full"):
            self.ledger.problem = problem
            found = self._result(self.tasks.why("u", ""))
            self.assertEqual((found.first.reason, found.first.by), ("paused", "anna"))
            self.assertEqual([each.position for each in found.every], [None, 3])
            self.assertEqual((found.queue, found.unseen), ("q", ("a rung",)))
        self.assertEqual(asked[0], ("u", None, {"seen": Live(at=1.0), "attempts": ()}))

    def test_why_of_another_queue(self) -> None:
        """
        Who names a queue is told nothing of a task of another one.
        """
        asked: list[Any] = []

        async def why(*args: Any, attempts: Any, **more: Any) -> Any:
            asked.append([each.queue for each in attempts])
            raise BrokerError("it is away")

        self.patch(operations, "why", why)
        shown: Any = {"url": "http://x/", "number": 1, "started": 1.0, "ended": 2.0}
        attempts = [
            PastAttempt(uuid="u", queue=queue, outcome="done", **shown)
            for queue in ("q", "other")
        ]
        task = TaskSummary(uuid="u", queue="other", url="http://x/", state="done")
        more: Any = {"lives": (), "gaps": ()}
        self.ledger.found = TaskHistory(summary=task, attempts=attempts, **more)
        for queue in ("q", "other", "none", ""):
            asking = Deferred.fromCoroutine(self.tasks.why("u", queue))
            self.failureResultOf(asking, BrokerError)
        self.assertEqual(asked, [["q"], ["other"], [], ["q", "other"]])

    def test_cancel(self) -> None:
        """
        What is cancelled is in the history, with who did so; nothing else is.
        """
        result = operations.CANCELLED

        async def cancel(broker: Any, queue: str, uuid: str, *, by: str) -> Any:
            return operations.Cancelled(uuid, result, False, "said", ("a problem",))

        self.patch(operations, "cancel", cancel)
        found = self._result(self.controls.cancel("q", "u", "anna"))
        self.assertEqual((found.result, found.text), ("cancelled", "said; a problem"))
        [record] = self.ledger.lives
        told = (record.uuid, record.state, record.at, record.reason)
        self.assertEqual(told, ("u", "cancelled", 7.0, "by anna"))
        result = operations.TOO_LATE
        self.assertEqual(
            self._result(self.controls.cancel("q", "u", "anna")).result, "too_late"
        )
        self.assertEqual(len(self.ledger.lives), 1)
        # The history being away does not keep anybody waiting.
        result, self.ledger.problem = operations.CANCELLED, "the disk is full"
        self.assertEqual(
            self._result(self.controls.cancel("q", "u", "anna")).result, "cancelled"
        )

    def test_cancel_many(self) -> None:
        """
        Tasks that were too late, and problems, are told at the end.
        """
        answer = operations.CancelledAll(5, 0)

        async def cancel_all(*args: Any, progress: Progress, by: str) -> Any:
            return answer

        self.patch(operations, "cancel_all", cancel_all)
        progress = Progress()
        self._result(self.controls.cancel_matching("q", [], progress, "anna"))
        self.assertEqual(progress.done, 5)
        answer = operations.CancelledAll(4, 2, ("a rung cannot be seen",))
        working = self.controls.cancel_matching("q", [], progress, "anna")
        failure = self.failureResultOf(Deferred.fromCoroutine(working), BrokerError)
        self.assertEqual(
            str(failure.value), "2 tasks are being attempted; a rung cannot be seen"
        )

    def test_run_now(self) -> None:
        """
        A task is run now.
        """

        async def run_now(broker: Any, queue: str, uuid: str) -> Any:
            return operations.RunNow(uuid, operations.RUNS_NOW, "said")

        self.patch(operations, "run_now", run_now)
        found = self._result(self.controls.run_now("q", "u"))
        self.assertEqual((found.result, found.text), ("running", "said"))

    def test_looks(self) -> None:
        """
        Whoever changes something looks when nobody else has the messages: after those
        few who ask why a task waits.
        """
        begun: list[str] = []
        looks: list[Deferred[None]] = []

        async def look(what: str) -> None:
            begun.append(what)
            looks.append(Deferred())
            await looks[-1]

        async def why(broker: Any, uuid: str, queue: Any, **more: Any) -> Any:
            await look(f"why {uuid}")
            reason = operations.WhyReason(reason="paused", text="it is paused")
            return operations.Why(uuid=uuid, queue="q", reasons=(reason,))

        async def run_now(broker: Any, queue: str, uuid: str) -> Any:
            await look("run")
            return operations.RunNow(uuid, operations.RUNS_NOW, "said")

        self.patch(operations, "why", why)
        self.patch(operations, "run_now", run_now)
        whys = [
            Deferred.fromCoroutine(self.tasks.why(str(n), "q"))
            for n in range(MOST_WHYS + 1)
        ]
        self.failureResultOf(whys.pop(), BrokerError)
        running = Deferred.fromCoroutine(self.controls.run_now("q", "u"))
        for number, each in enumerate(whys):
            self.assertEqual(begun[number:], [f"why {number}"])
            looks[-1].callback(None)
            self.successResultOf(each)
        self.assertEqual(begun[MOST_WHYS:], ["run"])
        self.assertNoResult(Deferred.fromCoroutine(self.tasks.why("7", "q")))
        looks[-1].callback(None)
        self.successResultOf(running)
        self.assertEqual(begun[-1], "why 7")

    def test_few(self) -> None:
        """
        A few go on at a time.
        """
        begun: list[Deferred[None]] = []

        async def run_now(broker: Any, queue: str, uuid: str) -> Any:
            begun.append(Deferred())
            await begun[-1]
            return operations.RunNow(uuid, operations.RUNS_NOW, "said")

        self.patch(operations, "run_now", run_now)
        running = [
            Deferred.fromCoroutine(self.controls.run_now("q", str(n)))
            for n in range(AT_ONCE + 1)
        ]
        self.assertEqual(len(begun), AT_ONCE)
        begun[0].callback(None)
        self.assertEqual(len(begun), AT_ONCE + 1)
        self.successResultOf(running[0])

    def test_redrive(self) -> None:
        """
        Each dead letter that has left is in the history, and no other: several are on
        their way at a time.
        """
        letters = [
            DeadLetter({}, b'{"uuid": "%d", "url": "http://x/?secret"}' % n)
            for n in range(1_203)
        ]

        async def redrive(
            broker: Any, queue: str, matches: Sequence[Match], progress: Progress
        ) -> None:
            for begin in range(0, len(letters), 3):
                some = letters[begin : begin + 3]
                leave = [all(m(each) for m in matches) for each in some]
                for each in leave[: 1 if begin == 1_200 else 3]:
                    progress.seen += 1
                    progress.done += each
                    progress.watch(progress)
            raise BrokerError("RabbitMQ is away")

        self.patch(operations, "redrive", redrive)
        matches = [Match.parse("uuid!=3")]
        working = self.controls.redrive("q", matches, Progress())
        self.failureResultOf(Deferred.fromCoroutine(working), BrokerError)
        uuids = [each.uuid for each in self.ledger.lives]
        wanted = [str(n) for n in range(1_201) if n != 3]
        self.assertEqual(uuids, wanted)
        self.assertEqual(self.ledger.lives[0].url, "http://x/?...")
        self.assertEqual(self.ledger.lives[0].state, "redriven")
