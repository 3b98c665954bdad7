"""
Tests for L{quebert.mediator._failures}: who decides about a failure, and what is told.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import formatEvent
from twisted.python.failure import Failure

from quebert.boundaries import FailedTask, FailurePolicy
from quebert.errors import BadStatus, ConfigError
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.outcome import Bury, Discard, Done, Outcome, Retry
from quebert.policy import RetryPolicy
from quebert.task import Task, decode, encode
from quebert.test.checks import refusal
from quebert.test.mediating import (
    NOW,
    Case,
    FakeHTTP,
    FakeMessage,
    body_of,
    message,
    raising,
)


class Noting(FailurePolicy):
    """
    A policy that notes what it is asked about.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.asked: list[tuple[FailedTask, float]] = []
        self._outcome = outcome

    def outcome(self, failed: FailedTask, now: float) -> Outcome:
        """
        Note it.
        """
        self.asked.append((failed, now))
        return self._outcome


class PolicyTests(Case):
    """
    C{Mediator(policy=...)}.
    """

    def with_policy(self, policy: FailurePolicy, **options: Any) -> Mediator:
        """
        A mediator with this policy, whose executor fails unless the options say
        otherwise.
        """
        http = FakeHTTP(503, b"no, s3cret", {"Retry-After": "5"})
        settings: dict[str, Any] = {"http": http, "now": lambda: NOW, **options}
        return Mediator(clock=self.clock, policy=policy, **settings)

    def test_asked(self) -> None:
        """
        It gets to know the task, the failure and the history, without secrets, and
        decides.
        """
        policy = Noting(Retry(after=9))
        received = message(uuid="1", headers={"X-Token": "s3cret"})
        retry = self.put_back(self.with_policy(policy), received)
        self.assertEqual((retry.after, retry.headers["quebert-attempts"]), (9, 1))
        ((failed, now),) = policy.asked
        self.assertEqual((now, failed.task), (NOW, decode(received.body)))
        assert isinstance(failed.error, BadStatus)
        assert failed.answer is not None
        self.assertEqual((failed.answer.status, failed.answer.body), (503, "no, ..."))
        self.assertEqual(failed.header(b"retry-after"), ["5"])
        self.assertEqual((failed.history.attempts, failed.history.status), (1, 503))
        self.assertIn("was answered 503", failed.why)
        self.assertEqual(failed.encoded(), encode(decode(received.body)))

    def test_answers_are_not_kept(self) -> None:
        """
        It does not get to know the body of an answer that is not to be kept.
        """
        policy = Noting(Retry())
        mediator = self.with_policy(policy, keep_answers=False)
        self.put_back(mediator, message())
        ((failed, _),) = policy.asked
        assert failed.answer is not None
        self.assertEqual((failed.answer.status, failed.answer.body), (503, ""))

    def test_told(self) -> None:
        """
        The log tells of what is tried again, unless the policy wants it not told.
        """
        quiet = Noting(Retry())
        quiet.is_told = lambda attempts: False  # type: ignore[method-assign]
        for policy, count in (
            (Noting(Retry()), 1),
            (quiet, 0),
            (Noting(Discard("no")), 0),
        ):
            events = self.events()
            self.outcome(self.with_policy(policy), message())
            self.assertEqual(len(events), count)

    def test_limits(self) -> None:
        """
        Its limits are those by which a task is given up without another attempt.
        """

        class Limited(Noting):
            def limits_for(self, task: Task) -> RetryPolicy:
                return RetryPolicy(max_attempts=2)

        http = FakeHTTP(500)
        mediator = self.with_policy(Limited(Done()), http=http)
        self.assertIsInstance(self.outcome(mediator, message(failures=2)), Bury)
        self.assertEqual(http.requests, [])
        self.assertEqual(self.outcome(mediator, message(failures=1)), Done())

    def test_overrules(self) -> None:
        """
        It may say that a 2xx is no success.
        """

        class Strict(Noting):
            def overrules(self, response: Any) -> bool:
                return bool(response.code != 200)

        for code, expected in ((200, Done()), (201, Discard("no"))):
            mediator = self.with_policy(Strict(Discard("no")), http=FakeHTTP(code))
            self.assertEqual(self.outcome(mediator, message()), expected)

    def test_attempt_header(self) -> None:
        """
        It may have requests numbered.
        """
        policy, http = Noting(Done()), FakeHTTP(200)
        policy.attempt_header = "X-Try"
        received = message(failures=2, headers={"x-try": "9"})
        self.outcome(self.with_policy(policy, http=http), received)
        (request,) = http.requests
        self.assertEqual(request.headers["X-Try"], "3")
        self.assertNotIn("x-try", request.headers)

    def test_whole_task(self) -> None:
        """
        It gets all of a large task, if it needs that.
        """
        received = message(params=[{}] * 10_000)
        for needs in (True, False):
            policy = Noting(Discard("no"))
            policy.needs_whole_task = needs
            self.outcome(self.with_policy(policy), received)
            ((failed, _),) = policy.asked
            self.assertEqual("params" in failed.task, needs)

    def test_fails(self) -> None:
        """
        If it fails, the task is put back after the delay of a plain mediator.
        """
        policy = Noting(Done())
        self.patch(policy, "outcome", raising(ZeroDivisionError, "by nothing"))
        events = self.events()
        retry = self.put_back(self.with_policy(policy, retryDelay=6), message())
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(retry.after, 6)
        failed, told = map(formatEvent, events)
        self.assertEqual(
            failed, "Mediator.failed() failed; the task is tried again later"
        )
        self.assertIn("failed, and is tried again in 6 s", told)

    def test_decides_nothing(self) -> None:
        """
        A policy that decides nothing has failed: a task is not taken for done.
        """

        class Unfinished(FailurePolicy):
            """
            A policy without an C{outcome}.
            """

        unfinished: Any = Unfinished
        for policy, error in (
            (Noting(cast(Any, None)), TypeError),
            (unfinished(), NotImplementedError),
        ):
            retry = self.put_back(self.with_policy(policy, retryDelay=6), message())
            self.assertEqual(retry.after, 6)
            [_] = self.flushLoggedErrors(error)

    def test_wrong(self) -> None:
        """
        What is no policy is refused: C{RetryPolicy} is one of C{PolicyMediator}.
        """
        wrong: Any = RetryPolicy()
        text = refusal(ConfigError, Mediator, policy=wrong)
        self.assertIn("policy=RetryPolicy(", text)
        self.assertIn("must be a FailurePolicy", text)


class FailedTests(Case):
    """
    C{failed} is where all mediators decide, and subclasses may.
    """

    def test_overridden(self) -> None:
        """
        Each mediator does what C{failed} of a subclass says, and what the mediator's
        own says if that is asked.
        """
        waits = {Mediator: 1.0, DelayOnErrorMediator: 1.5, PolicyMediator: 0.1}
        for kind, wait in waits.items():

            class Deciding(kind):  # type: ignore[misc, valid-type]
                def failed(self, task: Task, failure: Failure) -> Outcome:
                    if task.get("uuid") == "mine":
                        return Discard("mine")
                    outcome: Outcome = super().failed(task, failure)
                    return outcome

            mediator = Deciding(http=FakeHTTP(500), clock=self.clock)
            outcome = self.outcome(mediator, message(uuid="mine"))
            self.assertEqual(outcome, Discard("mine"))
            self.assertEqual(self.put_back(mediator, message()).after, wait, kind)

    def test_asked_within(self) -> None:
        """
        A mediator that executes another task while it is asked about one knows the
        attempts at each.
        """
        other = message(uuid="other")

        class Busy(PolicyMediator):
            def failed(self, task: Task, failure: Failure) -> Outcome:
                if task["uuid"] == "first":
                    self.messageReceived(other)
                return super().failed(task, Failure(ValueError("somehow")))

        policy = RetryPolicy(max_attempts=3)
        http = FakeHTTP(500)
        mediator = Busy(http=http, clock=self.clock, policy=policy)
        retry = self.put_back(mediator, message(uuid="first", failures=1))
        self.assertEqual(retry.headers["quebert-attempts"], 2)
        self.assertEqual(retry.after, 0.2)
        self.assertEqual(len(http.requests), 2)

    def test_steady_large(self) -> None:
        """
        A plain mediator puts a large task back without decoding all of it, even if it
        could not.
        """
        body = body_of(params=0).replace(b"0}", b"1" * 20_000 + b"}")
        mediator = Mediator(http=FakeHTTP(500), clock=self.clock)
        self.assertEqual(self.put_back(mediator, FakeMessage(body)).after, 1)
