"""
Tests for L{quebert.mediator._pipeline}: the order of the steps.

What each step does is tested in C{test_mediator.py}.
"""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from quebert.mediator import Mediator, PolicyMediator
from quebert.outcome import Bury, Discard, Done, Outcome, Retry
from quebert.policy import RetryPolicy
from quebert.task import Task, format_time
from quebert.test.mediating import (
    NOW,
    URL,
    Case,
    FakeHTTP,
    FakeMessage,
    message,
    returning,
)
from quebert.test.mediator.test_admission import FakeAdmission

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


class StepTests(Case):
    """
    A task that two steps would stop is stopped by the first.
    """

    def setUp(self) -> None:
        """
        A mediator that notes which steps a task comes to.
        """
        super().setUp()
        self.steps: list[str] = []
        self.admission = FakeAdmission()
        self.patch(self.admission, "admit", self.noting("admission", 0.0))
        self.patch(self.http, "request", self.noting_request(self.http.request))
        self.mediated = PolicyMediator(
            http=self.http,
            clock=self.clock,
            now=returning(NOW),
            admission=self.admission,
            policy=RetryPolicy(max_attempts=1),
        )
        self.mediated.add_prehook(self.noting("pre-hook", None))
        self.mediated.add_posthook(self.noting("post-hook", None))

    def noting(self, step: str, result: object) -> Any:
        """
        A step that is noted.
        """

        def noted(*args: object) -> object:
            self.steps.append(step)
            return result

        return noted

    def noting_request(self, request: Any) -> Any:
        """
        The request, noted.
        """

        def noted(*args: Any, **options: Any) -> Deferred[Any]:
            self.steps.append("request")
            answering: Deferred[Any] = request(*args, **options)
            return answering

        return noted

    def came(self, **fields: Any) -> tuple[Outcome, list[str]]:
        """
        What became of a task, and the steps it came to.
        """
        self.steps.clear()
        return self.outcome(self.mediated, message(**fields)), self.steps

    def test_all(self) -> None:
        """
        Nothing stops a good task.
        """
        steps = ["pre-hook", "admission", "request", "post-hook"]
        self.assertEqual(self.came(), (Done(), steps))

    def test_stopped(self) -> None:
        """
        Wrong, expired, early, given up: in this order, and before the hooks.
        """
        wrong = {"retry": "often"}
        old = {"timestamp": format_time(NOW - 9), "ttl": 1}
        young = {"run_at": format_time(NOW + 9)}
        tired = {"failures": 1}
        for fields, expected in (
            ({**wrong, **old, **young, **tired}, "not a task: retry"),
            ({**old, **young, **tired}, "has expired"),
            ({**young, **tired}, "after=9"),
            (tired, "is given up after 1 attempt"),
        ):
            outcome, steps = self.came(**fields)
            self.assertIsInstance(outcome, (Bury, Discard, Retry))
            self.assertIn(expected, str(outcome))
            self.assertEqual(steps, [])

    def test_filtered(self) -> None:
        """
        A filtered task needs no admission and no request.
        """
        self.assertEqual(self.came(filter=True), (Done(), ["pre-hook", "post-hook"]))

    def test_expired_in_hooks(self) -> None:
        """
        A task that a pre-hook changes is judged as it is then.
        """

        def age(task: Task) -> None:
            task.update(timestamp=format_time(NOW - 9), ttl=1)

        self.mediated.add_prehook(age)
        outcome, steps = self.came()
        self.assertIsInstance(outcome, Discard)
        self.assertEqual(steps, ["pre-hook"])

    def test_undecoded(self) -> None:
        """
        What cannot be decoded comes to no step.
        """
        outcome = self.outcome(self.mediated, FakeMessage(b"{"))
        self.assertIsInstance(outcome, Bury)
        self.assertEqual((self.steps, URL in str(outcome)), ([], False))


class ContextHTTP(FakeHTTP):
    """
    Answers each request, and notes the L{NAME} that the request saw.
    """

    def __init__(self) -> None:
        super().__init__(200)
        self.seen: list[str] = []

    def request(self, *args: Any, **options: Any) -> Any:
        """
        Note it.
        """
        self.seen.append(NAME.get())
        return super().request(*args, **options)


class ContextTests(Case):
    """
    The request sees the context in which its message came.
    """

    def setUp(self) -> None:
        super().setUp()
        self.context_http = ContextHTTP()
        self.clock = Clock()
        self.mediated = Mediator(http=self.context_http, clock=self.clock)

    def come(self, **fields: Any) -> Deferred[Outcome]:
        """
        Have a message come while the name is "she", and is "nobody" again afterwards.
        """

        def received() -> Deferred[Outcome]:
            NAME.set("she")
            return self.mediated.messageReceived(message(**fields))

        return copy_context().run(received)

    def assert_seen(self, coming: Deferred[Outcome]) -> None:
        """
        The request has seen the name.
        """
        self.assertEqual(self.successResultOf(coming), Done())
        self.assertEqual(self.context_http.seen, ["she"])

    def test_at_once(self) -> None:
        """
        Nothing is waited for.
        """
        self.assert_seen(self.come())

    def test_hook_that_waits(self) -> None:
        """
        A pre-hook has waited, and the request sees what it has set, too.
        """
        gate: Deferred[None] = Deferred()

        async def hook(task: Task) -> None:
            await gate
            NAME.set(NAME.get().upper())

        self.mediated.add_prehook(hook)
        coming = self.come()
        gate.callback(None)
        self.assertEqual(self.successResultOf(coming), Done())
        self.assertEqual(self.context_http.seen, ["SHE"])

    def test_large(self) -> None:
        """
        A large task has been read in steps.
        """
        coming = self.come(params=[{}] * 50_000)
        while self.clock.getDelayedCalls() and not self.context_http.seen:
            self.clock.advance(0.01)
        self.assert_seen(coming)
