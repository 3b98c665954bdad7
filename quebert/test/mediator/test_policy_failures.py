"""
Tests for L{quebert.mediator._policy_failures}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._repeated import QUIET, RepeatedWarning
from quebert.errors import BadTask
from quebert.mediator._policy_failures import OUTCOME, RETRY_AFTER, PolicyFailures
from quebert.outcome import Bury, Discard, Outcome, Retry
from quebert.policy import LEASE_HEADER, LEASED, FailedAnswer, RetryPolicy, Rules
from quebert.test.mediating import NOW, FakeResponse
from quebert.test.mediator.doubles import FakeFailedTask


class PolicyFailureTests(SynchronousTestCase):
    """
    L{PolicyFailures}.
    """

    def setUp(self) -> None:
        """
        One with a steady policy.
        """
        self.events: list[Any] = []
        log = Logger(observer=self.events.append)  # type: ignore[arg-type]
        self.clock = Clock()
        ignored = RepeatedWarning(log, lambda: self.clock, "Ignored", "Heeded again")
        policy = RetryPolicy(max_attempts=2, min_backoff=8, max_backoff=8)
        self.policy = PolicyFailures(Rules(policy=policy), ignored, lambda: 0.5)

    def outcome(self, **fields: Any) -> Outcome:
        """
        What becomes of a failed task.
        """
        return self.policy.outcome(FakeFailedTask(**fields), NOW)

    def wait(self, **fields: Any) -> float:
        """
        When a failed task is tried again, which it must be.
        """
        outcome = self.outcome(**fields)
        assert isinstance(outcome, Retry), outcome
        return outcome.after

    def test_task(self) -> None:
        """
        A task's C{retry} changes the policy; where hooks have spoiled it, it does not.
        """
        self.assertEqual(self.wait(), 8)
        retry = {"max_backoff": 10, "min_backoff": 10, "jitter": "full"}
        self.assertEqual(self.wait(task={"retry": retry}), 5)
        self.assertEqual(self.wait(task={"retry": "often"}), 8)

    def test_limits(self) -> None:
        """
        A wrong C{retry} is told before an attempt.
        """
        limits = self.policy.limits_for({"retry": {"max_attempts": 7}})
        self.assertEqual(limits.max_attempts, 7)
        with self.assertRaises(BadTask):
            self.policy.limits_for({"retry": "often"})

    def test_retry_after(self) -> None:
        """
        C{Retry-After} counts where there was an answer.
        """
        headers = {RETRY_AFTER: ["30", "40"]}
        self.assertEqual(self.wait(headers=headers), 30)
        self.assertEqual(self.wait(headers=headers, answer=None), 8)

    def test_directive(self) -> None:
        """
        So does C{Quebert-Outcome}, whose reason is told without secrets.
        """
        discard = self.outcome(headers={OUTCOME: ["discard; s3cret"]})
        text = "task task 1 is discarded by its executor: ..."
        self.assertEqual(discard, Discard(text))
        bury = self.outcome(headers={OUTCOME: ["bury"]})
        self.assertIsInstance(bury, Bury)
        self.assertEqual(self.events, [])

    def test_ignored(self) -> None:
        """
        One that cannot be read, and one of two, is ignored; the log says why.
        """
        self.assertEqual(self.wait(headers={OUTCOME: ["bury him"]}), 8)
        self.assertEqual(self.wait(headers={OUTCOME: ["bury", "bury"]}), 8)
        self.assertEqual(
            [formatEvent(event) for event in self.events],
            [
                "Ignored: Quebert-Outcome: it must be retry-after=SECONDS, discard or"
                " bury",
                "Ignored: Quebert-Outcome: the answer has 2 of them, not one",
            ],
        )

    def test_no_leases(self) -> None:
        """
        Where there are no leases, a wish for one is ignored, and the log says so.
        """
        message: Any = object()
        answer, headers = FailedAnswer(LEASED, ""), {LEASE_HEADER: ["60"]}
        wait = self.wait(answer=answer, headers=headers, message=message)
        self.assertEqual(wait, 8)
        (event,) = self.events
        told = "Ignored: Quebert-Lease: the queue has no leases"
        self.assertEqual(formatEvent(event), told)

    def test_heeded_again(self) -> None:
        """
        Once one can be read, and all can for a while, the log says so.
        """
        self.wait(headers={OUTCOME: ["bury him"]})
        self.clock.advance(QUIET)
        self.assertEqual(len(self.events), 1)
        self.assertIsInstance(self.outcome(headers={OUTCOME: ["bury"]}), Bury)
        self.clock.advance(QUIET)
        self.assertIn("Heeded again", formatEvent(self.events[-1]))

    def test_overrules(self) -> None:
        """
        A 2xx that has the header is no success.
        """
        for fields, expected in (
            ({}, False),
            ({"Quebert-Outcome": "bury him"}, False),
            ({"Quebert-Outcome": "bury"}, True),
        ):
            response = FakeResponse(200, fields)
            self.assertEqual(self.policy.overrules(response), expected, fields)

    def test_told(self) -> None:
        """
        Of many attempts, each is told that doubles their number.
        """
        told = [n for n in range(1, 1_000) if self.policy.is_told(n)]
        self.assertEqual(told, [*range(1, 101), 128, 256, 512])

    def test_needs(self) -> None:
        """
        It numbers attempts, and reads no field but C{retry}.
        """
        self.assertEqual(self.policy.attempt_header, "Quebert-Attempt")
        self.assertFalse(self.policy.needs_whole_task)
