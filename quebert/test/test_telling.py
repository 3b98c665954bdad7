"""
Tests for L{quebert.cli._telling}: a line for whatever becomes of a task.
"""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._telling import TellingMediator
from quebert.outcome import Bury, Done, Retry
from quebert.task import format_time
from quebert.test.mediating import FakeMessage

NOW = 1_800_000_000.0


class Response:
    """
    A response that has come whole.
    """

    def __init__(self, code: int, whole: bytes = b"") -> None:
        self.code = code
        self._whole = whole

    def content(self) -> Deferred[bytes]:
        """
        All of it.
        """
        return succeed(self._whole)


class TellingMediatorTests(SynchronousTestCase):
    """
    L{TellingMediator} tells what it decides.
    """

    def setUp(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.answers: list[Deferred[Any]] = []
        self.clock = Clock()
        self.mediator = TellingMediator(
            lambda word, text: self.told.append((word, text)),
            self,
            "tasks.dead",
            clock=self.clock,
            constant=2,
            now=lambda: NOW,
        )
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def request(self, method: str, url: str, **options: Any) -> Deferred[Any]:
        """
        What its HTTP client does.
        """
        self.answers.append(Deferred())
        return self.answers[-1]

    def receive(self, **task: Any) -> Deferred[Any]:
        """
        A task comes.
        """
        body = json.dumps(task).encode()
        return self.mediator.messageReceived(FakeMessage(body))

    def assert_told(self, word: str, text: str) -> None:
        """
        One thing was told, in one place.
        """
        self.assertEqual(self.told, [(word, text)])
        self.assertEqual([*self.log], [])

    def test_done(self) -> None:
        """
        A success, with its status and the time it took.
        """
        outcome = self.receive(url="/hello", failures=2)
        self.clock.advance(0.25)
        self.answers[0].callback(Response(201))
        self.assertEqual(self.successResultOf(outcome), Done())
        self.assert_told("done", "/hello            attempt 3: 201, 250 ms")

    def test_filtered(self) -> None:
        """
        A task without a request.
        """
        self.successResultOf(self.receive(url="/", filter=True))
        self.assert_told("done", "/                 attempt 1: no request, 0 ms")

    def test_failed(self) -> None:
        """
        A failure, with what the executor said, harmless to a terminal.
        """
        outcome = self.receive(url="/hello", failures=1)
        self.answers[0].callback(Response(500, b"Oh:\n\x1b[2J no\xff"))
        result = self.successResultOf(outcome)
        self.assertIsInstance(result, Retry)
        self.assertEqual(result.after, 4)
        self.assertEqual(json.loads(result.body)["failures"], 2)
        text = "/hello            attempt 2: 500, 0 ms, again in 4 s: "
        self.assert_told("retry", text + "Oh: ?[2J no\ufffd")

    def test_no_answer(self) -> None:
        """
        A failure without an answer, with the reason.
        """
        outcome = self.receive(url="http://user:secret@host/")
        self.answers[0].errback(OSError("no way"))
        self.successResultOf(outcome)
        text = "http://...@host/  attempt 1: no way (0 ms), again in 2 s"
        self.assert_told("retry", text)

    def test_at_once(self) -> None:
        """
        Answers are told of their own tasks.
        """
        outcomes = [self.receive(url=url) for url in ("/a", "/b")]
        self.answers[1].callback(Response(202))
        self.answers[0].callback(Response(203))
        for each in outcomes:
            self.successResultOf(each)
        said = [text.split() for _, text in self.told]
        self.assertEqual([(w[0], w[3]) for w in said], [("/b", "202,"), ("/a", "203,")])

    def test_waiting(self) -> None:
        """
        A task before its time.
        """
        outcome = self.receive(url="/later", run_at=format_time(NOW + 60))
        wanted = Retry(after=60, attempted=False)
        self.assertEqual(self.successResultOf(outcome), wanted)
        until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW + 60))
        self.assert_told("waiting", f"/later            until {until}")

    def test_waiting_for_ever(self) -> None:
        """
        A task at the end of all calendars.
        """
        run_at = "9999-12-31T12:00:00-23:59"
        self.successResultOf(self.receive(url="/", run_at=run_at))
        self.assertIn("until 10000-01-01", self.told[0][1])

    def test_discarded(self) -> None:
        """
        A task that is too late is gone: nobody else tells of that.
        """
        sent = format_time(NOW - 60)
        outcome = self.receive(url="/", timestamp=sent, ttl=1, uuid="u")
        self.assertEqual(self.successResultOf(outcome), Done())
        self.assert_told("discarded", "/                 task u for / has expired")

    def test_buried(self) -> None:
        """
        What is no task is buried, and where it is then is told.
        """
        for body in (b"{", b"[]", b"{}"):
            self.told.clear()
            outcome = self.mediator.messageReceived(FakeMessage(body))
            self.assertIsInstance(self.successResultOf(outcome), Bury)
            ((word, text),) = self.told
            self.assertEqual(word, "buried")
            self.assertIn("now in queue tasks.dead: not a task: ", text)

    def test_cannot_request(self) -> None:
        """
        A request that cannot be made is a failure.
        """
        self.patch(self, "request", lambda *args, **options: fail(OSError("broken")))
        self.successResultOf(self.receive(url="/"))
        self.assertIn("broken", self.told[0][1])
