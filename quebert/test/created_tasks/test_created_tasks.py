"""
Tests for L{quebert.created_tasks._created_tasks}.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest import mock

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.created_tasks import (
    DELETED,
    DELETING,
    ENDED,
    NEW,
    PUBLISHED,
    WINDOW,
    CreatedTask,
    CreatedTasks,
    EndNote,
    RowQuery,
    Standing,
    TaskChange,
    _created_tasks,
)
from quebert.created_tasks._states import DELETE
from quebert.errors import (
    BrokerError,
    BrokerUnreachable,
    NameTaken,
    TaskEnded,
    TaskStoreError,
    TaskUnknown,
    TooManyTasks,
    Unroutable,
    UUIDTaken,
)
from quebert.test.created_tasks.doubles import (
    MemoryBroker,
    MemoryRows,
    in_memory,
    new_task,
)

T = TypeVar("T")


class CreatedTasksTests(SynchronousTestCase):
    """
    L{CreatedTasks}, with rows and a broker in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.rows = MemoryRows()
        self.broker = MemoryBroker()
        self.tasks = self.another()

    def another(self) -> CreatedTasks:
        """
        What a process has after a kill: the same rows, and the same broker.
        """
        return in_memory(self.clock, rows=self.rows, broker=self.broker)

    def begin(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """
        Begin something.
        """
        return Deferred.fromCoroutine(work)

    def done(self, work: Coroutine[Any, Any, T]) -> T:
        """
        Do something, at once.
        """
        return self.successResultOf(self.begin(work))

    def create(self, uuid: str = "u", **fields: Any) -> object:
        """
        Create a task; gives its row, or the error.
        """
        [result] = self.done(self.tasks.create([new_task(uuid, **fields)]))
        return result

    def state(self, uuid: str = "u") -> str | None:
        """
        The state of a row; C{None} if it is gone.
        """
        row = self.successResultOf(self.rows.find(uuid))
        return None if row is None else row.state

    def end(self, uuid: str = "u") -> None:
        """
        A mediator tells the end of a task.
        """
        note = EndNote(uuid=uuid, queue="tasks", outcome="done", ended=1_000.0)
        self.done(self.tasks.ended([note]))

    def test_created(self) -> None:
        """
        A task has a row and is in its queue when the caller has the answer.
        """
        row = self.create()
        self.assertIsInstance(row, CreatedTask)
        self.assertEqual(self.state(), PUBLISHED)
        self.assertEqual([t.uuid for t in self.broker.queues["tasks"]], ["u"])

    def test_row_first(self) -> None:
        """
        The row is there before the task is published.
        """
        self.broker.silent = True
        creating = self.begin(self.tasks.create([new_task()]))
        self.assertNoResult(creating)
        self.assertEqual(self.state(), NEW)
        self.broker.answer()
        self.assertEqual(self.successResultOf(creating)[0].state, PUBLISHED)  # type: ignore[union-attr]

    def test_too_many(self) -> None:
        """
        While the tasks that are being created have many bytes, more are refused at
        once, and have no rows; a large batch alone is taken.
        """
        self.patch(_created_tasks, "MOST_BYTES", 3_000)
        self.broker.silent = True
        batch = [new_task(each) for each in "abcd"]
        creating = self.begin(self.tasks.create(batch))
        refused = self.begin(self.tasks.create([new_task("u")]))
        self.failureResultOf(refused, TooManyTasks)
        self.assertIsNone(self.state())
        self.broker.answer()
        self.assertEqual(len(self.successResultOf(creating)), 4)
        self.broker.silent = False
        self.assertIsInstance(self.create(), CreatedTask)

    def test_name_taken(self) -> None:
        """
        A name is taken in its queue, also within one batch, until a while after the end
        of its task.
        """
        tasks = [new_task("u", name="n"), new_task("v", name="n")]
        first, second = self.done(self.tasks.create(tasks))
        self.assertIsInstance(first, CreatedTask)
        self.assertIsInstance(second, NameTaken)
        self.assertIn("the name n already: u, which is", str(second))
        self.assertIsInstance(self.create("w", name="n", queue="other"), CreatedTask)
        self.end("u")
        self.clock.advance(WINDOW - 1)
        self.assertIsInstance(self.create("x", name="n"), NameTaken)
        self.clock.advance(2)
        self.assertIsInstance(self.create("x", name="n"), CreatedTask)
        self.assertIsNone(self.state("u"))

    def test_refused(self) -> None:
        """
        Where RabbitMQ certainly has not got a task, its row and its name are gone.
        """
        self.broker.problem = BrokerUnreachable("it is away")
        self.assertIs(self.create(name="n"), self.broker.problem)
        self.assertIsNone(self.state())
        self.broker.problem = None
        self.assertIsInstance(self.create("v", name="n"), CreatedTask)

    def test_refused_late(self) -> None:
        """
        A client hears that its task is refused once the row is gone: a row that stays
        would be published after a kill.
        """
        changing: Deferred[Any] = Deferred()
        self.patch(self.rows, "change", lambda changes: changing)
        self.broker.problem = BrokerUnreachable("it is away")
        creating = self.begin(self.tasks.create([new_task()]))
        self.assertNoResult(creating)
        changing.callback([None])
        self.assertEqual(self.successResultOf(creating), [self.broker.problem])

    def test_unknown(self) -> None:
        """
        Where nobody knows whether RabbitMQ has a task, the row stays, and the task is
        published a while later.
        """
        self.broker.problem = BrokerError("no answer")
        self.assertIs(self.create(name="n"), self.broker.problem)
        self.assertEqual(self.state(), NEW)
        self.assertIsInstance(self.create("v", name="n"), NameTaken)
        self.broker.problem = None
        self.assertEqual(self.done(self.tasks.go_on()), 1)
        self.assertEqual(self.state(), PUBLISHED)
        self.assertEqual([t.uuid for t in self.broker.queues["tasks"]], ["u"])
        self.assertEqual(self.done(self.tasks.go_on()), 0)

    def test_in_doubt_again(self) -> None:
        """
        A row whose message RabbitMQ may have is not given up while RabbitMQ is away:
        the name of a task that was created would be free.
        """
        # A kill comes before the row is changed.
        with mock.patch.object(self.rows, "change", return_value=Deferred()):
            self.assertIsInstance(self.create(name="n", digest=b"1"), CreatedTask)
        self.clock.advance(60)
        self.broker.problem = BrokerUnreachable("it is away")
        self.tasks = self.another()
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.assertIsInstance(self.create("v", name="n"), NameTaken)
        found = self.create(name="n", digest=b"1")
        assert isinstance(found, BrokerError)
        self.assertIsNone(found.added)
        self.broker.problem = Unroutable("there is no such queue")
        self.broker.lacking = {"tasks"}
        self.assertEqual(self.done(self.tasks.go_on()), 1)
        self.assertIsNone(self.state())

    def test_node_down(self) -> None:
        """
        Nor is it given up while its queue takes no messages since its node is down; or
        while RabbitMQ does not tell whether there is the queue.
        """
        with mock.patch.object(self.rows, "change", return_value=Deferred()):
            self.create(name="n")
        self.clock.advance(60)
        self.broker.problem = Unroutable("NO_ROUTE")
        self.tasks = self.another()
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.assertEqual(self.state(), NEW)
        has_queue = mock.Mock(side_effect=lambda name: fail(BrokerError("it is away")))
        self.patch(self.broker, "has_queue", has_queue)
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.assertEqual(self.state(), NEW)

    def test_full_queue(self) -> None:
        """
        Tasks in doubt of a queue that is full keep no others waiting, however many
        there are; they are published once the queue takes them.
        """
        self.broker.silent = True
        full = [new_task(f"f{n}", queue="full") for n in range(1_200)]
        self.begin(self.tasks.create(full))
        self.begin(self.tasks.create([new_task("u")]))
        self.broker.silent = False
        self.broker.full = {"full"}
        self.tasks = self.another()
        self.assertEqual(self.done(self.tasks.go_on()), 1)
        self.assertEqual((self.state("u"), self.state("f0")), (PUBLISHED, NEW))
        self.assertEqual(self.broker.asked, 500 + 1)
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.broker.full = set()
        self.assertEqual(self.done(self.tasks.go_on()), 1_200)
        self.assertEqual(len(self.broker.queues["full"]), 1_200)

    def test_broker_away(self) -> None:
        """
        While RabbitMQ is away, it is tried with some tasks alone.
        """
        self.broker.silent = True
        new = [new_task(f"{n}", queue=f"q{n % 2}") for n in range(1_200)]
        self.begin(self.tasks.create(new))
        self.broker.silent = False
        self.broker.problem = BrokerUnreachable("it is away")
        self.assertEqual(self.done(self.another().go_on()), 0)
        self.assertEqual(self.broker.asked, 500)

    def test_killed(self) -> None:
        """
        The next process publishes a task whose process was killed before the confirm.
        """
        self.broker.silent = True
        self.begin(self.tasks.create([new_task()]))
        self.broker.silent = False
        self.assertEqual(self.done(self.another().go_on()), 1)
        self.assertEqual(self.state(), PUBLISHED)

    def test_in_hand(self) -> None:
        """
        A task that is being published is not published a second time.
        """
        self.broker.silent = True
        creating = self.begin(self.tasks.create([new_task()]))
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.broker.answer()
        self.successResultOf(creating)
        self.assertEqual(len(self.broker.queues["tasks"]), 1)

    def test_young(self) -> None:
        """
        A row that was written a moment ago is left to whoever has written it.
        """
        self.broker.problem = BrokerError("no answer")
        self.create(created=self.clock.seconds())
        self.assertEqual(self.done(self.another().go_on()), 0)
        self.clock.advance(60)
        self.broker.problem = None
        self.assertEqual(self.done(self.another().go_on()), 1)

    def test_led_by_another(self) -> None:
        """
        What was begun is left to the process that leads, and what is young to the one
        that may have it in hand, also where a client asks again.
        """
        self.broker.silent = True
        now = self.clock.seconds()
        self.begin(self.tasks.create([new_task(digest=b"1", created=now)]))
        self.broker.silent = False
        self.tasks = self.another()
        for leads in (False, True):
            self.rows.standing_is = Standing(leads=leads, is_alone=False)
            self.assertEqual(self.done(self.tasks.go_on()), 0)
            found = self.create(digest=b"1", created=now)
            assert isinstance(found, BrokerError)
            self.assertIsNone(found.added)
        self.clock.advance(60)
        self.rows.standing_is = Standing(leads=False, is_alone=False)
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.assertIsInstance(self.create(digest=b"1"), BrokerError)
        self.assertEqual(self.broker.queues, {})
        self.rows.standing_is = Standing(leads=True, is_alone=False)
        self.assertIsInstance(self.create(digest=b"1"), CreatedTask)
        self.assertEqual(len(self.broker.queues["tasks"]), 1)

    def test_left_by_another(self) -> None:
        """
        A client that asks again need not wait where the process that has written the
        row is there no more, whoever leads, until the one that leads goes on with it.
        """
        for uuid, wait, found in (("u", 0, CreatedTask), ("v", 60, BrokerError)):
            self.broker.silent = True
            now = self.clock.seconds()
            new = new_task(uuid, digest=b"1", created=now)
            self.begin(self.another().create([new]))
            self.broker.silent = False
            number, _ = self.rows.rows[uuid]
            self.clock.advance(wait)
            for older, kind in ((number - 1, BrokerError), (number, found)):
                self.rows.standing_is = Standing(
                    leads=False, is_alone=False, older=older
                )
                answer = self.create(uuid, digest=b"1", created=now)
                self.assertIsInstance(answer, kind)

    def test_deleted_by_another(self) -> None:
        """
        A task that another process is deleting is deleted again after a while.
        """
        self.create()
        self.broker.silent = True
        self.begin(self.tasks.delete("u", "ada"))
        self.broker.silent = False
        self.broker.cancelled = []
        self.rows.standing_is = Standing(leads=True, is_alone=False)
        self.tasks = self.another()
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.clock.advance(29)
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.clock.advance(1)
        self.assertEqual(self.done(self.tasks.go_on()), 1)
        self.assertEqual(self.broker.cancelled, ["u"])
        self.assertEqual(self.state(), DELETED)

    def test_repeated(self) -> None:
        """
        The same request again has the same task; another one with its uuid is refused.
        """
        first = self.create(digest=b"1")
        self.assertEqual(self.create(digest=b"1"), first)
        self.assertIsInstance(self.create(digest=b"2"), UUIDTaken)
        self.assertIsInstance(self.create(), UUIDTaken)
        self.assertEqual(len(self.broker.queues["tasks"]), 1)

    def test_repeated_meanwhile(self) -> None:
        """
        The same request again, before the first one has its answer, waits for that.
        """
        self.broker.silent = True
        first = self.begin(self.tasks.create([new_task(digest=b"1")]))
        second = self.begin(self.tasks.create([new_task(digest=b"1")]))
        self.assertNoResult(second)
        self.broker.answer()
        self.assertEqual(self.successResultOf(first), self.successResultOf(second))
        self.assertEqual(len(self.broker.queues["tasks"]), 1)

    def test_repeated_in_doubt(self) -> None:
        """
        The same request again publishes the task if nobody knows whether the first one
        has.
        """
        self.broker.problem = BrokerError("no answer")
        self.create(digest=b"1")
        self.broker.problem = None
        self.assertIsInstance(self.create(digest=b"1"), CreatedTask)
        self.assertEqual(self.state(), PUBLISHED)

    def test_delete(self) -> None:
        """
        A deleted task is cancelled, and its name stays held for a while.
        """
        self.create(name="n")
        deleted = self.done(self.tasks.delete("u", "somebody"))
        self.assertEqual(deleted.result, "cancelled")
        self.assertEqual(self.broker.cancelled, ["u"])
        self.assertEqual(self.state(), DELETED)
        self.assertIsInstance(self.create("v", name="n"), NameTaken)
        deleting = self.begin(self.tasks.delete("u", ""))
        self.assertIn("is deleted", str(self.failureResultOf(deleting, TaskEnded)))

    def test_delete_unknown(self) -> None:
        """
        There is nothing to delete, or to run.
        """
        self.failureResultOf(self.begin(self.tasks.delete("u", "")), TaskUnknown)
        self.failureResultOf(self.begin(self.tasks.run_now("u")), TaskUnknown)

    def test_delete_meanwhile(self) -> None:
        """
        A task is deleted once it is published: RabbitMQ would get it after that.
        """
        self.broker.silent = True
        self.begin(self.tasks.create([new_task()]))
        deleting = self.begin(self.tasks.delete("u", ""))
        self.assertEqual(self.state(), NEW)
        self.broker.answer()
        self.assertEqual(self.state(), DELETING)
        self.broker.answer()
        self.successResultOf(deleting)
        self.assertEqual(self.state(), DELETED)

    def test_delete_of_ended(self) -> None:
        """
        A task whose mediator tells meanwhile that it is done was not cancelled.  One
        that the mediator has dropped was.
        """
        for outcome, was_cancelled in (("done", False), ("cancelled", True)):
            self.create(outcome)
            self.broker.silent = True
            deleting = self.begin(self.tasks.delete(outcome, ""))
            end = EndNote(uuid=outcome, queue="tasks", outcome=outcome, ended=1.0)
            self.done(self.tasks.ended([end]))
            self.broker.silent = False
            self.broker.answer()
            if was_cancelled:
                self.assertEqual(self.successResultOf(deleting).result, "cancelled")
            else:
                self.failureResultOf(deleting, TaskEnded)

    def test_delete_of_unread_end(self) -> None:
        """
        A task that had ended before it was deleted, although its end was not read, was
        not cancelled.  To know that, its deletion waits until the notes are read.
        """
        self.create()
        self.broker.told = self.broker.notes.append
        deleting = self.begin(self.tasks.delete("u", ""))
        self.clock.advance(4.9)
        self.assertNoResult(deleting)
        self.end()
        self.done(self.tasks.ended(self.broker.notes))
        self.failureResultOf(deleting, TaskEnded)
        self.assertEqual(self.state(), ENDED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_delete_unread(self) -> None:
        """
        Where notes are not read nobody knows whether a task had ended.  It is deleted
        when they are read.
        """
        self.create()
        self.broker.told = self.broker.notes.append
        for looks in (20, 1):  # the second time it is known that nobody reads them
            deleting = self.begin(self.tasks.delete("u", ""))
            for _ in range(looks):
                self.assertNoResult(deleting)
                self.clock.advance(0.25)
            marked = self.successResultOf(deleting)
            self.assertEqual(marked.result, "marked")
            self.assertIn("may have ended before", marked.problems[0])
            self.assertEqual(self.state(), DELETING)
        going = self.begin(self.tasks.go_on())
        self.clock.advance(0.25)
        problem = self.failureResultOf(going, BrokerError)
        self.assertIn("are not read", str(problem.value))
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.assertEqual(len(self.broker.notes), 3)  # and no more for a while
        self.done(self.tasks.ended(self.broker.notes))
        self.assertEqual(self.state(), DELETED)
        self.assertEqual(self.done(self.tasks.go_on()), 0)

    def test_delete_many_unread(self) -> None:
        """
        Where notes are not read, many tasks that are deleted again do not wait for that
        one after the other: nothing else would go on meanwhile.
        """
        uuids = [f"u{n}" for n in range(250)]
        for each in uuids:
            self.create(each)
        changes = [TaskChange(uuid=each, event=DELETE) for each in uuids]
        self.successResultOf(self.rows.change(changes))
        self.broker.told = self.broker.notes.append
        going = self.begin(self.tasks.go_on())
        self.clock.pump([0.25] * 20)
        self.failureResultOf(going, BrokerError)
        self.assertEqual(len(self.broker.notes), 100)

    def test_delete_read_by_another(self) -> None:
        """
        Another process may read the notes.
        """
        self.create()
        self.another()
        deleting = self.begin(self.tasks.delete("u", ""))
        self.assertEqual(self.state(), DELETED)
        self.assertNoResult(deleting)
        self.clock.advance(0.25)
        self.assertEqual(self.successResultOf(deleting).result, "cancelled")

    def test_delete_read_late_by_another(self) -> None:
        """
        Where that process does not read for a while, and then does, it is waited for
        again.
        """
        for uuid in ("u", "v", "w"):
            self.create(uuid)
        self.broker.told = self.broker.notes.append
        reader = CreatedTasks(self.rows, self.broker, self.clock.seconds, self.clock)
        deleting = self.begin(self.tasks.delete("u", ""))
        self.clock.pump([0.25] * 20)
        self.assertEqual(self.successResultOf(deleting).result, "marked")
        deleting = self.begin(self.tasks.delete("v", ""))
        self.done(reader.ended(self.broker.notes))
        self.clock.advance(0.25)
        self.assertEqual(self.successResultOf(deleting).result, "cancelled")
        deleting = self.begin(self.tasks.delete("w", ""))
        self.clock.advance(0.25)
        self.assertNoResult(deleting)

    def test_delete_killed(self) -> None:
        """
        The next process deletes a task whose process was killed half-way.
        """
        self.create()
        self.broker.problem = BrokerUnreachable("it is away")
        self.failureResultOf(self.begin(self.tasks.delete("u", "")), BrokerError)
        self.assertEqual(self.state(), DELETING)
        self.broker.problem = None
        self.assertEqual(self.done(self.another().go_on()), 1)
        self.assertEqual(self.broker.cancelled, ["u"])
        self.assertEqual(self.state(), DELETED)

    def test_delete_again(self) -> None:
        """
        Whoever deletes a task again that RabbitMQ could not be told of is told what has
        become of it, and not that it is gone while it may run.
        """
        self.create()
        self.broker.problem = BrokerUnreachable("it is away")
        for _ in range(2):
            self.failureResultOf(self.begin(self.tasks.delete("u", "")), BrokerError)
        self.broker.problem = None
        self.assertEqual(self.done(self.tasks.delete("u", "")).result, "cancelled")
        self.assertEqual(self.state(), DELETED)

    def test_run_now(self) -> None:
        """
        A task that waits runs now; one that has ended does not.
        """
        self.create()
        self.assertEqual(self.done(self.tasks.run_now("u")).result, "running")
        self.end()
        self.failureResultOf(self.begin(self.tasks.run_now("u")), TaskEnded)

    def test_ended(self) -> None:
        """
        A task that has ended has no body any more, and tells how it ended.
        """
        self.create()
        self.end()
        row = self.done(self.tasks.find("u"))
        assert row.end is not None
        self.assertEqual((row.state, row.end.outcome), (ENDED, "done"))
        self.assertEqual(row.task.body, b"")
        self.failureResultOf(self.begin(self.tasks.delete("u", "")), TaskEnded)

    def test_end_of_another_queue(self) -> None:
        """
        A task of another queue with the same uuid does not end this one.
        """
        self.create()
        note = EndNote(uuid="u", queue="other", outcome="done", ended=1_000.0)
        self.done(self.tasks.ended([note]))
        self.assertEqual(self.state(), PUBLISHED)

    def test_swept(self) -> None:
        """
        Rows go once their names are free.
        """
        self.create()
        self.end()
        self.assertEqual(self.done(self.tasks.go_on()), 0)
        self.clock.advance(WINDOW)
        self.assertEqual(self.done(self.tasks.go_on()), 1)
        self.assertIsNone(self.state())

    def test_repeated_together(self) -> None:
        """
        The tasks of a batch that is sent again are published side by side: while
        RabbitMQ takes nothing, the answer comes no later for there being many.
        """
        batch = [new_task(each, digest=b"1") for each in "abc"]
        self.broker.problem = BrokerError("no answer")
        self.done(self.tasks.create(batch))
        self.broker.problem = None
        self.broker.silent = True
        again = self.begin(self.tasks.create([*batch, new_task("d")]))
        self.broker.answer()  # the new one
        self.assertEqual(len(self.broker.waiting), 3)
        for _ in batch:
            self.broker.answer()
        found = [each.task.uuid for each in self.successResultOf(again)]  # type: ignore[union-attr]
        self.assertEqual(found, ["a", "b", "c", "d"])

    def test_not_noted(self) -> None:
        """
        A task that RabbitMQ has confirmed while the database does not answer is not
        published a second time by the same process, whoever leads.
        """
        for leads in (True, False):
            uuid = f"u{leads}"
            self.broker.silent = True
            creating = self.begin(self.tasks.create([new_task(uuid, digest=b"1")]))
            self.broker.silent = False
            self.rows.problem = TaskStoreError("it is away")
            self.broker.answer()
            self.successResultOf(creating)
            self.failureResultOf(self.begin(self.tasks.go_on()), TaskStoreError)
            self.rows.problem = None
            self.assertEqual(self.state(uuid), NEW)
            self.rows.standing_is = Standing(leads=leads, is_alone=leads)
            if leads:
                self.assertIsInstance(self.create(uuid, digest=b"1"), CreatedTask)
            self.done(self.tasks.go_on())
            self.assertEqual(self.state(uuid), PUBLISHED)
        self.assertEqual(self.broker.asked, 2)

    def test_not_noted_of_another(self) -> None:
        """
        A later task with the uuid of one that was not noted is published.
        """
        self.rows.problem = TaskStoreError("it is away")
        self.tasks._publications._unnoted.add("u")
        self.rows.problem = None
        self.create()
        self.assertEqual(self.broker.asked, 1)

    def test_delete_of_others(self) -> None:
        """
        A queue whose tasks cannot be deleted keeps neither the tasks of other queues
        waiting, nor rows whose names are free again.
        """
        for n in range(600):
            self.create(f"full-{n}", queue="full")
        self.create("u")
        self.create("old")
        self.end("old")
        self.broker.problem = BrokerError("it is away")
        for uuid in [*(f"full-{n}" for n in range(600)), "u"]:
            self.failureResultOf(self.begin(self.tasks.delete(uuid, "")), BrokerError)
        self.broker.problem = None
        self.broker.full = {"full"}
        self.clock.advance(WINDOW)
        self.failureResultOf(self.begin(self.tasks.go_on()), BrokerError)
        self.assertEqual(self.state(), DELETED)
        self.assertIsNone(self.state("old"))
        self.broker.full = set()
        self.assertEqual(self.done(self.tasks.go_on()), 500)

    def test_end_of_an_earlier_task(self) -> None:
        """
        The end of an earlier task with the same uuid, such as that of a dead letter
        which was put back, is not that of this one.
        """
        self.create(created=200.5)
        for sent, state in ((199.0, PUBLISHED), (200.0, ENDED)):
            note = EndNote(
                uuid="u", queue="tasks", outcome="done", ended=1_000.0, sent=sent
            )
            self.done(self.tasks.ended([note]))
            self.assertEqual(self.state(), state)

    def test_away(self) -> None:
        """
        Without the database nothing is published.
        """
        self.rows.problem = TaskStoreError("it is away")
        creating = self.begin(self.tasks.create([new_task()]))
        self.failureResultOf(creating, TaskStoreError)
        self.assertEqual(self.broker.queues, {})

    def test_page(self) -> None:
        """
        Tasks are listed page by page.
        """
        for each in "abc":
            self.create(each)
        asked = RowQuery(states=(PUBLISHED,), size=2)
        rows, after = self.done(self.tasks.page(asked))
        self.assertEqual([r.task.uuid for r in rows], ["a", "b"])
        asked = RowQuery(states=(PUBLISHED,), size=2, after=after)
        rows, after = self.done(self.tasks.page(asked))
        self.assertEqual(([r.task.uuid for r in rows], after), (["c"], 0))
