"""
Tests for L{quebert.mediator._adapters}: messages and responses of somebody's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from quebert.amqp.watch import DeliveredMessage
from quebert.boundaries import WatchedMessage
from quebert.http._response import Response
from quebert.mediator._adapters import (
    MESSAGES,
    RESPONSES,
    Adapter,
    BareMessage,
    BareResponse,
    timed,
)
from quebert.outcome import Done
from quebert.test.mediating import Case, FakeMessage, UnreadableMessage, body_of


class Simple:
    """
    A message with what a mediator needs, and nothing else.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.properties: dict[str, Any] = {"headers": {"a": 1}}


class Other:
    """
    A response of a client that quebert does not know.
    """

    code = 204

    def content(self) -> object:
        """
        Nothing.
        """
        return succeed(b"")


class AdapterTests(SynchronousTestCase):
    """
    L{Adapter}.
    """

    def test_fitting(self) -> None:
        """
        What has all that is asked for stays as it is, and its class is known then.
        """
        adapter: Adapter[WatchedMessage] = Adapter(WatchedMessage, BareMessage)
        message = DeliveredMessage("tag", 1, False, "", "")
        self.assertNotIn(DeliveredMessage, adapter.fitting)
        for _ in range(2):
            self.assertIs(adapter.adapt(message), message)
            self.assertIn(DeliveredMessage, adapter.fitting)

    def test_ours(self) -> None:
        """
        Our own messages and responses have all.
        """
        message = DeliveredMessage("tag", 1, False, "", "")
        self.assertIs(MESSAGES.adapt(message), message)
        idle: Any = None
        response = Response(200, [b"HTTP/1.1 200 OK\r\n\r\n"], idle, 10)
        self.assertIs(RESPONSES.adapt(response), response)

    def test_less(self) -> None:
        """
        A class that has a part of it does not fit.
        """

        class Partly(Simple):
            may_have_past = False
            cancelled_tasks: Mapping[str, str] = MappingProxyType({})
            runs_now = False

        adapted = MESSAGES.adapt(Partly(b""))
        self.assertIsInstance(adapted, BareMessage)
        self.assertNotIn(Partly, MESSAGES.fitting)


class BareMessageTests(Case):
    """
    A message that has a body and properties alone.
    """

    def test_defaults(self) -> None:
        """
        It may have been tried before, may be requested, and wants to know nothing.
        """
        simple = Simple(b"body")
        bare = MESSAGES.adapt(simple)
        self.assertEqual((bare.body, bare.properties), (b"body", simple.properties))
        self.assertTrue(bare.may_have_past)
        self.assertTrue(bare.may_request("http://a/"))
        bare.was_unanswered()

    def test_unreadable(self) -> None:
        """
        Its properties are read when they are needed, and not before.
        """
        bare = MESSAGES.adapt(UnreadableMessage(b""))
        with self.assertRaises(ValueError):
            _ = bare.properties

    def test_derived(self) -> None:
        """
        A class of one's own may have the defaults of L{WatchedMessage}.
        """

        class Watched(WatchedMessage):
            body = body_of()
            properties: dict[str, Any] = {}

        watched = Watched()
        self.assertIs(MESSAGES.adapt(watched), watched)
        self.assertEqual(self.outcome(self.mediator(), watched), Done())

    def test_executed(self) -> None:
        """
        A mediator executes the task in it.
        """
        self.assertEqual(self.outcome(self.mediator(), Simple(body_of())), Done())


class BareTimesTests(SynchronousTestCase):
    """
    The times of a message that has its properties alone.
    """

    def test_defaults(self) -> None:
        """
        It tells when it was sent, if its properties do; nothing when it was due.
        """
        for properties, sent_at in (({"timestamp": 5}, 5), ({"timestamp": "x"}, None)):
            times = timed(FakeMessage(b"", properties))
            self.assertEqual((times.sent_at, times.due_at), (sent_at, None))
        self.assertIsNone(timed(UnreadableMessage(b"")).sent_at)

    def test_own(self) -> None:
        """
        A message that knows its times tells them itself.
        """

        class Timed(FakeMessage):
            sent_at, due_at = 3.0, 4.0

        message = Timed(b"")
        self.assertIs(timed(message), message)


class BareResponseTests(SynchronousTestCase):
    """
    A response of another client.
    """

    def test_defaults(self) -> None:
        """
        It is not there whole, and may have any header, though it tells of none.
        """
        bare = RESPONSES.adapt(Other())
        self.assertIsInstance(bare, BareResponse)
        self.assertEqual((bare.code, bare.whole), (204, None))
        self.assertEqual(self.successResultOf(bare.content()), b"")
        self.assertTrue(bare.may_have(b"retry-after"))
        self.assertEqual(list(bare.headers.getAllRawHeaders()), [])

    def test_headers(self) -> None:
        """
        Those of Twisted are read, and no others.
        """
        response: Any = Other()
        response.headers = Headers({"A": ["b"]})
        self.assertEqual(RESPONSES.adapt(response).headers, response.headers)
        response.headers = {"A": "b"}
        self.assertEqual(RESPONSES.adapt(response).headers, Headers())
