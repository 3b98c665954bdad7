"""
Tests for L{quebert.mediator._reading}: what a task asks for.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.boundaries import FailurePolicy
from quebert.errors import BadTask, ConfigError, NoDefaultURL
from quebert.mediator._adapters import MESSAGES
from quebert.mediator._history import NO_ATTEMPTS
from quebert.mediator._reading import TaskReader, Wanted, replace
from quebert.mediator._steady_failures import SteadyFailures
from quebert.policy import RetryPolicy
from quebert.task import ANY_TIME, BOUNDS, Task
from quebert.test.mediating import NOW, URL, FakeMessage, UnreadableMessage


class Limiting(SteadyFailures):
    """
    A policy that has limits and numbers attempts.
    """

    attempt_header = "X-Try"

    def limits_for(self, task: Task) -> RetryPolicy:
        """
        Those that are in the task.
        """
        if "limit" not in task:
            raise BadTask("limit is missing")
        return RetryPolicy(max_attempts=task["limit"])


class ReaderTests(SynchronousTestCase):
    """
    L{TaskReader}.
    """

    def read(
        self,
        task: Any,
        message: Any = None,
        policy: FailurePolicy | None = None,
        default: str | None = "http://h/",
    ) -> Wanted:
        """
        What a task asks for.
        """
        reader = TaskReader(default, BOUNDS, policy or SteadyFailures(1))
        return reader.read(task, MESSAGES.adapt(message or FakeMessage(b"")))

    def test_plain(self) -> None:
        """
        Times, request, no limits; the attempts need not be known.
        """
        wanted = self.read({"url": "/a", "failures": 7})
        times, request, limits, history, added = wanted
        self.assertEqual((times, request.url), (ANY_TIME, "http://h/a"))
        self.assertEqual((limits, history, added), (None, NO_ATTEMPTS, None))

    def test_sent_at(self) -> None:
        """
        The property of the message stands in for a missing timestamp.
        """
        sent = FakeMessage(b"", {"timestamp": NOW})
        task = {"url": URL, "ttl": 60}
        self.assertEqual(self.read(task, sent)[0].expires_at, NOW + 60)
        for other in (FakeMessage(b"", {"timestamp": "x"}), UnreadableMessage(b"")):
            self.assertIs(self.read(task, other)[0], ANY_TIME)

    def test_policy(self) -> None:
        """
        The policy tells limits, and has attempts numbered; it may refuse the task.
        """
        task = {"url": URL, "failures": 2, "limit": 5, "headers": {"X_TRY": "9"}}
        _, request, limits, history, _ = self.read(task, policy=Limiting(1))
        assert limits is not None
        self.assertEqual((limits.max_attempts, history.attempts), (5, 2))
        numbers = [v for k, v in request.headers.items() if "TRY" in k.upper()]
        self.assertEqual(numbers, ["3"])
        with self.assertRaisesRegex(BadTask, "limit is missing"):
            self.read({"url": URL}, policy=Limiting(1))

    def test_wrong(self) -> None:
        """
        What is no task is told, before the policy is asked.
        """
        wrong: list[Any] = [None, [], {}, {"url": 5}]
        for task in wrong:
            with self.assertRaisesRegex(BadTask, "url|object"):
                self.read(task, policy=Limiting(1))

    def test_default(self) -> None:
        """
        The default URL can be none, and is checked.
        """
        with self.assertRaises(NoDefaultURL):
            self.read({"url": "/a"}, default=None)
        with self.assertRaises(ConfigError):
            self.read({"url": "/a"}, default="localhost")

    def test_check(self) -> None:
        """
        Whether a task could be requested can be asked.
        """
        reader = TaskReader(None, BOUNDS, SteadyFailures(1))
        reader.check({"url": URL})
        for wrong in ({"url": "/a"}, {"url": URL, "ttl": "5"}):
            with self.assertRaises(BadTask):
                reader.check(wrong)

    def test_replace(self) -> None:
        """
        The number of an attempt replaces any that the task has.
        """
        headers = {"X-try": "8", "x_Try": "9", "Other": "a"}
        replace(headers, "X-Try", "3")
        self.assertEqual(headers, {"Other": "a", "X-Try": "3"})
        headers = {"x-try": "9"}  # the only one, as of a task with a payload
        replace(headers, "X-Try", "3")
        self.assertEqual(headers, {"X-Try": "3"})
