"""
Tests for L{quebert.http.dispatch}, against servers that are scripted byte by
byte, without sockets.
"""

from __future__ import annotations

import errno
import gc
import gzip
import json
import resource
import tracemalloc
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any
from unittest.mock import Mock

import attrs
from twisted.internet._resolver import HostResolution
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Cooperator
from twisted.internet.testing import (
    AccumulatingProtocol,
    StringTransport,
)
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import FileBodyProducer, ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from quebert import __version__
from quebert.errors import ExecutorError, IncompleteAnswer
from quebert.guard import Guard
from quebert.http import Dispatcher, _writes
from quebert.http._agent import Agent
from quebert.http._guarded import GuardedEndpoint
from quebert.http._limits import Limits
from quebert.http._pool import Pool
from quebert.http._response import Response
from quebert.mediator import Mediator, PolicyMediator
from quebert.outcome import Bury, Done, Outcome, Retry
from quebert.policy import RetryPolicy
from quebert.signatures import SharedSecret, Signer, Verifier
from quebert.test.doubles import MemoryReactor, Resolver
from quebert.test.mediating import FakeMessage
from quebert.test.support import logged
from quebert.test.transports import SocketTransport

URL = "http://127.0.0.1:8000/run"
BODY_LIMIT = Limits().body
IDLE_TIMEOUT = Limits().idle


# Ways not to ask for redirects.
NOT_ASKED: tuple[dict[str, Any], ...] = ({}, {"allow_redirects": False})


@implementer(IHostnameResolver)
class NoNames:
    """
    A resolver that finds nothing.
    """

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        Find nothing.
        """
        resolution = HostResolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        resolutionReceiver.resolutionComplete()
        return resolution


class Asked(Resolver):
    """
    Remembers what it was asked for.
    """

    def __init__(self) -> None:
        self.names: list[str] = []

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        Remember the name.
        """
        self.names.append(hostName)
        return super().resolveHostName(resolutionReceiver, hostName, portNumber)


@attrs.frozen
class Message:
    """
    A delivery.
    """

    body: bytes
    properties: Mapping[str, Any] = attrs.field(factory=dict)


class PullProducer:
    """
    A body in pieces, each of which it is asked for.
    """

    def __init__(self, *pieces: bytes) -> None:
        self.length = sum(map(len, pieces))
        self._pieces = list(pieces)
        self._consumer: Any = None

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """
        Be asked.
        """
        self._consumer = consumer
        consumer.registerProducer(self, False)
        return succeed(None)

    def resumeProducing(self) -> None:
        """
        Give the next piece, or end.
        """
        if self._pieces:
            self._consumer.write(self._pieces.pop(0))
        else:
            self._consumer.unregisterProducer()


class FakeServer:
    """
    The server's end of one connection.

    @param factory: what is to be connected to it.
    @param transport: over which; one without a socket by default.
    @ivar client: what is connected.
    """

    def __init__(self, factory: Any, transport: StringTransport | None = None) -> None:
        # Lenient, as real ones are, when reading is resumed after the end.
        self.transport = transport or StringTransport(lenient=True)
        self.client = factory.buildProtocol(None)
        self.client.makeConnection(self.transport)

    @property
    def received(self) -> bytes:
        """
        What the client has sent since this was last asked.
        """
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    @property
    def hung_up(self) -> bool:
        """
        Whether the client has closed the connection.
        """
        return self.transport.disconnecting

    def send(self, *pieces: bytes) -> None:
        """
        Send something, piece by piece.
        """
        for piece in pieces:
            self.client.dataReceived(piece)

    def close(self, why: Exception | None = None) -> None:
        """
        End the connection.
        """
        self.client.connectionLost(Failure(why or ConnectionDone()))


def fields_of(request: bytes) -> dict[bytes, bytes]:
    """
    The header fields of a request, under their names in lower case.
    """
    head = request.partition(b"\r\n\r\n")[0]
    pairs = (line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return {name.lower(): value for name, value in pairs}


class Case(SynchronousTestCase):
    """
    A dispatcher whose connections end at L{FakeServer}s.
    """

    def setUp(self) -> None:
        """
        Make a dispatcher.
        """
        self.reactor = MemoryReactor()
        self.dispatcher = Dispatcher.with_reactor(self.reactor)

    def connections(self) -> int:
        """
        How many connections were begun.
        """
        return len(self.reactor.tcpClients)

    def accept(self) -> FakeServer:
        """
        Let the connection that was begun last be made.
        """
        return FakeServer(self.reactor.tcpClients[-1][2])

    def begin(
        self, method: str = "POST", url: str = URL, **options: Any
    ) -> tuple[Deferred[Any], FakeServer]:
        """
        Make a request on a new connection.
        """
        before = self.connections()
        requested = self.dispatcher.request(method, url, **options)
        self.assertEqual(self.connections(), before + 1)
        return requested, self.accept()

    def answered(
        self, *pieces: bytes, **options: Any
    ) -> tuple[Response, Deferred[bytes], FakeServer]:
        """
        Make a request that is answered by these bytes, of which the first
        are the headers.
        """
        requested, server = self.begin(**options)
        server.send(pieces[0])
        answer: Response = self.successResultOf(requested)
        content = answer.content()
        server.send(*pieces[1:])
        return answer, content, server

    def text_of(self, failed: Deferred[Any], *errors: type[Exception]) -> str:
        """
        What is said by the error of a Deferred that failed, and must be one
        sentence.
        """
        text: str = self.failureResultOf(failed, *errors).getErrorMessage()
        self.assertEqual(len(text.splitlines()), 1, text)
        self.assertNotIn("<", text)
        self.assertNotIn("[", text)
        self.assertGreater(len(text), 20)
        return text


# -- Requests


class RequestTests(Case):
    """
    What is sent.
    """

    def test_post(self) -> None:
        """
        A request has its method, path, host and body, and its length.
        """
        _, server = self.begin(url=URL + "?a=%20&b", data=b'{"n": 1}')
        received = server.received
        self.assertTrue(received.startswith(b"POST /run?a=%20&b HTTP/1.1\r\n"))
        self.assertTrue(received.endswith(b'\r\n\r\n{"n": 1}'))
        fields = fields_of(received)
        self.assertEqual(fields[b"host"], b"127.0.0.1:8000")
        self.assertEqual(fields[b"content-length"], b"8")
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 8000))

    def test_binary_body(self) -> None:
        """
        A body is sent byte for byte.
        """
        body = bytes(range(256)) * 1000
        _, server = self.begin(data=body)
        self.assertEqual(server.received.partition(b"\r\n\r\n")[2], body)

    def test_body_of_a_producer(self) -> None:
        """
        What asks as Twisted's agents are asked has its body collected, whatever kind of
        producer it has.
        """
        agent: Any = Agent(self.reactor)
        soon = Cooperator(scheduler=lambda step: self.reactor.callLater(0, step))
        for producer in (FileBodyProducer(BytesIO(b"body"), soon), None):
            asked = agent.request(b"PUT", URL.encode(), None, producer)
            self.reactor.pump([0.1] * 5)
            server = self.accept()
            head, _, body = server.received.partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"PUT /run HTTP/1.1\r\n"))
            self.assertEqual(body, b"body" if producer else b"")
            server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
            self.assertEqual(self.successResultOf(asked).code, 204)
            server.close()

    def test_body_of_a_pull_producer(self) -> None:
        """
        A producer that waits to be asked is asked for one piece after the other.
        """
        agent: Any = Agent(self.reactor)
        agent.request(b"PUT", URL.encode(), None, PullProducer(b"bo", b"", b"dy"))
        server = self.accept()
        self.assertEqual(server.received.partition(b"\r\n\r\n")[2], b"body")

    def test_empty_body(self) -> None:
        """
        An empty body is a body of length 0.
        """
        _, server = self.begin(data=b"")
        self.assertEqual(fields_of(server.received)[b"content-length"], b"0")

    def test_length(self) -> None:
        """
        A request that has no body, and need not have one, tells no length.
        """
        for method, length in (
            ("GET", None),
            ("DELETE", None),
            ("HEAD", None),
            ("POST", b"0"),
            ("PUT", b"0"),
            ("PATCH", b"0"),
        ):
            _, server = self.begin(method)
            fields = fields_of(server.received)
            self.assertEqual(fields.get(b"content-length"), length, method)

    def test_any_method_with_body(self) -> None:
        """
        A body is sent whatever the method.
        """
        for method in ("DELETE", "OPTIONS"):
            _, server = self.begin(method, data=b"body")
            received = server.received
            self.assertEqual(fields_of(received)[b"content-length"], b"4")
            self.assertEqual(received.partition(b"\r\n\r\n")[2], b"body")

    def test_no_body(self) -> None:
        """
        A request without a body announces none.
        """
        for method in ("GET", "DELETE"):
            _, server = self.begin(method)
            received = server.received
            self.assertTrue(received.startswith(method.encode() + b" /run HTTP/1.1"))
            self.assertTrue(received.endswith(b"\r\n\r\n"))
            fields = fields_of(received)
            self.assertNotIn(b"transfer-encoding", fields)
            self.assertEqual(fields.get(b"content-length", b"0"), b"0")

    def test_targets(self) -> None:
        """
        The path and query of a URL are sent as they are, C{/} for none; a
        fragment is not sent.
        """
        cases = {
            "http://127.0.0.1": b"/",
            "http://127.0.0.1/": b"/",
            "http://127.0.0.1/;p?a=1": b"/;p?a=1",
            "http://127.0.0.1//x/../y": b"//x/../y",
            "HTTP://127.0.0.1:81/?": b"/",
            "http://127.0.0.1/%7E#top": b"/%7E",
        }
        sent = {}
        for url in cases:
            _, server = self.begin("GET", url)
            sent[url] = server.received.split(b" ")[1].removesuffix(b"?")
        self.assertEqual(sent, cases)

    def test_default_port(self) -> None:
        """
        C{http} is at port 80.
        """
        self.begin("GET", "http://127.0.0.1/")
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 80))

    def test_ipv6(self) -> None:
        """
        A numeric IPv6 host can be requested.
        """
        _, server = self.begin("GET", "http://[::1]:81/")
        self.assertEqual(self.reactor.tcpClients[0][1], 81)
        self.assertEqual(fields_of(server.received)[b"host"], b"[::1]:81")

    def test_user_agent(self) -> None:
        """
        The request says who makes it, unless a header says otherwise.
        """
        _, server = self.begin()
        agent = f"quebert/{__version__}".encode()
        self.assertEqual(fields_of(server.received)[b"user-agent"], agent)
        _, server = self.begin(headers={"user-agent": "me"})
        received = server.received
        self.assertEqual(fields_of(received)[b"user-agent"], b"me")
        self.assertEqual(received.lower().count(b"user-agent"), 1)

    def test_headers(self) -> None:
        """
        Header values that are not in ASCII are sent in UTF-8.
        """
        _, server = self.begin(headers={"X-Name": "Jürgen €", "X-Other": "a\tb"})
        fields = fields_of(server.received)
        self.assertEqual(fields[b"x-name"], "Jürgen €".encode())
        self.assertEqual(fields[b"x-other"], b"a\tb")

    def test_no_encoding_asked_for(self) -> None:
        """
        No content encoding is asked for, unless a header does.
        """
        _, server = self.begin()
        self.assertNotIn(b"accept-encoding", fields_of(server.received))
        _, server = self.begin(headers={"Accept-Encoding": "br"})
        self.assertEqual(fields_of(server.received)[b"accept-encoding"], b"br")


# -- Responses


class AnswerTests(Case):
    """
    Responses that are whole.
    """

    def assert_content(self, expected: bytes, *pieces: bytes, **options: Any) -> None:
        """
        These bytes make this body, no matter how they are cut.
        """
        _, content, _ = self.answered(*pieces, **options)
        self.assertEqual(self.successResultOf(content), expected)
        whole = b"".join(pieces)
        requested, server = self.begin(**options)
        server.send(whole)
        answer = self.successResultOf(requested)
        self.assertEqual(self.successResultOf(answer.content()), expected)
        requested, server = self.begin(**options)
        bodies: list[Deferred[bytes]] = []
        requested.addCallback(lambda a: bodies.append(a.content()))
        server.send(*(whole[n : n + 1] for n in range(len(whole))))
        self.assertEqual(self.successResultOf(bodies[0]), expected)

    def test_content_length(self) -> None:
        """
        A body ends after C{Content-Length} bytes.
        """
        self.assert_content(
            b"hello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
            b"he",
            b"llo",
        )

    def test_empty(self) -> None:
        """
        A body may be empty.
        """
        self.assert_content(
            b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )

    def test_chunked(self) -> None:
        """
        A chunked body is put together.
        """
        self.assert_content(
            b"hello, world",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n",
            b"5\r\nhello\r\n",
            b"7;ext=1\r\n, wor",
            b"ld\r\n0\r\n\r\n",
        )

    def test_ended_by_close(self) -> None:
        """
        A body without a length ends with the connection.
        """
        _, content, server = self.answered(b"HTTP/1.1 200 OK\r\n\r\n", b"he", b"llo")
        self.assertNoResult(content)
        server.close()
        self.assertEqual(self.successResultOf(content), b"hello")

    def test_ended_by_close_beside_fields(self) -> None:
        """
        Only a length, or chunks, end a body before its connection does.
        """
        for field in (b"X-Kind: chunked", b"Transfer-Encoding: gzip"):
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n%b\r\n\r\n" % field
            _, content, server = self.answered(head, b"hello")
            self.assertNoResult(content)
            server.close()
            self.assertEqual(self.successResultOf(content), b"hello")
        for field in (b"Content-Length: 9", b"Transfer-Encoding: gzip, CHUNKED"):
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n%b\r\n\r\n" % field
            _, content, server = self.answered(head, b"5\r\nhe")
            server.close()
            self.text_of(content, IncompleteAnswer)

    def test_ended_before_it_is_read(self) -> None:
        """
        So does one that is asked for only after that.
        """
        requested, server = self.begin()
        server.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
        server.close()
        answer = self.successResultOf(requested)
        self.assertEqual(self.successResultOf(answer.content()), b"hello")

    def test_no_body(self) -> None:
        """
        Answers to C{HEAD}, and 204 and 304, have no body whatever their
        headers say, and leave the connection fit for the next request.
        """
        for method, status in (("HEAD", 200), ("POST", 204), ("POST", 304)):
            self.setUp()
            length = b"" if status == 204 else b"Content-Length: 5\r\n"
            answer, content, server = self.answered(
                b"HTTP/1.1 %d Fine\r\n%s\r\n" % (status, length), method=method
            )
            self.assertEqual(answer.code, status)
            self.assertEqual(self.successResultOf(content), b"")
            self.dispatcher.request("GET", URL)
            self.assertEqual(self.connections(), 1)
            self.assertIn(b"GET /run", server.received)

    def test_interim(self) -> None:
        """
        Interim answers (1xx) are passed over.
        """
        answer, content, _ = self.answered(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Wait\r\nX: y\r\n\r\n"
            b"HTTP/1.1 199 Odd\r\n\r\n"
            b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n",
            b"OK",
        )
        self.assertEqual(answer.code, 201)
        self.assertEqual(self.successResultOf(content), b"OK")

    def test_headers(self) -> None:
        """
        The answer's headers can be read.
        """
        answer, _, _ = self.answered(
            b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual(answer.code, 503)
        self.assertEqual(answer.headers.getRawHeaders("retry-after"), ["7"])

    def test_compressed(self) -> None:
        """
        A compressed body that comes all the same is not decoded.
        """
        body = gzip.compress(b"hello", mtime=0)
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        )
        _, content, _ = self.answered(head % len(body), body)
        self.assertEqual(self.successResultOf(content), body)

    def test_as_twisted_has_it(self) -> None:
        """
        An answer can be used as one of Twisted's, and as one of treq's.
        """
        head = b"HTTP/1.1 201 Made\r\nX-One: 1\r\nContent-Length: 8\r\n\r\n"
        answer, content, server = self.answered(head, b'{"a": 1}')
        server.close()
        self.assertEqual(answer.version, (b"HTTP", 1, 1))
        self.assertEqual((answer.code, answer.phrase), (201, b"Made"))
        self.assertEqual(answer.length, 8)
        self.assertEqual(self.successResultOf(content), b'{"a": 1}')
        self.assertEqual(self.successResultOf(answer.json()), {"a": 1})
        self.assertEqual(self.successResultOf(answer.text()), '{"a": 1}')
        self.assertEqual(answer.cookies(), [])
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer, _, _ = self.answered(chunked, b"0\r\n\r\n")
        self.assertEqual(answer.length, UNKNOWN_LENGTH)

    def test_delivered(self) -> None:
        """
        A protocol gets the body, before and after it has come.
        """
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
        for before, after in ((b"abcdef", b""), (b"abc", b"def"), (b"", b"abcdef")):
            requested, server = self.begin()
            server.send(head + before)
            answer = self.successResultOf(requested)
            taker = AccumulatingProtocol()
            taker.closedDeferred = Deferred()
            answer.deliverBody(taker)
            server.send(after) if after else None
            self.assertEqual(taker.data, b"abcdef")
            assert taker.closedReason is not None
            self.assertTrue(taker.closedReason.check(ResponseDone))
            server.close()

    def test_redirects(self) -> None:
        """
        A redirect is an answer like any other.
        """
        for code in (301, 302, 303, 307, 308):
            for options in NOT_ASKED:
                before = self.connections()
                answer, content, _ = self.answered(
                    b"HTTP/1.1 %d Moved\r\nLocation: http://127.0.0.2/\r\n" % code
                    + b"Content-Length: 5\r\nConnection: close\r\n\r\n",
                    b"there",
                    **options,
                )
                self.assertEqual(answer.code, code)
                self.assertEqual(self.successResultOf(content), b"there")
                self.assertEqual(self.connections(), before + 1)

    def test_body_waits(self) -> None:
        """
        Not more than the limit is read before the body is asked for.
        """
        requested, server = self.begin()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nh")
        self.assertEqual(server.transport.producerState, "producing")
        server.send(b"x" * BODY_LIMIT)
        self.assertEqual(server.transport.producerState, "paused")
        reader = AccumulatingProtocol()
        self.successResultOf(requested).deliverBody(reader)
        self.assertEqual(server.transport.producerState, "producing")
        self.assertEqual(len(reader.data), BODY_LIMIT + 1)

    def test_early(self) -> None:
        """
        An answer that comes before a large request has been read counts.
        """
        answer, content, _ = self.answered(
            b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n",
            b"no",
            data=b"x" * 1_000_000,
        )
        self.assertEqual(answer.code, 413)
        self.assertEqual(self.successResultOf(content), b"no")


class UnusualRequestTests(Case):
    """
    What only treq itself knows is done treq's way.
    """

    def test_asked_for_redirects(self) -> None:
        """
        Redirects are followed when asked.
        """
        requested, server = self.begin("GET", allow_redirects=True)
        server.send(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:81/x\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        self.assertNoResult(requested)
        self.assertEqual(self.reactor.tcpClients[-1][1], 81)

    def test_no_redirects(self) -> None:
        """
        They are not followed because something else is asked.
        """
        for options in NOT_ASKED:
            requested, server = self.begin("GET", params={"a": "1"}, **options)
            self.assertTrue(server.received.startswith(b"GET /run?a=1 "))
            before = self.connections()
            server.send(
                b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:81/x\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            self.assertEqual(self.connections(), before)
            self.assertEqual(self.successResultOf(requested).code, 302)


class BrokenAnswerTests(Case):
    """
    Answers that are not whole, and those that never come.
    """

    def test_cut_short(self) -> None:
        """
        A body that ends early is an error that says how much there was.
        """
        cases = (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"hell"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhell"),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"4\r\nhell\r\n",
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"4\r\nhell\r\n0\r\n",
            ),
        )
        for head, body in cases:
            for why in (ConnectionDone(), ConnectionLost()):
                _, content, server = self.answered(head, body)
                self.assertNoResult(content)
                server.close(why)
                self.assertIn("4 bytes", self.text_of(content, IncompleteAnswer))

    def test_cut_short_before_it_is_read(self) -> None:
        """
        So it is when the body is asked for only after its end.
        """
        requested, server = self.begin()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")
        server.close()
        content = self.successResultOf(requested).content()
        self.assertIn("4 bytes", self.text_of(content, IncompleteAnswer))

    def test_bad_chunk(self) -> None:
        """
        A chunked body that makes no sense is an error, and the connection is
        closed.
        """
        _, content, server = self.answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"xyz\r\nhello\r\n",
        )
        self.text_of(content, IncompleteAnswer)
        self.assertTrue(server.hung_up)

    def test_no_answer(self) -> None:
        """
        A connection that ends before the answer is one clear sentence.
        """
        for sent in (b"", b"HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Le"):
            for why in (ConnectionDone(), ConnectionLost()):
                requested, server = self.begin(data=b"{}")
                server.send(*([sent] if sent else []))
                server.close(why)
                text = self.text_of(requested, ExecutorError)
                self.assertIn("before an answer", text)

    def test_not_http(self) -> None:
        """
        So is an answer that is not HTTP; the connection is closed.
        """
        for sent in (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"\x15\x03\x01\x00\x02\x02\x0a\r\n",
            b"HTTP/1.1 fine\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
            b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000,
        ):
            requested, server = self.begin(data=b"{}")
            server.send(sent)
            self.text_of(requested, ExecutorError)
            self.assertTrue(server.hung_up, sent)

    def test_refused(self) -> None:
        """
        A connection that is refused is one clear sentence.
        """
        requested = self.dispatcher.request("POST", URL, data=b"{}")
        ((_, _, factory, _, _),) = self.reactor.tcpClients
        refused = Failure(ConnectionRefusedError())
        factory.clientConnectionFailed(self.reactor.connectors[0], refused)
        self.reactor.advance(1)
        self.assertIn("refused", self.text_of(requested))

    def test_no_such_host(self) -> None:
        """
        So is a host that does not exist, and it is named.
        """
        self.reactor.installNameResolver(NoNames())
        requested = self.dispatcher.request("POST", "http://gone.example/", data=b"{}")
        self.reactor.advance(1)
        self.assertIn("gone.example", self.text_of(requested))

    def test_connection_not_made(self) -> None:
        """
        So is a host that does not answer at all for 30 seconds.
        """
        requested = self.dispatcher.request("POST", URL, data=b"{}")
        ((_, _, factory, timeout, _),) = self.reactor.tcpClients
        self.assertEqual(timeout, 30)
        failure = Failure(TimeoutError())
        factory.clientConnectionFailed(self.reactor.connectors[0], failure)
        self.reactor.advance(1)
        self.text_of(requested)


class HostTests(Case):
    """
    Which hosts are looked up, and by which name.
    """

    def connected_to(self, url: str) -> tuple[str, int]:
        """
        Where a request makes a connection to.
        """
        self.begin(url=url)
        host, port, *_ = self.reactor.tcpClients[-1]
        return host, port

    def test_addresses(self) -> None:
        """
        An address is not looked up: the reactor would do that in one of ten threads,
        in which slow names may keep others waiting.
        """
        self.reactor.installNameResolver(NoNames())
        urls = {
            "http://127.0.0.1/a": ("127.0.0.1", 80),
            "http://192.0.2.1:8000/": ("192.0.2.1", 8000),
            "http://[::1]/": ("::1", 80),
            "http://[2001:db8::1]:8000/": ("2001:db8::1", 8000),
        }
        self.assertEqual({url: self.connected_to(url) for url in urls}, urls)
        for scheme, port in (("http", 80), ("https", 443)):
            for host in ("127.0.0.1", "[::1]"):
                self.dispatcher.request("GET", f"{scheme}://{host}/b")
                self.assertEqual(self.reactor.tcpClients[-1][1], port)

    def test_names(self) -> None:
        """
        Any name that a resolver may know is looked up as it is.
        """
        resolver = Asked()
        self.reactor.installNameResolver(resolver)
        names = ["my_service", "foo-.example", "r3---sn.example", "example.com."]
        for name in names:
            self.connected_to(f"http://{name}/")
        self.assertEqual(resolver.names, names)

    def test_impossible(self) -> None:
        """
        A host that cannot be requested fails at once, and nobody is asked for it.
        """
        resolver = Asked()
        self.reactor.installNameResolver(resolver)
        for scheme in ("http", "https"):
            for host in ("123456789012", "0x7f.1", "a..b", "a" * 64, "a%41", "[::zz]"):
                requested = self.dispatcher.request("GET", f"{scheme}://{host}/")
                text = self.text_of(requested, ExecutorError)
                self.assertIn("be requested", text)
        self.assertEqual(resolver.names, [])
        self.assertEqual(self.connections(), 0)
        self.assertEqual(self.flushLoggedErrors(), [])


class SignedTests(Case):
    """
    A request is signed when it is written, whatever it has waited for.
    """

    SECRET = "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"
    EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"

    def setUp(self) -> None:
        """
        Both sides, and at most one connection.
        """
        super().setUp()
        clock = self.reactor.seconds
        self.signer = Signer([self.SECRET], now=clock)
        self.verifier = Verifier([self.SECRET], now=clock)
        self.signatures = 0
        limits = Limits(per_origin=1)
        self.dispatcher = Dispatcher(Agent(self.reactor, limits=limits))

    def sign(self, data: bytes) -> Mapping[str, str]:
        """
        The headers that sign a request.
        """
        self.signatures += 1
        return self.signer.headers("u", data)

    def start(self, data: bytes | None = b"{}", **headers: str) -> Deferred[Any]:
        """
        Make a request, now or later.
        """
        sign = partial(self.sign, data or b"")
        return self.dispatcher.make_request("POST", URL, headers.items(), data, sign)

    def verify(self, request: bytes) -> bytes:
        """
        The second in which a request was signed, which an executor lets in.
        """
        fields = fields_of(request)
        body = request.partition(b"\r\n\r\n")[2]
        self.assertEqual(int(fields[b"content-length"]), len(body))
        headers = [(k.decode(), v.decode()) for k, v in fields.items()]
        self.verifier.verify(headers, body)
        return fields[b"webhook-timestamp"]

    def test_connecting(self) -> None:
        """
        It may wait until a connection is made, and a name was looked up.
        """
        for data in (b"{}", None, b"x" * 100_000):
            self.setUp()
            requested = self.start(data, a="b")
            self.reactor.advance(20)
            server = self.accept()
            request = server.received
            self.assertEqual(self.verify(request), b"20")
            self.assertEqual(fields_of(request)[b"a"], b"b")
            server.send(self.EMPTY)
            self.assertEqual(self.successResultOf(requested).code, 204)

    def test_waiting(self) -> None:
        """
        Or until other requests leave it a connection.
        """
        requests = [self.start() for _ in range(3)]
        server = self.accept()
        for second in (b"0", b"400", b"800"):
            self.assertEqual(self.verify(server.received), second)
            self.reactor.advance(400)
            server.send(self.EMPTY)
        for each in requests:
            self.assertEqual(self.successResultOf(each).code, 204)
        self.assertEqual(self.connections(), 1)

    def test_made_again(self) -> None:
        """
        A request that is made again is the same attempt, with the same signature:
        an executor that has done the task after all refuses the second request.
        """
        self.start()
        server = self.accept()
        server.received  # noqa: B018
        server.send(self.EMPTY)
        self.reactor.advance(2)
        self.start()
        first = server.received
        server.close()
        self.reactor.advance(3)
        self.assertEqual(self.accept().received, first)
        self.assertEqual(self.verify(first), b"2")
        self.assertEqual(self.signatures, 2)

    def test_given_up(self) -> None:
        """
        A request that is given up before, or refused, is not signed.
        """
        waiting = [self.start(), self.start()]
        for each in reversed(waiting):
            each.cancel()
            self.failureResultOf(each)
        self.text_of(self.start(a="b\r\nc"), ExecutorError)
        self.assertEqual(self.signatures, 0)

    def test_mediator(self) -> None:
        """
        A mediator has its requests signed so late.
        """
        mediator = Mediator(
            http=self.dispatcher, clock=self.reactor, signer=self.signer, now=lambda: 0
        )
        body = json.dumps({"url": URL, "uuid": "u"}).encode()
        outcome = mediator.messageReceived(Message(body))
        self.reactor.advance(350)
        server = self.accept()
        self.assertEqual(self.verify(server.received), b"350")
        server.send(self.EMPTY)
        self.assertEqual(self.successResultOf(outcome), Done())


class OverriddenTests(Case):
    """
    A subclass has its own way of making requests, and a mediator takes that way.
    """

    def requested(self, kind: type[Dispatcher], **options: Any) -> None:
        """
        Have a mediator make a request.
        """
        http = kind.with_reactor(self.reactor)
        mediator = Mediator(http=http, clock=self.reactor, **options)
        mediator.messageReceived(FakeMessage(b'{"url": "http://a/"}'))

    def test_request(self) -> None:
        """
        By C{request}, unless the request is signed.
        """
        made: list[Any] = []

        class Noting(Dispatcher):
            def request(self, method: Any, url: Any, **options: Any) -> Deferred[Any]:
                made.append((method, url, options["data"]))
                return super().request(method, url, **options)

        self.requested(Noting)
        self.assertEqual(made, [("POST", "http://a/", b'{"url": "http://a/"}')])
        self.assertEqual(self.connections(), 1)
        self.requested(Noting, signer=Signer([SharedSecret.generate()]))
        self.assertEqual((len(made), self.connections()), (1, 2))

    def test_make_request(self) -> None:
        """
        By C{make_request}.
        """
        made: list[Any] = []

        class Noting(Dispatcher):
            def make_request(self, *arguments: Any) -> Deferred[Any]:
                made.append(arguments[:2])
                return super().make_request(*arguments)

        self.requested(Noting)
        self.assertEqual(made, [("POST", "http://a/")])
        self.assertEqual(self.connections(), 1)


class BodyLimitTests(Case):
    """
    Not more than L{BODY_LIMIT} bytes of a body are read.
    """

    def test_limit(self) -> None:
        """
        A body of exactly the limit is read whole, and the connection kept.
        """
        body = b"x" * BODY_LIMIT
        _, content, server = self.answered(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_LIMIT,
            body[:1000],
            body[1000:],
        )
        self.assertEqual(self.successResultOf(content), body)
        self.assertFalse(server.hung_up)

    def test_over(self) -> None:
        """
        Of a longer body the first part is given, at once, and the connection
        is closed.
        """
        for head in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
        ):
            _, content, server = self.answered(head, b"a", b"b" * (BODY_LIMIT - 1))
            self.assertNoResult(content)
            self.assertFalse(server.hung_up)
            server.send(b"c")
            expected = b"a" + b"b" * (BODY_LIMIT - 1)
            self.assertEqual(self.successResultOf(content), expected)
            self.assertTrue(server.hung_up)

    def test_over_chunked(self) -> None:
        """
        So it is with a chunked one.
        """
        _, content, server = self.answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"%x\r\n" % (BODY_LIMIT + 1) + b"x" * (BODY_LIMIT + 1),
        )
        self.assertEqual(len(self.successResultOf(content)), BODY_LIMIT)
        self.assertTrue(server.hung_up)

    def test_over_before_it_is_read(self) -> None:
        """
        So it is with one that was there before it was asked for.
        """
        requested, server = self.begin()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
        server.send(head + b"x" * (BODY_LIMIT + 1))
        content = self.successResultOf(requested).content()
        self.assertEqual(len(self.successResultOf(content)), BODY_LIMIT)
        self.assertTrue(server.hung_up)

    def test_asked_twice(self) -> None:
        """
        All who ask for a body get it, although one of them gives up; the connection is
        closed when all have.
        """
        for others in (0, 2):
            requested, server = self.begin()
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
            answer = self.successResultOf(requested)
            asked = [answer.content() for _ in range(3)]
            given_up = asked[others:]
            for each in given_up:
                each.cancel()
                self.failureResultOf(each, CancelledError)
            self.assertEqual(server.hung_up, not others)
            if others:
                server.send(b"llo")
                for each in asked[:others]:
                    self.assertEqual(self.successResultOf(each), b"hello")

    def test_asked_after_it_was_given_up(self) -> None:
        """
        What has come of a body is not taken for all of it after the connection was
        closed, since nobody waited for the rest.
        """
        requested, server = self.begin()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        answer = self.successResultOf(requested)
        content = answer.content()
        content.cancel()
        self.failureResultOf(content, CancelledError)
        self.failureResultOf(answer.content(), IncompleteAnswer)

    def test_one_byte_over(self) -> None:
        """
        A whole body that is one byte too long gives its first part, too.
        """
        requested, server = self.begin()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1)
        server.send(head + b"x" * (BODY_LIMIT + 1))
        content = self.successResultOf(requested).content()
        self.assertEqual(len(self.successResultOf(content)), BODY_LIMIT)

    def test_what_comes_after(self) -> None:
        """
        What a server still sends does no harm, nor does the end.
        """
        for why in (ConnectionDone(), ConnectionLost()):
            _, content, server = self.answered(
                b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (BODY_LIMIT + 1)
            )
            server.send(b"y" * 100_000)
            server.close(why)
            self.assertEqual(self.successResultOf(content), b"x" * BODY_LIMIT)


class SlowAnswerTests(Case):
    """
    In each minute after its head an answer must bring 60 bytes.
    """

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n"

    def test_slow_head(self) -> None:
        """
        The head may take its time.
        """
        requested, server = self.begin()
        self.reactor.advance(3600)
        server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.reactor.advance(3600)
        self.assertNoResult(requested)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_slow_enough(self) -> None:
        """
        So may a body of which enough comes.
        """
        _, content, server = self.answered(self.HEAD)
        for _ in range(100):
            self.reactor.advance(59)
            server.send(b"x" * 60)
            self.reactor.advance(1)
        self.assertNoResult(content)

    def test_too_slow(self) -> None:
        """
        One of which less comes is cut short.
        """
        _, content, server = self.answered(self.HEAD)
        server.send(b"x" * 60)
        self.reactor.advance(60)
        server.send(b"x" * 59)
        self.assertFalse(server.hung_up)
        self.reactor.advance(60)
        self.assertTrue(server.hung_up)
        text = self.text_of(content, IncompleteAnswer)
        self.assertIn("after 119 bytes: fewer than 60 bytes came in 60 s", text)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_nobody_reads(self) -> None:
        """
        An answer that nobody reads is not too slow.
        """
        requested, server = self.begin()
        server.send(self.HEAD, b"x" * (BODY_LIMIT + 1))
        self.assertEqual(server.transport.producerState, "paused")
        self.reactor.advance(3600)
        content = self.successResultOf(requested).content()
        self.assertEqual(len(self.successResultOf(content)), BODY_LIMIT)

    def test_no_such_limit(self) -> None:
        """
        The agent can be told that it does not matter.
        """
        limits = Limits(slowest=0)
        self.dispatcher = Dispatcher(Agent(self.reactor, limits=limits))
        _, content, _ = self.answered(self.HEAD)
        self.reactor.advance(36_000)
        self.assertNoResult(content)

    def test_over(self) -> None:
        """
        Nothing is looked at after an answer, however it ends.
        """
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        for end in (
            lambda content, server: server.send(b"OK"),
            lambda content, server: server.close(),
            lambda content, server: content.cancel(),
        ):
            self.setUp()
            _, content, server = self.answered(head)
            self.reactor.advance(59)
            end(content, server)
            content.addErrback(lambda _: None)
            self.reactor.advance(10)  # connections that are kept end, too
            self.assertEqual(self.reactor.getDelayedCalls(), [])


class SmallPieceTests(Case):
    """
    An answer that comes in tiny pieces takes no more memory than its bytes.
    """

    def peak(self, server: FakeServer, number: int) -> int:
        """
        The memory that is held while so many pieces come, in bytes.
        """
        tracemalloc.start()
        try:
            for _ in range(number):
                server.send(b"ab")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_head(self) -> None:
        """
        So it is with a head.
        """
        _, server = self.begin()
        server.send(b"HTTP/1.1 200 OK\r\nX: ")
        self.assertLess(self.peak(server, 30_000), 200_000)
        self.assertFalse(server.hung_up)

    def test_body(self) -> None:
        """
        So it is with a body.
        """
        _, content, server = self.answered(
            b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"
        )
        self.assertLess(self.peak(server, 100_000), 600_000)
        self.assertEqual(self.successResultOf(content), b"ab" * 100_000)


# -- Connections


class FailingReader(AccumulatingProtocol):
    """
    Cannot bear the end of a body.
    """

    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        """
        Fail.
        """
        raise ZeroDivisionError


class ReaderTests(Case):
    """
    A protocol that reads a body.
    """

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"

    def read_by(self, reader: AccumulatingProtocol) -> FakeServer:
        """
        Begin to have a body read.
        """
        requested, server = self.begin()
        server.send(self.HEAD + b"some")
        self.successResultOf(requested).deliverBody(reader)
        self.assertEqual(reader.data, b"some")
        return server

    def test_stops(self) -> None:
        """
        One that wants no more learns that nothing comes any more, as from other
        agents.
        """
        for stop in ("loseConnection", "abortConnection", "stopProducing"):
            reader = AccumulatingProtocol()
            server = self.read_by(reader)
            getattr(reader.transport, stop)()
            self.assertTrue(server.hung_up)
            server.send(b"more")
            server.close(ConnectionAborted())
            self.assertEqual(reader.data, b"some")
            self.assertTrue(reader.closed)
            assert reader.closedReason is not None
            reader.closedReason.trap(IncompleteAnswer)

    def test_fails(self) -> None:
        """
        One that fails at the end does no harm to the connection, or to the number of
        those that there may be.
        """
        for rest in (b" text", b""):
            server = self.read_by(FailingReader())
            server.send(rest)
            self.assertFalse(server.hung_up)
            server.close()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.dispatcher._lean._pool.open, 0)


class CancelTests(Case):
    """
    What is cancelled stops at once.
    """

    def test_connecting(self) -> None:
        """
        Cancelling before there is a connection gives up making it.
        """
        requested = self.dispatcher.request("POST", URL, data=b"{}")
        requested.cancel()
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.failureResultOf(requested)

    def test_just_connected(self) -> None:
        """
        The connection of a request that is cancelled just as it is made has the next
        request.
        """
        connect = GuardedEndpoint.connect

        def cancel(made: Any) -> Any:
            requested.cancel()
            return made

        def cancelling(endpoint: Any, factory: Any) -> Deferred[Any]:
            return connect(endpoint, factory).addCallback(cancel)

        self.patch(GuardedEndpoint, "connect", cancelling)
        requested = self.dispatcher.request("POST", URL)
        server = self.accept()
        self.failureResultOf(requested, CancelledError)
        self.dispatcher.request("POST", URL + "/next")
        self.assertEqual(self.connections(), 1)
        self.assertTrue(server.received.startswith(b"POST /run/next "))

    def test_waiting(self) -> None:
        """
        Cancelling while there is no answer closes the connection.
        """
        for sent in (b"", b"HTTP/1.1 200 OK\r\nContent-"):
            requested, server = self.begin(data=b"{}")
            server.send(*([sent] if sent else []))
            requested.cancel()
            self.assertTrue(server.hung_up)
            self.failureResultOf(requested)
            server.close()

    def test_reading(self) -> None:
        """
        Cancelling while the body is read closes the connection, and what is
        still sent does no harm.
        """
        for head in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
        ):
            _, content, server = self.answered(head)
            content.cancel()
            self.assertTrue(server.hung_up)
            self.failureResultOf(content, CancelledError)
            server.send(b"1")
            server.close()

    def test_not_used_again(self) -> None:
        """
        The connection of a request that was cancelled is not used again.
        """
        _, content, _ = self.answered(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"he"
        )
        content.cancel()
        self.failureResultOf(content)
        self.begin()

    def test_after_the_end(self) -> None:
        """
        Cancelling what is complete does nothing.
        """
        _, content, server = self.answered(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"OK"
        )
        content.cancel()
        self.assertEqual(self.successResultOf(content), b"OK")
        self.assertFalse(server.hung_up)


class KeepAliveTests(Case):
    """
    Connections are used again, and tasks still kept apart.
    """

    def used(self, *headers: bytes) -> FakeServer:
        """
        A connection on which a request has been answered.
        """
        head = b"".join(header + b"\r\n" for header in headers)
        _, content, server = self.answered(
            b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 2\r\n\r\n", b"OK"
        )
        self.successResultOf(content)
        server.received  # noqa: B018
        return server

    def test_used_again(self) -> None:
        """
        The next request to the same origin uses the same connection.
        """
        server = self.used()
        for n in range(3):
            requested = self.dispatcher.request("POST", URL + f"/{n}", data=b"{}")
            self.assertEqual(self.connections(), 1)
            self.assertIn(b"POST /run/%d " % n, server.received)
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n)
            content = self.successResultOf(requested).content()
            self.assertEqual(self.successResultOf(content), b"%d" % n)

    def test_other_origin(self) -> None:
        """
        A request to another origin does not use it.
        """
        self.used()
        for url in ("http://127.0.0.1:8001/run", "http://127.0.0.2:8000/run"):
            self.begin(url=url)

    def test_busy(self) -> None:
        """
        Requests at the same time have a connection each.
        """
        first, server = self.begin()
        second, other = self.begin()
        other.send(b"HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n")
        server.send(b"HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(first).code, 201)
        self.assertEqual(self.successResultOf(second).code, 202)

    def test_not_before_the_body(self) -> None:
        """
        A connection is free only once the body has been read.
        """
        self.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"he")
        self.begin()

    def test_close(self) -> None:
        """
        A connection that the server wants to close is not used again.
        """
        server = self.used(b"Connection: close")
        self.assertTrue(server.hung_up)
        self.begin()

    def test_closing(self) -> None:
        """
        An idle connection that is closed since the server spoke unasked is not used
        again, although it is not lost yet.
        """
        server = self.used()
        server.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        self.assertTrue(server.hung_up)
        _, other = self.begin()
        self.assertIsNot(other, server)
        self.assertIn(b"POST", other.received)

    def test_closing_among_others(self) -> None:
        """
        Such a connection is out of the way at once: the next request has another idle
        one.
        """
        server, other = (self.begin()[1] for _ in range(2))
        for each in (server, other):
            each.received  # noqa: B018
            each.send(b"HTTP/1.1 204 OK\r\n\r\n")
        pool = self.dispatcher._lean._pool
        self.assertEqual(len(pool.idle), 2)
        other.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        self.assertEqual(len(pool.idle), 1)
        self.dispatcher.request("POST", URL + "/next")
        self.assertIn(b"POST /run/next ", server.received)
        other.close(ConnectionAborted())
        self.assertEqual((self.connections(), pool.open), (2, 1))

    def test_last_used_first(self) -> None:
        """
        The connection that was used last is used next.
        """
        servers = [self.begin()[1] for _ in range(3)]
        for n in (2, 0, 1):
            servers[n].received  # noqa: B018
            servers[n].send(b"HTTP/1.1 204 OK\r\n\r\n")
        for n in (1, 0, 2):
            self.dispatcher.request("POST", URL)
            self.assertEqual([bool(each.received) for each in servers][n], True)

    def test_closed(self) -> None:
        """
        Neither is one that the server has closed.
        """
        self.used().close()
        self.begin()

    def test_idle(self) -> None:
        """
        An idle connection is closed after L{IDLE_TIMEOUT} seconds, and
        nothing waits any more.
        """
        server = self.used()
        self.reactor.advance(IDLE_TIMEOUT - 0.01)
        self.assertFalse(server.hung_up)
        self.reactor.advance(0.02)
        self.assertTrue(server.hung_up)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.begin()

    def test_spellings(self) -> None:
        """
        All spellings of an origin share its connections, but for a dot at the end of a
        name: that has as many of its own.
        """
        limits = {"executor.test": Limits(connections=10, per_origin=1)}
        for scheme, port in (("http", ":80"), ("https", ":443")):
            agent = Agent(self.reactor, limits=Limits(), hosts=limits)
            for host in ("executor.test", "Executor.TEST"):
                for each in (host, host + port):
                    self.ignored(agent.send("GET", f"{scheme.upper()}://{each}/"))
            self.assertEqual(agent._pool.open, 1)
            for each in ("executor.test.", f"EXECUTOR.test.{port}"):
                self.ignored(agent.send("GET", f"{scheme}://{each}/"))
            self.assertEqual(agent._pool.open, 2)

    def ignored(self, answering: Deferred[Any]) -> None:
        """
        It does not matter how a request ends.
        """
        answering.addErrback(lambda failure: None)

    def test_lost_when_used_again(self) -> None:
        """
        A request whose connection was used before, and ends at once without a byte
        of an answer, has reached nobody: it is made once more, on a new one.
        """
        server = self.used()
        requested = self.dispatcher.request("POST", URL, data=b"{}")
        server.close()
        self.assertEqual(self.connections(), 2)
        other = self.accept()
        self.assertEqual(other.received, server.received)
        other.close()
        self.text_of(requested, ExecutorError)
        self.assertEqual(self.connections(), 2)

    def test_lost_after_a_second(self) -> None:
        """
        One whose connection ends later may have been the reason: it has failed, and
        is not made again.  Nor is it where the clock is set back meanwhile.
        """
        for seconds, connections in ((0.9, 2), (1.1, 1), (3600, 1), (-3600, 1)):
            self.setUp()
            server = self.used()
            requested = self.dispatcher.request("POST", URL, data=b"{}")
            self.reactor.rightNow += seconds
            server.close()
            self.assertEqual(self.connections(), connections, seconds)
            if connections == 1:
                self.assertIn("before an answer", self.text_of(requested))

    def test_tells(self) -> None:
        """
        The log tells that a request is made again.
        """
        server = self.used()
        self.dispatcher.request("POST", URL, data=b"{}")
        with logged(LogLevel.info) as lines:
            server.close()
        said = "closed a connection as a request was sent; the request is sent again"
        self.assertEqual(lines, [f"http://127.0.0.1:8000 {said}"])

    def test_waited_for_too_long(self) -> None:
        """
        A 408 with which a server closes a connection that was used before is no
        answer to a request that has just come: it is made once more.
        """
        answer = b"HTTP/1.1 408 Slow\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        for pieces in ([answer + b"no"], [answer, b"no"], [answer[:9], answer[9:]]):
            self.setUp()
            server = self.used()
            requested = self.dispatcher.request("POST", URL, data=b"{}")
            server.send(*pieces)
            self.assertTrue(server.hung_up)
            server.close()
            self.assertEqual(self.connections(), 2)
            other = self.accept()
            self.assertEqual(other.received, server.received)
            other.send(answer)
            self.assertEqual(self.successResultOf(requested).code, 408)
            self.assertEqual(self.connections(), 2)

    def test_slow_request(self) -> None:
        """
        Any other 408 is an answer: one that comes later, or keeps the connection.
        """
        for seconds, field in ((1.1, b"Connection: close\r\n"), (0, b"")):
            self.setUp()
            server = self.used()
            requested = self.dispatcher.request("POST", URL, data=b"{}")
            self.reactor.advance(seconds)
            server.send(b"HTTP/1.1 408 Slow\r\n%sContent-Length: 0\r\n\r\n" % field)
            self.assertEqual(self.successResultOf(requested).code, 408)
            self.assertEqual(self.connections(), 1)

    def test_lost_in_an_answer(self) -> None:
        """
        One whose answer had begun is not made again.
        """
        server = self.used()
        requested = self.dispatcher.request("POST", URL, data=b"{}")
        server.send(b"HTTP/1.1 2")
        server.close()
        self.text_of(requested, ExecutorError)
        self.assertEqual(self.connections(), 1)

    def test_unasked(self) -> None:
        """
        A connection on which something comes that nobody has asked for is not
        used again, be it behind an answer or later.
        """
        extra = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        _, content, server = self.answered(
            b"HTTP/1.1 201 OK\r\nContent-Length: 2\r\n\r\nOK" + extra
        )
        self.assertEqual(self.successResultOf(content), b"OK")
        self.assertTrue(server.hung_up)
        server = self.used()
        server.send(extra)
        self.assertTrue(server.hung_up)

    def test_upgrade_read(self) -> None:
        """
        The header fields of a 101 can be read.
        """
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"
        response, _, _ = self.answered(head)
        self.assertEqual(response.headers.getRawHeaders("upgrade"), ["x"])
        self.assertEqual(response.phrase, b"Switching Protocols")

    def test_version(self) -> None:
        """
        The version is that of the answer.
        """
        for version in (0, 1):
            head = b"HTTP/1.%d 200 OK\r\nContent-Length: 0\r\n\r\n" % version
            response, _, _ = self.answered(head)
            self.assertEqual(response.version, (b"HTTP", 1, version))

    def test_phrase_of_its_own(self) -> None:
        """
        The answer's phrase and fields are not those of what went before it.
        """
        early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        whole = early + b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"
        response, _, _ = self.answered(whole)
        self.assertEqual(response.phrase, b"")
        self.assertEqual(response.fields, [(b"Content-Length", b"0")])

    def test_upgrade(self) -> None:
        """
        Nor is one whose server begins to speak something else.
        """
        answer, content, server = self.answered(
            b"HTTP/1.1 101 Changing\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw"
        )
        self.assertEqual(answer.code, 101)
        self.assertEqual(self.successResultOf(content), b"")
        self.assertTrue(server.hung_up)

    def test_trailers(self) -> None:
        """
        Trailers are no headers.
        """
        answer, content, _ = self.answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nOK\r\n0\r\nX-Late: 1\r\n\r\n"
        )
        self.assertFalse(answer.headers.hasHeader("x-late"))
        self.assertEqual(self.successResultOf(content), b"OK")

    def test_huge_chunk(self) -> None:
        """
        A chunk of an impossible size cannot be read; one that is merely
        enormous ends where the limit is.
        """
        for size in (b"FFFFFFFFFFFFFFFFF", b"8000000000000000"):
            _, content, server = self.answered(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                size + b"\r\n" + b"x" * (BODY_LIMIT + 1),
            )
            self.assertTrue(server.hung_up)
            content.addErrback(lambda failure: failure.trap(IncompleteAnswer))

    def test_from_within(self) -> None:
        """
        Who hears of an answer may make the next request at once, which has the
        same connection.
        """
        again: list[Deferred[Any]] = []
        requested, server = self.begin()
        requested.addCallback(
            lambda _: again.append(self.dispatcher.request("GET", URL))
        )
        server.received  # noqa: B018
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b"GET /run", server.received)
        server.send(b"HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(again[0]).code, 201)

    def test_limits(self) -> None:
        """
        Requests beyond the connections that there may be wait for one; too
        many that wait fail at once.
        """
        limits = Limits(connections=3, per_origin=2, waiting=2)
        self.dispatcher = Dispatcher(Agent(self.reactor, limits=limits))
        first, second = self.begin(), self.begin()
        waiting = [self.dispatcher.request("GET", URL) for _ in range(3)]
        self.text_of(waiting.pop(), ExecutorError)
        other = self.begin(url="http://127.0.0.1:81/")
        third = self.dispatcher.request("GET", "http://127.0.0.1:82/")
        self.assertEqual(self.connections(), 3)
        given_up = waiting.pop(0)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        first[1].send(answer)
        first[1].send(answer)
        self.assertEqual(self.successResultOf(waiting[0]).code, 200)
        self.assertNoResult(second[0])
        # The idle one makes room for a connection to somewhere else.
        self.assertTrue(first[1].hung_up)
        self.assertEqual(self.connections(), 4)
        self.accept().send(answer)
        self.assertEqual(self.successResultOf(third).code, 200)
        self.assertNoResult(other[0])

    def test_nothing_is_left(self) -> None:
        """
        Once an answer is complete, nobody but who asked for it has it.
        """
        answer, content, _ = self.answered(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello"
        )
        self.assertEqual(self.successResultOf(content), b"hello")
        left = weakref.ref(answer)
        del answer, content
        gc.collect()
        self.assertIsNone(left())

    def test_nothing_is_left_of_a_connection_that_was_not_made(self) -> None:
        """
        What is kept of an origin while it is used does not grow with each failure.
        """
        self.begin()
        requested = self.dispatcher.request("POST", URL, data=b"{}")
        refused = Failure(ConnectionRefusedError())
        *_, (_, _, factory, _, _) = self.reactor.tcpClients
        factory.clientConnectionFailed(self.reactor.connectors[-1], refused)
        self.reactor.advance(1)
        self.text_of(requested)
        (origin,) = self.dispatcher._lean._origins.values()
        self.assertEqual((origin.open, len(origin._connecting)), (1, 0))

    def test_nothing_is_left_of_a_lost_connection(self) -> None:
        """
        Nobody has a connection that is lost, nor the answer that was cut short with it,
        although what made the connection stays: both leave memory at once, and not when
        Python looks for garbage.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        answer, content, server = self.answered(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"hello"
        )
        left = [weakref.ref(each) for each in (answer, server.client._wrappedProtocol)]
        server.close(ConnectionLost())
        self.failureResultOf(content, IncompleteAnswer)
        del answer, content, server
        self.assertEqual([each() for each in left], [None, None])

    def test_cookies(self) -> None:
        """
        A cookie set by one answer is not sent with the next request, be it on
        the same connection or another.
        """
        cookie = b"Set-Cookie: session=1; Path=/"
        server = self.used(cookie)
        self.dispatcher.request("POST", URL, data=b"{}")
        self.assertNotIn(b"cookie", fields_of(server.received))
        server.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        server.send(cookie + b"\r\nContent-Length: 0\r\n\r\n")
        _, other = self.begin(data=b"{}")
        self.assertNotIn(b"cookie", fields_of(other.received))


def origins_in(pool: Pool) -> int:
    """
    How many origins a pool remembers, under all guards.
    """
    return sum(map(len, pool.origins.values()))


class OriginTests(Case):
    """
    What the pool remembers of an origin.
    """

    OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def with_limits(self, **limits: int) -> Pool:
        """
        Have other limits; gives the pool.
        """
        agent = Agent(self.reactor, limits=Limits(**limits))
        self.dispatcher = Dispatcher(agent)
        return agent._pool

    def test_lost_when_used_again(self) -> None:
        """
        A request that is made once more is made for the same origin, whose
        connection is found again after it.
        """
        pool = self.with_limits(per_origin=1)
        _, server = self.begin()
        server.send(self.OK)
        again = self.dispatcher.request("POST", URL)
        server.close()
        server = self.accept()
        server.send(self.OK)
        self.assertEqual(self.successResultOf(again).code, 200)
        third = self.dispatcher.request("POST", URL)
        self.assertEqual(self.connections(), 2)
        server.send(self.OK)
        self.assertEqual(self.successResultOf(third).code, 200)
        self.assertEqual((pool.open, len(pool.idle), origins_in(pool)), (1, 1, 1))

    def test_hosts(self) -> None:
        """
        A host may have limits of its own, whatever the case of its name, and with or
        without the usual port.
        """
        hosts = {"127.0.0.1": Limits(per_origin=1), "127.0.0.2:81": Limits(idle=1)}
        for url in ("http://127.0.0.1/", "HTTP://127.0.0.1:80/"):
            self.dispatcher = Dispatcher(Agent(self.reactor, hosts=hosts))
            before = self.connections()
            _, server = self.begin(url=url)
            self.dispatcher.request("POST", url)
            self.assertEqual(self.connections(), before + 1)
            server.send(self.OK)
        for url, hung_up in (("http://127.0.0.2:81/", True), (URL, False)):
            _, server = self.begin(url=url)
            server.send(self.OK)
            self.reactor.advance(1.2)
            self.assertEqual(server.hung_up, hung_up, url)

    def test_each_in_its_time(self) -> None:
        """
        Connections are closed when their time is over, in whatever order they were
        released.
        """
        hosts = {f"127.0.0.{n}": Limits(idle=n) for n in (3, 1, 2)}
        self.dispatcher = Dispatcher(Agent(self.reactor, hosts=hosts))
        servers = {}
        for host in hosts:
            _, servers[host] = self.begin(url=f"http://{host}/")
            servers[host].send(self.OK)
        closed = []
        for _ in range(4):
            closed.append(sorted(h for h in hosts if servers[h].hung_up))
            self.reactor.advance(1.0)
        names = sorted(hosts)
        self.assertEqual(closed, [[], names[:1], names[:2], names])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_not_used_again(self) -> None:
        """
        With no time to be idle a connection has one request, also where others wait
        for it.
        """
        limits = Limits(idle=0, per_origin=1)
        self.dispatcher = Dispatcher(Agent(self.reactor, limits=limits))
        _, server = self.begin()
        waiting = self.dispatcher.request("POST", URL)
        server.send(self.OK)
        self.assertTrue(server.hung_up)
        server.close(ConnectionAborted())
        self.assertEqual(self.connections(), 2)
        self.accept().send(self.OK)
        self.assertEqual(self.successResultOf(waiting).code, 200)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_other_limits(self) -> None:
        """
        Other limits hold from the next request on, whoever sets them for a common
        pool; those that are under way end as they began.
        """
        pool = self.with_limits()
        first, server = self.begin()
        limits = {"127.0.0.1:8000": Limits(idle=0)}
        self.dispatcher.guarded(Guard(deny=("10.0.0.0/8",))).change_limits(
            Limits(), limits
        )
        server.send(self.OK)
        self.assertEqual(self.successResultOf(first).code, 200)
        self.assertFalse(server.hung_up)
        _, server = self.begin()
        server.send(self.OK)
        self.assertTrue(server.hung_up)
        server.close()
        self.reactor.advance(IDLE_TIMEOUT)
        self.assertEqual(len(pool.idle), 0)

    def test_forgotten(self) -> None:
        """
        Origins whose waiting requests were given up are forgotten.
        """
        pool = self.with_limits(connections=1)
        self.begin()
        for n in range(50):
            waiting = self.dispatcher.request("POST", f"http://127.0.1.{n}/")
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
        self.assertEqual((origins_in(pool), len(pool.waiting_origins)), (1, 0))

    def test_fails_at_once(self) -> None:
        """
        However many requests wait, connections that cannot even be begun make
        each of them fail, once.
        """
        pool = self.with_limits(connections=1)
        first, server = self.begin()
        waiting = [
            self.dispatcher.request("POST", f"http://a..b{n % 3}/") for n in range(3000)
        ]
        server.send(self.OK)
        server.close()
        self.assertEqual(self.successResultOf(first).code, 200)
        for each in waiting:
            self.failureResultOf(each)
        self.assertEqual((pool.open, origins_in(pool)), (0, 0))

    def not_made(self) -> None:
        """
        The connection that was begun last cannot be made.
        """
        factory: Any = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    def test_not_made(self) -> None:
        """
        A connection that could not be made makes room for another one.
        """
        pool = self.with_limits(connections=1)
        for _ in range(2):
            first = self.dispatcher.request("POST", URL)
            second = self.dispatcher.request("POST", "http://127.0.0.9/")
            for each in (first, second):
                self.not_made()
                self.text_of(each, ExecutorError)
            self.assertEqual((pool.open, origins_in(pool)), (0, 0))
            self.assertEqual(len(pool.waiting_origins), 0)

    def test_first_come(self) -> None:
        """
        Requests that wait keep their order, also when there was room that was none for
        them.
        """
        self.with_limits(connections=2, per_origin=1)
        _, server = self.begin()
        ends, other = self.begin(url="http://127.0.0.9/")
        for number in (1, 2):
            self.dispatcher.request("POST", f"{URL}{number}")
        other.close()
        self.text_of(ends, ExecutorError)
        for path in (b"/run1", b"/run2"):
            server.received  # noqa: B018
            server.send(self.OK)
            self.assertTrue(server.received.startswith(b"POST %b HTTP/1.1" % path))

    def test_own_requests_first(self) -> None:
        """
        A connection goes on with the requests that wait for its origin, before it makes
        room for others.
        """
        self.with_limits(connections=1)
        _, server = self.begin()
        self.dispatcher.request("POST", "http://127.0.0.9/")
        mine = self.dispatcher.request("POST", URL)
        server.send(self.OK)
        self.assertFalse(server.hung_up)
        server.send(self.OK)
        self.assertEqual(self.successResultOf(mine).code, 200)
        self.assertTrue(server.hung_up)

    def test_defaults(self) -> None:
        """
        What may be, unless somebody says otherwise.
        """
        limits = Limits()
        most = limits.per_origin, limits.waiting, limits.body
        self.assertEqual(most, (250, 10_000, 1024 * 1024))

    def test_affordable(self) -> None:
        """
        By default there are no more connections than this process may have.
        """
        for soft, most in ((1024, 768), (100_000, 5_000), (1, 1), (-1, 5_000)):
            self.patch(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
            self.assertEqual(Limits().connections, most)


class SocketTests(Case):
    """
    Requests that are written straight into a socket.
    """

    def accept_tcp(self) -> tuple[FakeServer, SocketTransport]:
        """
        Let the connection that was begun last be made.
        """
        tcp = SocketTransport()
        return FakeServer(self.reactor.tcpClients[-1][2], tcp), tcp

    def used(self) -> tuple[FakeServer, SocketTransport]:
        """
        A connection over which a request was answered.
        """
        requested = self.dispatcher.request("POST", URL)
        server, tcp = self.accept_tcp()
        self.reactor.advance(0)
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.successResultOf(requested)
        tcp.sent = b""
        return server, tcp

    def write_at_the_end(self) -> None:
        """
        Have no request of a turn written at once, as it is when there are many.
        """
        self.patch(_writes, "FEW", 0)

    def test_at_once(self) -> None:
        """
        The first request after a pause is written at once.  Where the server was
        closing the connection, it is made over another.
        """
        closing = (
            b"HTTP/1.1 408 Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        for said in (b"", closing):
            server, tcp = self.used()
            self.reactor.advance(2 * _writes.PAUSE)
            requested = self.dispatcher.request("POST", URL)
            self.assertTrue(tcp.sent.startswith(b"POST /run "))
            if said:
                server.send(said)
            server.close()
            self.reactor.advance(0)
            server, tcp = self.accept_tcp()
            self.reactor.advance(0)
            self.assertTrue(tcp.sent.startswith(b"POST /run "))
            server.send(b"HTTP/1.1 204 OK\r\nConnection: close\r\n\r\n")
            self.assertEqual(self.successResultOf(requested).code, 204)

    def test_together(self) -> None:
        """
        Many requests of a turn of the reactor are written at its end, as many as
        there are connections.
        """
        self.write_at_the_end()
        servers = [self.used()[1]]
        for path in ("/a", "/b", "/c"):
            self.dispatcher.request("POST", URL + path)
            if path != "/a":
                servers.append(self.accept_tcp()[1])
        self.assertEqual([each.sent for each in servers], [b"", b"", b""])
        self.reactor.advance(0)
        paths = [each.sent.split(b" ")[1] for each in servers]
        self.assertEqual(paths, [b"/run/a", b"/run/b", b"/run/c"])
        self.assertEqual([each.value() for each in servers], [b"", b"", b""])

    def test_answer_to_a_part(self) -> None:
        """
        A server may answer before it has read all of a request, and read no more: the
        answer is read all the same.
        """
        requested = self.dispatcher.request("POST", URL, data=b"x" * 100_000)
        server, tcp = self.accept_tcp()
        tcp.socket = tcp  # type: ignore[assignment]
        self.reactor.advance(0)
        tcp.room = BrokenPipeError(errno.EPIPE, "broken pipe")
        self.assertEqual(tcp.writeSomeData(b"more"), 4)
        server.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(requested).code, 413)

    def test_no_room(self) -> None:
        """
        What the socket does not take at once goes by way of the reactor, all of
        it, also where the socket is lost.
        """
        body = b"x" * 60_000
        rooms = (0, 1, 50_000, BlockingIOError(), ConnectionResetError())
        for room in rooms:
            _, tcp = self.used()
            tcp.room = room
            self.dispatcher.request("POST", URL, data=body)
            self.reactor.advance(0)
            sent = tcp.sent + tcp.value()
            self.assertEqual(sent.partition(b"\r\n\r\n")[2], body)
            self.assertEqual(len(tcp.sent), room if isinstance(room, int) else 0)

    def test_large_answer(self) -> None:
        """
        Little is read at once, but much of an answer that is large.
        """
        server, tcp = self.used()
        sizes = [tcp.bufferSize]
        requested = self.dispatcher.request("POST", URL)
        self.reactor.advance(0)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        answer = head + b"x" * 100_000
        while answer:
            size = tcp.bufferSize
            server.send(answer[:size])
            answer = answer[size:]
            sizes.append(tcp.bufferSize)
        body = self.successResultOf(self.successResultOf(requested).content())
        self.assertEqual(len(body), 100_000)
        self.assertEqual(sizes, [4_096, *[16_384] * 6, 4_096])

    def test_behind_what_waits(self) -> None:
        """
        What is written after that goes the same way, behind it, even where the
        server has answered before it had read all.
        """
        server, tcp = self.used()
        tcp.room = 1
        self.dispatcher.request("POST", URL, data=b"x" * 50_000)
        self.reactor.advance(0)
        server.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        tcp.room, tcp.sent = 1_000_000, b""
        self.dispatcher.request("POST", URL + "/second")
        self.reactor.advance(0)
        self.assertEqual((self.connections(), tcp.sent), (1, b""))
        self.assertGreater(tcp.value().index(b"POST /run/second"), 50_000)

    def test_cancelled_before(self) -> None:
        """
        A request that is cancelled before it is written is not written.
        """
        self.write_at_the_end()
        server, tcp = self.used()
        requested = self.dispatcher.request("POST", URL)
        requested.cancel()
        self.failureResultOf(requested, CancelledError)
        self.reactor.advance(0)
        self.assertEqual(tcp.sent + tcp.value(), b"")
        self.assertTrue(server.hung_up)

    def sign(self) -> dict[str, str]:
        """
        The time at which a request is signed.
        """
        return {"Signed-At": f"{self.reactor.seconds():g}"}

    def request_signed(self) -> Deferred[Any]:
        """
        Make a request that is signed.
        """
        return self.dispatcher.make_request("POST", URL, (), b"{}", self.sign)

    def test_signed_as_it_is_written(self) -> None:
        """
        A request is signed at the end of the turn, and not at all if it is cancelled
        before.
        """
        self.write_at_the_end()
        _, tcp = self.used()
        start = self.reactor.seconds()
        self.request_signed()
        self.reactor.advance(1)
        signed_at = fields_of(tcp.sent)[b"signed-at"]
        self.assertEqual(float(signed_at), start + 1)
        self.sign = Mock(side_effect=ZeroDivisionError)  # type: ignore[method-assign]
        self.used()
        requested = self.request_signed()
        requested.cancel()
        self.failureResultOf(requested, CancelledError)
        self.reactor.advance(1)
        self.sign.assert_not_called()

    def test_cancelled_before_alone(self) -> None:
        """
        The other requests of that turn are written.
        """
        self.write_at_the_end()
        requests = [self.dispatcher.request("POST", f"{URL}/{n}") for n in range(3)]
        servers = []
        for _, _, factory, _, _ in self.reactor.tcpClients:
            servers.append(FakeServer(factory, SocketTransport()))
        requests[1].cancel()
        self.failureResultOf(requests[1], CancelledError)
        self.reactor.advance(0)
        sent = [each.transport.sent.split(b" ")[1:2] for each in servers]  # type: ignore[attr-defined]
        self.assertEqual(sent, [[b"/run/0"], [], [b"/run/2"]])
        self.assertEqual([each.hung_up for each in servers], [False, True, False])

    def test_not_idle_before(self) -> None:
        """
        A connection whose request waits for the end of the turn is used for no other
        one, nor closed to make room.
        """
        self.write_at_the_end()
        agent = Agent(self.reactor, limits=Limits(connections=1))
        self.dispatcher = Dispatcher(agent)
        server, tcp = self.used()
        for url in (URL + "/a", URL + "/b", "http://127.0.0.9/"):
            self.dispatcher.request("POST", url)
        self.assertFalse(server.hung_up)
        self.assertEqual((self.connections(), len(agent._pool.idle)), (1, 0))
        for path in (b"/run/a", b"/run/b"):
            self.assertEqual(tcp.sent, b"")
            self.reactor.advance(0)
            self.assertTrue(tcp.sent.startswith(b"POST %b HTTP/1.1" % path))
            tcp.sent = b""
            server.send(b"HTTP/1.1 204 OK\r\n\r\n")
        self.assertTrue(server.hung_up)

    def test_lost_before_at_its_origin(self) -> None:
        """
        The request whose connection is lost in that turn is made once more, for the
        same origin, which the log tells of.
        """
        self.write_at_the_end()
        agent = Agent(self.reactor, limits=Limits(per_origin=1))
        self.dispatcher = Dispatcher(agent)
        server, _ = self.used()
        requested = self.dispatcher.request("POST", URL)
        with logged(LogLevel.info) as lines:
            server.close()
        self.assertEqual(len(lines), 1)
        self.assertIn("the request is sent again", lines[0])
        waiting = self.dispatcher.request("POST", URL + "/next")
        self.assertEqual(self.connections(), 2)
        server, _ = self.accept_tcp()
        server.close(ConnectionLost())
        self.text_of(requested, ExecutorError)
        self.assertEqual(self.connections(), 3)
        server, tcp = self.accept_tcp()
        self.reactor.advance(0)
        self.assertTrue(tcp.sent.startswith(b"POST /run/next "))
        server.send(b"HTTP/1.1 204 OK\r\n\r\n")
        self.assertEqual(self.successResultOf(waiting).code, 204)
        self.assertEqual((agent._pool.open, origins_in(agent._pool)), (1, 1))

    def test_lost_before(self) -> None:
        """
        Where the connection is lost in that turn, the request is made over
        another.
        """
        self.write_at_the_end()
        server, tcp = self.used()
        requested = self.dispatcher.request("POST", URL)
        server.close()
        self.reactor.advance(0)
        self.assertEqual(tcp.sent + tcp.value(), b"")
        self.assertNoResult(requested)
        server, tcp = self.accept_tcp()
        self.reactor.advance(0)
        self.assertTrue(tcp.sent.startswith(b"POST /run "))
        server.send(b"HTTP/1.1 204 OK\r\n\r\n")
        self.assertEqual(self.successResultOf(requested).code, 204)

    def test_answered_before(self) -> None:
        """
        What a server says in that turn, such as that it has waited for too long,
        is no answer to the request, which is made over another connection.
        """
        self.write_at_the_end()
        server, tcp = self.used()
        requested = self.dispatcher.request("POST", URL)
        server.send(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(server.hung_up)
        server.close(ConnectionAborted())
        self.reactor.advance(0)
        self.assertEqual(tcp.sent, b"")
        self.assertNoResult(requested)
        server, tcp = self.accept_tcp()
        self.reactor.advance(0)
        self.assertTrue(tcp.sent.startswith(b"POST /run "))

    def test_greets(self) -> None:
        """
        A server that speaks first on a new connection does not speak HTTP.
        """
        self.write_at_the_end()
        requested = self.dispatcher.request("POST", URL)
        server, tcp = self.accept_tcp()
        server.send(b"220 mail.example ESMTP\r\n")
        self.reactor.advance(0)
        self.assertIn(
            "sent bytes before the request", self.text_of(requested, ExecutorError)
        )
        self.assertEqual(tcp.sent + tcp.value(), b"")
        self.assertEqual(self.connections(), 1)


class WithMediatorTests(Case):
    """
    A mediator makes its requests with a dispatcher by default.
    """

    def check_retried(self, outcome: Deferred[Outcome]) -> None:
        """
        It is tried again a second later.
        """
        retry = self.successResultOf(outcome)
        assert isinstance(retry, Retry)
        self.assertEqual(retry.after, 1.0)

    def begin_task(self, **task: Any) -> tuple[Deferred[Outcome], FakeServer]:
        """
        Have a task executed that succeeds after a post-hook.
        """
        self.results: list[object] = []
        self.mediator = Mediator(reactor=self.reactor)
        self.mediator.add_posthook(lambda task, result: self.results.append(result))
        body = json.dumps({"url": URL, **task}).encode()
        outcome = self.mediator.messageReceived(Message(body))
        return outcome, self.accept()

    def test_done(self) -> None:
        """
        A task whose answer is whole is done.
        """
        outcome, server = self.begin_task()
        received = server.received
        self.assertTrue(received.startswith(b"POST /run HTTP/1.1\r\n"))
        self.assertEqual(fields_of(received)[b"content-type"], b"application/json")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", b'{"n": 1}')
        self.assertEqual(self.successResultOf(outcome), Done())
        self.assertEqual(self.results, [{"n": 1}])

    def test_targets(self) -> None:
        """
        What is requested of the server is a valid target, whatever the URL.
        """
        cases = {
            "http://127.0.0.1": b"/",
            "http://127.0.0.1?a=1": b"/?a=1",
            "http://127.0.0.1?": b"/",
            "http://me:secret@127.0.0.1?a=1": b"/?a=1",
            "http://127.0.0.1?q=\xfc": b"/?q=%C3%BC",
            "http://127.0.0.1/\u017f": b"/%C5%BF",
            "http://127.0.0.1/a|b": b"/a%7Cb",
            "http://127.0.0.1/%zz?%zz": b"/%zz?%zz",
        }
        sent = {}
        for url in cases:
            _, server = self.begin_task(url=url)
            sent[url] = server.received.split(b" ")[1].removesuffix(b"?")
        self.assertEqual(sent, cases)

    def test_cut_short(self) -> None:
        """
        A success that is cut short is a failure.
        """
        outcome, server = self.begin_task()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", b'{"n"')
        server.close()
        self.check_retried(outcome)
        self.assertEqual(self.results, [])

    def test_cut_refusal(self) -> None:
        """
        A status that is final is so although the body is cut short, or never ends;
        and when to come again counts, too.
        """
        for status, end in (
            (413, lambda server: server.close()),
            (413, lambda server: self.reactor.advance(40)),
            (503, lambda server: server.close(ConnectionLost())),
            (503, lambda server: server.send(b"no chunk")),
        ):
            mediator = PolicyMediator(
                permanent=[413], reactor=self.reactor, defaultTimeout=30
            )
            message = Message(json.dumps({"url": URL}).encode())
            outcome = mediator.messageReceived(message)
            server = self.accept()
            server.send(b"HTTP/1.1 %d No\r\nRetry-After: 77\r\n" % status)
            server.send(b"Transfer-Encoding: chunked\r\n\r\n4\r\nmuch\r\n")
            end(server)
            result = self.successResultOf(outcome)
            assert isinstance(result, Bury if status == 413 else Retry)
            self.assertEqual(result.headers["quebert-last-status"], status)
            if isinstance(result, Retry):
                self.assertEqual(result.after, 77)

    def test_one_attempt(self) -> None:
        """
        A task that may be tried once is requested once, although the server dies of
        it after some seconds; over a connection that was used before, too.
        """
        policy = RetryPolicy(max_attempts=1)
        mediator = PolicyMediator(policy=policy, reactor=self.reactor)
        message = Message(json.dumps({"url": URL}).encode())
        first = mediator.messageReceived(message)
        server = self.accept()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(first), Done())
        second = mediator.messageReceived(message)
        self.reactor.advance(5)
        server.close()
        outcome = self.successResultOf(second)
        assert isinstance(outcome, Bury)
        self.assertIn("given up after 1 attempt", outcome.reason)
        self.assertEqual(self.connections(), 1)

    def test_too_long(self) -> None:
        """
        Of a success that is longer than the limit the first part is the
        result.
        """
        outcome, server = self.begin_task()
        server.send(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (BODY_LIMIT + 1))
        self.assertEqual(self.successResultOf(outcome), Done())
        self.assertEqual(self.results, ["x" * BODY_LIMIT])

    def test_timeouts(self) -> None:
        """
        When the time is over the connection is closed, be the answer late in
        coming or in ending.
        """
        for sent in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n123"):
            outcome, server = self.begin_task(timeout=5)
            server.send(*([sent] if sent else []))
            self.reactor.advance(5)
            self.check_retried(outcome)
            self.assertTrue(server.hung_up, sent)
            server.close()
