"""
Tests for L{quebert.mediator._policy_mediators}: two mediators and their policies.
"""

from __future__ import annotations

from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.outcome import Bury, Done, Outcome, Retry
from quebert.policy import RetryPolicy, Rules
from quebert.test.mediating import Case, FakeHTTP, message


class AttributeTests(Case):
    """
    What a mediator was made with can be read, and changed.
    """

    def setUp(self) -> None:
        """
        Have everything fail.
        """
        super().setUp()
        self.http = FakeHTTP(500)

    def wait(self, mediator: Mediator) -> float:
        """
        When a task is tried again that has failed once.
        """
        return self.put_back(mediator, message()).after

    def test_plain(self) -> None:
        """
        The delay of a plain mediator.
        """
        mediator = self.mediator(retryDelay=3)
        self.assertEqual((mediator.retryDelay, self.wait(mediator)), (3, 3))
        mediator.retryDelay = 4
        self.assertEqual(self.wait(mediator), 4)

    def test_backing_off(self) -> None:
        """
        The pace and the limits of the mediator that backs off.
        """
        mediator = DelayOnErrorMediator(http=self.http, clock=self.clock)
        self.assertEqual((mediator.constant, mediator.maxDelay), (1.5, 120))
        self.assertEqual(mediator.limits, RetryPolicy(max_attempts=-1))
        mediator.constant = 3
        self.assertEqual(self.wait(mediator), 3)
        mediator.maxDelay = 2
        self.assertEqual(self.wait(mediator), 2)
        mediator.limits = RetryPolicy(max_attempts=1)
        outcome: Outcome = self.outcome(mediator, message())
        self.assertIsInstance(outcome, Bury)

    def test_policy(self) -> None:
        """
        The rules of the mediator that gives up.
        """
        mediator = PolicyMediator(http=self.http, clock=self.clock, permanent=[404])
        self.assertEqual(mediator.rules, Rules(permanent=[404]))
        mediator.rules = Rules(policy=RetryPolicy(min_backoff=7))
        self.assertEqual(self.wait(mediator), 7)

    def test_others(self) -> None:
        """
        Those that all mediators have.
        """
        for make in (self.mediator, self.backing_off, PolicyMediator):
            mediator = make(max_url_length=9, maxTimeout=5, bury=False)
            self.assertEqual((mediator.bounds.url, mediator.maxTimeout), (9, 5))
            mediator.bury = True
            self.assertIsInstance(self.outcome(mediator, message(url=5)), Bury)
            self.assertIsNone(mediator.admission)
            self.assertEqual(mediator.defaultTimeout, 600)


class AnswerTests(Case):
    """
    Which mediators heed what an answer asks for.
    """

    def answered(self, code: int, **headers: str) -> list[Outcome]:
        """
        What becomes of a task, with each mediator.
        """
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.http = FakeHTTP(code, b"", fields)
        makes = self.mediator, self.backing_off
        policy = PolicyMediator(http=self.http, clock=self.clock)
        mediators = *(make() for make in makes), policy
        return [self.outcome(each, message()) for each in mediators]

    def test_when_to_come_again(self) -> None:
        """
        C{Retry-After} is heeded by the mediator with a policy alone.
        """
        for code in (429, 503):
            waits = []
            for outcome in self.answered(code, Retry_After="30"):
                assert isinstance(outcome, Retry)
                waits.append(outcome.after)
            self.assertEqual(waits, [1, 1.5, 30])

    def test_outcome(self) -> None:
        """
        So is C{Quebert-Outcome}, also beside a success.
        """
        for code, others in ((503, Retry), (200, Done)):
            outcomes = self.answered(code, Quebert_Outcome="bury")
            self.assertEqual([type(each) for each in outcomes], [others, others, Bury])
