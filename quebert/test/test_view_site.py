"""
Tests for L{quebert.metrics._site}: a web server that does little.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert.metrics import ViewAnswer, ViewSite
from quebert.metrics._site import (
    ANSWER_TIME,
    CONNECTIONS,
    HEAD,
    HEAD_TIME,
    LINGER,
    PER_SECOND,
)


class HalfClosing(StringTransport):
    """
    A connection, from the client's side.
    """

    written = False

    def loseWriteConnection(self) -> None:
        """
        The server has said all.
        """
        self.written = True


class ViewSiteTests(SynchronousTestCase):
    """
    L{ViewSite} answers some paths.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.accepted: list[str] = []
        routes = {"/metrics": self.metrics, "/broken": self.broken}
        self.site = ViewSite(routes, self.clock)
        self.private = ViewSite(routes, self.clock, private=True)

    def metrics(self, accept: str) -> ViewAnswer:
        """
        Answer with some text.
        """
        self.accepted.append(accept)
        return ViewAnswer(b"figures", "text/figures")

    def broken(self, accept: str) -> ViewAnswer:
        """
        Fail.
        """
        raise ValueError("no such luck")

    def connect(self, site: ViewSite | None = None) -> tuple[Any, HalfClosing]:
        """
        A new connection; each in a second of its own.
        """
        self.clock.advance(1.0)
        site = self.site if site is None else site
        protocol: Any = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport = HalfClosing()
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, request: bytes, site: ViewSite | None = None) -> bytes:
        """
        What is answered to a request.
        """
        protocol, transport = self.connect(site)
        protocol.dataReceived(request)
        self.assertTrue(transport.written)
        protocol.connectionLost(Failure(ConnectionDone()))
        answer: bytes = transport.value()
        return answer

    def test_get(self) -> None:
        """
        A path is answered; the client may say what it accepts.
        """
        request = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nACCEPT:  this \r\n\r\n"
        answer = self.ask(request)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"Content-Type: text/figures\r\nContent-Length: 7\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nfigures"))
        self.assertEqual(self.accepted, ["this"])

    def test_piecewise(self) -> None:
        """
        A request may come a byte at a time; what comes after it is dropped.
        """
        protocol, transport = self.connect()
        for byte in b"GET /metrics HTTP/1.0\r\n\r\n":
            self.assertEqual(transport.value(), b"")
            protocol.dataReceived(bytes([byte]))
        before = transport.value()
        protocol.dataReceived(b"GET /metrics HTTP/1.0\r\n\r\n" * 1_000)
        self.assertEqual((transport.value(), len(self.accepted)), (before, 1))

    def test_head(self) -> None:
        """
        HEAD gets no body.
        """
        answer = self.ask(b"HEAD /metrics HTTP/1.1\r\n\r\n")
        self.assertIn(b"Content-Length: 7\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\n"))

    def test_refused(self) -> None:
        """
        Whatever else is asked has an answer that tells what is wrong.
        """
        for request, status in (
            (b"GET /etc/passwd HTTP/1.1", b"404"),
            (b"POST /metrics HTTP/1.1", b"405"),
            (b"\x16\x03\x01\x02\x00", b"400"),
            (b"GET /metrics", b"400"),
            (b"GET  /metrics HTTP/1.1", b"400"),
            (b"GET /metrics HTTP/2.0", b"400"),
            (b"G\xc3\xa4T /m\xc3\xa9 HTTP/1.1", b"400"),
            (b"GET /m\xc3\xa9\xff HTTP/1.1", b"404"),
            (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * HEAD, b"431"),
        ):
            answer = self.ask(request + b"\r\n\r\n")
            self.assertEqual(answer[9:12], status, request)
        self.assertEqual(self.accepted, [])

    def test_rebound(self) -> None:
        """
        Where only this machine is served, the host is named by an address or a name
        without a dot: a page of another site has a name that leads here.
        """
        for host, status in (
            (b"127.0.0.1:8080", b"200"),
            (b"[::1]:8080", b"200"),
            (b"localhost", b"200"),
            (b"evil.example:8080", b"403"),
            (b"evil.example.", b"403"),
            (b"127.0.0.1.evil.example", b"403"),
        ):
            request = b"GET /metrics HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
            self.assertEqual(self.ask(request, self.private)[9:12], status, host)
            self.assertEqual(self.ask(request)[9:12], b"200")

    def test_broken(self) -> None:
        """
        A look that fails is answered, and logged once.
        """
        for _ in range(3):
            answer = self.ask(b"GET /broken HTTP/1.1\r\n\r\n")
            self.assertTrue(answer.startswith(b"HTTP/1.1 500 "), answer)
            self.assertNotIn(b"luck", answer)
        self.site.close()

    def test_slow(self) -> None:
        """
        Who sends no head in time, takes no answer or does not hang up is cut off.
        """
        protocol, transport = self.connect()
        for _ in range(2):  # a byte does not put it off
            self.clock.advance(HEAD_TIME / 2)
            protocol.dataReceived(b"G")
        self.assertTrue(transport.disconnected)
        protocol, transport = self.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\n\r\n")
        self.clock.advance(ANSWER_TIME - 1)
        self.assertFalse(transport.disconnecting or transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(transport.disconnected)
        protocol, transport = self.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\n\r\n")
        protocol.writeConnectionLost()
        self.clock.advance(LINGER)
        self.assertTrue(transport.disconnected)

    def test_client_ends(self) -> None:
        """
        A client that has said all gets its answer, and one that says nothing has none.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\n\r\n")
        protocol.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        protocol, transport = self.connect()
        protocol.readConnectionLost()
        self.assertTrue(transport.disconnected)

    def test_many(self) -> None:
        """
        The oldest connection goes if there are too many, and no timer is left.
        """
        connections = [self.connect() for _ in range(5)]
        self.clock.rightNow = int(self.clock.rightNow) + 0.0
        more = [self.connect_now() for _ in range(CONNECTIONS)]
        self.assertTrue(all(transport.disconnected for _, transport in connections))
        self.assertFalse(any(transport.disconnected for _, transport in more))
        self.site.close()
        self.assertTrue(all(transport.disconnected for _, transport in more))
        for protocol, _ in connections + more:
            protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connect_now(self) -> tuple[Any, HalfClosing]:
        """
        A new connection in the same second.
        """
        self.clock.advance(-1.0)
        return self.connect()

    def test_flood(self) -> None:
        """
        In a second no more than some connections are heard.
        """
        address = IPv4Address("TCP", "192.0.2.1", 1)
        heard = [self.site.buildProtocol(address) for _ in range(PER_SECOND + 9)]
        self.assertEqual(heard.count(None), 9)
        self.clock.advance(1.0)
        self.assertIsNotNone(self.site.buildProtocol(address))
