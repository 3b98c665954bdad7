"""
Tests for C{quebert.http._exchange}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ExecutorError
from quebert.http._exchange import HTTPExchange


class FakeOwner:
    """
    Where an exchange is.
    """

    def __init__(self) -> None:
        self.abandoned: list[HTTPExchange] = []

    def abandon(self, exchange: HTTPExchange) -> None:
        """
        Note it.
        """
        self.abandoned.append(exchange)


class ExchangeTests(SynchronousTestCase):
    """
    A request, and who waits for the answer.
    """

    def setUp(self) -> None:
        """
        A request that is somewhere.
        """
        self.exchange = HTTPExchange(b"", bodiless=False)
        self.owner = self.exchange.owner = FakeOwner()
        self.response: Any = object()

    def test_told_once(self) -> None:
        """
        Who waits is told what comes first, and nothing of what comes later.
        """
        self.assertFalse(self.exchange.is_over)
        self.exchange.succeed(self.response)
        self.assertTrue(self.exchange.is_over)
        self.exchange.fail(ExecutorError("late"))
        self.exchange.succeed(self.response)
        answered = self.successResultOf(self.exchange.answered)
        self.assertIs(answered, self.response)

    def test_failed(self) -> None:
        """
        So it is with a failure.
        """
        self.exchange.fail(ExecutorError("no"))
        self.exchange.succeed(self.response)
        self.failureResultOf(self.exchange.answered, ExecutorError)

    def test_cancelled(self) -> None:
        """
        Where it is, it is abandoned if nobody waits any more, and nobody is told.
        """
        self.exchange.answered.cancel()
        self.assertEqual(self.owner.abandoned, [self.exchange])
        self.failureResultOf(self.exchange.answered, CancelledError)
        self.exchange.succeed(self.response)

    def test_nowhere(self) -> None:
        """
        It may not be anywhere yet.
        """
        self.exchange.owner = None
        self.exchange.answered.cancel()
        self.failureResultOf(self.exchange.answered, CancelledError)
