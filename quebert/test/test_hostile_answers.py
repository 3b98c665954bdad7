"""
Servers that answer with more than anybody can want, too slowly, too early, or not
at all, on real sockets.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from trustme import CA
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import AccumulatingProtocol
from zope.interface import implementer

from quebert.errors import ExecutorError, IncompleteAnswer
from quebert.http import Agent, Limits
from quebert.http._reader import Reader
from quebert.http._request_writer import socket_below
from quebert.test.support import until
from quebert.test.test_agent import Trusting, certificate_of

reactor: Any = global_reactor
# What Twisted does with a certificate of ours; Twisted 24.11 does the second.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Passing pyOpenSSL:DeprecationWarning",
    "ignore:Attempting to mutate a Context:DeprecationWarning",
)
Script = Callable[["Connection"], object]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#: Bytes that both ends of a connection on this machine hold at most between them.
BUFFERS = 32 * 2**20


@implementer(IPullProducer)
class Connection(Protocol):
    """
    The server's end of a connection, which does as the test says when a request's
    head is there.

    @ivar number: from 1, in the order of the connections.
    @ivar requests: how many heads have come.
    @ivar sent: bytes that were written.
    """

    def __init__(self, factory: RawServer, number: int) -> None:
        self.factory: Any = factory
        self.number = number
        self.requests = 0
        self.sent = 0
        self._received = b""
        self._flood = b""

    @property
    def tcp(self) -> Any:
        """
        The transport.
        """
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        """
        Look for the end of a head; a body must not hold one.
        """
        self._received += data
        if b"\r\n\r\n" in self._received:
            self._received = b""
            self.requests += 1
            self.factory.script(self)

    def write(self, data: bytes) -> None:
        """
        Send this.
        """
        self.sent += len(data)
        self.tcp.write(data)

    def flood(self, data: bytes) -> None:
        """
        Send this again and again, for ever.
        """
        self._flood = data
        self.tcp.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """
        Send it once more.
        """
        self.write(self._flood)

    def stopProducing(self) -> None:
        """
        The client has hung up.
        """

    def connectionLost(self, reason: Any = None) -> None:
        """
        Be open no more.
        """
        self.factory.open.discard(self)


class RawServer(Factory):
    """
    A server that knows no HTTP.

    @ivar script: called with a connection for each request.
    @ivar connections: all that there were.
    @ivar open: those that are.
    """

    noisy = False

    def __init__(self) -> None:
        self.script: Script = lambda connection: None
        self.connections: list[Connection] = []
        self.open: set[Connection] = set()
        port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self._ports = [port]
        self.url = f"http://127.0.0.1:{port.getHost().port}/"

    def listen_securely(self, options: CertificateOptions) -> str:
        """
        Listen with TLS, too; gives the URL.
        """
        port = reactor.listenSSL(0, self, options, interface="127.0.0.1")
        self._ports.append(port)
        return f"https://localhost:{port.getHost().port}/"

    def buildProtocol(self, address: Any) -> Connection:
        """
        Another connection.
        """
        connection = Connection(self, len(self.connections) + 1)
        self.connections.append(connection)
        self.open.add(connection)
        return connection

    async def hang_up(self) -> None:
        """
        Close all connections.
        """
        for each in list(self.open):
            each.tcp.abortConnection()
        await until(lambda: not self.open)

    async def close(self) -> None:
        """
        Listen no more, either.
        """
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        await self.hang_up()


@pytest_twisted.async_yield_fixture
async def server() -> AsyncIterator[RawServer]:
    """
    A server that does not answer until the test says what it does.
    """
    server = RawServer()
    yield server
    await server.close()


def writing(data: bytes) -> Script:
    """
    Answers with this.
    """
    return lambda connection: connection.write(data)


def flooding(begin: bytes, again: bytes) -> Script:
    """
    Answers with C{begin} and then C{again}, again and again.
    """

    def script(connection: Connection) -> None:
        connection.write(begin)
        connection.flood(again)

    return script


FLOODS = {
    "chunks of two bytes": flooding(CHUNKED, b"2\r\nxx\r\n" * 1000),
    "chunks of one byte": flooding(CHUNKED, b"1\r\nx\r\n" * 1000),
    "long chunk extensions": flooding(CHUNKED, b"1;" + b"e" * 4000 + b"\r\nx\r\n"),
    "an endless chunk extension": flooding(CHUNKED + b"1;", b"e" * 65_536),
    "zeros before a chunk's size": flooding(CHUNKED, b"0" * 65_536),
    "endless trailers": flooding(CHUNKED + b"0\r\n", b"X: " + b"e" * 500 + b"\r\n"),
    "an endless trailer": flooding(CHUNKED + b"0\r\nX: ", b"e" * 65_536),
    "an endless body": flooding(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@ensureDeferred
async def test_floods(server: RawServer, flood: Script) -> None:
    """
    However an answer has no end, the client closes the connection after about twice
    the limit of its body, and has never held much more than the limit in memory.  The
    status decides.
    """
    server.script = flood
    agent = Agent(reactor)
    tracemalloc.start()
    try:
        answer = await agent.send("POST", server.url, (), b"{}")
        body = await answer.content()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await until(lambda: not server.open)
    assert answer.code == 200
    assert len(body) <= Limits().body
    assert peak < 4 * Limits().body
    assert server.connections[0].sent < 3 * Limits().body + BUFFERS


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@ensureDeferred
async def test_floods_nobody_reads(server: RawServer, flood: Script) -> None:
    """
    Nor does the client read on where nobody has asked for the body.
    """
    server.script = flood
    agent = Agent(reactor)
    answer = await agent.send("POST", server.url, (), b"{}")
    await until(lambda: answer.paused or not server.open)
    assert server.connections[0].sent < 3 * Limits().body + BUFFERS
    await answer.content()
    await until(lambda: not server.open)


class Cut:
    """
    A connection, as far as an answer asks it for something.
    """

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        """
        Be closed.
        """
        self.aborted = True

    def pause(self) -> None:
        """
        Unused: somebody has asked for the body.
        """

    resume = pause


@pytest.mark.parametrize("piece", [b"1\r\nx\r\n", b"2\r\nxx\r\n"])
def test_tiny_chunks_cost_little(piece: bytes) -> None:
    """
    Each tiny chunk costs more than a byte.  So an answer of nothing else is cut before
    half of the bytes of a large body have come.
    """
    connection, reader = Cut(), Reader()
    reader.begin(connection, False, Limits().body)
    reader.feed(CHUNKED)
    assert reader.response is not None
    asked = reader.response.content()
    while not connection.aborted:
        reader.feed(piece * 1000)
        reader.response.check_size(reader.size)
    assert asked.called
    assert reader.size < Limits().body // 2


@ensureDeferred
async def test_framing_of_a_stream(server: RawServer) -> None:
    """
    Whoever reads a body as it comes may read more than the limit, but not of an
    answer that is nearly all framing.
    """
    server.script = flooding(CHUNKED, b"8000\r\n" + b"x" * 32_768 + b"\r\n")
    agent = Agent(reactor)
    answer = await agent.send("GET", server.url)
    reader = AccumulatingProtocol()
    answer.deliverBody(reader)
    await until(lambda: len(reader.data) > 3 * Limits().body)
    answer.abort()
    server.script = FLOODS["endless trailers"]
    answer = await agent.send("GET", server.url)
    reader = AccumulatingProtocol()
    answer.deliverBody(reader)
    await until(lambda: reader.closed)
    assert reader.closedReason is not None
    assert reader.closedReason.check(IncompleteAnswer)
    await until(lambda: not server.open)


@ensureDeferred
async def test_small_chunks(server: RawServer) -> None:
    """
    An answer in small chunks is whole, up to the limit of its body.
    """
    chunk = b"8;last=no\r\n01234567\r\n"
    small = Agent(reactor, limits=Limits(body=100_000))
    for agent, number in ((Agent(reactor), 20_000), (small, 12_500)):
        whole = CHUNKED + chunk * number + b"0\r\n\r\n"
        server.script = writing(whole)
        answer = await agent.send("POST", server.url, (), b"{}")
        assert await answer.content() == b"01234567" * number


@ensureDeferred
async def test_too_slow(server: RawServer) -> None:
    """
    An answer whose rest comes too slowly is cut; the connection is closed.
    """
    agent = Agent(reactor, limits=Limits(slowest=1000, slowest_over=0.1))
    for begin in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1",
        CHUNKED + b"1\r\nx",
    ):
        server.script = writing(begin)
        answer = await agent.send("POST", server.url, (), b"{}")
        with pytest.raises(IncompleteAnswer, match="fewer than 100 bytes came in"):
            await answer.content()
        await until(lambda: not server.open)


@pytest.mark.parametrize("status", [200, 413])
@pytest.mark.parametrize("scheme", ["http", "https"])
@ensureDeferred
async def test_early_answers(server: RawServer, scheme: str, status: int) -> None:
    """
    An answer that comes before a large request was sent is read to its end, although
    the server closes the connection before it has read the request.
    """
    body = b"n" * 30_000
    agent, url = Agent(reactor), server.url
    if scheme == "https":
        authority = CA()
        agent = Agent(reactor, policy=Trusting(authority))
        url = server.listen_securely(certificate_of(authority))

    def script(connection: Connection) -> None:
        connection.tcp.pauseProducing()
        head = b"HTTP/1.1 %d Early\r\nContent-Length: %d\r\n\r\n"
        connection.write(head % (status, len(body)) + body)
        # Over TLS, what was written is encrypted at the end of the turn.
        reactor.callLater(0, socket_below(connection.tcp).loseConnection)

    server.script = script
    for _ in range(10):
        answer = await agent.send("POST", url, (), b"x" * 5_000_000)
        assert answer.code == status
        assert await answer.content() == body
    await until(lambda: not server.open)


@ensureDeferred
async def test_early_refusal(server: RawServer) -> None:
    """
    After a 4xx or 5xx the rest of a request is not sent, and the connection is not
    used again.
    """
    received: list[bytes] = []

    def script(connection: Connection) -> None:
        connection.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n")
        taking: Any = connection
        taking.dataReceived = received.append

    server.script = script
    agent = Agent(reactor)
    answer = await agent.send("POST", server.url, (), b"x" * 50_000_000)
    transport: Any = answer._connection.transport  # type: ignore[attr-defined]
    await until(lambda: not transport.dataBuffer)
    server.connections[0].write(b"no")
    assert await answer.content() == b"no"
    await until(lambda: not server.open)
    assert sum(map(len, received)) < BUFFERS


@ensureDeferred
async def test_closed_as_the_request_came(server: RawServer) -> None:
    """
    Where a server closes a connection, or says that it has waited for too long, in
    the moment in which the next request is written, that request is made again.
    """
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    late = b"HTTP/1.1 408 Slow\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    server.script = writing(ok)
    for last in (b"", late):
        agent = Agent(reactor)
        await agent.send("POST", server.url, (), b"{}")
        (old,) = server.open
        old.tcp.write(last)
        old.tcp.doWrite()  # into the socket, which nobody looks at before ...
        old.tcp.loseConnection()
        requested = agent.send("POST", server.url, (), b"{}")  # ... this is written
        assert (await requested).code == 200
        await until(lambda: len(server.open) == 1)
        assert sum(each.requests for each in server.connections) == 2
        await server.hang_up()
        server.connections.clear()


@ensureDeferred
async def test_poison(server: RawServer) -> None:
    """
    A server that takes a request, over a connection that was used before, and closes
    it without an answer gets the request twice at most, however often it does so.
    """
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    server.script = writing(ok)
    agent = Agent(reactor)
    await agent.send("POST", server.url, (), b"{}")
    server.script = lambda connection: connection.tcp.abortConnection()
    with pytest.raises(ExecutorError, match="before an answer"):
        await agent.send("POST", server.url, (), b"{}")
    assert [each.requests for each in server.connections] == [2, 1]
