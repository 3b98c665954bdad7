"""
Tests for C{_view}, C{_own_view} and C{_workers_view} of L{quebert.service}: what
processes show of themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.error import CannotListenError
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert.config import Listen, Web
from quebert.errors import ConfigError
from quebert.events import Columns, MediatorState, WatchState
from quebert.metrics import Readiness, Reason
from quebert.service import _own_view
from quebert.service._own_view import TELL, OwnView
from quebert.service._workers_view import SILENT, WorkersView
from quebert.test.checks import refusal
from quebert.test.doubles import MemoryReactor

HERE, THERE = Listen("127.0.0.1", 8080), Listen("127.0.0.1", 8081)
WELL = Readiness()
PAUSED = Readiness((Reason("paused", "Queue 'a' is paused.", "a"),))
DONE = Columns(
    uuid=["u"],
    queue=["a"],
    url=["/"],
    number=[1],
    added=[100.0],
    due=[None],
    started=[101.0],
    ended=[103.0],
    status=[200],
    outcome=["done"],
    reason=[""],
    answer=[""],
    retry_at=[None],
)


class Ports(MemoryReactor):
    """
    A reactor with a port that somebody else has.
    """

    def listenTCP(self, port: int, *args: Any, **options: Any) -> Any:
        """
        Listen, unless the port is taken.
        """
        if port == 666:
            raise CannotListenError("", port, OSError(98, "Address already in use"))
        listening: Any = super().listenTCP(port, *args, **options)
        listening.stopListening = lambda: self.ended.append(port)
        return listening

    @property
    def ended(self) -> list[int]:
        """
        Ports at which nobody listens any more.
        """
        found: list[int] = self.__dict__.setdefault("_ended", [])
        return found

    def ask(self, path: str) -> tuple[int, bytes]:
        """
        The status and the body of what is answered at the port that was opened last.
        """
        self.advance(1.0)
        factory: Any = self.tcpServers[-1][1]
        protocol = factory.buildProtocol(None)
        transport: Any = StringTransport()
        transport.loseWriteConnection = lambda: None
        protocol.makeConnection(transport)
        protocol.dataReceived(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        head, _, body = transport.value().partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def state(name: str = "m1", received: int = 9) -> MediatorState:
    """
    Of a mediator that watches one queue.
    """
    watch = WatchState(consuming=True, received=received)
    return MediatorState(
        mediator=name,
        host="h",
        pid=1,
        version="1",
        started=1.0,
        at=2.0,
        queues={"a": watch},
    )


class FakeEvents:
    """
    Tells what the test says.
    """

    def __init__(self, state: MediatorState | None = None, *ended: Columns) -> None:
        self.listeners: list[Callable[[Columns], object]] = []
        self.now = state
        self.ended = list(ended)

    def flush(self) -> None:
        """
        Tell what has ended.
        """
        ended, self.ended = self.ended, []
        for each in ended:
            for listener in self.listeners:
                listener(each)

    def state(self) -> MediatorState | None:
        """
        How the mediator is.
        """
        return self.now


class OwnViewTests(SynchronousTestCase):
    """
    L{OwnView} shows how this process is.
    """

    def setUp(self) -> None:
        self.reactor = Ports()
        self.readiness = Readiness()
        self.alive = True
        self.events: Any = self.enterContext(capturedLogs())
        self.told_by = FakeEvents()
        self.view = self.make()

    def make(self, **options: Any) -> OwnView:
        """
        A view.
        """
        return OwnView(
            self.told_by,
            lambda: self.readiness,
            lambda: self.alive,
            self.reactor,
            **options,
        )

    def said(self) -> str:
        """
        What is logged.
        """
        return " ".join(formatEvent(each) for each in self.events)

    def test_shown(self) -> None:
        """
        Metrics and health are shown, as they are now.
        """
        self.told_by.now, self.told_by.ended = state(), [DONE]
        self.view.start(Web(HERE))
        self.assertEqual(self.reactor.tcpServers[0][0], 8080)
        self.assertEqual(self.reactor.tcpServers[0][3], "127.0.0.1")
        status, body = self.reactor.ask("/metrics")
        self.assertEqual(status, 200)
        self.assertIn(b'quebert_tasks_received_total{queue="a"} 9.0', body)
        self.assertIn(b"quebert_ready 1.0", body)
        self.assertIn(b"quebert_attempts_total{", body)
        self.assertEqual(self.reactor.ask("/healthz"), (200, b'{"alive": true}\n'))
        self.assertEqual(self.reactor.ask("/readyz")[0], 200)
        self.readiness, self.alive = PAUSED, False
        self.assertEqual(self.reactor.ask("/healthz")[0], 503)
        status, body = self.reactor.ask("/readyz")
        self.assertEqual(status, 503)
        self.assertEqual(json.loads(body)["reasons"][0]["name"], "paused")
        self.successResultOf(self.view.stop())
        self.assertEqual(self.reactor.ended, [8080])

    def test_nowhere(self) -> None:
        """
        Nothing is shown or counted unless somebody wants it.
        """
        self.view.start(Web())
        self.assertEqual(self.told_by.listeners, [])
        self.successResultOf(self.view.stop())
        self.assertEqual(self.reactor.tcpServers, [])

    def test_changed(self) -> None:
        """
        It moves, ends and begins again.
        """
        self.view.start(Web(HERE))
        for web, ended, begun in (
            (Web(HERE), [], 1),
            (Web(THERE), [8080], 2),
            (Web(), [8080, 8081], 2),
            (Web(HERE), [8080, 8081], 3),
        ):
            self.view.change(web)
            self.assertEqual(self.reactor.ended, ended)
            self.assertEqual(len(self.reactor.tcpServers), begun)
            is_told = web.listen is not None
            self.assertEqual(len(self.told_by.listeners), is_told)

    def test_counted(self) -> None:
        """
        Attempts can be counted before they are shown, and are then, once.
        """
        self.view.start(Web())
        self.view.count(Web(HERE))
        self.assertEqual(self.reactor.tcpServers, [])
        self.told_by.now, self.told_by.ended = state(), [DONE]
        self.told_by.flush()
        self.view.change(Web(HERE))
        _, body = self.reactor.ask("/metrics")
        self.assertIn(b'quebert_task_life_seconds_count{queue="a"} 1.0', body)
        self.view.count(Web())
        self.assertEqual(self.told_by.listeners, [])

    def test_taken(self) -> None:
        """
        A port that somebody else has ends the start in a sentence, and a change in a
        line of the log; from there another change leads on.
        """
        taken = Web(Listen("127.0.0.1", 666))
        text = refusal(ConfigError, self.view.start, taken)
        self.assertEqual(
            text,
            "web.listen: cannot listen on 127.0.0.1:666: Address already in use",
        )
        view = self.make()
        view.start(Web(HERE))
        view.change(taken)
        self.assertIn("are not shown: web.listen: cannot listen", self.said())
        self.events.clear()
        view.change(taken)  # it is tried again
        self.assertIn("are not shown: web.listen: cannot listen", self.said())
        view.change(Web(THERE))
        self.assertEqual(self.reactor.ask("/healthz")[0], 200)

    def test_worker(self) -> None:
        """
        A worker listens nowhere; it tells its supervisor once a second, and at the end.
        """
        told: list[dict[str, Any]] = []
        heard = [True]
        with mock.patch.object(_own_view, "supervised", return_value=True):
            view = self.make(told=told.append, heard=lambda: heard[0])
        view.start(Web())
        self.assertEqual(told, [{"reasons": []}])
        view.change(Web(HERE))
        self.told_by.now, self.told_by.ended = state(), [DONE]
        self.readiness = PAUSED
        heard[0] = False
        self.reactor.advance(TELL)
        self.assertEqual(len(told), 1)  # the supervisor has not read the last word
        heard[0] = True
        self.reactor.advance(TELL)
        self.successResultOf(view.stop())
        self.assertEqual(len(told), 3)
        self.assertEqual(list(told[1]["taken"]["queues"]), ["a"])
        self.assertEqual(told[2]["taken"]["queues"], {})
        for each in told[1:]:
            self.assertEqual(each["reasons"], PAUSED.as_json())
            json.dumps(each)
        self.assertEqual(self.reactor.tcpServers, [])

    def test_worker_fails(self) -> None:
        """
        If a worker cannot tell, the log tells, and it tries again.
        """
        told: list[dict[str, Any]] = []
        with mock.patch.object(_own_view, "supervised", return_value=True):
            view = self.make(told=told.append, heard=lambda: True)
        view.start(Web(HERE))
        with mock.patch.object(self.told_by, "flush", side_effect=ZeroDivisionError):
            self.reactor.advance(TELL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reactor.advance(TELL)
        self.assertEqual(len(told), 2)
        self.successResultOf(view.stop())


class WorkersViewTests(SynchronousTestCase):
    """
    L{WorkersView} shows how workers are.
    """

    def setUp(self) -> None:
        self.reactor = Ports()
        self.web = Web(HERE)
        self.events: Any = self.enterContext(capturedLogs())
        self.view = WorkersView(2, lambda: self.web, self.reactor)
        self.view.start()

    def tell(self, number: int, received: int, readiness: Readiness = WELL) -> None:
        """
        Have a worker tell how it is, and that it has done a task.
        """
        told: list[dict[str, Any]] = []
        events = FakeEvents(state(f"m{number}", received), DONE)
        with mock.patch.object(_own_view, "supervised", return_value=True):
            worker = OwnView(
                events,
                lambda: readiness,
                bool,
                self.reactor,
                told=told.append,
                heard=lambda: True,
            )
        worker.start(self.web)
        self.successResultOf(worker.stop())
        for each in told:
            self.view.told(f"worker {number}", json.loads(json.dumps(each)))

    def names(self) -> list[str]:
        """
        The reasons why the workers are not ready.
        """
        return [each.name for each in self.view.readiness().reasons]

    def test_sums(self) -> None:
        """
        What workers count is summed up; a worker that ends takes nothing away.
        """
        self.tell(1, 5)
        self.tell(2, 7)
        self.tell(1, 6)
        self.view.ended("worker 1")
        self.view.ended("worker 1")
        _, body = self.reactor.ask("/metrics")
        self.assertIn(b'quebert_tasks_received_total{queue="a"} 13.0', body)
        self.assertIn(b'quebert_task_life_seconds_count{queue="a"} 3.0', body)
        self.assertIn(b"quebert_mediators 1.0", body)

    def test_readiness(self) -> None:
        """
        All workers have to run, to tell so, and to be ready.
        """
        self.assertEqual(self.names(), ["worker_down", "worker_down"])
        self.tell(1, 5)
        self.tell(2, 5, PAUSED)
        (reason,) = self.view.readiness().reasons
        self.assertEqual(reason.text, "worker 2: Queue 'a' is paused.")
        self.tell(2, 5)
        self.assertEqual(self.reactor.ask("/readyz")[0], 200)
        self.view.ended("worker 2")
        self.assertEqual(self.names(), ["worker_down"])
        self.view.stopping()
        self.assertEqual(self.names(), ["stopping"])

    def test_hanging(self) -> None:
        """
        A worker that says nothing is not ready; if all say nothing, nothing is alive.
        """
        self.tell(1, 5)
        self.tell(2, 5)
        self.reactor.advance(SILENT + 1)
        self.tell(1, 5)
        self.assertEqual(self.names(), ["worker_down"])
        self.assertTrue(self.view.alive())
        self.reactor.advance(SILENT + 1)
        self.assertFalse(self.view.alive())
        self.assertEqual(self.reactor.ask("/healthz")[0], 503)
        self.view.stopping()
        self.assertTrue(self.view.alive())

    def test_odd(self) -> None:
        """
        What cannot be read, as when a hook writes into the pipe, is logged once.
        """
        odd: tuple[dict[str, Any], ...] = (
            {},
            {"reasons": 5},
            {"reasons": [], "state": "x"},
            {"reasons": [{}]},
        )
        for told in odd:
            self.view.told("worker 1", told)
        self.assertEqual(
            len([e for e in self.events if "cannot be read" in formatEvent(e)]), 4
        )

    def test_reload(self) -> None:
        """
        It is shown where the file says now; a file that cannot be used changes nothing.
        """
        self.web = Web(THERE)
        self.view.reload()
        self.assertEqual(self.reactor.ended, [8080])

        def broken() -> Web:
            raise ConfigError("no such file")

        view = WorkersView(1, broken, self.reactor)
        view.reload()
        self.assertIn("no such file", refusal(ConfigError, view.start))
        self.successResultOf(self.view.stop())
        self.assertEqual(self.reactor.ended, [8080, 8081])
