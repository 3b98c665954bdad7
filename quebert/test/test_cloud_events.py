"""
Tests for L{quebert.cloud_events}, and for mediators that have it.
"""

from __future__ import annotations

from typing import Any

from quebert.cloud_events import CloudEvents
from quebert.errors import ConfigError
from quebert.outcome import Done
from quebert.signatures import SharedSecret, Signer, Verifier
from quebert.test.checks import refusal
from quebert.test.mediating import Case, FakeRequest, message

EVENTS = CloudEvents("/shop", "com.example.task")


class CloudEventsTests(Case):
    """
    Requests are events.
    """

    def request(self, received: Any, **options: Any) -> FakeRequest:
        """
        The request that a message leads to.
        """
        mediator = self.mediator(cloud_events=EVENTS, **options)
        self.assertEqual(self.outcome(mediator, received), Done())
        return self.http.requests.pop()

    def test_headers(self) -> None:
        """
        The event is the task.
        """
        headers = self.request(message(uuid="u-1")).headers
        self.assertEqual(
            headers,
            {
                "ce-specversion": "1.0",
                "ce-id": "u-1",
                "ce-source": "/shop",
                "ce-type": "com.example.task",
                "Content-Type": "application/json",
            },
        )

    def test_own(self) -> None:
        """
        What a task says of its event itself is left as it is.
        """
        own = {"CE-Type": "com.example.paid", "ce-subject": "7"}
        headers = self.request(message(uuid="u", headers=own)).headers
        self.assertEqual((headers["CE-Type"], headers["ce-subject"]), (*own.values(),))
        self.assertNotIn("ce-type", headers)

    def test_encoded(self) -> None:
        """
        Spaces, quotation marks, per cents and what is not ASCII are encoded.
        """
        for text, wanted in (
            ('a "b"%', "a%20%22b%22%25"),
            ("Euro €", "Euro%20%E2%82%AC"),
            ("😀", "%F0%9F%98%80"),
            ("a\r\nb", "a%0D%0Ab"),
            ("!#$&'()*+,-./:;<=>?@[]^_`{|}~", "!#$&'()*+,-./:;<=>?@[]^_`{|}~"),
        ):
            self.assertEqual(EVENTS.added({}, text)["ce-id"], wanted)
        self.assertEqual(CloudEvents("/ü", "t").added({}, 7)["ce-source"], "/%C3%BC")
        self.assertTrue(EVENTS.added({}, "\ud800")["ce-id"].isascii())

    def test_no_uuid(self) -> None:
        """
        A task without a uuid is another event in each attempt.
        """
        ids = {self.request(message()).headers["ce-id"] for _ in range(2)}
        self.assertEqual(len(ids), 2)

    def test_signed(self) -> None:
        """
        An event can be signed.
        """
        secret = SharedSecret.generate()
        request = self.request(message(uuid="u"), signer=Signer([secret]))
        Verifier([secret]).verify(request.headers, request.data or b"")
        self.assertEqual(request.headers["ce-id"], request.headers["webhook-id"])

    def test_wrong(self) -> None:
        """
        Texts that no header can have are refused.
        """
        for source, kind in (("", "t"), ("s", ""), ("a\nb", "t"), ("s", "\ud800")):
            said = refusal(ConfigError, CloudEvents, source, kind)
            self.assertIn("of an event must be a text on one line", said)
