"""
Tests for L{quebert.web._leasing}; the answers of its routes are in C{test_routes}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.test.web.doubles import LEASE_IDS
from quebert.web._exchange import APIProblem
from quebert.web._leasing import LeaseHandlers


class _EmptyCall:
    """
    A call without a body, of the lease C{id}.
    """

    def __init__(self, id: str) -> None:
        self.names = {"id": id}
        self.request = self
        self.body = b""
        self.headers: dict[str, str] = {}


class LeaseHandlersTests(SynchronousTestCase):
    """
    L{LeaseHandlers}.
    """

    def test_no_database(self) -> None:
        """
        While the database cannot be used, as while another process has it, an executor
        that has a lease is told to try again, and not that there is no such lease.
        """
        handlers = LeaseHandlers(None, LEASE_IDS)
        id = LEASE_IDS.make(bytes(16), 1)
        self.assertEqual(self.status(handlers, id), 503)
        self.assertEqual(self.status(handlers, "x" * len(id)), 404)
        self.assertEqual(self.status(LeaseHandlers(None, None), id), 404)

    def test_unread(self) -> None:
        """
        Whoever has no lease has no body read, which would take long.
        """
        handlers = LeaseHandlers(None, LEASE_IDS)
        for name in ("renew", "complete", "fail"):
            call: Any = _EmptyCall("x" * 48)
            call.body = b"{" * 2**20
            asked = Deferred.fromCoroutine(getattr(handlers, name)(call))
            problem = self.failureResultOf(asked, APIProblem).value
            self.assertEqual(problem.status, 404)

    def status(self, handlers: LeaseHandlers, id: str) -> int:
        """
        Of the answer to one who completes a task.
        """
        call: Any = _EmptyCall(id)
        asked = Deferred.fromCoroutine(handlers.complete(call))
        problem = self.failureResultOf(asked, APIProblem).value
        return int(problem.status)
