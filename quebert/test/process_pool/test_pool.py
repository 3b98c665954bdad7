"""
Tests for L{quebert._process_pool.pool}, with processes that only pretend.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert._process_pool import (
    ENVIRONMENT,
    FrameKind,
    PoolFrame,
    PoolLimits,
    ProcessSettings,
    _child_process,
    read_frame,
)
from quebert._process_pool._child_process import (
    MERCY,
    CallResult,
    ChildProcess,
    ChildState,
)
from quebert._process_pool._settings import ANSWERS, OUTPUT, TASKS
from quebert._process_pool.pool import (
    EARLY,
    FIRST_DELAY,
    LAST_DELAY,
    NoProcess,
    ProcessPool,
)
from quebert.errors import ConfigError

HEAD = ["/x?y", "/x", "localhost", [], 0.0]


class FakeProcess:
    """
    A process that does what the test says.

    @ivar killed: by the pool.
    """

    def __init__(self, pid: int, protocol: ChildProcess, settings: str) -> None:
        self.protocol = protocol
        self.settings = ProcessSettings.parse(settings)
        self.number = pid
        self.pid: int | None = pid
        self.killed = 0
        self.pipes: dict[int, Any] = {}
        self.open = {TASKS, 1, OUTPUT, ANSWERS}
        self.written = b""

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        """
        It gets something.
        """
        assert descriptor == TASKS
        assert descriptor in self.open
        self.written += data

    def closeChildFD(self, descriptor: int) -> None:
        """
        A pipe is closed.
        """
        self.open.discard(descriptor)

    def says(self, kind: FrameKind, head: Any = None, body: bytes = b"") -> None:
        """
        It sends a frame.
        """
        for part in PoolFrame(kind, head, body).parts():
            self.protocol.childDataReceived(ANSWERS, part)

    def ready(self) -> None:
        """
        It has imported the functions.
        """
        self.says(FrameKind.READY)

    def answers(self, body: bytes = b"done", *, last: bool = False) -> None:
        """
        It has done its task.
        """
        self.says(FrameKind.BEGUN, "e2c6")
        self.says(FrameKind.ANSWER, [200, [["A", "b"]], [], last], body)

    def ends(self, code: int | None = 0, by: int | None = None) -> None:
        """
        It ends.
        """
        self.pid = None
        error: Exception = ProcessDone(None)
        if code or by:
            error = ProcessTerminated(code, by)
        self.protocol.processExited(Failure(error))
        assert not self.open
        self.protocol.processEnded(Failure(error))


class FakeSpawner(Clock):
    """
    A reactor that starts L{FakeProcess}es.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: list[FakeProcess] = []
        self.error: OSError | None = None

    def spawnProcess(
        self, protocol: Any, executable: Any, args: Any, env: Any, childFDs: Any
    ) -> None:
        """
        Start one.
        """
        if self.error is not None:
            raise self.error
        settings = env[ENVIRONMENT.encode()].decode()
        number = 1_000_000_000 + len(self.started)
        self.started.append(FakeProcess(number, protocol, settings))
        protocol.makeConnection(self.started[-1])

    @property
    def alive(self) -> list[FakeProcess]:
        """
        The processes that run.
        """
        return [each for each in self.started if each.pid is not None]


@attrs.define
class Task:
    """
    A task that was given to a pool.
    """

    hung_up: Deferred[None]
    doing: Deferred[CallResult]


class PoolCase(SynchronousTestCase):
    """
    Has a pool.
    """

    def setUp(self) -> None:
        """
        There is a reactor.
        """
        self.reactor = FakeSpawner()
        self.patch(_child_process, "kill_group", self.kill)

    def kill(self, pid: int, *, reaped: bool) -> None:
        """
        Instead of killing any process.
        """
        (found,) = (each for each in self.reactor.started if each.number == pid)
        found.killed += 1

    def make(self, processes: int = 1, **limits: Any) -> ProcessPool:
        """
        A pool whose processes are not ready yet.
        """
        limit = PoolLimits(processes=processes, **limits)
        pool = ProcessPool([(None, "a.b")], limit, None, self.reactor)
        self.pool = pool
        pool.start()
        return pool

    def begin(self, processes: int = 1, **limits: Any) -> list[FakeProcess]:
        """
        A pool whose processes are ready.
        """
        self.make(processes, **limits)
        for each in self.reactor.started:
            each.ready()
        return self.reactor.started

    def give(self, body: bytes = b"{}") -> Task:
        """
        Give it a task.
        """
        hung_up: Deferred[None] = Deferred()
        call = self.pool.call(HEAD, lambda: body, hung_up)
        return Task(hung_up, Deferred.fromCoroutine(call))

    def answer(self, task: Task) -> tuple[int, str]:
        """
        What was answered.
        """
        found = self.successResultOf(task.doing).answer
        return found.status, found.sentence

    def refused(self, task: Task) -> str:
        """
        Why a task was not taken.
        """
        return str(self.failureResultOf(task.doing, NoProcess).value)

    def told(self) -> Iterator[str]:
        """
        What is logged from now on.
        """
        manager = capturedLogs()
        logged = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return (formatEvent(event) for event in logged)


class CallTests(PoolCase):
    """
    Processes do tasks.
    """

    def test_settings(self) -> None:
        """
        A process is told what to import, and how much memory it has.
        """
        (process,) = self.begin(memory=12_345)
        self.assertEqual(process.settings.functions, [(None, "a.b")])
        self.assertEqual(process.settings.memory, 12_345)

    def test_done(self) -> None:
        """
        A task goes to a process as it came, and its answer back.
        """
        (process,) = self.begin()
        task = self.give(b'{"a": 1}')
        from io import BytesIO

        frame = read_frame(BytesIO(process.written))
        self.assertEqual(frame, PoolFrame(FrameKind.TASK, HEAD, b'{"a": 1}'))
        self.assertNoResult(task.doing)
        process.answers(b"\x00\xff")
        done = self.successResultOf(task.doing)
        self.assertEqual((done.name, done.answer.status), ("e2c6", 200))
        self.assertEqual(done.answer.body, b"\x00\xff")
        self.assertEqual(done.answer.headers, (("A", "b"),))

    def test_one_each(self) -> None:
        """
        A process has one task at a time; the first that is free gets the one that
        waits for longest.
        """
        one, other = self.begin(2)
        tasks = [self.give() for _ in range(4)]
        other.answers(b"2")
        self.assertEqual(self.answer(tasks[0]), (200, "2"))
        other.answers(b"3")
        self.assertEqual(self.answer(tasks[2]), (200, "3"))
        one.answers(b"1")
        self.assertEqual(self.answer(tasks[1]), (200, "1"))
        self.assertNoResult(tasks[3].doing)

    def test_waits_for_start(self) -> None:
        """
        A task waits until a process has started.
        """
        self.make()
        task = self.give()
        (process,) = self.reactor.started
        self.assertEqual(process.written, b"")
        process.ready()
        process.answers()
        self.assertEqual(self.answer(task), (200, "done"))

    def test_patience(self) -> None:
        """
        It does not wait for ever.
        """
        self.begin(patience=7)
        running, waiting = self.give(), self.give()
        self.reactor.advance(7)
        self.assertEqual(self.refused(waiting), "no process of 1 was free for 7 s")
        self.assertNoResult(running.doing)

    def test_leaves_the_line(self) -> None:
        """
        A task whose client hangs up while it waits is not begun.
        """
        (process,) = self.begin()
        running, waiting = self.give(), self.give()
        waiting.hung_up.callback(None)
        self.refused(waiting)
        process.answers()
        self.answer(running)
        self.assertIs(process.protocol.state, ChildState.IDLE)

    def test_hung_up(self) -> None:
        """
        One that runs goes on.
        """
        (process,) = self.begin()
        task = self.give()
        task.hung_up.callback(None)
        self.assertEqual(process.killed, 0)
        process.answers()
        self.assertEqual(self.answer(task), (200, "done"))

    def test_kill_on_hang_up(self) -> None:
        """
        Unless its process is to be killed then.
        """
        (process,) = self.begin(kill_on_hang_up=True)
        done, task = self.give(), None
        process.answers()
        done.hung_up.callback(None)  # it has its answer: nothing happens
        self.assertEqual(process.killed, 0)
        task = self.give()
        task.hung_up.callback(None)
        self.assertEqual(process.killed, 1)
        process.ends(None, signal.SIGKILL)
        self.assertEqual(
            self.answer(task),
            (500, "the client has hung up, and the process was killed"),
        )

    def test_told(self) -> None:
        """
        What a process tells of its task is logged.
        """
        (process,) = self.begin()
        self.give()
        told = self.told()
        lines = [[20, "Task a: 409: later"], [40, "Task a failed.\nTraceback"]]
        process.says(FrameKind.ANSWER, [500, [], lines, False])
        self.assertEqual(
            list(told), ["Task a: 409: later", "Task a failed.\nTraceback"]
        )


class EndTests(PoolCase):
    """
    Processes end.
    """

    def ended(self, code: int | None, by: int | None = None) -> tuple[int, str]:
        """
        What is answered to a task whose process ends.
        """
        process = self.begin()[-1]
        task = self.give()
        process.says(FrameKind.BEGUN, "e2c6")
        told = self.told()
        process.ends(code, by)
        found = self.answer(task)
        self.assertIn(f"Task e2c6: {found[1]}.", list(told))
        self.assertEqual(len(self.reactor.alive), 1)
        return found

    def test_signal(self) -> None:
        """
        The signal is told in words.
        """
        found = self.ended(None, signal.SIGSEGV)
        self.assertEqual(
            found, (500, "the process ended by SIGSEGV (segmentation fault)")
        )

    def test_out_of_memory(self) -> None:
        """
        Of SIGKILL it is told who may have sent it.
        """
        found = self.ended(None, signal.SIGKILL)
        self.assertIn("SIGKILL (killed), as when the system runs out", found[1])

    def test_status(self) -> None:
        """
        So is an exit status.
        """
        self.assertEqual(self.ended(3), (500, "the process exited with status 3"))

    def test_status_0(self) -> None:
        """
        Even if it means success.
        """
        self.assertEqual(self.ended(0), (500, "the process exited with status 0"))

    def test_not_begun(self) -> None:
        """
        A task that was not begun can be tried again at once.
        """
        (process,) = self.begin()
        task = self.give()
        process.ends(None, signal.SIGTERM)
        status, text = self.answer(task)
        self.assertEqual(status, 503)
        self.assertIn("SIGTERM (terminated) before it began the task", text)

    def test_late(self) -> None:
        """
        A task that takes too long is ended, with its process.
        """
        process = self.begin(seconds=10)[0]
        quick = self.give()
        self.reactor.advance(9)
        process.answers()
        self.answer(quick)
        task = self.give()
        self.reactor.advance(9)
        self.assertEqual(process.killed, 0)
        self.reactor.advance(1.2)
        self.assertEqual(process.killed, 1)
        process.ends(None, signal.SIGKILL)
        self.assertEqual(
            self.answer(task),
            (500, "the function took more than 10 s, and was killed"),
        )

    def test_replaced(self) -> None:
        """
        The next task has another process, which is started when the first is killed.
        """
        process = self.begin(seconds=10)[0]
        self.give()
        waiting = self.give()
        self.reactor.advance(10.1)
        other = self.reactor.started[1]
        other.ready()
        other.answers()
        self.assertEqual(self.answer(waiting), (200, "done"))
        process.ends(None, signal.SIGKILL)

    def test_answer_before_the_end(self) -> None:
        """
        An answer that was sent counts, even if its process has ended; no other task is
        given to it.
        """
        (process,) = self.begin()
        task = self.give()

        class Pipe:
            data = True

            def doRead(self) -> None:
                if self.data:
                    self.data = False
                    process.answers(b"sent")

        waiting = self.give()
        before = process.written
        process.pipes[ANSWERS] = Pipe()
        process.ends(1)
        self.assertEqual(self.answer(task), (200, "sent"))
        self.assertEqual(process.written, before)
        self.reactor.started[1].ready()
        self.reactor.started[1].answers()
        self.assertEqual(self.answer(waiting), (200, "done"))

    def test_protocol_broken(self) -> None:
        """
        A process that writes something else is killed.
        """
        for junk in (b"junk, and more of it", *PoolFrame(FrameKind.READY).parts()):
            process = self.begin()[-1]
            task = self.give()
            if not junk:
                continue
            process.protocol.childDataReceived(ANSWERS, junk)
            process.ends(None, signal.SIGKILL)
            status, text = self.answer(task)
            self.assertEqual(status, 500)
            self.assertIn("the process broke its own protocol", text)
            self.reactor.started.clear()

    def test_too_large(self) -> None:
        """
        So is one whose answer is larger than it may be.
        """
        (process,) = self.begin(result=1)
        task = self.give()
        process.says(FrameKind.ANSWER, [200, [], [], False], b"x" * 65_537)
        process.ends(None, signal.SIGKILL)
        self.assertIn("the body of a frame has 65537 bytes", self.answer(task)[1])

    def test_odd_answer(self) -> None:
        """
        So is one whose answer is no answer.
        """
        for head in (None, [], [200, 7, [], False], ["x", [], [], False]):
            self.reactor.started.clear()
            (process,) = self.begin()
            task = self.give()
            process.says(FrameKind.ANSWER, head)
            process.ends(None, signal.SIGKILL)
            self.assertIn("broke its own protocol", self.answer(task)[1])

    def test_max_tasks(self) -> None:
        """
        After so many tasks a process is told to end, and replaced.
        """
        (process,) = self.begin(tasks=2)
        for _ in range(2):
            task = self.give()
            process.answers()
            self.answer(task)
        self.assertNotIn(TASKS, process.open)
        self.assertEqual(len(self.reactor.started), 2)
        self.reactor.advance(MERCY - 1)
        self.assertEqual(process.killed, 0)
        self.reactor.advance(1.2)
        self.assertEqual(process.killed, 1)

    def test_last(self) -> None:
        """
        So is one that says itself that it has had enough.
        """
        (process,) = self.begin()
        task = self.give()
        process.answers(last=True)
        self.assertEqual(self.answer(task), (200, "done"))
        process.ends()
        self.assertEqual(len(self.reactor.alive), 1)

    def test_group(self) -> None:
        """
        What a process has started ends with it.
        """
        (process,) = self.begin(tasks=1)
        self.give()
        process.answers()
        process.ends()
        self.assertEqual(process.killed, 1)


class StartTests(PoolCase):
    """
    Processes start.
    """

    def test_all(self) -> None:
        """
        As many as there are to be.
        """
        self.make(3)
        self.assertEqual(len(self.reactor.started), 3)

    def test_idle_one_ends(self) -> None:
        """
        One that ends while it has no task is replaced at once, if it was any good.
        """
        (process,) = self.begin()
        self.give()
        process.answers()
        told = self.told()
        process.ends(3)
        self.assertEqual(len(self.reactor.alive), 1)
        wanted = "process 1000000000: the process exited with status 3."
        self.assertEqual(list(told), [wanted])

    def test_pipe_closed(self) -> None:
        """
        One that is about to end gets no task.
        """
        (process,) = self.begin()
        self.give()
        process.answers()
        before = process.written
        process.protocol.childConnectionLost(TASKS)
        task = self.give()
        self.assertEqual(process.written, before)
        self.reactor.started[1].ready()
        self.reactor.started[1].answers()
        self.answer(task)

    def test_pipe_closed_during_a_task(self) -> None:
        """
        So does one that is about to end, and has answered its last task.
        """
        (process,) = self.begin()
        last = self.give()
        waiting = self.give()
        before = process.written
        process.protocol.childConnectionLost(TASKS)
        process.answers()
        self.assertEqual(self.answer(last), (200, "done"))
        self.assertEqual(process.written, before)
        self.reactor.started[1].ready()
        self.reactor.started[1].answers()
        self.assertEqual(self.answer(waiting), (200, "done"))

    def test_backoff(self) -> None:
        """
        If one after the other ends at once, the next one waits, longer each time.
        """
        self.make()
        delay = FIRST_DELAY
        for number in range(1, 10):
            self.reactor.started[-1].ends(1)
            self.reactor.advance(delay - 0.1)
            self.assertEqual(len(self.reactor.started), number)
            self.reactor.advance(0.1)
            self.assertEqual(len(self.reactor.started), number + 1)
            delay = min(2 * delay, LAST_DELAY)

    def test_early_end(self) -> None:
        """
        It waits likewise after one that was ready, and has done nothing; but not after
        one that has lived for a while.
        """
        (process,) = self.begin()
        self.reactor.advance(EARLY)
        process.ends(1)
        self.assertEqual(len(self.reactor.started), 2)
        self.reactor.started[1].ready()
        self.reactor.started[1].ends(1)
        self.assertEqual(len(self.reactor.started), 2)
        self.reactor.advance(FIRST_DELAY)
        self.assertEqual(len(self.reactor.started), 3)

    def test_broken(self) -> None:
        """
        Why the functions cannot be imported is logged once, and answered until they
        can.
        """
        self.make(2)
        told = self.told()
        waiting = self.give()
        for each in self.reactor.alive:
            each.says(FrameKind.BROKEN, "no module a")
            each.ends(1)
        self.assertEqual(self.refused(waiting), "no module a")
        self.assertEqual(self.refused(self.give()), "no module a")
        self.reactor.advance(FIRST_DELAY)
        (third,) = self.reactor.alive  # no more than one tries
        third.ready()
        self.assertEqual(len(self.reactor.alive), 2)
        task = self.give()
        third.answers()
        self.answer(task)
        lines = list(told)
        self.assertEqual(lines[0], "No process can do tasks: no module a")
        self.assertEqual(len([each for each in lines if "no module a" in each]), 1)

    def test_broken_tells_late(self) -> None:
        """
        What is wrong counts as well if a pipe closes before it has come.
        """
        self.make()
        (process,) = self.reactor.alive
        process.protocol.childConnectionLost(TASKS)
        process.says(FrameKind.BROKEN, "no module a")
        process.ends(1)
        self.assertEqual(self.refused(self.give()), "no module a")

    def test_broken_beside_others(self) -> None:
        """
        As long as one process works, tasks wait for it.
        """
        one, other = self.begin(2)
        first = self.give()
        one.ends(1) if other.written else other.ends(1)
        self.reactor.advance(FIRST_DELAY)
        self.reactor.started[-1].says(FrameKind.BROKEN, "no module a")
        self.reactor.started[-1].ends(1)
        second = self.give()
        self.assertNoResult(second.doing)
        worker = one if one.written else other
        worker.answers()
        worker.answers()
        self.answer(first)
        self.answer(second)

    def test_never_ready(self) -> None:
        """
        A process that takes too long to import the functions is killed.
        """
        self.make(start_time=5)
        self.reactor.advance(5.1)
        (process,) = self.reactor.alive
        self.assertEqual(process.killed, 1)
        process.ends(None, signal.SIGKILL)
        self.assertEqual(
            self.refused(self.give()), "the functions were not imported in 5 s"
        )

    def test_crash_at_start(self) -> None:
        """
        One that crashes when it imports them says by what.
        """
        self.make()
        self.reactor.alive[0].ends(None, signal.SIGSEGV)
        self.assertEqual(
            self.refused(self.give()),
            "the process ended by SIGSEGV (segmentation fault) before it had imported"
            " the functions",
        )

    def test_no_process(self) -> None:
        """
        If the system makes no process, another try follows.
        """
        self.reactor.error = OSError(11, "Try again later")
        self.make(2)
        self.assertEqual(
            self.refused(self.give()), "no process can be started: Try again later"
        )
        self.reactor.error = None
        self.reactor.advance(FIRST_DELAY)
        self.reactor.alive[0].ready()
        self.assertEqual(len(self.reactor.alive), 2)


class StopTests(PoolCase):
    """
    A pool ends.
    """

    def test_idle(self) -> None:
        """
        Idle processes are told to, and waited for.
        """
        one, other = self.begin(2)
        stopped = self.pool.stop()
        for process in (one, other):
            self.assertEqual((process.killed, TASKS in process.open), (0, False))
            self.assertNoResult(stopped)
            process.ends()
        self.successResultOf(stopped)
        self.assertEqual(len(self.reactor.started), 2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_busy(self) -> None:
        """
        One that has a task is killed, and the task answered; one that waits is refused.
        """
        (process,) = self.begin()
        task, waiting = self.give(), self.give()
        stopped = self.pool.stop()
        self.assertEqual(self.refused(waiting), "the executor is closing down")
        self.assertEqual(process.killed, 1)
        process.ends(None, signal.SIGKILL)
        self.successResultOf(stopped)
        self.assertIn("the executor closes down", self.answer(task)[1])
        self.assertEqual(self.refused(self.give()), "the executor is closing down")

    def test_starting(self) -> None:
        """
        So is one that imports the functions.
        """
        self.make()
        stopped = self.pool.stop()
        (process,) = self.reactor.alive
        self.assertEqual(process.killed, 1)
        process.ends(None, signal.SIGKILL)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_none(self) -> None:
        """
        Where none runs, and another is to be started, nothing is waited for.
        """
        self.make()
        self.reactor.alive[0].ends(1)
        self.successResultOf(self.pool.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stubborn(self) -> None:
        """
        One that does not end is killed.
        """
        (process,) = self.begin()
        self.pool.stop()
        self.reactor.advance(MERCY + 0.2)
        self.assertEqual(process.killed, 1)

    def test_again(self) -> None:
        """
        It can be started again, even before all processes have ended.
        """
        (process,) = self.begin()
        self.pool.stop()
        self.pool.start()
        process.ends()
        self.reactor.alive[0].ready()
        task = self.give()
        self.reactor.alive[0].answers()
        self.answer(task)


class LimitTests(SynchronousTestCase):
    """
    L{PoolLimits} are numbers.
    """

    def test_wrong(self) -> None:
        """
        What is none is refused, with its name.
        """
        for name, value in (
            ("processes", 0),
            ("processes", True),
            ("memory", 1.5),
            ("tasks", -1),
            ("result", None),
            ("seconds", 0),
            ("seconds", float("nan")),
            ("patience", "7"),
        ):
            given: dict[str, Any] = {"processes": 1, name: value}
            error = self.assertRaises(ConfigError, PoolLimits, **given)
            self.assertIn(name, str(error))

    def test_settings(self) -> None:
        """
        What a process is told arrives as it is.
        """
        limits = PoolLimits(processes=1, memory=None)
        names = [("/a", "b.c"), (None, "d.e")]
        settings = ProcessSettings.of(names, "é", limits)
        self.assertEqual(ProcessSettings.parse(settings.text()), settings)
        self.assertIsInstance(json.loads(settings.text()), list)
