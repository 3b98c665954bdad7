"""
Tests for L{quebert.mediator._history}: the attempts that a message tells of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert.mediator._adapters import MESSAGES, BareMessage
from quebert.mediator._history import (
    NO_ATTEMPTS,
    FailedAttempt,
    failures_in,
    history_of,
    with_history,
)
from quebert.outcome import Bury, Discard, Done, Retry
from quebert.policy import History
from quebert.test.mediating import NOW, FakeMessage, UnreadableMessage


class HistoryTests(SynchronousTestCase):
    """
    From a message, and to one.
    """

    def history(self, message: Any, **task: Any) -> History:
        """
        The attempts at a task.
        """
        return history_of(MESSAGES.adapt(message), task)

    def test_headers(self) -> None:
        """
        Headers and body count together.
        """
        headers = History(3, NOW, NOW, 500).headers
        message = FakeMessage(b"", {"headers": headers})
        self.assertEqual(self.history(message).attempts, 3)
        self.assertEqual(self.history(message, failures=5).attempts, 8)

    def test_none(self) -> None:
        """
        Headers that cannot be read, or are none, tell of no attempts.
        """
        for message in (
            UnreadableMessage(b""),
            FakeMessage(b""),
            FakeMessage(b"", {"headers": 5}),
        ):
            self.assertEqual(self.history(message), NO_ATTEMPTS)

    def test_new(self) -> None:
        """
        The properties of a message that never was delivered before are not read.
        """

        class New(UnreadableMessage):
            may_have_past = False
            cancelled_tasks: Mapping[str, str] = MappingProxyType({})
            runs_now = False
            tells_end = False
            last_attempt = None
            callback_task = None

            def may_request(self, url: str) -> bool:
                """
                It may.
                """
                return True

            def was_refused(self, seconds: float, when_free: object = None) -> None:
                """
                It need not wait.
                """

            def was_unanswered(self) -> None:
                """
                Nobody wants to know.
                """

        new = MESSAGES.adapt(New(b""))
        self.patch(New, "properties", property(lambda self: self.fail()))
        self.assertIs(history_of(new, {}), NO_ATTEMPTS)
        self.assertEqual(history_of(new, {"failures": 2}).attempts, 2)

    def test_failures(self) -> None:
        """
        A count that is no number is 0.
        """
        odd = (None, "3", True, -1, math.nan)
        self.assertEqual({failures_in({"failures": each}) for each in odd}, {0})
        self.assertEqual(failures_in({"failures": 2.9}), 2)
        for many in (math.inf, 10**400):
            self.assertEqual(failures_in({"failures": many}), 2**31)

    def test_told(self) -> None:
        """
        What is tried again or buried tells the history; an outcome's own headers count
        more.  All else stays.
        """
        history = History(2, NOW, NOW, 500)
        for outcome in (Retry(headers={"mine": 1}), Bury("no", headers={"mine": 1})):
            told: Any = with_history(outcome, history, {})
            self.assertEqual(told.headers, {**history.headers, "mine": 1})
        for other in (Done(), Discard("no"), Retry(attempted=False)):
            self.assertIs(with_history(other, history, {}), other)

    def test_failed_attempt(self) -> None:
        """
        It is the failure, with a history.
        """
        failure = Failure(ValueError("a"))
        attempt = FailedAttempt.like(
            failure, NO_ATTEMPTS, BareMessage(FakeMessage(b""))
        )
        self.assertIs(attempt.value, failure.value)
        self.assertIs(attempt.history, NO_ATTEMPTS)
        self.assertTrue(attempt.check(ValueError))
