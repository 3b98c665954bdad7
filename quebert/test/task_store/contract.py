"""
What each kind of L{quebert.created_tasks.TaskRows} does: the same tests for all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import attrs
import psycopg
import pytest
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from quebert.created_tasks import (
    DELETED,
    DELETING,
    ENDED,
    EVENTS,
    NEW,
    PUBLISHED,
    STATES,
    CreatedTask,
    EndNote,
    NewTask,
    RowQuery,
    Standing,
    TaskChange,
    TaskRows,
)
from quebert.created_tasks._states import DELETE, END, PUBLISH, REMOVE, WITHDRAW
from quebert.task_store import StoredTaskRows
from quebert.task_store._postgresql import PostgreSQLTasks
from quebert.task_store._rows import ALONE
from quebert.task_store._store import TaskStore
from quebert.test.contract import patience
from quebert.test.created_tasks.doubles import MemoryRows, new_task
from quebert.test.doubles import ThreadClock, WorkThreads
from quebert.test.postgresql import PostgreSQLServer

__all__ = [
    "CALLS",
    "StoreInPostgreSQL",
    "StoredRowsContract",
    "TaskRowsContract",
    "start_rows",
]

T = TypeVar("T")

# How many locks the processes have that have the tasks of this database.
_LOCKS = (
    "SELECT count(*) FROM pg_locks JOIN pg_database"
    " ON pg_database.oid = pg_locks.database"
    " WHERE datname = current_database() AND locktype = 'advisory'"
)
#: An end that says all that there is to say.
NOTE = EndNote(
    uuid="u",
    queue="tasks",
    outcome="exhausted",
    ended=1_234.5678901234,
    reason="it was \ud800 \0 refused",
    status=503,
    attempts=7,
    answers=6,
    first_attempt=0.1,
    last_attempt=1e9 / 3,
)

# Few of each, so that they meet.
_UUIDS = st.sampled_from(["u", "v", "w"])
_NAMES = st.sampled_from([None, "n", "m"])
_QUEUES = st.sampled_from(["tasks", "other"])
_TIMES = st.sampled_from([0.0, 100.0, 200.0, 300.0])
_TASKS = st.builds(
    NewTask,
    queue=_QUEUES,
    uuid=_UUIDS,
    body=st.just(b"{}"),
    created=_TIMES,
    name=_NAMES,
    digest=st.sampled_from([b"", b"d"]),
)


def _change(uuid: str, event: str, queue: str | None, held_until: float) -> TaskChange:
    end = None
    if queue is not None:
        end = EndNote(uuid=uuid, queue=queue, outcome="done", ended=held_until)
    return TaskChange(uuid=uuid, event=event, end=end, held_until=held_until)


_CHANGES = st.builds(
    _change, _UUIDS, st.sampled_from(EVENTS), st.none() | _QUEUES, _TIMES
)
_STATES = st.lists(st.sampled_from(STATES), unique=True, max_size=3).map(tuple)
_LISTS = st.builds(
    RowQuery,
    queue=st.just("") | _QUEUES,
    name=st.sampled_from(["", "n"]),
    states=_STATES,
    before=st.none() | _TIMES,
    after=st.integers(0, 8),
    size=st.integers(1, 3),
)
#: What rows can be asked for.
CALLS = st.one_of(
    st.tuples(st.just("add"), st.lists(_TASKS, max_size=4), _TIMES),
    st.tuples(st.just("change"), st.lists(_CHANGES, max_size=4)),
    st.tuples(st.just("find"), _UUIDS),
    st.tuples(st.just("page"), _LISTS),
    st.tuples(st.just("sweep"), _TIMES),
)


class TaskRowsContract(SynchronousTestCase):
    """
    The tests.  A subclass makes the rows.
    """

    def new_rows(self) -> TaskRows:
        """
        Rows, of which there are none yet.
        """
        raise NotImplementedError

    def settle(self) -> None:
        """
        Have all done that was asked for.
        """

    def setUp(self) -> None:
        self.rows = self.new_rows()

    def begin(self, asked: Awaitable[T]) -> Deferred[T]:
        """
        Ask for something, and do it later.
        """
        assert isinstance(asked, Deferred)
        return asked

    def done(self, asked: Awaitable[T]) -> T:
        """
        Do something.
        """
        begun = self.begin(asked)
        self.settle()
        return self.successResultOf(begun)

    def add(
        self, uuid: str = "u", now: float = 1_000.0, **fields: Any
    ) -> CreatedTask | None:
        """
        Add a row; gives the one that is in the way.
        """
        [row] = self.done(self.rows.add([new_task(uuid, **fields)], now))
        return row

    def change(self, event: str, uuid: str = "u", **fields: Any) -> CreatedTask | None:
        """
        Change a row.
        """
        change = TaskChange(uuid=uuid, event=event, **fields)
        [row] = self.done(self.rows.change([change]))
        return row

    def find(self, uuid: str = "u") -> CreatedTask | None:
        """
        Find a row.
        """
        return self.done(self.rows.find(uuid))

    def listed(self, **fields: Any) -> tuple[list[str], int]:
        """
        The uuids of a page, and the position of the next one.
        """
        rows, after = self.done(self.rows.page(RowQuery(**fields)))
        return [row.task.uuid for row in rows], after

    # -- Adding

    def test_added(self) -> None:
        """
        A row has all that its task has.
        """
        fields: dict[str, Any] = {"name": "n", "digest": b"\0\xff", "due": 1e9 / 3}
        task = new_task(body=b"\0\xff", created=0.1, **fields)
        self.assertEqual(self.done(self.rows.add([task], 0.0)), [None])
        self.assertEqual(self.find(), CreatedTask(task=task, state=NEW))
        self.assertIsNone(self.find("v"))

    def test_whole_numbers(self) -> None:
        """
        Times may be integers.
        """
        self.assertIsNone(self.add(created=7, due=8))
        row = self.change(END, held_until=9)
        task = new_task(created=7.0, due=8.0, body=b"")
        self.assertEqual(row, CreatedTask(task=task, state=ENDED, held_until=9.0))
        self.assertEqual(self.find(), row)

    def test_nothing(self) -> None:
        """
        Nothing may be asked for.
        """
        self.assertEqual(self.done(self.rows.add([], 0.0)), [])
        self.assertEqual(self.done(self.rows.change([])), [])
        self.assertEqual(self.listed(), ([], 0))
        self.assertEqual(self.done(self.rows.sweep(1e9)), 0)

    def test_uuid_taken(self) -> None:
        """
        A uuid is in one row, also within one batch.
        """
        tasks = [new_task("u", digest=b"1"), new_task("u", digest=b"2"), new_task("v")]
        first, second, third = self.done(self.rows.add(tasks, 0.0))
        self.assertIsNone(first)
        self.assertEqual(second, CreatedTask(task=tasks[0], state=NEW))
        self.assertIsNone(third)
        self.assertEqual(self.add("u", queue="other"), second)
        self.assertEqual(self.listed()[0], ["u", "v"])

    def test_name_taken(self) -> None:
        """
        A name is once in a queue, also within one batch; no name is any number of
        times.
        """
        tasks = [new_task("u", name="n"), new_task("v", name="n")]
        first, second = self.done(self.rows.add(tasks, 0.0))
        self.assertIsNone(first)
        self.assertEqual(second, CreatedTask(task=tasks[0], state=NEW))
        self.assertIsNone(self.find("v"))
        self.assertEqual(self.add("v", name="n"), second)
        self.assertIsNone(self.add("v", name="n", queue="other"))
        self.assertIsNone(self.add("w", name=""))
        self.assertIsNone(self.add("x"))
        self.assertIsNone(self.add("y"))

    def test_both_taken(self) -> None:
        """
        Of two rows that are in the way, the one that has the uuid is told.
        """
        self.add("a", name="n")
        self.add("b")
        taken = self.add("b", name="n")
        assert taken is not None
        self.assertEqual(taken.task.uuid, "b")

    def test_hold_ended(self) -> None:
        """
        Rows whose hold has ended are in nobody's way, and others are.
        """
        self.add("u", name="n")
        self.add("v")
        for uuid in "uv":
            self.change(END, uuid, held_until=2_000.0)
        taken = self.add("w", name="n", now=1_999.9)
        assert taken is not None
        self.assertEqual((taken.task.uuid, taken.state), ("u", ENDED))
        self.assertIsNone(self.add("v", name="n", now=2_000.0))
        self.assertEqual(self.listed(), (["v"], 0))
        self.assertIsNone(self.find("u"))

    def test_hold_ended_in_one(self) -> None:
        """
        A name that is free again is taken once.
        """
        self.add("u", name="n")
        self.change(END, held_until=1.0)
        tasks = [new_task("v", name="n"), new_task("w", name="n")]
        first, second = self.done(self.rows.add(tasks, 1.0))
        self.assertIsNone(first)
        self.assertEqual(second, CreatedTask(task=tasks[0], state=NEW))

    def test_still_in_the_way(self) -> None:
        """
        A task that another row keeps out removes none.
        """
        self.add("u")
        self.change(END, held_until=1.0)
        self.add("v", name="n")
        self.assertIsNotNone(self.add("u", name="n"))
        self.assertIsNotNone(self.find("u"))

    def test_texts(self) -> None:
        """
        Any text is kept as it is, and is another one than those that look alike.
        """
        names = [
            *(
                "\0",
                "a\0b",
                "a",
                "a ",
                "A",
                "\ud800",
                "\udfff",
                "\ufffd",
                "é",
                "e\u0301",
            ),
            *("😀" * 500, "n" * 500, "'; DROP TABLE tasks; --", "%", "\r\n"),
        ]
        tasks = [
            new_task(f"{n}{name}", name=name, queue=name)
            for n, name in enumerate(names)
        ]
        self.assertEqual(self.done(self.rows.add(tasks, 0.0)), [None] * len(names))
        for task in tasks:
            row = CreatedTask(task=task, state=NEW)
            self.assertEqual(self.find(task.uuid), row)
            again = attrs.evolve(task, uuid="again")
            self.assertEqual(self.done(self.rows.add([again], 0.0)), [row])
            query = {"queue": task.queue, "name": task.name}
            self.assertEqual(self.listed(**query), ([task.uuid], 0))

    def test_long_bodies(self) -> None:
        """
        Bodies may have a megabyte.
        """
        tasks = [new_task(str(n), body=bytes([n]) * 2**20) for n in range(3)]
        self.done(self.rows.add(tasks, 0.0))
        self.change(PUBLISH, "2")
        for each in tasks:
            row = self.find(each.uuid)
            assert row is not None
            self.assertEqual(row.task.body, each.body)

    def test_many(self) -> None:
        """
        A batch may have more rows than a statement has values.
        """
        tasks = [new_task(str(n), name=f"n{n}") for n in range(1_300)]
        self.assertEqual(self.done(self.rows.add(tasks, 0.0)), [None] * len(tasks))
        held = self.done(self.rows.add(tasks, 0.0))
        self.assertEqual([row and row.task for row in held], tasks)
        changes = [TaskChange(uuid=each.uuid, event=PUBLISH) for each in tasks]
        rows = self.done(self.rows.change(changes))
        self.assertEqual([row and row.task for row in rows], tasks)

    # -- Changing

    def test_published(self) -> None:
        """
        A change gives the row after it, and does nothing where the state has no such
        change, or the row is not there.
        """
        self.add(name="n")
        task = new_task(name="n")
        row = CreatedTask(task=task, state=PUBLISHED)
        self.assertEqual(self.change(PUBLISH), row)
        self.assertEqual(self.find(), row)
        self.assertIsNone(self.change(PUBLISH))
        self.assertIsNone(self.change(WITHDRAW))
        self.assertIsNone(self.change(PUBLISH, "v"))
        self.assertEqual(self.find(), row)

    def test_noted_published(self) -> None:
        """
        That tasks are published is noted, without an answer, where it is a change.
        """
        tasks = [new_task(str(n), body=b"b") for n in range(1_300)]
        self.done(self.rows.add(tasks, 0.0))
        self.change(DELETE, "1")
        self.change(WITHDRAW, "2")
        uuids = [each.uuid for each in tasks if each.uuid != "3"]
        self.assertIsNone(self.done(self.rows.note_published([*uuids, "none"])))
        states = {"1": DELETING, "2": None, "3": NEW, "4": PUBLISHED, "1299": PUBLISHED}
        for uuid, state in states.items():
            row = self.find(uuid)
            self.assertEqual(row and row.state, state)
            self.assertEqual(row and row.task.body, row and b"b")

    def test_withdrawn(self) -> None:
        """
        A row that goes is told as it was last, and its name is free.
        """
        self.add(name="n")
        row = CreatedTask(task=new_task(name="n"), state=NEW)
        self.assertEqual(self.change(WITHDRAW), row)
        self.assertIsNone(self.find())
        self.assertIsNone(self.add("v", name="n"))

    def test_ended(self) -> None:
        """
        A row that has ended has all that its mediator tells, and no body.
        """
        self.add(name="n", digest=b"d")
        task = new_task(name="n", digest=b"d", body=b"")
        row = CreatedTask(task=task, state=ENDED, end=NOTE, held_until=5_000.0)
        self.assertEqual(self.change(END, end=NOTE, held_until=5_000.0), row)
        self.assertEqual(self.find(), row)

    def test_ended_twice(self) -> None:
        """
        A second end is the one that counts, and no hold becomes shorter.
        """
        self.add()
        self.change(END, end=NOTE, held_until=5_000.0)
        plain = EndNote(uuid="u", queue="tasks", outcome="done", ended=0.0)
        row = self.change(END, end=plain, held_until=4_000.0)
        assert row is not None
        self.assertEqual((row.end, row.held_until), (plain, 5_000.0))
        self.assertEqual(self.find(), row)

    def test_ended_without_hold(self) -> None:
        """
        A row that nobody holds keeps its body, and stays.
        """
        self.add()
        row = self.change(END, end=NOTE)
        task = new_task()
        self.assertEqual(row, CreatedTask(task=task, state=ENDED, end=NOTE))
        self.assertEqual(self.find(), row)
        self.assertEqual(self.done(self.rows.sweep(1e9)), 0)

    def test_deleted(self) -> None:
        """
        A row is kept while its task is deleted, and without a body after that.
        """
        self.add()
        row = CreatedTask(task=new_task(), state=DELETING)
        self.assertEqual(self.change(DELETE), row)
        row = CreatedTask(task=new_task(body=b""), state=DELETED, held_until=5_000.0)
        self.assertEqual(self.change(REMOVE, held_until=5_000.0), row)
        self.assertEqual(self.find(), row)
        self.assertIsNone(self.change(END, held_until=6_000.0))

    def test_changes_in_one(self) -> None:
        """
        Changes of one batch are made one after the other.
        """
        self.add()
        changes = [
            TaskChange(uuid="u", event=event, held_until=held)
            for event, held in [(PUBLISH, 0.0), (PUBLISH, 0.0), (END, 9.0), (END, 8.0)]
        ]
        rows = self.done(self.rows.change(changes))
        self.assertEqual(
            [row and (row.state, row.held_until) for row in rows],
            [(PUBLISHED, 0.0), None, (ENDED, 9.0), (ENDED, 9.0)],
        )
        self.assertEqual(self.find(), rows[-1])

    def test_bodies_at_the_end(self) -> None:
        """
        The body of a task that ends is there for all who ask for its row before that.
        """
        self.add("u", name="n")
        self.add("v", name="m")
        row = CreatedTask(task=new_task("u", name="n"), state=NEW)
        end = TaskChange(uuid="u", event=END, held_until=9.0)
        finding = self.begin(self.rows.find("u"))
        ending = self.begin(self.rows.change([end]))
        again = self.begin(self.rows.find("u"))
        self.settle()
        self.assertEqual(self.successResultOf(finding), row)
        self.assertEqual(self.successResultOf(ending), [self.successResultOf(again)])
        end = TaskChange(uuid="v", event=END, held_until=9.0)
        adding = self.begin(self.rows.add([new_task("w", name="m")], 0.0))
        ending = self.begin(self.rows.change([end]))
        self.settle()
        row = CreatedTask(task=new_task("v", name="m"), state=NEW)
        self.assertEqual(self.successResultOf(adding), [row])
        [ended] = self.successResultOf(ending)
        assert ended is not None
        self.assertEqual(ended.task.body, b"")

    # -- One queue of work

    def test_order(self) -> None:
        """
        What is asked for together is done in order, and told in that order: each sees
        what was asked for before.
        """
        asked: list[Awaitable[Any]] = [
            self.rows.add([new_task("u", name="n")], 0.0),
            self.rows.find("u"),
            self.rows.page(RowQuery()),
            self.rows.change([TaskChange(uuid="u", event=WITHDRAW)]),
            self.rows.add([new_task("v", name="n")], 0.0),
            self.rows.change([TaskChange(uuid="v", event=END, held_until=1.0)]),
            self.rows.sweep(1.0),
            self.rows.add([new_task("v")], 0.0),
            self.rows.find("u"),
            self.rows.find("v"),
        ]
        told: list[int] = []
        for n, each in enumerate(asked):
            self.begin(each).addCallback(_telling, told, n)
        self.settle()
        self.assertEqual([n for n in told if n != 2], [0, 1, *range(3, 10)])
        results = [self.successResultOf(self.begin(each)) for each in asked]
        self.assertEqual(
            results[1], CreatedTask(task=new_task("u", name="n"), state=NEW)
        )
        self.assertEqual(results[4], [None])
        self.assertEqual(results[6], 1)
        self.assertEqual(results[7], [None])
        self.assertEqual(results[8], None)
        self.assertEqual(results[9], CreatedTask(task=new_task("v"), state=NEW))

    # -- Lists

    def test_pages(self) -> None:
        """
        Rows are listed in the order in which they were added, page by page; one that
        was changed keeps its place.
        """
        for each in "cab":
            self.add(each)
        self.change(PUBLISH, "a")
        uuids, after = self.listed(size=2)
        self.assertEqual(uuids, ["c", "a"])
        self.assertEqual(self.listed(size=2, after=after), (["b"], 0))
        self.assertEqual(self.listed(size=3), (["c", "a", "b"], 0))

    def test_no_bodies(self) -> None:
        """
        A list can be without bodies, which may be large.
        """
        self.add("a", body=b"large", name="n")
        for bodies, body in ((True, b"large"), (False, b"")):
            query = RowQuery(bodies=bodies)
            [row], _ = self.done(self.rows.page(query))
            self.assertEqual((row.task.uuid, row.task.name), ("a", "n"))
            self.assertEqual(row.task.body, body)

    def test_page_goes_on(self) -> None:
        """
        A position holds although its row, and the last one, have gone meanwhile.
        """
        for each in "abc":
            self.add(each)
        _, after = self.listed(size=2)
        for each in "bc":
            self.change(WITHDRAW, each)
        self.add("d")
        self.assertEqual(self.listed(after=after), (["d"], 0))

    def test_conditions(self) -> None:
        """
        A list has those alone that all conditions let through.
        """
        for n, queue in enumerate(["tasks", "other", "tasks", "tasks", "other"]):
            self.add(f"{n}", queue=queue, created=100.0 + n, name=f"n{n % 2}{n}")
        self.change(PUBLISH, "2")
        self.change(END, "3", held_until=1e9)
        self.change(DELETE, "4")
        self.assertEqual(self.listed(queue="tasks")[0], ["0", "2", "3"])
        self.assertEqual(self.listed(name="n11")[0], ["1"])
        self.assertEqual(self.listed(queue="tasks", name="n11")[0], [])
        self.assertEqual(self.listed(before=102.0)[0], ["0", "1"])
        self.assertEqual(self.listed(states=(NEW,))[0], ["0", "1"])
        self.assertEqual(self.listed(states=(NEW, PUBLISHED))[0], ["0", "1", "2"])
        self.assertEqual(self.listed(states=(PUBLISHED, ENDED))[0], ["2", "3"])
        self.assertEqual(self.listed(states=(DELETING,), queue="other")[0], ["4"])
        self.assertEqual(self.listed(states=(ENDED, DELETED))[0], ["3"])
        self.assertEqual(self.listed(states=(ENDED,), before=103.0)[0], [])
        found, _ = self.listed(except_queues=("tasks", "none"))
        self.assertEqual(found, ["1", "4"])
        found, _ = self.listed(states=(NEW,), except_queues=("other",))
        self.assertEqual(found, ["0"])

    def test_queues(self) -> None:
        """
        The queues of tasks that live are told, each once.
        """
        self.assertEqual(self.done(self.rows.queues()), [])
        for n, queue in enumerate(["b", "é", "b", "a", "c", "\ud800", ""]):
            self.add(f"{n}", queue=queue)
        self.change(END, "3", held_until=1e9)
        self.change(PUBLISH, "2")
        self.change(DELETE, "4")
        found = self.done(self.rows.queues())
        self.assertEqual(sorted(found), sorted(["", "b", "c", "é", "\ud800"]))

    # -- Several processes

    def test_standing(self) -> None:
        """
        A process that is alone leads.
        """
        for _ in range(2):
            found = self.done(self.rows.standing())
            self.assertEqual(found, Standing(leads=True, is_alone=True))

    # -- Sweeping

    def test_swept(self) -> None:
        """
        Rows go once their hold has ended.
        """
        for each in "abcd":
            self.add(each)
        self.change(END, "a", held_until=10.0)
        self.change(END, "b", held_until=20.0)
        self.change(PUBLISH, "c")
        self.assertEqual(self.done(self.rows.sweep(9.9)), 0)
        self.assertEqual(self.done(self.rows.sweep(10.0)), 1)
        self.assertEqual(self.listed()[0], ["b", "c", "d"])
        self.assertEqual(self.done(self.rows.sweep(1e9)), 1)
        self.assertEqual(self.listed()[0], ["c", "d"])

    def test_swept_in_slices(self) -> None:
        """
        All that is to go goes, though not at once.
        """
        tasks = [new_task(str(n)) for n in range(2_100)]
        self.done(self.rows.add(tasks, 0.0))
        self.done(
            self.rows.change(
                [TaskChange(uuid=t.uuid, event=END, held_until=1.0) for t in tasks]
            )
        )
        slices = []
        while removed := self.done(self.rows.sweep(1.0)):
            slices.append(removed)
        self.assertEqual(sum(slices), 2_100)
        self.assertEqual(self.listed(), ([], 0))

    # -- All together

    def compare(self, calls: Sequence[tuple[Any, ...]], together: bool) -> None:
        """
        Ask other rows, of which there are none yet, and rows in memory for the same:
        the answers are the same.

        @param together: whether it is asked for at once.
        """
        memory, rows = MemoryRows(), self.new_rows()
        wanted = [self.successResultOf(_asked(memory, each)) for each in calls]
        begun = []
        for each in calls:
            begun.append(self.begin(_asked(rows, each)))
            if not together or each[0] == "page":
                self.settle()
        self.settle()
        self.assertEqual([self.successResultOf(each) for each in begun], wanted)


class StoredRowsContract(TaskRowsContract):
    """
    The same, of a database; work is done when the turn ends.
    """

    def new_store(self) -> TaskStore:
        """
        A database that has nothing yet.
        """
        raise NotImplementedError

    def new_rows(self) -> StoredTaskRows:
        """
        Its rows.
        """
        self.clock = ThreadClock()
        return start_rows(self, self.new_store(), self.clock)

    def settle(self) -> None:
        """
        The turn ends, and the next one; what can wait is done, too.
        """
        for seconds in (0, 0, ALONE, 0):
            self.clock.advance(seconds)


class StoreInPostgreSQL:
    """
    Stores in one database, each with a schema that has nothing yet.
    """

    url = ""
    store: TaskStore | None = None

    @pytest.fixture(autouse=True)
    def server(self, postgresql: PostgreSQLServer) -> None:
        """
        Make one database for all tests; trial knows no fixtures.
        """
        if not self.url:
            type(self).url = postgresql.new_database()

    def new_store(self) -> TaskStore:
        """
        A new schema.
        """
        if not self.url:
            raise SkipTest("pytest starts PostgreSQL")
        if self.store is not None:
            self.store.close()
        with psycopg.connect(self.url, autocommit=True) as connection:
            # PostgreSQL takes note of a closed connection a little later.
            patience.until(lambda: connection.execute(_LOCKS).fetchone() == (0,))
            connection.execute("DROP SCHEMA IF EXISTS quebert_tasks CASCADE")
        self.store = TaskStore(PostgreSQLTasks(self.url))
        return self.store


def start_rows(
    case: SynchronousTestCase, store: TaskStore, clock: ThreadClock
) -> StoredTaskRows:
    """
    Rows whose work is done when the turn ends.  Their store is closed after the test.
    """
    case.addCleanup(store.close)
    any_pool: Any = lambda threads, name: WorkThreads()  # noqa: E731
    rows = StoredTaskRows(store, clock, any_pool)
    starting = Deferred.fromCoroutine(rows.start())
    clock.pump((0, 0))
    case.successResultOf(starting)
    return rows


def _telling(result: T, told: list[int], n: int) -> T:
    told.append(n)
    return result


def _asked(rows: Any, call: tuple[Any, ...]) -> Deferred[Any]:
    name, *arguments = call
    asked: Deferred[Any] = getattr(rows, name)(*arguments)
    return asked
