"""
Tests for L{quebert.mediator._leasing}: leases that a mediator offers and grants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from quebert.errors import ConfigError
from quebert.mediator import Leasing, PolicyMediator
from quebert.mediator._adapters import MESSAGES
from quebert.outcome import Bury, Done, Outcome, Retry
from quebert.policy import (
    ATTEMPTS,
    LEASE_BACKOFF,
    LEASE_ID,
    LEASE_LAST,
    LEASE_QUEUE,
    LEASE_UNTIL,
    LEASES,
    RetryPolicy,
)
from quebert.signatures import LeaseIDs, identity_of_message
from quebert.test.mediating import (
    NOW,
    Case,
    FakeHTTP,
    FakeMessage,
    FakeResponse,
    body_of,
    returning,
)

IDS = LeaseIDs([b"s" * 24])
URL = "https://tasks.example.com/"
BODY = body_of()
PROPERTIES: dict[str, Any] = {"message-id": "u", "timestamp": 7, "headers": {}}
IDENTITY = identity_of_message("tasks", "u", 7, BODY)


class LeasingTests(Case):
    """
    L{Leasing}, in a L{PolicyMediator}.
    """

    def setUp(self) -> None:
        """
        A mediator that grants leases.
        """
        super().setUp()
        self.http = FakeHTTP()
        self.leasing_mediator = self.mediator_of(Leasing("tasks", IDS, URL))

    def mediator_of(self, leasing: Leasing | None) -> PolicyMediator:
        """
        A mediator.
        """
        return PolicyMediator(
            http=self.http,
            clock=self.clock,
            now=returning(NOW),
            policy=RetryPolicy(max_attempts=2, min_backoff=8, max_backoff=8),
            leasing=leasing,
        )

    def attempt(
        self,
        status: int,
        *leases: str,
        attempts: int = 0,
        body: bytes = BODY,
        properties: Mapping[str, Any] = PROPERTIES,
    ) -> Outcome:
        """
        What becomes of a task that is answered so.
        """
        headers: dict[str, float] = {ATTEMPTS: attempts} if attempts else {}
        if attempts:
            headers |= {"quebert-first-attempt": NOW - 5.0}
            headers |= {"quebert-last-attempt": NOW - 5.0}
        message = FakeMessage(body, {**properties, "headers": headers})
        deciding = self.leasing_mediator.messageReceived(message)
        answer = FakeResponse(status)
        if leases:
            answer.headers.setRawHeaders("Quebert-Lease", list(leases))
        self.http.requests[-1].answered.callback(answer)
        answer.body.callback(b"")
        outcome: Outcome = self.successResultOf(deciding)
        return outcome

    def granted(self, *leases: str, **options: Any) -> Retry:
        """
        The outcome of a task that is leased.
        """
        outcome = self.attempt(202, *leases, **options)
        assert isinstance(outcome, Retry), outcome
        self.assertEqual(outcome.queue, LEASES)
        return outcome

    def test_offered(self) -> None:
        """
        Each request tells where its lease is, and no task can say another place.
        """
        body = body_of(headers={"quebert_lease-url": "https://evil.example.com/"})
        self.assertEqual(self.attempt(200, body=body), Done())
        headers = self.http.requests[-1].headers
        told = [v for k, v in headers.items() if "lease" in k.lower()]
        identity = identity_of_message("tasks", "u", 7, body)
        self.assertEqual(told, [f"{URL}v1/leases/{IDS.make(identity, 1)}"])

    def test_anonymous(self) -> None:
        """
        Two messages may be the same where they have no C{message-id}, or no time: each
        has a lease of its own, the one that was offered.
        """
        for lacking in ("message-id", "timestamp", ""):
            kept = {key: each for key, each in PROPERTIES.items() if key != lacking}
            kept |= {} if lacking else {"message-id": ""}
            granted = set()
            for _ in range(2):
                outcome = self.granted("300", properties=kept)
                headers = self.http.requests[-1].headers
                offered = headers["Quebert-Lease-URL"].rpartition("/")[2]
                self.assertEqual(outcome.headers[LEASE_ID], offered)
                granted.add(offered)
            self.assertEqual(len(granted), 2)

    def test_forgotten(self) -> None:
        """
        Of a message that is gone, nothing is kept.
        """
        leasing = Leasing("tasks", IDS, URL)
        message: Any = MESSAGES.adapt(FakeMessage(BODY, {}))
        self.assertEqual(leasing.offer(message, 1), leasing.offer(message, 1))
        self.assertEqual(len(leasing._own_uuids), 1)
        del message
        self.assertEqual(len(leasing._own_uuids), 0)

    def test_hidden(self) -> None:
        """
        The URL of the lease that was offered is hidden where an executor tells it.
        """
        for attempts in (0, 1):
            headers = {ATTEMPTS: attempts} if attempts else {}
            message = FakeMessage(BODY, {**PROPERTIES, "headers": headers})
            mediator = self.leasing_mediator
            mediator._policy.rules = attrs.evolve(  # type: ignore[attr-defined]
                mediator._policy.rules,  # type: ignore[attr-defined]
                policy=RetryPolicy(max_attempts=attempts + 1),
            )
            deciding = mediator.messageReceived(message)
            request = self.http.requests[-1]
            url = request.headers["Quebert-Lease-URL"]
            answer = FakeResponse(500, {"Quebert-Outcome": f"bury; at {url}"})
            request.answered.callback(answer)
            answer.body.callback(f"<p>{url}</p>".encode())
            outcome = self.successResultOf(deciding)
            assert isinstance(outcome, Bury), outcome
            told = repr((outcome.reason, outcome.headers))
            self.assertIn("<p>...</p>", told)
            self.assertNotIn(url.rpartition("/")[2], told)

    def test_granted(self) -> None:
        """
        A task that is leased goes to the queue of leases, with all that is needed to
        put it back.
        """
        outcome = self.granted("300")
        headers = outcome.headers
        self.assertEqual(headers[LEASE_ID], IDS.make(IDENTITY, 1))
        self.assertEqual(headers[LEASE_QUEUE], "tasks")
        self.assertEqual(headers[LEASE_UNTIL], NOW + 300)
        self.assertEqual(headers[LEASE_LAST], NOW + 7 * 86_400)
        self.assertEqual(headers[LEASE_BACKOFF], 8)
        self.assertEqual(headers[ATTEMPTS], 1)

    def test_last_attempt(self) -> None:
        """
        The last attempt may be leased, too; the lease is that of this attempt.
        """
        headers = self.granted("300", attempts=1).headers
        self.assertEqual(headers[LEASE_ID], IDS.make(IDENTITY, 2))
        self.assertEqual((headers[ATTEMPTS], headers[LEASE_BACKOFF]), (2, 0))

    def test_seconds(self) -> None:
        """
        A lease has 1 s at least, and a day at most.
        """
        for asked, seconds in (("0", 1), ("1.5", 1.5), (" 60 ", 60), ("1e9", None)):
            outcome = self.attempt(202, asked)
            assert isinstance(outcome, Retry)
            if seconds is None:
                self.assertEqual((outcome.queue, outcome.after), (None, 8))
            else:
                self.assertEqual(outcome.headers[LEASE_UNTIL], NOW + seconds)
        until = self.granted("999999999").headers[LEASE_UNTIL]
        self.assertEqual(until, NOW + 86_400)

    def test_not_asked_for(self) -> None:
        """
        A 202 without the header is a success, and so is a 200 with it.
        """
        self.assertEqual(self.attempt(202), Done())
        self.assertEqual(self.attempt(200, "300"), Done())

    def test_wrong(self) -> None:
        """
        A lease that cannot be understood is a failure: the task would be lost.
        """
        for wrong in ("", "soon", "-1", "nan", "1 2"):
            outcome = self.attempt(202, wrong)
            assert isinstance(outcome, Retry)
            self.assertEqual((outcome.queue, outcome.after), (None, 8))
        self.assertIsNone(self.attempt(202, "1", "2").queue)  # type: ignore[union-attr]
        self.assertIsInstance(self.attempt(202, "soon", attempts=1), Bury)

    def test_without(self) -> None:
        """
        A queue without leases offers none, and an answer that asks for one is a
        failure.
        """
        self.leasing_mediator = self.mediator_of(None)
        outcome = self.attempt(202, "300")
        assert isinstance(outcome, Retry)
        self.assertEqual((outcome.queue, outcome.after), (None, 8))
        self.assertNotIn("Quebert-Lease-URL", self.http.requests[-1].headers)

    def test_settings(self) -> None:
        """
        Times that make no sense are refused.
        """
        for longest, last in ((0.5, 10), (10, 5), (float("nan"), 10)):
            with self.assertRaises(ConfigError):
                Leasing("tasks", IDS, URL, longest=longest, last=last)
