"""
The ledger of attempts, on a database that does as it is told.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert import _database_threads
from quebert.errors import HistoryError, HistoryRefused, UnknownPageToken
from quebert.events import AttemptBatch
from quebert.history import (
    HistoryLedger,
    HistoryQuery,
    LifeRecord,
    Retention,
    _ledger,
    _recorder,
)
from quebert.test.doubles import ThreadClock, WorkThreads
from quebert.test.history_records import NOW, batch_of, record_of


class _Store:
    """
    A database that fails while it has an C{error}, and with batches that are C{bad}.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.bad: list[object] = []
        self.batches: list[object] = []
        self.transactions: list[int] = []
        self.refused: list[object] = []
        self.opened = self.aborted = self.retained = self.more = 0
        self.closed = False

    def _answer(self, result: Any = None) -> Any:
        if self.error is not None:
            raise self.error
        return result

    def open(self) -> None:
        self._answer()
        self.opened += 1

    def write(self, writes: Sequence[Any]) -> None:
        self._answer()
        if any(each in self.bad for each in writes):
            raise ValueError("bad")
        self.batches += writes
        self.transactions.append(len(writes))

    def refuse(self, write: Any) -> None:
        self._answer()
        self.refused.append(write)

    def retain(self, retention: Retention, now: float) -> bool:
        self._answer()
        self.retained += 1
        self.more -= 1
        return self.more > 0

    def problem_of(self, error: BaseException) -> str:
        return f"the history: {error}"

    def is_of_the_records(self, error: BaseException) -> bool:
        return isinstance(error, ValueError)

    def abort(self) -> None:
        self.aborted += 1

    def close(self) -> None:
        self.closed = True

    def find_tasks(self, query: object, token: str, size: int) -> Any:
        if token:
            raise UnknownPageToken("none")
        return self._answer((query, size))

    def life_of(self, uuid: str) -> Any:
        return self._answer(uuid)

    def tries_of(self, uuids: Any) -> Any:
        return self._answer(uuids)

    def attempts_of(self, queue: str, before: float | None, most: int) -> Any:
        return self._answer((queue, before, most))

    def latency(self, queue: str, since: float) -> Any:
        return self._answer((queue, since))

    def due(self, queue: str, now: float, width: float) -> Any:
        return self._answer((queue, now, width))

    def gaps_between(self, after: float | None, before: float | None) -> Any:
        return self._answer((after, before))

    def totals(self, since: object) -> Any:
        return self._answer({})

    def positions(self) -> Mapping[str, int]:
        result: Mapping[str, int] = self._answer({"m1": 1})
        return result


class LedgerTests(SynchronousTestCase):
    """
    Tests for L{HistoryLedger}.
    """

    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.store = _Store()
        self.pools: list[WorkThreads] = []

        def pool(threads: int, name: str) -> Any:
            self.pools.append(WorkThreads())
            return self.pools[-1]

        self.ledger = HistoryLedger(
            self.store, Retention(), self.clock, lambda: NOW, pool
        )
        self.writer, self.readers = self.pools

    def start(self) -> None:
        """
        Open the database.
        """
        self.result(self.ledger.start())

    def result(self, work: Coroutine[Any, Any, Any]) -> Any:
        """
        What has been done at once.
        """
        return self.successResultOf(Deferred.fromCoroutine(work))

    def record(self, number: int) -> Deferred[None]:
        """
        Write a batch.
        """
        return Deferred.fromCoroutine(self.ledger.record(self.batch(number)))

    def batch(self, number: int) -> AttemptBatch:
        return batch_of(number, [record_of(number)])

    def test_record(self) -> None:
        """
        A batch is told as written once it is.
        """
        self.start()
        self.writer.held = True
        first, second, third = map(self.record, (1, 2, 3))
        self.assertNoResult(first)
        self.assertEqual(self.ledger.waiting, 6)
        self.writer.let_go()
        for each in first, second, third:
            self.successResultOf(each)
        self.assertEqual(self.store.batches, [self.batch(n) for n in (1, 2, 3)])
        self.assertEqual(self.store.transactions, [1, 2])
        self.assertEqual(self.ledger.waiting, 0)

    def test_large_transactions(self) -> None:
        """
        A transaction is bounded, but for a batch that is too large alone.
        """
        self.patch(_recorder, "_TRANSACTION", 4)
        self.start()
        self.writer.held = True
        batches = [self.batch(1), batch_of(2, [record_of(n) for n in range(9)])]
        batches += [self.batch(n) for n in range(3, 8)]
        done = [Deferred.fromCoroutine(self.ledger.record(each)) for each in batches]
        self.writer.let_go()
        for each in done:
            self.successResultOf(each)
        self.assertEqual(self.store.transactions, [1, 1, 2, 2, 1])

    def test_failing_database(self) -> None:
        """
        While the database fails, batches wait, and the problem is told; then it goes
        on by itself, in order.
        """
        self.start()
        self.store.error = OSError("no space left")
        first, second = self.record(1), self.record(2)
        first.addCallback(lambda _: self.assertEqual(self.ledger.problem, ""))
        self.assertEqual(self.ledger.problem, "the history: no space left")
        self.clock.pump([1.0] * 60)
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.store.error = None
        self.clock.pump([1.0] * 11)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.ledger.problem, "")
        self.assertEqual(self.store.batches, [self.batch(1), self.batch(2)])

    def test_database_that_comes_later(self) -> None:
        """
        A database that cannot be reached at the start is opened when it can be.
        """
        self.store.error = OSError("nobody listens")
        self.start()
        self.assertEqual(self.ledger.problem, "the history: nobody listens")
        done = self.record(1)
        self.failureResultOf(
            Deferred.fromCoroutine(self.ledger.task("x")), HistoryError
        )
        self.store.error = None
        self.clock.pump([1.0] * 11)
        self.successResultOf(done)
        self.assertEqual(self.store.opened, 1)

    def test_long_migration(self) -> None:
        """
        To open a database may take longer than anything else.
        """
        self.writer.held = True
        starting = Deferred.fromCoroutine(self.ledger.start())
        self.clock.advance(10 * _database_threads._LIMIT)
        self.assertEqual(self.store.aborted, 0)
        self.writer.let_go()
        self.successResultOf(starting)

    def test_refused_database(self) -> None:
        """
        A database that is refused ends the start, and nothing is left.
        """
        self.store.error = HistoryRefused("newer")
        starting = Deferred.fromCoroutine(self.ledger.start())
        self.failureResultOf(starting, HistoryRefused)
        self.assertTrue(self.store.closed)
        self.assertEqual([each.stopped for each in self.pools], [True, True])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full_buffer(self) -> None:
        """
        Where too much waits, a batch fails, so that the broker keeps it.
        """
        self.patch(_recorder, "BUFFER", 4)
        self.start()
        self.store.error = OSError("away")
        waiting = [self.record(n) for n in (1, 2)]
        self.failureResultOf(self.record(3), HistoryError)
        self.store.error = None
        self.clock.pump([1.0] * 11)
        for each in waiting:
            self.successResultOf(each)
        self.successResultOf(self.record(3))

    def test_bad_batch(self) -> None:
        """
        A batch that no database takes keeps no other from being written.
        """
        self.start()
        self.store.bad = [self.batch(2)]
        self.writer.held = True
        done = [self.record(n) for n in (1, 2, 3)]
        self.writer.let_go()
        for each in done:
            self.successResultOf(each)
        self.assertEqual(self.store.batches, [self.batch(1), self.batch(3)])
        self.assertEqual(self.store.refused, [self.batch(2)])
        self.assertEqual(self.ledger.refused, 1)

    def test_refusal_that_cannot_be_written(self) -> None:
        """
        A batch of which not even that it was refused can be written keeps no other from
        being written, either.
        """
        self.start()
        self.store.bad = [self.batch(1)]
        self.patch(self.store, "refuse", lambda write: self.store.write([write]))
        self.successResultOf(self.record(1))
        self.successResultOf(self.record(2))
        self.assertEqual(self.store.batches, [self.batch(2)])
        self.assertEqual((self.ledger.refused, self.ledger.problem), (1, ""))

    def test_cancelled(self) -> None:
        """
        Who waits for a batch may give up; the others get on.
        """
        self.start()
        self.writer.held = True
        first, second, third = map(self.record, (1, 2, 3))
        first.addErrback(lambda _: None)
        second.addErrback(lambda _: None)
        first.cancel()
        second.cancel()
        self.writer.let_go()
        self.successResultOf(third)

    def test_lives(self) -> None:
        """
        Other events of tasks are written, too.
        """
        self.start()
        life = LifeRecord(uuid="x", queue="q", state="redriven", at=NOW)
        self.result(self.ledger.record_lives([life]))
        (written,) = self.store.batches
        self.assertEqual(getattr(written, "records", None), (life,))

    def test_retention(self) -> None:
        """
        What is not to be kept is removed while nothing is to be written, and between
        two transactions, more than what was added.
        """
        self.start()
        self.store.more = 5
        self.clock.advance(5)
        self.assertEqual(self.store.retained, 5)
        self.clock.advance(4)
        batches = [batch_of(n, [record_of(1)] * 9000) for n in range(1, 9)]
        self.writer.held = True
        self.store.more = 100
        self.clock.advance(1)
        for each in batches:
            Deferred.fromCoroutine(self.ledger.record(each))
        steps: list[int] = []
        while self.store.more > 0:
            self.writer.working.pop(0)()
            steps.append(len(self.store.batches))
        self.assertEqual(steps[:3], [0, 0, 5])
        self.assertEqual(len(self.store.batches), 8)
        self.assertLess(steps.count(5), 15)
        self.writer.let_go()

    def test_ask(self) -> None:
        """
        Questions are passed on, and failures are told in one sentence.
        """
        self.start()
        query = HistoryQuery(queue="q")
        self.assertEqual(self.result(self.ledger.tasks(query)), (query, 50))
        asked = self.ledger.tasks(query, page_size=10**9)
        self.assertEqual(self.result(asked), (query, 500))
        self.assertEqual(self.result(self.ledger.task("x")), "x")
        attempts = self.ledger.attempts_of("q", before=1.0, most=0)
        self.assertEqual(self.result(attempts), ("q", 1.0, 1))
        self.assertEqual(self.result(self.ledger.latency("q", 2.0)), ("q", 2.0))
        self.assertEqual(self.result(self.ledger.due("q")), ("q", NOW, 60.0))
        self.assertEqual(self.result(self.ledger.gaps(3.0)), (3.0, None))
        self.assertEqual(self.result(self.ledger.totals()), {})
        self.assertEqual(self.result(self.ledger.positions()), {"m1": 1})
        wrong = Deferred.fromCoroutine(self.ledger.tasks(query, "x"))
        self.failureResultOf(wrong, UnknownPageToken)
        self.store.error = OSError("away")
        failing = Deferred.fromCoroutine(self.ledger.task("x"))
        error = self.failureResultOf(failing, HistoryError)
        self.assertEqual(str(error.value), "the history: away")

    def test_many_questions(self) -> None:
        """
        A database that does not answer makes no queue of questions without end.
        """
        self.start()
        self.readers.held = True
        asked = [
            Deferred.fromCoroutine(self.ledger.task(f"{n}"))
            for n in range(_ledger._ASKED)
        ]
        late = Deferred.fromCoroutine(self.ledger.task("late"))
        self.failureResultOf(late, HistoryError)
        self.clock.advance(_database_threads.ANSWER - 0.1)
        self.readers.let_go()
        for n, each in enumerate(asked):
            self.assertEqual(self.successResultOf(each), f"{n}")

    def test_silence(self) -> None:
        """
        A database that says nothing keeps nobody waiting who asks: the first are told
        so in some seconds, and others at once, until it answers again.
        """
        self.start()
        self.readers.held = self.writer.held = True
        first = [Deferred.fromCoroutine(self.ledger.task("x")) for _ in range(2)]
        self.clock.advance(_database_threads.ANSWER)
        later = Deferred.fromCoroutine(self.ledger.task("x"))
        for each in (*first, later):
            error = self.failureResultOf(each, HistoryError)
            self.assertEqual(str(error.value), "the history: no answer in 10 s")
        self.clock.advance(_database_threads._LIMIT)
        self.assertGreater(self.store.aborted, 0)
        probe = Deferred.fromCoroutine(self.ledger.task("x"))
        self.failureResultOf(
            Deferred.fromCoroutine(self.ledger.task("y")), HistoryError
        )
        self.readers.let_go()
        self.assertEqual(self.successResultOf(probe), "x")
        self.assertEqual(self.result(self.ledger.task("y")), "y")
        self.writer.let_go()

    def test_silence_is_over(self) -> None:
        """
        What is written shows that the database answers again.
        """
        self.start()
        self.readers.held = True
        asked = Deferred.fromCoroutine(self.ledger.task("x"))
        self.writer.held = True
        done = self.record(1)
        self.clock.advance(_database_threads.ANSWER)
        self.failureResultOf(asked, HistoryError)
        self.readers.let_go()
        self.failureResultOf(
            Deferred.fromCoroutine(self.ledger.task("x")), HistoryError
        )
        self.writer.let_go()
        self.successResultOf(done)
        self.assertEqual(self.result(self.ledger.task("x")), "x")

    def test_long_questions(self) -> None:
        """
        A question that takes too long keeps others from nothing while the database
        writes; nor does one that nobody waits for.
        """
        self.start()
        self.readers.held = True
        asked = Deferred.fromCoroutine(self.ledger.task("x"))
        given_up = Deferred.fromCoroutine(self.ledger.task("x"))
        given_up.cancel()
        self.failureResultOf(given_up)
        self.clock.advance(5)
        self.successResultOf(self.record(1))
        self.clock.advance(_database_threads.ANSWER)
        self.failureResultOf(asked, HistoryError)
        other = Deferred.fromCoroutine(self.ledger.task("y"))
        self.readers.let_go()
        self.assertEqual(self.successResultOf(other), "y")

    def test_silence_while_writing(self) -> None:
        """
        A database that says nothing while something is written is a problem, which is
        over once it has written.
        """
        self.start()
        self.writer.held = True
        done = self.record(1)
        self.clock.advance(_recorder._SILENT - 1)
        self.assertEqual(self.ledger.problem, "")
        self.clock.advance(1)
        self.assertEqual(self.ledger.problem, "the history: no answer in 10 s")
        self.writer.let_go()
        self.successResultOf(done)
        self.assertEqual(self.ledger.problem, "")

    def test_close(self) -> None:
        """
        The end waits for what is being written, and nothing is left.
        """
        self.start()
        self.writer.held = True
        done = self.record(1)
        closing = Deferred.fromCoroutine(self.ledger.close())
        self.assertNoResult(closing)
        self.writer.let_go()
        self.successResultOf(closing)
        self.successResultOf(done)
        self.assertTrue(self.store.closed)
        self.assertEqual([each.stopped for each in self.pools], [True, True])
        self.failureResultOf(self.record(2), HistoryError)
        self.failureResultOf(
            Deferred.fromCoroutine(self.ledger.task("x")), HistoryError
        )
        self.result(self.ledger.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_while_failing(self) -> None:
        """
        What cannot be written when the ledger is closed fails.
        """
        self.start()
        self.store.error = OSError("away")
        done = self.record(1)
        self.result(self.ledger.close())
        self.failureResultOf(done, HistoryError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_while_frozen(self) -> None:
        """
        A database that does not come back keeps nobody from the end.
        """
        self.start()
        self.writer.held = True
        done = self.record(1)
        closing = Deferred.fromCoroutine(self.ledger.close())
        self.clock.advance(10)
        self.assertEqual(self.store.aborted, 1)
        self.assertNoResult(closing)
        self.clock.advance(10)
        self.successResultOf(closing)
        self.failureResultOf(done, HistoryError)
        self.assertFalse(self.writer.stopped)
        self.writer.let_go()
