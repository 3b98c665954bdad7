"""
Tests for L{quebert.mediator._handler_headers}: the headers that handlers of Cloud Tasks
get, at each attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quebert.boundaries import Message, WatchedMessage
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.mediator._handler_headers import handler_headers
from quebert.outcome import Done, Retry
from quebert.policy import ANSWERED, ANSWERS, ATTEMPTS, History
from quebert.task import CloudTasksField, format_time
from quebert.test.mediating import NOW, Case, FakeHTTP, FakeMessage, body_of, returning
from quebert.test.test_task_cloud_tasks import FIELD

#: A time-out, in place of an answer.
LATE = None
#: What Google's service was recorded to send: the answers to one task, and with each
#: attempt TaskRetryCount, TaskExecutionCount and TaskPreviousResponse.
RECORDED: list[tuple[int | None, tuple[str, str, str | None]]] = [
    (503, ("0", "0", None)),
    (404, ("1", "0", "503")),
    (429, ("2", "1", "404")),
    (500, ("3", "2", "429")),
    (302, ("4", "2", "500")),
    (200, ("5", "3", "302")),
]
#: The same for another task.
RECORDED_LATE: list[tuple[int | None, tuple[str, str, str | None]]] = [
    (LATE, ("0", "0", None)),
    (200, ("1", "0", "504")),
]
KINDS: tuple[type[Mediator], ...] = (Mediator, PolicyMediator, DelayOnErrorMediator)


class RetriedMessage(WatchedMessage):
    """
    A message that has waited in the broker.
    """

    sent_at = None
    due_at = NOW + 7.25

    def __init__(self, body: bytes, headers: Mapping[str, Any]) -> None:
        self._message = FakeMessage(body, {"headers": headers})

    @property
    def body(self) -> bytes:
        """
        The task.
        """
        return self._message.body

    @property
    def properties(self) -> Mapping[str, Any]:
        """
        With the headers.
        """
        return self._message.properties


class HandlerHeadersTests(Case):
    """
    A task with the field C{cloud_tasks}, from one attempt to the next.
    """

    def setUp(self) -> None:
        """
        A client that does not answer by itself.
        """
        super().setUp()
        self.http = FakeHTTP()

    def mediator_of(self, kind: type[Mediator], **options: Any) -> Mediator:
        """
        A mediator of some kind.
        """
        return kind(http=self.http, clock=self.clock, now=returning(NOW), **options)

    def attempt(
        self, mediator: Mediator, message: Message, answer: int | None
    ) -> tuple[Mapping[str, str], Message | None]:
        """
        The headers of an attempt, and the message of the next, if there is one.
        """
        deciding = mediator.messageReceived(message)
        request = self.http.requests[-1]
        if answer is None:
            self.clock.advance(mediator.defaultTimeout + 1)
        else:
            request.answer(answer)
        outcome = self.successResultOf(deciding)
        if isinstance(outcome, Done):
            return request.headers, None
        assert isinstance(outcome, Retry), outcome
        headers = {**message.properties.get("headers", {}), **outcome.headers}
        told = {name: value for name, value in headers.items() if value is not None}
        body = message.body if outcome.body is None else outcome.body
        return request.headers, RetriedMessage(body, told)

    def test_recorded(self) -> None:
        """
        Each mediator tells what Google's service was recorded to tell.
        """
        for kind in KINDS:
            for recorded in (RECORDED, RECORDED_LATE):
                mediator = self.mediator_of(kind)
                following: Message | None = FakeMessage(body_of(cloud_tasks=FIELD))
                for answer, expected in recorded:
                    assert following is not None
                    headers, following = self.attempt(mediator, following, answer)
                    self.check(headers, expected)
                self.assertIsNone(following)

    def check(
        self, headers: Mapping[str, str], expected: tuple[str, str, str | None]
    ) -> None:
        """
        Whether an attempt told so.
        """
        told = {k: v for k, v in headers.items() if k != "Quebert-Attempt"}
        del told["X-CloudTasks-TaskETA"]
        retries, executions, previous = expected
        wanted = {
            "User-Agent": "Google-Cloud-Tasks",
            "X-CloudTasks-QueueName": "mail",
            "X-CloudTasks-TaskName": "42",
            "X-CloudTasks-TaskRetryCount": retries,
            "X-CloudTasks-TaskExecutionCount": executions,
        }
        if previous is not None:
            wanted["X-CloudTasks-TaskPreviousResponse"] = previous
            wanted["X-CloudTasks-TaskRetryReason"] = ""
        self.assertEqual(told, wanted)

    def test_counted(self) -> None:
        """
        Message headers count the answers.
        """
        mediator = self.mediator_of(PolicyMediator)
        following: Any = FakeMessage(body_of(cloud_tasks=FIELD))
        for answer in (503, LATE, 404):
            _, following = self.attempt(mediator, following, answer)
        headers = following.properties["headers"]
        counts = [headers[name] for name in (ATTEMPTS, ANSWERS, ANSWERED)]
        self.assertEqual(counts, [3, 2, 1])

    def test_eta(self) -> None:
        """
        The time at which an attempt was due: of a first one, its C{run_at}, or when the
        task was made; of another, until when its message has waited.
        """
        made, run_at = format_time(NOW - 60), format_time(NOW - 30.5)
        first = body_of(cloud_tasks=FIELD, timestamp=made)
        later = body_of(cloud_tasks=FIELD, timestamp=made, run_at=run_at)
        tried = History(1, NOW, NOW, 500).headers
        for message, eta in (
            (FakeMessage(body_of(cloud_tasks=FIELD)), NOW),
            (FakeMessage(first), NOW - 60),
            (FakeMessage(later), NOW - 30.5),
            (RetriedMessage(later, tried), NOW + 7.25),
            (FakeMessage(later, {"headers": tried}), NOW),
        ):
            for kind in KINDS:
                headers, _ = self.attempt(self.mediator_of(kind), message, 200)
                self.assertEqual(headers["X-CloudTasks-TaskETA"], f"{eta:.6f}")

    def test_own(self) -> None:
        """
        No header of the task stands beside those of its attempts.
        """
        own = {"x_cloudtasks_taskname": "43", "user-agent": "me", "X-Mine": "1"}
        message = FakeMessage(body_of(cloud_tasks=FIELD, headers=own))
        headers, _ = self.attempt(self.mediator_of(Mediator), message, 200)
        self.check({k: v for k, v in headers.items() if k != "X-Mine"}, RECORDED[0][1])
        self.assertEqual(headers["X-Mine"], "1")

    def test_hooks(self) -> None:
        """
        A task that hooks have changed has them, too.
        """
        mediator = self.mediator_of(PolicyMediator)
        mediator.add_prehook(lambda task: task.update(payload="eA=="))
        message = FakeMessage(body_of(cloud_tasks=FIELD))
        headers, _ = self.attempt(mediator, message, 200)
        self.check(headers, RECORDED[0][1])
        self.assertEqual(self.http.requests[0].data, b"x")

    def test_dead(self) -> None:
        """
        Of a task that was put back from the dead letters, all begins anew.
        """
        history = History(3, NOW - 9, NOW - 8, 404, 0, 3, 2)
        buried = {**history.headers, "quebert-buried-at": NOW - 5}
        message = FakeMessage(body_of(cloud_tasks=FIELD), {"headers": buried})
        headers, _ = self.attempt(self.mediator_of(PolicyMediator), message, 200)
        self.check(headers, RECORDED[0][1])

    def test_hostile(self) -> None:
        """
        Counts that are none count as 0.
        """
        field = CloudTasksField("q", "t")
        for wrong in (-1, True, "9", 1.5, None):
            headers = {**History(1, NOW, NOW, 503).headers, ANSWERED: wrong}
            history = History.read(headers)
            told = handler_headers(field, history, NOW)
            self.assertEqual(told["X-CloudTasks-TaskExecutionCount"], "0")
