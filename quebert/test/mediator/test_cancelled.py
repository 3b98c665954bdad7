"""
Tests for tasks that a message says are cancelled, or are to run now, in mediators.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert.amqp.coordination import Cancellation
from quebert.boundaries import WatchedMessage
from quebert.mediator._judging import cancelled
from quebert.outcome import CANCELLED, Discard, Done, Outcome, Retry
from quebert.task import format_time
from quebert.task_events import AttemptBegun, AttemptEnded, NotAttempted, TaskEvent
from quebert.test.mediating import NOW, URL, Case, FakeHTTP

GONE = Discard("cancelled by ada", CANCELLED)


@attrs.define(eq=False)
class CancelledMessage(WatchedMessage):
    """
    A message whose watch knows cancelled tasks.
    """

    task: Mapping[str, Any]
    cancelled_tasks: dict[str, Cancellation] = attrs.field(factory=dict)
    runs_now: bool = False
    properties: Mapping[str, Any] = attrs.field(factory=lambda: {"headers": {}})

    @property
    def body(self) -> bytes:
        """
        The task.
        """
        return json.dumps({"url": URL, **self.task}).encode()

    def cancel(self, uuid: str = "a") -> None:
        """
        Somebody cancels a task.
        """
        self.cancelled_tasks[uuid] = Cancellation(uuid, NOW, "ada")


class CancelledTests(Case):
    """
    Cancelled tasks.
    """

    def setUp(self) -> None:
        super().setUp()
        self.told: list[TaskEvent] = []

    def watched(self, **task: Any) -> CancelledMessage:
        """
        A message with a task that is cancelled.
        """
        message = CancelledMessage({"uuid": "a", **task})
        message.cancel()
        return message

    def test_not_attempted(self) -> None:
        """
        No request is made for it, and no hook called, whatever its times say.
        """
        called: list[Any] = []
        mediator = self.mediator(observer=self.told.append)
        for task in (
            {},
            {"ttl": 1, "timestamp": format_time(NOW - 9)},
            {"run_at": format_time(NOW + 9)},
            {"filter": True},
            {"params": "x" * 100_000},
        ):
            message = self.watched(**task)
            self.assertEqual(self.outcome(mediator, message), GONE)
        mediator.add_prehook(called.append)
        self.assertEqual(self.outcome(mediator, self.watched()), GONE)
        self.assertEqual((self.http.requests, called), ([], []))
        self.assertEqual(len(self.told), 6)
        for event in self.told:
            assert isinstance(event, NotAttempted)
            self.assertEqual(event.why, "cancelled by ada")

    def test_others(self) -> None:
        """
        Others are attempted, also those without a uuid.
        """
        for uuid in ("b", None, 5):
            message = self.watched(uuid=uuid)
            self.assertEqual(self.outcome(self.mediator(), message), Done())

    def test_hooks_take_time(self) -> None:
        """
        It is not attempted either if it is cancelled while its pre-hooks run.
        """
        hooks: list[Deferred[None]] = []

        def prepare(task: Any) -> Deferred[None]:
            hooks.append(Deferred())
            return hooks[-1]

        mediator = self.mediator(observer=self.told.append)
        mediator.add_prehook(prepare)
        message = CancelledMessage({"uuid": "a"})
        answer = mediator.messageReceived(message)
        message.cancel()
        hooks.pop().callback(None)
        self.assertEqual(self.successResultOf(answer), GONE)
        self.assertEqual(self.http.requests, [])
        self.assertEqual([type(each) for each in self.told], [NotAttempted])

    def test_hook_fails(self) -> None:
        """
        Nor is it tried again if such a hook fails.
        """
        hook: Deferred[None] = Deferred()
        mediator = self.mediator()
        mediator.add_prehook(lambda task: hook)
        message = CancelledMessage({"uuid": "a"})
        answer = mediator.messageReceived(message)
        message.cancel()
        hook.errback(Failure(ValueError("a hook")))
        self.assertEqual(self.successResultOf(answer), GONE)

    def test_last_attempt(self) -> None:
        """
        If it is cancelled while it is attempted, a failure is its last, and a success
        is one.
        """
        for make in (self.mediator, self.backing_off):
            for status, expected in ((500, GONE), (200, Done())):
                self.http = FakeHTTP()
                self.told.clear()
                message = CancelledMessage({"uuid": "a"})
                mediator = make(observer=self.told.append)
                answer = mediator.messageReceived(message)
                message.cancel()
                self.http.requests[0].answer(status)
                self.assertEqual(self.successResultOf(answer), expected)
                begun, ended = self.told
                assert isinstance(begun, AttemptBegun)
                assert isinstance(ended, AttemptEnded)
                self.assertEqual((ended.status, ended.outcome), (status, expected))

    def test_run_now(self) -> None:
        """
        A task that is to run now is attempted before its time, and not after its end.
        """
        early = CancelledMessage({"run_at": format_time(NOW + 9)})
        self.assertIsInstance(self.outcome(self.mediator(), early), Retry)
        early.runs_now = True
        self.assertEqual(self.outcome(self.mediator(), early), Done())
        old = {"ttl": 1, "timestamp": format_time(NOW - 9)}
        outcome = self.outcome(self.mediator(), CancelledMessage(old, runs_now=True))
        self.assertIsInstance(outcome, Discard)

    def test_uuids(self) -> None:
        """
        Tests for L{cancelled}: a number is like its digits.
        """
        message = CancelledMessage({})
        message.cancel("5")
        expected: tuple[Outcome | None, ...] = (GONE, GONE, None, None)
        found = tuple(cancelled(each, message) for each in ("5", 5, None, "6"))
        self.assertEqual(found, expected)

    def test_used_again(self) -> None:
        """
        A task that was sent later than the one that is cancelled is attempted, also
        again; one of which nobody knows when it was sent is not.
        """
        sent: tuple[tuple[Any, Outcome], ...] = (
            (NOW, GONE),
            (NOW + 1, Done()),
            ("x", GONE),
            (None, GONE),
        )
        for timestamp, expected in sent:
            message = CancelledMessage({"uuid": "a"})
            message.cancelled_tasks["a"] = Cancellation(
                "a", NOW + 9, "ada", sent_by=NOW
            )
            message.properties = {"headers": {}, "timestamp": timestamp}
            self.assertEqual(self.outcome(self.mediator(), message), expected)
        message.properties = {"headers": {}, "timestamp": NOW + 1}
        self.http = FakeHTTP()
        answer = self.mediator().messageReceived(message)
        self.http.requests[0].answer(500)
        self.assertIsInstance(self.successResultOf(answer), Retry)
