"""
Tests for L{quebert.created_tasks}: whatever comes in whatever order, and wherever the
process is killed, no task is lost, no name is given twice, and no deleted task runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert.created_tasks import (
    DELETED,
    ENDED,
    PUBLISHED,
    WINDOW,
    CreatedTask,
    CreatedTasks,
    DeletionNote,
    EndNote,
    NewTask,
    RowQuery,
    Standing,
    TaskChange,
)
from quebert.errors import BrokerError, BrokerUnreachable, TaskEnded, TaskUnknown
from quebert.operations import MARKED, Cancelled, RunNow
from quebert.test.checks import EXAMPLES, QUICK, run_machine
from quebert.test.created_tasks.doubles import MemoryBroker, MemoryRows, new_task

NAMES = (None, "n")
_NO_TASK = (TaskEnded, TaskUnknown)
PROBLEMS = (None, None, None, BrokerUnreachable("away"), BrokerError("?"))


class Gate:
    """
    Work that is asked for, and carried out later, in its order, or never.
    """

    def __init__(self) -> None:
        self._asked: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, work: Callable[[], Any]) -> Deferred[Any]:
        """
        Ask for work.
        """
        answer: Deferred[Any] = Deferred()
        self._asked.append((work, answer))
        return answer

    def step(self) -> None:
        """
        Carry out the first.
        """
        work, answer = self._asked.pop(0)
        work().chainDeferred(answer)

    def kill(self, done: int) -> None:
        """
        Whoever has asked is gone; the first C{done} are carried out all the same.
        """
        for work, _ in self._asked[:done]:
            work().addErrback(lambda _: None)
        self._asked = []


class GatedRows:
    """
    L{MemoryRows} behind a gate.
    """

    def __init__(self, rows: MemoryRows, gate: Gate) -> None:
        self._rows = rows
        self._gate = gate

    def add(self, tasks: Sequence[NewTask], now: float) -> Deferred[Any]:
        """
        See L{MemoryRows}.
        """
        return self._gate.ask(lambda: self._rows.add(tasks, now))

    def change(self, changes: Sequence[TaskChange]) -> Deferred[Any]:
        """
        See L{MemoryRows}.
        """
        return self._gate.ask(lambda: self._rows.change(changes))

    def note_published(self, uuids: Sequence[str]) -> Deferred[Any]:
        """
        See L{MemoryRows}.
        """
        return self._gate.ask(lambda: self._rows.note_published(uuids))

    def find(self, uuid: str) -> Deferred[Any]:
        """
        See L{MemoryRows}.
        """
        return self._gate.ask(lambda: self._rows.find(uuid))

    def page(self, query: RowQuery) -> Deferred[Any]:
        """
        See L{MemoryRows}.
        """
        return self._gate.ask(lambda: self._rows.page(query))

    def queues(self) -> Deferred[Any]:
        """
        See L{MemoryRows}.
        """
        return self._gate.ask(self._rows.queues)

    def standing(self) -> Deferred[Any]:
        """
        See L{MemoryRows}.
        """
        return self._gate.ask(self._rows.standing)

    def sweep(self, now: float) -> Deferred[Any]:
        """
        See L{MemoryRows}.
        """
        return self._gate.ask(lambda: self._rows.sweep(now))


class GatedBroker:
    """
    L{MemoryBroker} behind a gate.  It has a task unless it says that it has not.
    """

    def __init__(self, broker: MemoryBroker, gate: Gate) -> None:
        self._broker = broker
        self._gate = gate

    def publish(self, tasks: Sequence[NewTask]) -> Deferred[Any]:
        """
        See L{MemoryBroker}.
        """

        def publish() -> Deferred[Any]:
            problem = self._broker.problem
            if problem is not None and problem.added is None:
                self._broker.problem = None
                self._broker.publish(tasks)
                self._broker.problem = problem
            return self._broker.publish(tasks)

        return self._gate.ask(publish)

    def has_queue(self, name: str) -> Deferred[bool]:
        """
        See L{MemoryBroker}.
        """
        return self._gate.ask(lambda: self._broker.has_queue(name))

    def cancel(self, task: NewTask, by: str) -> Deferred[Cancelled]:
        """
        See L{MemoryBroker}.
        """
        return self._gate.ask(lambda: self._broker.cancel(task, by))

    def run_now(self, queue: str, uuid: str) -> Deferred[RunNow]:
        """
        See L{MemoryBroker}.
        """
        return self._gate.ask(lambda: self._broker.run_now(queue, uuid))


@attrs.define
class Asked:
    """
    A task that a client has asked for.

    @ivar accepted: when the client was told that it is created.
    @ivar refused: whether the client was told that it is not, for certain.
    @ivar over: when a note of its end or its deletion was read first.
    @ivar done: whether a mediator has done it.
    """

    task: NewTask
    accepted: float | None = None
    refused: bool = False
    over: float | None = None
    done: bool = False

    def end(self, now: float) -> None:
        """
        A note says that it is deleted, or has ended.
        """
        if self.over is None:
            self.over = now


class CreatedTasksMachine(RuleBasedStateMachine):
    """
    Clients, mediators, RabbitMQ and a database around L{CreatedTasks}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(1_000)
        self.rows = MemoryRows()
        self.broker = MemoryBroker()
        self.asked: dict[str, Asked] = {}
        self.notes: list[EndNote | DeletionNote] = []
        self.broker.told = self.notes.append
        self.start()

    def start(self) -> None:
        """
        A process begins.
        """
        self.gates = Gate(), Gate()
        self.going_on: Deferred[int] | None = None
        self.process = CreatedTasks(
            GatedRows(self.rows, self.gates[0]),
            GatedBroker(self.broker, self.gates[1]),
            self.clock.seconds,
            self.clock,
        )

    def there(self) -> set[str]:
        """
        The tasks that RabbitMQ has, or had.
        """
        return {t.uuid for queue in self.broker.queues.values() for t in queue}

    # -- Clients

    @rule(name=st.sampled_from(NAMES), size=st.integers(1, 2), quick=st.booleans())
    def create(self, name: str | None, size: int, quick: bool) -> None:
        """
        Ask for tasks.
        """
        tasks = [
            new_task(
                f"u{len(self.asked) + n}",
                name=name,
                created=self.clock.seconds(),
                digest=b"d",
            )
            for n in range(size)
        ]
        self.asked.update((each.uuid, Asked(each)) for each in tasks)
        creating = Deferred.fromCoroutine(self.process.create(tasks))
        creating.addCallback(self.created, tasks)
        if quick:
            self.settle()

    def created(self, results: list[Any], tasks: list[NewTask]) -> None:
        """
        A client is answered.
        """
        for task, result in zip(tasks, results, strict=True):
            asked = self.asked[task.uuid]
            if isinstance(result, CreatedTask):
                self.check_name(task)
                asked.accepted = self.clock.seconds()
            elif not isinstance(result, BrokerError) or result.added is False:
                asked.refused = True

    def check_name(self, task: NewTask) -> None:
        """
        No other task has, or had a while ago, the name of one that is created.
        """
        there = self.there()
        for uuid, other in self.asked.items():
            if task.name is None or other.task.name != task.name or other.task == task:
                continue
            if other.accepted is not None or uuid in there:
                assert other.over is not None, (task, other)
                assert other.over + WINDOW <= self.clock.seconds(), (task, other)

    @rule(chosen=st.integers(0, 50), quick=st.booleans())
    def delete(self, chosen: int, quick: bool) -> None:
        """
        Delete a task, whether it is there or not.
        """
        if not self.asked:
            return
        uuid = list(self.asked)[chosen % len(self.asked)]
        deleting = Deferred.fromCoroutine(self.process.delete(uuid, "somebody"))

        def deleted(cancelled: Cancelled) -> None:
            assert uuid in self.broker.cancelled
            assert cancelled.result == MARKED or not self.asked[uuid].done

        deleting.addCallbacks(deleted, lambda f: f.trap(BrokerError, *_NO_TASK))
        if quick:
            self.settle()
            self.tell(True)

    # -- Mediators

    @rule(chosen=st.integers(0, 50), quick=st.booleans())
    def run(self, chosen: int, quick: bool) -> None:
        """
        A mediator does a task, which it drops if it is cancelled.
        """
        waiting = [
            each.uuid
            for queue in self.broker.queues.values()
            for each in queue
            if each.uuid not in self.broker.cancelled
        ]
        if waiting:
            uuid = waiting[chosen % len(waiting)]
            self.asked[uuid].done = True
            end = EndNote(uuid=uuid, queue="tasks", outcome="done", ended=1.0)
            self.notes.append(end)
        if quick:
            self.tell(True)

    @rule(quick=st.booleans())
    def tell(self, quick: bool) -> None:
        """
        The notes of ends and deletions that have come are read.
        """
        notes = list(self.notes)
        for each in notes:
            self.asked[each.uuid].end(self.clock.seconds())
        telling = Deferred.fromCoroutine(self.process.ended(notes))
        telling.addCallbacks(self.acked, lambda failure: None, callbackArgs=(notes,))
        if quick:
            self.settle()

    def acked(self, _: object, notes: list[EndNote | DeletionNote]) -> None:
        """
        Notes are in the database.
        """
        for each in notes:
            if each in self.notes:
                self.notes.remove(each)

    # -- What happens

    @rule(which=st.integers(0, 1), times=st.integers(1, 3))
    def step(self, which: int, times: int) -> None:
        """
        The database, or RabbitMQ, does the next things.
        """
        for _ in range(times):
            if self.gates[which]:
                self.gates[which].step()

    @rule()
    def settle(self) -> None:
        """
        Both do all that they are asked for.
        """
        while any(self.gates):
            for gate in self.gates:
                if gate:
                    gate.step()

    @rule(rows=st.integers(0, 5), broker=st.integers(0, 5))
    def kill(self, rows: int, broker: int) -> None:
        """
        The process is killed.
        """
        self.gates[0].kill(rows)
        self.gates[1].kill(broker)
        self.start()

    @rule(seconds=st.sampled_from([1.0, 40.0, WINDOW]))
    def wait(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.clock.advance(seconds)

    @rule(problem=st.sampled_from(PROBLEMS))
    def fail(self, problem: BrokerError | None) -> None:
        """
        RabbitMQ fails from now on, or does not.
        """
        self.broker.problem = problem

    @rule()
    def go_on(self) -> None:
        """
        The process goes on by itself, with one thing at a time.
        """
        if self.going_on is None or self.going_on.called:
            self.going_on = Deferred.fromCoroutine(self.process.go_on())
            self.going_on.addErrback(_is_expected)

    # -- What must be so

    @invariant()
    def refused_are_not_there(self) -> None:
        """
        RabbitMQ does not have a task of which a client was told so.
        """
        there = self.there()
        for uuid, asked in self.asked.items():
            assert not (asked.refused and uuid in there), uuid

    def teardown(self) -> None:
        """
        In the end, RabbitMQ has each task that was promised, or it is deleted.
        """
        self.broker.problem = None
        self.clock.advance(60)
        for _ in range(3):
            self.go_on()
            self.settle()
            self.tell(True)
            self.clock.advance(60)  # whoever waits for notes looks at the row
            self.settle()
        there = self.there()
        for uuid, asked in self.asked.items():
            if asked.accepted is not None:
                assert uuid in there or asked.over is not None, uuid
        for _, row in self.rows.rows.values():
            uuid = row.task.uuid
            assert uuid in there or row.state in (DELETED, ENDED), row


class SharedRows(GatedRows):
    """
    Rows that other processes have, too.

    @param living: those of all processes; the first one leads.
    """

    def __init__(self, rows: MemoryRows, gate: Gate, living: list[SharedRows]) -> None:
        super().__init__(rows, gate)
        self._living = living
        self._first = max([number for number, _ in rows.rows.values()], default=0)
        living.append(self)

    def standing(self) -> Deferred[Any]:
        """
        What this process is among all.
        """
        return self._gate.ask(lambda: succeed(self._standing()))

    def _standing(self) -> Standing:
        leads = self._living[0] is self
        older = min(each._first for each in self._living if each is not self)
        return Standing(leads=leads, is_alone=False, older=older)


class TwoProcessesMachine(CreatedTasksMachine):
    """
    The same with two processes on one database, of which one leads.  Clients ask again
    for tasks, of either process.
    """

    shared: SharedRows

    def __init__(self) -> None:
        self.living: list[SharedRows] = []
        super().__init__()
        self.other = self.gates, self.going_on, self.process, self.shared
        self.start()

    def start(self) -> None:
        """
        A process begins; whoever was killed is gone.
        """
        if len(self.living) > 1:
            self.living.remove(self.shared)
        self.gates, self.going_on = (Gate(), Gate()), None
        self.shared = SharedRows(self.rows, self.gates[0], self.living)
        broker = GatedBroker(self.broker, self.gates[1])
        self.process = CreatedTasks(self.shared, broker, self.clock.seconds, self.clock)

    @rule()
    def turn(self) -> None:
        """
        The other process has its turn.
        """
        ours = self.gates, self.going_on, self.process, self.shared
        self.gates, self.going_on, self.process, self.shared = self.other
        self.other = ours

    @rule(chosen=st.integers(0, 50), quick=st.booleans())
    def ask_again(self, chosen: int, quick: bool) -> None:
        """
        A client asks for a task again.
        """
        young = [
            each
            for each in self.asked.values()
            if each.task.created + WINDOW > self.clock.seconds() and not each.refused
        ]
        if not young:
            return
        asked = young[chosen % len(young)]
        creating = Deferred.fromCoroutine(self.process.create([asked.task]))

        def created(results: list[Any]) -> None:
            [row] = results
            if isinstance(row, CreatedTask) and row.state == PUBLISHED:
                asked.accepted = self.clock.seconds()

        creating.addCallback(created)
        if quick:
            self.settle()

    def teardown(self) -> None:
        """
        In the end both have gone on.
        """
        self.broker.problem = None
        for _ in range(2):
            self.settle()
            self.turn()
        for n in range(6):
            self.clock.advance(0 if n % 2 else 60)
            self.go_on()
            self.settle()
            self.turn()
        super().teardown()


def _is_expected(failure: Failure) -> int:
    failure.trap(BrokerError)
    return 0


class AnyOrderTests(SynchronousTestCase):
    """
    L{CreatedTasks}, with whatever happens around it.
    """

    def test_any_order(self) -> None:
        """
        All that is promised holds.
        """
        chosen = settings(QUICK, max_examples=3 * EXAMPLES, stateful_step_count=40)
        run_machine(CreatedTasksMachine, chosen)

    def test_two_processes(self) -> None:
        """
        So it does where two processes have the rows.
        """
        chosen = settings(QUICK, max_examples=2 * EXAMPLES, stateful_step_count=40)
        run_machine(TwoProcessesMachine, chosen)
