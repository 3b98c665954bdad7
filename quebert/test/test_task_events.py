"""
Tests for L{quebert.task_events}: what happens to tasks, as observers are told it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._repeated import QUIET
from quebert.boundaries import WatchedMessage
from quebert.errors import Forbidden
from quebert.limits import OriginLimits, Origins, Rate
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.outcome import EXPIRED, Bury, Discard, Done, Retry
from quebert.policy import RetryPolicy
from quebert.task import LARGE, format_time
from quebert.task_events import (
    AttemptBegun,
    AttemptEnded,
    EndedTask,
    NotAttempted,
    TaskEvent,
    told_to,
)
from quebert.test.mediating import NOW, FakeMessage, FakeResponse


class ObserverCase(SynchronousTestCase):
    """
    Tests of mediators that are observed.
    """

    def setUp(self) -> None:
        self.told: list[Any] = []
        self.answers: list[Deferred[Any]] = []
        self.clock = Clock()

    def request(self, method: str, url: str, **options: Any) -> Deferred[Any]:
        """
        What its HTTP client does.
        """
        self.answers.append(Deferred())
        return self.answers[-1]

    def mediator(self, kind: Any = Mediator, **options: Any) -> Mediator:
        """
        A mediator with an observer.
        """
        made: Mediator = kind(
            http=self,
            clock=self.clock,
            now=lambda: NOW,
            **{"observer": self.told.append, **options},
        )
        return made

    def receive(self, mediator: Mediator, **task: Any) -> Deferred[Any]:
        """
        A task comes.
        """
        body = json.dumps(task).encode()
        return mediator.messageReceived(FakeMessage(body))

    def answer(self, code: int, body: bytes = b"", **fields: str) -> None:
        """
        The oldest request is answered.
        """
        response = FakeResponse(code, fields)
        self.answers.pop(0).callback(response)
        response.body.callback(body)


class ObserverTests(ObserverCase):
    """
    A mediator tells its observer.
    """

    def ended(self) -> AttemptEnded:
        """
        The attempt, which has begun and ended.
        """
        begun, ended = self.told
        self.assertIsInstance(begun, AttemptBegun)
        self.assertIsInstance(ended, AttemptEnded)
        self.assertIs(begun.attempt, ended.attempt)
        self.told.clear()
        found: AttemptEnded = ended
        return found

    def not_attempted(self) -> NotAttempted:
        """
        The only event: nothing was attempted.
        """
        [event] = self.told
        self.assertIsInstance(event, NotAttempted)
        self.told.clear()
        found: NotAttempted = event
        return found

    def test_done(self) -> None:
        """
        An attempt begins with its request, and ends with its outcome.
        """
        done = self.receive(self.mediator(), url="/a?secret=1", uuid="u", failures=2)
        self.assertEqual(len(self.told), 1)
        self.clock.advance(0.25)
        self.answer(201)
        self.assertEqual(self.successResultOf(done), Done())
        ended = self.ended()
        attempt = ended.attempt
        self.assertEqual((attempt.uuid, attempt.number), ("u", 3))
        self.assertEqual(attempt.url, "/a?...")
        self.assertEqual((ended.status, ended.seconds), (201, 0.25))
        self.assertEqual((ended.outcome, ended.why), (Done(), ""))

    def test_failed(self) -> None:
        """
        A failure comes with its reason, and with the answer, without the secrets of
        the request.
        """
        for kind in (Mediator, DelayOnErrorMediator, PolicyMediator):
            headers = {"Authorization": "Bearer hunter2hunter2"}
            self.receive(self.mediator(kind), url="/a", headers=headers)
            self.answer(500, b"<p>hunter2hunter2", **{"Content-Type": "text/HTML"})
            ended = self.ended()
            self.assertEqual((ended.status, ended.attempt.number), (500, 1))
            self.assertIsInstance(ended.outcome, Retry)
            self.assertEqual(ended.why, "POST http://localhost:8000/a was answered 500")
            self.assertEqual((ended.answer, ended.html), ("<p>...", True))

    def test_no_answer(self) -> None:
        """
        Where there was no answer, there is no status.
        """
        self.receive(self.mediator(), url="/a")
        self.answers.pop().errback(OSError("no way"))
        ended = self.ended()
        self.assertEqual((ended.status, ended.why), (None, "no way"))

    def test_no_words(self) -> None:
        """
        An error without a text has a reason, too: what kind of error it is.
        """
        given_up = self.receive(self.mediator(), url="/a")
        given_up.cancel()
        self.assertEqual(self.ended().why, "CancelledError")

    def test_without_answers(self) -> None:
        """
        What is not to be kept is not told.
        """
        self.receive(self.mediator(keep_answers=False), url="/a")
        self.answer(500, b"body")
        self.assertEqual(self.ended().answer, "")

    def test_forbidden(self) -> None:
        """
        A request that the guard refuses is an attempt that was buried.
        """
        self.receive(self.mediator(), url="/a")
        self.answers.pop().errback(Forbidden("it is private"))
        ended = self.ended()
        self.assertIsInstance(ended.outcome, Bury)
        self.assertIn("it is private", ended.why)

    def test_filtered(self) -> None:
        """
        A task without a request has ended without a beginning.
        """
        self.successResultOf(self.receive(self.mediator(), url="/", filter=True))
        [ended] = self.told
        self.assertEqual((ended.outcome, ended.status), (Done(), None))

    def test_hooks(self) -> None:
        """
        With hooks it is the same; if one fails there is no request.
        """
        mediator = self.mediator()
        mediator.add_posthook(lambda task, result: None)
        self.receive(mediator, url="/")
        self.answer(200)
        self.assertEqual(self.ended().status, 200)
        mediator.add_prehook(lambda task: 1 / 0)
        self.receive(mediator, url="/")
        [ended] = self.told
        self.assertEqual((ended.status, ended.why), (None, "division by zero"))

    def test_not_attempted(self) -> None:
        """
        A task that is early, has expired, or had its attempts, and what is no task.
        """
        policy = RetryPolicy(max_attempts=2)
        mediator = self.mediator(PolicyMediator, policy=policy)
        self.receive(mediator, url="/", run_at=format_time(NOW + 60))
        event = self.not_attempted()
        self.assertEqual(event.why, "its time has not come")
        self.assertEqual(event.outcome, Retry(after=60, attempted=False))
        self.receive(mediator, url="/", timestamp=format_time(NOW - 9), ttl=1)
        event = self.not_attempted()
        self.assertIsInstance(event.outcome, Discard)
        self.assertIn("has expired", event.why)
        self.receive(mediator, url="/", failures=2)
        self.assertIsInstance(self.not_attempted().outcome, Bury)
        for body in (b"{", b"[]", b'{"url": 7, "uuid": {"a": 1}}'):
            mediator.messageReceived(FakeMessage(body))
            event = self.not_attempted()
            self.assertIsInstance(event.outcome, Bury)
            self.assertEqual(event.attempt.url, "?")

    def test_not_admitted(self) -> None:
        """
        A task that waits for its host.
        """
        limits = OriginLimits(rate=Rate(1.0), burst=1)
        mediator = self.mediator(admission=Origins(limits))
        self.receive(mediator, url="/")
        self.answer(200)
        self.ended()
        self.receive(mediator, url="/")
        self.assertIn("host", self.not_attempted().why)
        self.assertEqual(self.answers, [])

    def test_large(self) -> None:
        """
        A large task, of which only some fields are decoded.
        """
        mediator = self.mediator()
        self.receive(mediator, url="/", uuid="u", text="x" * (LARGE + 1))
        self.clock.pump([0.0] * 50)
        self.answer(200)
        self.assertEqual(self.ended().attempt.uuid, "u")
        body = b'{"url": "/", "text": "' + b"x" * (LARGE + 1)
        mediator.messageReceived(FakeMessage(body))
        self.clock.pump([0.0] * 50)
        self.assertIn("not JSON", self.not_attempted().why)

    def test_hostile(self) -> None:
        """
        Whatever is in a task, its names are short, on one line, and harmless.
        """
        url = "/\x1b[2J\n" + "u" * 5_000
        self.receive(self.mediator(max_url_length=9_000), url=url, uuid="\x00" * 50)
        event = self.not_attempted()
        self.assertLessEqual(len(event.attempt.url), 400)
        self.assertTrue(event.attempt.url.isprintable())
        self.assertEqual(event.attempt.uuid, "?" * 50)

    def test_fails(self) -> None:
        """
        An observer that raises does no harm; its beginning and its end are told, once.
        """

        def observer(event: TaskEvent) -> None:
            if self.clock.seconds() < 1:
                raise ValueError("oh")

        mediator = self.mediator(observer=observer)
        with capturedLogs() as events:
            for seconds in (0.0, 0.0, 1.0, QUIET):
                self.clock.advance(seconds)
                done = self.receive(mediator, url="/")
                self.answer(200)
                self.assertEqual(self.successResultOf(done), Done())
        begun, over = map(formatEvent, events)
        self.assertEqual(begun, "An observer of tasks fails: ValueError: oh")
        self.assertIn("The observer of tasks does not fail any more, after 4", over)

    def test_taken_away(self) -> None:
        """
        It may be taken away, and given again, while tasks run.
        """
        mediator = self.mediator()
        self.receive(mediator, url="/")
        mediator.observer = None
        self.answer(200)
        self.assertEqual(len(self.told), 1)
        self.receive(mediator, url="/")
        mediator.observer = self.told.append
        self.answer(200)
        self.assertEqual(len(self.told), 1)


class WaitedMessage(WatchedMessage):
    """
    A message that has waited in the broker, until a time that may be known.
    """

    sent_at = NOW - 100
    due_at: float | None = None
    properties: Mapping[str, Any] = {}

    def __init__(self, body: bytes, due_at: float | None) -> None:
        self._body = body
        self.due_at = due_at

    @property
    def body(self) -> bytes:
        """
        The task.
        """
        return self._body


class RecorderTests(ObserverCase):
    """
    A mediator gives its recorder each task that has ended.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ended: list[EndedTask] = []

    def recording(self, kind: Any = PolicyMediator, **options: Any) -> Mediator:
        """
        A mediator with a recorder alone.
        """
        options = {"recorder": self.ended.append, "observer": None, **options}
        return self.mediator(kind, **options)

    def last(self) -> EndedTask:
        """
        The one that has ended.
        """
        [ended] = self.ended
        self.ended.clear()
        return ended

    def test_done(self) -> None:
        """
        A task that is done comes with its times, and just as it was written.
        """
        self.receive(
            self.recording(),
            url="/a?secret=1",
            uuid=7,
            timestamp=format_time(NOW - 10),
            run_at=format_time(NOW - 5),
        )
        self.clock.advance(0.25)
        self.answer(201)
        ended = self.last()
        self.assertEqual((ended.uuid, ended.url), (7, "/a?secret=1"))
        self.assertEqual((ended.number, ended.status), (1, 201))
        self.assertEqual((ended.added, ended.due), (NOW - 10, NOW - 5))
        self.assertEqual((ended.started, ended.seconds), (NOW, 0.25))
        self.assertEqual((ended.outcome, ended.why), (Done(), ""))
        self.assertEqual((ended.answer, ended.html), ("", False))

    def test_no_times(self) -> None:
        """
        Where nothing tells when it was added, or due, nothing is told.
        """
        for kind in (Mediator, PolicyMediator):
            self.receive(self.recording(kind), url="/a")
            self.answer(200)
            ended = self.last()
            self.assertEqual((ended.added, ended.due), (None, None))

    def test_retried(self) -> None:
        """
        Of a retry, the message tells which attempt it is, and when it was due.
        """
        task = {"url": "/a", "failures": 2, "run_at": format_time(NOW - 9)}
        for kind in (Mediator, PolicyMediator):
            for due_at in (NOW - 3, None):
                message = WaitedMessage(json.dumps(task).encode(), due_at)
                self.recording(kind).messageReceived(message)
                self.answer(503, b"busy")
                ended = self.last()
                self.assertEqual((ended.number, ended.status), (3, 503))
                self.assertEqual((ended.added, ended.due), (NOW - 100, due_at))
                self.assertIsInstance(ended.outcome, Retry)
                self.assertEqual(ended.answer, "busy")
                self.assertIn("was answered 503", ended.why)

    def test_not_attempted(self) -> None:
        """
        Tasks that are not attempted, and messages that are no tasks, come, too.
        """
        mediator = self.recording()
        self.receive(mediator, url="/", timestamp=format_time(NOW - 9), ttl=1)
        expired = self.last()
        assert isinstance(expired.outcome, Discard)
        self.assertEqual(expired.outcome.kind, EXPIRED)
        mediator.messageReceived(FakeMessage(b'{"uuid": {}}', {"timestamp": NOW}))
        bad = self.last()
        self.assertEqual((bad.uuid, bad.url, bad.added), ("{...}", None, NOW))
        self.assertIsInstance(bad.outcome, Bury)

    def test_both(self) -> None:
        """
        There may be an observer, too; if the recorder fails, the task does not.
        """

        def fail(ended: EndedTask) -> None:
            raise ValueError("oh")

        mediator = self.recording(observer=self.told.append)
        done = self.receive(mediator, url="/")
        self.answer(200)
        self.assertEqual(self.successResultOf(done), Done())
        self.assertEqual(len(self.ended), 1)
        self.assertEqual(len(self.told), 2)
        mediator.recorder = fail
        with capturedLogs() as events:
            done = self.receive(mediator, url="/")
            self.answer(200)
        self.assertEqual(self.successResultOf(done), Done())
        self.assertIn("ValueError: oh", formatEvent(events[0]))
        mediator.recorder = mediator.observer = None
        self.receive(mediator, url="/")
        self.answer(200)
        self.assertEqual(len(self.ended), 1)


class ToldToTests(SynchronousTestCase):
    """
    L{told_to} makes one observer of several.
    """

    def test_several(self) -> None:
        """
        All are told, in their order; nobody where there are none.
        """
        told: list[Any] = []

        def one(event: TaskEvent) -> None:
            told.append(1)

        def other(event: TaskEvent) -> None:
            told.append(2)

        self.assertIsNone(told_to([]))
        self.assertIs(told_to([one]), one)
        both = told_to([one, other])
        assert both is not None
        event: Any = None
        both(event)
        self.assertEqual(told, [1, 2])

    def test_one_fails(self) -> None:
        """
        One that raises does not keep the others from being told.
        """
        told: list[Any] = []

        def failing(event: TaskEvent) -> None:
            raise ValueError("oh")

        both = told_to([failing, told.append])
        assert both is not None
        event: Any = None
        self.assertRaises(ValueError, both, event)
        self.assertEqual(told, [None])


class ToldMessage(WatchedMessage):
    """
    A message whose watch tells how its task ends.
    """

    body = b""
    properties: Mapping[str, Any] = {"headers": {}}
    tells_end = True

    def __init__(self, **task: Any) -> None:
        self.body = json.dumps({"url": "http://a/", **task}).encode()


class LastAttemptTests(ObserverCase):
    """
    A mediator notes its attempt on a message whose end is told, with or without
    observers.
    """

    def attempt(self, code: int, kind: Any = Mediator, **task: Any) -> EndedTask:
        """
        The attempt at such a task; the executor answers with C{code}.
        """
        attempts = []
        for options in ({}, {"observer": None}):
            message = ToldMessage(**task)
            self.mediator(kind, **options).messageReceived(message)
            if self.answers:
                self.answer(code)
            assert message.last_attempt is not None
            attempts.append(message.last_attempt)
        return attempts[-1]

    def test_answered(self) -> None:
        """
        It has the status of the answer.
        """
        for code in (204, 503):
            attempt = self.attempt(code)
            self.assertEqual((attempt.has_begun, attempt.status), (True, code))
            self.assertEqual((attempt.number, attempt.started), (1, NOW))

    def test_not_begun(self) -> None:
        """
        One that is not made has not begun.
        """
        attempt = self.attempt(200, timestamp=format_time(NOW - 100), ttl=10)
        self.assertEqual((attempt.has_begun, attempt.status), (False, None))

    def test_failures_in_body(self) -> None:
        """
        Its number counts what the body counts.
        """
        attempt = self.attempt(500, DelayOnErrorMediator, failures=3)
        self.assertEqual(attempt.number, 4)

    def test_others(self) -> None:
        """
        Nothing is noted on another message.
        """
        message = ToldMessage()
        message.tells_end = False
        self.mediator().messageReceived(message)
        self.answer(200)
        self.assertIsNone(message.last_attempt)
