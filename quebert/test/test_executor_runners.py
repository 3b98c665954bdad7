"""
Where functions run: the options that say so, and what reaches them.  Real processes are
in C{test_executor_processes}.
"""

from __future__ import annotations

import logging
import sys
from asyncio import CancelledError
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from quebert.executor import (
    ExecutorResource,
    ExecutorService,
    InProcesses,
    InReactor,
    InThreads,
    Options,
    PoolLimits,
    Runner,
    TaskRequest,
)
from quebert.functions import ExecutorAnswer, Functions
from quebert.functions.calling import log
from quebert.test.test_executor import FakeReactor, Wire


class Recorder:
    """
    A runner whose answers the test gives.
    """

    def __init__(self) -> None:
        self.requests: list[TaskRequest] = []
        self.answers: list[Deferred[tuple[str, ExecutorAnswer]]] = []
        self.started = 0
        self.stopped: Deferred[None] | None = None

    def memory_of(self, request: TaskRequest) -> int:
        """
        That of the body.
        """
        return len(request.body)

    def start(self) -> None:
        """
        It is started.
        """
        self.started += 1

    async def run(self, request: TaskRequest) -> tuple[str, ExecutorAnswer]:
        """
        There is a task.
        """
        self.requests.append(request)
        self.answers.append(Deferred())
        return await self.answers[-1]

    def stop(self) -> Deferred[None]:
        """
        What runs is given up.
        """
        self.stopped = Deferred()
        return self.stopped


class RunnerTests(SynchronousTestCase):
    """
    An executor with a runner.
    """

    def setUp(self) -> None:
        """
        It listens.
        """
        self.reactor = FakeReactor()
        self.runner = Recorder()
        self.service = ExecutorService(self.runner, reactor=self.reactor, grace=5)
        self.service.startService()
        self.wire = Wire(self.reactor)

    def send(self, target: bytes) -> TaskRequest:
        """
        Make a request, and see what the runner gets.
        """
        lines = [b"POST %b HTTP/1.1" % target, b"Host: here:80", b"Quebert-Attempt: 3"]
        lines += [b"Content-Type: application/json", b"Content-Length: 2", b"", b"{}"]
        self.wire.send(b"\r\n".join(lines))
        return self.runner.requests[-1]

    def test_is_runner(self) -> None:
        """
        What has the methods of a runner is one; a function is none.
        """
        self.assertIsInstance(self.runner, Runner)
        self.assertNotIsInstance(len, Runner)
        self.assertNotIsInstance(Functions(), Runner)
        self.assertEqual(self.runner.started, 1)

    def test_request(self) -> None:
        """
        It gets what the request says.
        """
        request = self.send(b"/a%20b/c?d=e&f")
        self.assertEqual(request.uri, "/a%20b/c?d=e&f")
        self.assertEqual((request.path, request.host), ("/a b/c", "here:80"))
        self.assertIn(("Quebert-Attempt", "3"), request.fields)
        self.assertEqual((request.take_body(), request.body), (b"{}", b""))

    def test_odd_targets(self) -> None:
        """
        Whatever the target of a request is, it has a path, and no more than it may.
        """
        for target, path in (
            (b"*", "/"),
            (b"/", "/"),
            (b"//x//", "//x//"),
            (b"http://here:80/x", "/x"),
            (b"HTTP://here?x", "/"),
            (b"http://here", "/"),
            (b"/%ff", "/\ufffd"),
            (b"/" + b"x" * 9_000, "/" + "x" * 8_191),
        ):
            request = self.send(target)
            self.assertEqual(request.path, path)
            self.runner.answers[-1].callback(("", ExecutorAnswer(204)))
            self.assertEqual(self.wire.reply().code, 204)

    def test_hung_up(self) -> None:
        """
        It is told when the client goes, and not if it has its answer.
        """
        request = self.send(b"/")
        self.runner.answers[0].callback(("e2c6", ExecutorAnswer(204)))
        self.assertFalse(request.hung_up.called)
        request = self.send(b"/")
        self.wire.hang_up()
        self.assertTrue(request.hung_up.called)
        self.runner.answers[1].callback(("e2c6", ExecutorAnswer(204)))

    def test_hung_up_in_line(self) -> None:
        """
        A client that went was not refused: only others are logged as such.
        """
        answer = ExecutorAnswer.unavailable("no process of 4 was free for 30 s")
        with capturedLogs() as events:
            self.send(b"/")
            self.wire.hang_up()
            self.runner.answers[0].callback(("", answer))
            self.assertEqual(events, [])
            self.wire = Wire(self.reactor)
            self.send(b"/")
            self.runner.answers[1].callback(("", answer))
        (text,) = map(formatEvent, events)
        self.assertEqual(text, f"A request was refused: {answer.sentence}")

    def test_full(self) -> None:
        """
        Its answer 503 has a time to come again.
        """
        self.send(b"/")
        answer = ExecutorAnswer.unavailable("all 2 processes had tasks")
        self.runner.answers[0].callback(("", answer))
        reply = self.wire.reply()
        self.assertEqual((reply.code, reply.headers["Retry-After"]), (503, "2"))

    def test_fails(self) -> None:
        """
        Whatever is wrong with it, a request is answered.
        """
        self.send(b"/")
        self.runner.answers[0].errback(KeyError("no"))
        reply = self.wire.reply()
        self.assertEqual((reply.code, reply.body), (500, b"KeyError: 'no'"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_stop(self) -> None:
        """
        It is stopped once nothing runs, and waited for.
        """
        self.send(b"/")
        stopped = self.service.stopService()
        self.assertIsNone(self.runner.stopped)
        self.runner.answers[0].callback(("", ExecutorAnswer(204)))
        self.wire.received()
        self.assertNoResult(stopped)
        assert self.runner.stopped is not None
        self.runner.stopped.callback(None)
        self.successResultOf(stopped)

    def test_grace(self) -> None:
        """
        After the grace it is stopped at once; what it gave up is answered.
        """
        self.send(b"/")
        stopped = self.service.stopService()
        self.reactor.advance(5)
        assert self.runner.stopped is not None
        answer = ExecutorAnswer.text(500, "killed")
        self.runner.answers[0].callback(("e2c6", answer))
        self.runner.stopped.callback(None)
        self.assertEqual(self.wire.reply().text, "killed")
        self.assertTrue(self.wire.closed)
        self.successResultOf(stopped)

    def test_started_again(self) -> None:
        """
        Started again before it has ended, its runner is not stopped.
        """
        self.send(b"/")
        stopped = self.service.stopService()
        self.service.startService()
        self.runner.answers[0].callback(("", ExecutorAnswer(204)))
        self.wire.received()
        self.successResultOf(stopped)
        self.assertIsNone(self.runner.stopped)

    def test_mounted(self) -> None:
        """
        Of a resource below others the path is relative.
        """
        root, parent = Resource(), Resource()
        runner = Recorder()
        root.putChild(b"tasks", parent)
        parent.putChild(b"here", ExecutorResource(runner, reactor=self.reactor))
        self.reactor.listenTCP(80, Site(root, reactor=self.reactor))
        self.wire = Wire(self.reactor)
        self.runner = runner
        for target, path in ((b"/tasks/here/a/b?c", "/a/b"), (b"/tasks/here", "/")):
            request = self.send(target)
            self.assertEqual((request.uri, request.path), (target.decode(), path))
            runner.answers[-1].callback(("", ExecutorAnswer(204)))


class PathTests(SynchronousTestCase):
    """
    Functions for paths, in the reactor.
    """

    def test_paths(self) -> None:
        """
        The path chooses the function.
        """
        reactor, functions = FakeReactor(), Functions()
        functions.add(lambda task: "a", "/a")
        functions.add(lambda task: f"other: {task.path}")
        ExecutorService(functions, reactor=reactor).startService()
        wire = Wire(reactor)
        for target, text in (("/a", "a"), ("/a/", "a"), ("/b?a", "other: /b")):
            head = f"POST {target} HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n"
            head += "Content-Type: application/json\r\n\r\n{}"
            wire.send(head.encode())
            self.assertEqual(wire.reply().text, text)


class OriginalTests(SynchronousTestCase):
    """
    Functions as they were in 2009, in this process.
    """

    def test_arguments(self) -> None:
        """
        They get the body, the URI, the host, and what C{--subconfig} said.
        """

        def function(*arguments: Any) -> str:
            return str(arguments)

        request = TaskRequest(b'{"n":1}', "/a?b", "/a", "here", (), 0.0, Deferred())
        runner = InReactor(function, subconfig="x")
        _, answer = self.successResultOf(Deferred.fromCoroutine(runner.run(request)))
        self.assertEqual(answer.sentence, str((b'{"n":1}', "/a?b", "here", "x")))
        request.body = b'{"n":1}'
        _, answer = InThreads(function, 1, subconfig="x")._call(request)
        self.assertEqual(answer.sentence, str((b'{"n":1}', "/a?b", "here", "x")))


class ThreadTests(SynchronousTestCase):
    """
    L{InThreads}.
    """

    def request(self) -> TaskRequest:
        """
        One with a small task.
        """
        return TaskRequest(b"{}", "/", "/", "here", (), 0.0, Deferred())

    def test_patience(self) -> None:
        """
        A task does not wait for ever for a thread.
        """
        clock = Clock()
        runner = InThreads(len, 1, patience=7, reactor=clock)
        runner._places.acquire()
        doing = Deferred.fromCoroutine(runner.run(self.request()))
        clock.advance(7)
        name, answer = self.successResultOf(doing)
        self.assertEqual((name, answer.status), ("", 503))
        self.assertEqual(answer.sentence, "no thread of 1 was free for 7 s")

    def test_hung_up(self) -> None:
        """
        One whose client goes leaves the line.
        """
        runner = InThreads(len, 1, reactor=Clock())
        runner._places.acquire()
        request = self.request()
        doing = Deferred.fromCoroutine(runner.run(request))
        request.hung_up.callback(None)
        self.assertEqual(self.successResultOf(doing)[0], "")
        self.assertEqual(runner._places.waiting, [])

    def test_stopped(self) -> None:
        """
        One that still waits when the threads are gone is answered.
        """
        runner = InThreads(len, 1, reactor=Clock())
        runner.start()
        runner._places.acquire()
        doing = Deferred.fromCoroutine(runner.run(self.request()))
        runner.stop()
        runner._places.release()
        name, answer = self.successResultOf(doing)
        self.assertEqual((name, answer.status), ("", 503))
        self.assertEqual(answer.sentence, "the executor is closing down")
        self.assertEqual(runner._places.tokens, 1)

    def test_logging_configured(self) -> None:
        """
        A module with C{logging.config} disables loggers that it does not know, as ours.
        """
        self.patch(log, "disabled", True)
        with self.assertLogs(log) as logged:
            InThreads(lambda task: task["no"], 1)._call(self.request())
        self.assertEqual(logged.records[0].getMessage(), "Task (no uuid) failed.")

    def test_raises_anything(self) -> None:
        """
        What is no C{Exception} is the function's, too, and answered.
        """

        def function(task: Any) -> None:
            raise CancelledError("no more")

        self.patch(log, "propagate", False)
        self.patch(log, "handlers", [logging.NullHandler()])
        name, answer = InThreads(function, 1)._call(self.request())
        self.assertEqual(name, "(no uuid)")
        self.assertEqual(answer.sentence, "CancelledError: no more")


class RunnerOptionTests(SynchronousTestCase):
    """
    The options that say where functions run.
    """

    def setUp(self) -> None:
        """
        The search path is put back.
        """
        self.patch(sys, "path", sys.path[:])

    def parse(self, *args: str) -> Any:
        """
        The runner that these options ask for.
        """
        options = Options()
        options.parseOptions(["--function=json.dumps", *args])
        return options["runner"]

    def limits(self, *args: str) -> PoolLimits:
        """
        The limits of processes.
        """
        runner = self.parse("--processes=2", *args)
        self.assertIsInstance(runner, InProcesses)
        found: PoolLimits = runner._pool.limits
        return found

    def wrong(self, *args: str) -> str:
        """
        What is said of options that are wrong.
        """
        return str(self.assertRaises(UsageError, self.parse, *args))

    def test_kinds(self) -> None:
        """
        The reactor, threads or processes.
        """
        self.assertIsInstance(self.parse(), InReactor)
        self.assertIsInstance(self.parse("--threads=3"), InThreads)
        self.assertEqual(self.limits(), PoolLimits(processes=2))

    def test_limits(self) -> None:
        """
        What is given is used.
        """
        limits = self.limits(
            *("--max-seconds=1.5", "--max-process-memory=1000", "--max-tasks=7"),
            "--kill-on-hang-up",
        )
        wanted = PoolLimits(
            processes=2, seconds=1.5, memory=1_000, tasks=7, kill_on_hang_up=True
        )
        self.assertEqual(limits, wanted)
        self.assertIsNone(self.limits("--max-process-memory=0").memory)

    def test_not_imported(self) -> None:
        """
        What processes run is not imported here.
        """
        options = Options()
        options.parseOptions(["--processes=1", "--function=there_is.no_such"])
        self.assertIsInstance(options["runner"], InProcesses)

    def test_wrong(self) -> None:
        """
        What is wrong is told.
        """
        both = self.wrong("--threads=1", "--processes=1")
        self.assertEqual(both, "give --threads or --processes, not both")
        for option in ("--max-seconds=1", "--max-tasks=1", "--kill-on-hang-up"):
            name = option.partition("=")[0]
            said = f"{name} is of no use without --processes"
            self.assertEqual(self.wrong(option), said)
            self.assertEqual(self.wrong(option, "--threads=1"), said)
        for option in ("--processes=0", "--threads=x", "--processes="):
            self.assertIn(f"{option} must be a number from 1", self.wrong(option))
        self.assertIn("more than 0", self.wrong("--processes=1", "--max-seconds=0"))
        said = self.wrong("--processes=1", "--max-process-memory=1G")
        self.assertIn("--max-process-memory=1G must be a number", said)

    def test_subconfig(self) -> None:
        """
        With C{--subconfig} functions must take what they took in 2009.
        """
        self.assertIn("a function must take (body,", self.wrong("--subconfig="))

    def test_wrong_name(self) -> None:
        """
        What is no name of a function is refused at once.
        """
        error = self.assertRaises(
            UsageError, Options().parseOptions, ["--function=/a", "--processes=1"]
        )
        self.assertIn("--function=/a must be module.function", str(error))
