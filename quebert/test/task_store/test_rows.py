"""
Groups of requests, on a database that does as it is told.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert._database_threads import ANSWER
from quebert.created_tasks import CreatedTask, RowQuery
from quebert.errors import TaskStoreClosed, TaskStoreError
from quebert.task_store import StoredTaskRows, _rows
from quebert.task_store._boundaries import (
    AddRequest,
    FindRequest,
    PublishedRequest,
    Request,
    TaskStoreInUse,
    TaskStoreRefused,
)
from quebert.test.created_tasks.doubles import new_task
from quebert.test.doubles import ThreadClock, WorkThreads


class _ToldStore:
    """
    A database that finds the uuid that it is asked for.

    @ivar error: with which it fails, if set.
    @ivar groups: what it was asked for.
    """

    where = "here"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.groups: list[Sequence[Request]] = []
        self.aborted = 0
        self.closed = False

    def carry_out(self, requests: Sequence[Request]) -> list[Any]:
        self.groups.append(requests)
        if self.error is not None:
            raise self.error
        return [_result(each) for each in requests]

    def page(self, query: RowQuery) -> tuple[list[CreatedTask], int]:
        if self.error is not None:
            raise self.error
        return [], query.size

    def problem_of(self, error: BaseException) -> TaskStoreError:
        if isinstance(error, TaskStoreError):
            return error
        return TaskStoreError(f"the tasks in here: {error}")

    def abort(self) -> None:
        self.aborted += 1

    def close(self) -> None:
        self.closed = True


def _result(request: Request) -> Any:
    if not isinstance(request, FindRequest):
        return None
    if request.uuid == "bad":
        return TaskStoreError("bad")
    return request.uuid


class StoredTaskRowsTests(SynchronousTestCase):
    """
    L{StoredTaskRows}.
    """

    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.store = _ToldStore()
        self.pools: list[WorkThreads] = []

        def pool(threads: int, name: str) -> Any:
            self.pools.append(WorkThreads())
            return self.pools[-1]

        self.rows = StoredTaskRows(self.store, self.clock, pool)
        self.writer, self.reader = self.pools
        self.done(self.rows.start())
        self.store.groups.clear()
        self.clock.advance(1)

    def begin(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """
        Begin something.
        """
        return Deferred.fromCoroutine(work)

    def done(self, work: Coroutine[Any, Any, Any]) -> Any:
        """
        Do something, in two turns.
        """
        begun = self.begin(work)
        self.turn()
        return self.successResultOf(begun)

    def turn(self) -> None:
        """
        The turn ends, and the next one.
        """
        self.clock.advance(0)
        self.clock.advance(0)

    def find(self, *uuids: str) -> list[Deferred[Any]]:
        """
        Ask for some.
        """
        return [self.rows.find(each) for each in uuids]

    def sizes(self) -> list[int]:
        """
        How many requests each group had.
        """
        return [len(each) for each in self.store.groups]

    def failure(self, asked: Deferred[Any]) -> str:
        """
        Why something has failed.
        """
        return str(self.failureResultOf(asked, TaskStoreError).value)

    def test_published(self) -> None:
        """
        That tasks are published is noted with the next group, before it, and alone only
        where none comes for a while.
        """
        noted = [self.rows.note_published(["a"])]
        self.turn()
        self.assertEqual(self.store.groups, [])
        found = self.rows.find("a")
        self.turn()
        self.assertEqual(self.successResultOf(found), "a")
        wanted = [PublishedRequest(["a"]), FindRequest("a")]
        self.assertEqual(self.store.groups, [wanted])
        noted.append(self.rows.note_published(["a"]))
        self.clock.advance(_rows.ALONE)
        self.turn()
        self.assertEqual(self.store.groups[1:], [[PublishedRequest(["a"])]])
        for each in noted:
            self.successResultOf(each)

    def test_published_meanwhile(self) -> None:
        """
        What is noted while a group is carried out waits for the next one, too, or for
        the end.
        """
        self.writer.held = True
        found = self.rows.find("a")
        self.turn()
        noted = self.rows.note_published(["a"])
        self.clock.advance(_rows.ALONE)
        self.writer.let_go()
        self.turn()
        self.successResultOf(found)
        self.assertEqual(self.sizes(), [1])
        self.done(self.rows.close())
        self.successResultOf(noted)
        self.assertEqual(self.sizes(), [1, 1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_turn(self) -> None:
        """
        Requests of one turn are one group, which has an answer in the next.
        """
        asked = self.find("u", "v", "w")
        self.assertEqual(self.sizes(), [])
        self.turn()
        self.assertEqual(self.sizes(), [3])
        self.assertEqual([self.successResultOf(e) for e in asked], ["u", "v", "w"])

    def test_meanwhile(self) -> None:
        """
        What is asked for while a group is written is the next group.
        """
        self.writer.held = True
        [first] = self.find("u")
        self.turn()
        others = self.find("v", "w")
        self.turn()
        self.assertEqual(len(self.writer.working), 1)
        self.writer.let_go()
        self.assertEqual(self.successResultOf(first), "u")
        self.assertNoResult(others[0])
        self.turn()
        self.assertEqual([self.successResultOf(e) for e in others], ["v", "w"])
        self.assertEqual(self.sizes(), [1, 2])

    def test_asked_by_callers(self) -> None:
        """
        What a caller asks for once it has its answer is in the next group.
        """
        again: list[Deferred[Any]] = []
        first, second = self.find("u", "v")
        first.addCallback(lambda _: again.extend(self.find("w")))
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(second), "v")
        self.turn()
        self.assertEqual(self.successResultOf(again[0]), "w")

    def test_one_fails(self) -> None:
        """
        A request that no database takes fails alone.
        """
        first, bad, last = self.find("u", "bad", "w")
        self.turn()
        self.assertEqual(self.failure(bad), "bad")
        self.assertEqual(self.successResultOf(first), "u")
        self.assertEqual(self.successResultOf(last), "w")
        self.assertEqual(self.rows.problem, "")

    def test_cancelled(self) -> None:
        """
        Whoever does not wait any more is in nobody's way.
        """
        first, last = self.find("u", "v")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.turn()
        self.assertEqual(self.successResultOf(last), "v")

    def test_large(self) -> None:
        """
        A transaction has no more than some rows and some bytes, but for one request
        that has more.
        """
        self.patch(_rows, "MOST_ROWS", 4)
        self.patch(_rows, "MOST_BYTES", 100)
        small, large = new_task(body=b"x"), new_task(body=b"x" * 101)
        for tasks in ([small] * 3, [small] * 2, [large], [small], [small] * 9):
            self.rows.add(tasks, 0.0)
        for _ in range(9):
            self.turn()
        groups = self.store.groups
        adds = [[len(e.tasks) for e in g if isinstance(e, AddRequest)] for g in groups]
        self.assertEqual(adds, [[3], [2], [1], [1], [9]])

    def test_fails(self) -> None:
        """
        Where the database fails all of the group do; the next group is tried.
        """
        self.store.error = OSError("full")
        asked = self.find("u", "v")
        self.turn()
        for each in asked:
            self.assertEqual(self.failure(each), "the tasks in here: full")
        self.assertEqual(self.rows.problem, "the tasks in here: full")
        self.store.error = None
        [again] = self.find("u")
        self.turn()
        self.assertEqual(self.successResultOf(again), "u")
        self.assertEqual(self.rows.problem, "")

    def test_slow_failure(self) -> None:
        """
        Where it takes long to fail, what waits fails, too, and whatever is asked for in
        the next seconds; then one finds out.
        """
        self.writer.held = True
        self.store.error = OSError("locked")
        [first] = self.find("u")
        self.turn()
        [waiting] = self.find("v")
        self.clock.advance(5)
        self.writer.let_go()
        for each in (first, waiting, *self.find("w")):
            self.assertEqual(self.failure(each), "the tasks in here: locked")
        self.turn()
        self.assertEqual(self.sizes(), [1])
        self.clock.advance(5.1)
        probe, other = self.find("x", "y")
        self.assertIn("locked", self.failure(other))
        self.store.error = None
        self.turn()
        self.assertEqual(self.successResultOf(probe), "x")
        [again] = self.find("z")
        self.turn()
        self.assertEqual(self.successResultOf(again), "z")

    def test_frozen(self) -> None:
        """
        A database that does not answer keeps nobody waiting: not the group, nor what
        waits, nor what comes after that.
        """
        self.writer.held = True
        [first] = self.find("u")
        self.turn()
        self.clock.advance(ANSWER - 1)
        [waiting] = self.find("v")
        self.assertNoResult(first)
        self.clock.advance(1)
        text = "the tasks in here: no answer in 10 s"
        self.assertEqual(self.failure(first), text)
        self.assertEqual(self.failure(waiting), text)
        self.assertEqual(self.store.aborted, 1)
        self.clock.advance(3600)
        self.assertEqual(self.failure(*self.find("w")), text)
        self.assertEqual(self.rows.problem, text)
        self.writer.let_go()
        [again] = self.find("x")
        self.turn()
        self.assertEqual(self.successResultOf(again), "x")
        self.assertEqual(self.rows.problem, "")
        self.assertEqual(self.sizes(), [1, 1])

    def test_page(self) -> None:
        """
        A list is read by another thread once all is written that was asked for before,
        and holds nobody up.
        """
        self.writer.held = self.reader.held = True
        [first] = self.find("u")
        page = self.rows.page(RowQuery(size=7))
        [last] = self.find("v")
        self.turn()
        self.assertEqual(self.reader.working, [])
        self.writer.let_go()
        self.assertEqual(self.successResultOf(first), "u")
        self.assertEqual(self.successResultOf(last), "v")
        self.assertNoResult(page)
        self.reader.let_go()
        self.assertEqual(self.successResultOf(page), ([], 7))

    def test_page_fails(self) -> None:
        """
        A list that cannot be read fails, and one that takes too long.
        """
        page = self.rows.page(RowQuery())
        self.reader.held = True
        self.turn()
        self.clock.advance(ANSWER)
        self.assertEqual(self.failure(page), "the tasks in here: no answer in 10 s")
        self.reader.let_go()
        self.clock.advance(10)
        page = self.rows.page(RowQuery())
        self.reader.held = True
        self.turn()
        self.store.error = OSError("away")
        self.reader.let_go()
        self.assertEqual(self.failure(page), "the tasks in here: away")

    def test_closed(self) -> None:
        """
        What was asked for is carried out, and lists are read; then nothing more is.
        """
        self.reader.held = True
        [first] = self.find("u")
        page = self.rows.page(RowQuery())
        closing = self.begin(self.rows.close())
        self.assertIn("are closed", self.failure(*self.find("v")))
        self.turn()
        self.assertEqual(self.successResultOf(first), "u")
        self.assertNoResult(closing)
        self.assertFalse(self.store.closed)
        self.reader.let_go()
        self.successResultOf(page)
        self.successResultOf(closing)
        self.assertTrue(self.store.closed)
        self.assertTrue(self.writer.stopped)
        self.assertTrue(self.reader.stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_meanwhile(self) -> None:
        """
        Several groups are carried out at the end.
        """
        self.writer.held = True
        self.find("u")
        self.turn()
        [last] = self.find("v")
        closing = self.begin(self.rows.close())
        self.writer.let_go()
        self.turn()
        self.assertEqual(self.successResultOf(last), "v")
        self.successResultOf(closing)
        self.assertTrue(self.store.closed)

    def test_closed_frozen(self) -> None:
        """
        A database that does not answer is left behind.
        """
        self.writer.held = True
        [first] = self.find("u")
        closing = self.begin(self.rows.close())
        self.clock.advance(ANSWER)
        self.failure(first)
        self.successResultOf(closing)
        self.assertFalse(self.store.closed)
        self.assertFalse(self.writer.stopped)

    def test_refused(self) -> None:
        """
        Rows do not start on a database that they may not use, and on one that is away
        they do.
        """
        self.store.error = TaskStoreRefused("another program's")
        starting = self.begin(self.rows.start())
        self.turn()
        self.assertEqual(self.failure(starting), "another program's")
        self.assertTrue(self.store.closed)

    def test_in_use(self) -> None:
        """
        Rows start on a database that another process has, and have it later.
        """
        self.store.error = TaskStoreInUse("another process has it")
        self.done(self.rows.start())
        self.assertEqual(self.rows.problem, "another process has it")
        [asked] = self.find("u")
        self.turn()
        self.failureResultOf(asked, TaskStoreClosed)
        self.store.error = None
        [asked] = self.find("u")
        self.turn()
        self.assertEqual(self.successResultOf(asked), "u")
        self.assertEqual(self.rows.problem, "")

    def test_away(self) -> None:
        """
        Rows start on a database that is away.
        """
        self.store.error = OSError("away")
        self.done(self.rows.start())
        self.assertEqual(self.rows.problem, "the tasks in here: away")
