"""
Tests for L{quebert.mediator._requests}: requests, as they are made for tasks.
"""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert import task as tasks
from quebert.boundaries import HTTPClient
from quebert.errors import BadStatus, NoIDToken, RequestTimedOut
from quebert.mediator._adapters import MESSAGES
from quebert.mediator._admission import NotAdmitted
from quebert.mediator._requests import Requests
from quebert.signatures import IDTokens, SharedSecret, Signer
from quebert.test.mediating import URL, FakeHTTP, FakeMessage
from quebert.test.mediator.test_admission import AskingMessage, FakeAdmission
from quebert.test.test_id_tokens import ISSUER, verified
from quebert.test.test_task_cloud_tasks import ACCOUNT, FIELD
from quebert.test.test_token_keys import KEYS


class SigningHTTP:
    """
    A client that has requests signed.

    @ivar made: the requests, each with what signs it.
    """

    def __init__(self) -> None:
        self.made: list[Any] = []

    def make_request(
        self, method: str, url: str, fields: Any, body: Any, sign: Any = None
    ) -> Deferred[Any]:
        """
        Note it.
        """
        self.made.append((method, url, dict(fields), body, sign))
        return Deferred()


class RequestTests(SynchronousTestCase):
    """
    L{Requests}.
    """

    def setUp(self) -> None:
        """
        Stop the time.
        """
        self.clock = Clock()
        self.made: list[FakeHTTP] = []

    def requests(self, **options: Any) -> Requests:
        """
        Those of a client that is made when it is needed.
        """

        def make_http() -> HTTPClient:
            self.made.append(FakeHTTP())
            return self.made[-1]

        settings: dict[str, Any] = {
            "admission": None,
            "default_timeout": 60,
            "max_timeout": 90,
            "signer": None,
            "cloud_events": None,
            "overrules": None,
        }
        return Requests(None, make_http, lambda: self.clock, **{**settings, **options})

    def make(
        self, requests: Requests, message: Any = None, method: str = "POST", **f: Any
    ) -> Deferred[bytes]:
        """
        Make a request.
        """
        task = {"url": URL, "method": method, "timeout": 0, **f}
        request = tasks.request(task, "")
        watched = MESSAGES.adapt(message or FakeMessage(b""))
        return requests.make(watched, request, b"body")

    def test_client(self) -> None:
        """
        The client is made once, with the first request.
        """
        requests = self.requests()
        self.assertEqual(self.made, [])
        for _ in range(2):
            self.make(requests)
        (http,) = self.made
        self.assertIs(requests.http, http)
        self.assertEqual([each.data for each in http.requests], [b"body"] * 2)

    def test_another_client(self) -> None:
        """
        Another client makes the requests from then on, as its kind does; and does not
        follow redirects.
        """
        requests = self.requests()
        self.make(requests)
        signing: Any = SigningHTTP()
        requests.http = signing
        self.make(requests)
        requests.http = plain = FakeHTTP()
        self.make(requests)
        self.assertEqual(len(self.made[0].requests), 1)
        (made,) = signing.made
        method, url, headers, body, sign = made
        told = (method, url, body, sign)
        self.assertEqual(told, ("POST", URL, b"body", None))
        (request,) = plain.requests
        self.assertEqual((request.data, request.headers), (b"body", headers))
        self.assertIs(request.allow_redirects, False)

    def test_double(self) -> None:
        """
        A double that has any attribute is asked as all clients are.
        """
        requests = self.requests()
        requests.http = double = Mock()
        double.request.return_value = Deferred()
        self.make(requests)
        double.request.assert_called_once()
        double.make_request.assert_not_called()

    def test_signed(self) -> None:
        """
        A request is signed by a client that does so when it writes; for another client
        it is signed before.  A signature that the task claims to have is left out.
        """
        signer = Signer([SharedSecret.generate()])
        requests = self.requests(signer=signer)
        claimed = {"webhook-id": "mine", "X-A": "b"}
        self.make(requests, uuid="u", headers=claimed)
        self.assertEqual(self.made[0].requests[0].headers["webhook-id"], "u")
        requests.http = signing = cast(Any, SigningHTTP())
        self.make(requests, uuid="u", headers=claimed)
        ((_, _, headers, _, sign),) = signing.made
        self.assertEqual((headers["X-A"], "webhook-id" in headers), ("b", False))
        self.assertEqual(sign()["webhook-id"], "u")

    def test_no_body(self) -> None:
        """
        What has no body sends none.
        """
        self.make(self.requests(), method="GET")
        self.assertIsNone(self.made[0].requests[0].data)

    def test_payload(self) -> None:
        """
        A payload is sent in place of the task.
        """
        requests = self.requests()
        self.make(requests, payload="AP8=")
        self.make(requests, payload="", method="DELETE")
        sent = [each.data for each in self.made[0].requests]
        self.assertEqual(sent, [b"\x00\xff", b""])

    def test_id_token(self) -> None:
        """
        A request has the ID token that its task asks for, for its audience or its URL,
        and no other authorization.  Google's own library verifies it.
        """
        oidc = {"service_account_email": ACCOUNT}
        other = {"audience": "https://aud.example"}
        headers = {"authorization": "Bearer mine", "X-A": "b"}
        requests = self.requests(id_tokens=IDTokens(ISSUER, KEYS))
        for each in (oidc, {**oidc, **other}):
            field = {**FIELD, "oidc": each}
            self.make(requests, cloud_tasks=field, headers=headers)
            made = dict(self.made[0].requests[-1].headers)
            scheme, token = made.pop("Authorization").split(" ")
            self.assertEqual((scheme, made), ("Bearer", {"X-A": "b"}))
            claims = verified(token, each.get("audience", URL))
            self.assertEqual(claims["email"], ACCOUNT)

    def test_no_id_token(self) -> None:
        """
        A request without the ID token that it needs is not made.
        """
        requests = self.requests(admission=FakeAdmission())
        field = {**FIELD, "oidc": {"service_account_email": ACCOUNT}}
        failure = self.failureResultOf(self.make(requests, cloud_tasks=field))
        self.assertIsInstance(failure.value, NoIDToken)
        why = (
            f"its request needs an ID token of {ACCOUNT}, and this mediator has no key"
        )
        self.assertIn(why, str(failure.value))
        self.assertEqual(self.made, [])
        self.make(requests, cloud_tasks=FIELD)
        self.assertNotIn("Authorization", self.made[0].requests[0].headers)

    def test_time_limit(self) -> None:
        """
        A request has the time of its task, or the default, and at most the maximum.
        """
        for timeout, seconds in ((0, 60), (5, 5), (100, 90)):
            answered = self.make(self.requests(), timeout=timeout)
            self.clock.advance(seconds - 0.1)
            self.assertNoResult(answered)
            self.clock.advance(0.2)
            self.failureResultOf(answered, RequestTimedOut)

    def test_admission(self) -> None:
        """
        The message is asked first, then admission control, then the request is made.
        """
        admission = FakeAdmission()
        requests = self.requests(admission=admission)
        held = self.make(requests, AskingMessage(b"", may=False))
        self.failureResultOf(held, NotAdmitted)
        self.assertEqual((admission.admits, self.made), ([], []))
        requests.admission = FakeAdmission(7)
        error = self.failureResultOf(self.make(requests), NotAdmitted).value
        self.assertEqual((error.after, self.made), (7, []))

    def test_gate_is_told(self) -> None:
        """
        Admission control is told how each admitted request has ended, and of no other.
        """
        admission = FakeAdmission()
        requests = self.requests(admission=admission)
        answered = self.make(requests)
        self.made[0].requests[0].answer(503)
        self.failureResultOf(answered, BadStatus)
        self.assertEqual([each[2] for each in admission.ends], [503])
        admission.wait = 1
        self.failureResultOf(self.make(requests), NotAdmitted)
        self.assertEqual(len(admission.ends), 1)
