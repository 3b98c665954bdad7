"""
L{RequestRates}: requests of a token, and of an address without one.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.limits import Rate
from quebert.test.web.doubles import MemoryAPI
from quebert.web._exchange import APIProblem, APIRequest, Caller
from quebert.web._request_rates import MOST, RequestRates


class RequestRatesTests(SynchronousTestCase):
    """
    Tests for L{RequestRates}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.limits = RequestRates(Rate.parse("8/s"), self.clock.seconds)

    def _refused(self, count: int, **caller: Any) -> int:
        refused = 0
        for _ in range(count):
            try:
                self.limits.count(Caller(**caller))
            except APIProblem:
                refused += 1
        return refused

    def test_each(self) -> None:
        """
        Each token has its own, wherever it comes from, and each address that has none.
        """
        self.assertEqual(self._refused(3, name="anna", address="192.0.2.1"), 1)
        self.assertEqual(self._refused(1, name="anna", address="192.0.2.2"), 1)
        self.assertEqual(self._refused(3, name="bob", address="192.0.2.1"), 1)
        self.assertEqual(self._refused(3, address="192.0.2.1"), 1)
        self.assertEqual(self._refused(3, address="192.0.2.2"), 1)
        self.clock.advance(0.125)
        self.assertEqual(self._refused(2, name="anna"), 1)

    def test_version_6(self) -> None:
        """
        All addresses of a network of version 6 are one.
        """
        self.assertEqual(self._refused(2, address="2001:db8::1"), 0)
        self.assertEqual(self._refused(1, address="2001:db8::f:2%eth0"), 1)
        self.assertEqual(self._refused(1, address="2001:db8:0:1::1"), 0)
        self.assertEqual(self._refused(3, address=""), 1)  # a Unix socket

    def test_memory(self) -> None:
        """
        Those that have asked last are remembered.
        """
        self._refused(2, name="anna")
        for number in range(MOST):
            self._refused(1, address=f"address {number}")
            self.assertTrue(number % 100 or self._refused(1, name="anna"))
        self.assertEqual(len(self.limits._buckets), MOST)

    def test_none(self) -> None:
        """
        Without a rate, nobody is refused.
        """
        self.limits = RequestRates(None, self.clock.seconds)
        self.assertEqual(self._refused(1_000, name="anna"), 0)

    def test_elsewhere(self) -> None:
        """
        A request over something else than HTTP counts like one over HTTP.
        """
        api = MemoryAPI(rate_limit=Rate.parse("6/m"))
        self.assertEqual(api.ask("GET", "/v1/overview", token="reader").status, 200)
        headers = {"authorization": "Bearer reader"}
        request = APIRequest(method="POST", path=(), headers=headers)
        with self.assertRaisesRegex(APIProblem, "6/m requests come from the token"):
            api.api.admit(request)
        api.clock.advance(10)
        self.assertEqual(api.api.admit(request).name, "reader")
        self.assertEqual(api.ask("GET", "/v1/overview", token="reader").status, 429)

    def test_api(self) -> None:
        """
        The API says when to try again; tokens that are wrong count for their address,
        and health for nobody.
        """
        api = MemoryAPI(rate_limit=Rate.parse("6/m"))
        self.assertEqual(api.ask("GET", "/v1/overview").status, 200)
        answer = api.ask("GET", "/v1/overview")
        self.assertEqual(answer.status, 429)
        self.assertEqual(dict(answer.headers), {"Retry-After": "10"})
        problem = json.loads(answer.body)
        self.assertEqual(problem["type"], "/problems/rate-limit")
        self.assertIn("6/m requests come from this address", problem["detail"])
        self.assertEqual(api.ask("GET", "/v1/overview", token="wrong").status, 429)
        answer = api.ask("GET", "/v1/overview", token="wrong", address="192.0.2.1")
        self.assertEqual(answer.status, 401)
        self.assertEqual(api.ask("GET", "/v1/overview", token="reader").status, 200)
        answer = api.ask("POST", "/v1/queues/mail:pause", token="reader")
        self.assertEqual(answer.status, 429)
        for _ in range(3):
            self.assertEqual(api.ask("GET", "/healthz").status, 200)
        api.clock.advance(10)
        self.assertEqual(api.ask("GET", "/v1/overview").status, 200)
