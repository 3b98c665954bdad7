"""
The guard's proxy over the real HTTP client, with real sockets on loopback.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from trustme import CA
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate

from quebert.errors import ExecutorError, Forbidden
from quebert.guard import Guard
from quebert.http import Agent
from quebert.http._names import Names
from quebert.http._proxied import ProxiedEndpoint
from quebert.outcome import FORBIDDEN, Bury, Done, Retry
from quebert.test.doubles import MemoryReactor
from quebert.test.support import logged, until
from quebert.test.test_agent import Trusting
from quebert.test.test_guard_http import BAD, GOOD, Listener, stage

reactor: Any = global_reactor
# What Twisted does with a certificate of ours; Twisted 24.11 does the second.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Passing pyOpenSSL:DeprecationWarning",
    "ignore:Attempting to mutate a Context:DeprecationWarning",
)


class Proxying(Protocol):
    """
    An HTTP proxy, which opens a tunnel to L{GOOD} for any name, or answers what its
    factory says.
    """

    tunnel: Any = None

    def connectionMade(self) -> None:
        """
        Nothing is asked yet.
        """
        self.waiting = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Answer, or pass on.
        """
        factory: Any = self.factory
        transport: Any = self.transport
        if self.tunnel is not None:
            self.tunnel.write(data)
            return
        factory.received += data
        if factory.answer:
            transport.write(factory.answer)
        elif factory.answer is not None:
            transport.loseConnection()
        elif not factory.silent:
            end = TCP4ClientEndpoint(reactor, GOOD, factory.port)
            connectProtocol(end, Passing(self)).addCallback(self.opened)

    def opened(self, passing: Any) -> None:
        """
        There is a tunnel.
        """
        transport: Any = self.transport
        self.tunnel = passing.transport
        for each in b"HTTP/1.1 200 Open\r\nX: y\r\n\r\n":
            transport.write(bytes([each]))

    def connectionLost(self, reason: Any = None) -> None:
        """
        Close the tunnel.
        """
        if self.tunnel is not None:
            self.tunnel.loseConnection()


class Passing(Protocol):
    """
    The other end of the tunnel.
    """

    def __init__(self, proxying: Proxying) -> None:
        self._proxying = proxying

    def dataReceived(self, data: bytes) -> None:
        """
        Pass it on.
        """
        transport: Any = self._proxying.transport
        transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        """
        Close the tunnel.
        """
        transport: Any = self._proxying.transport
        transport.loseConnection()


@asynccontextmanager
async def proxy(port: int) -> AsyncIterator[tuple[Any, Guard]]:
    """
    A proxy that leads to a port, and a guard that has it used.
    """
    factory: Any = Factory.forProtocol(Proxying)
    factory.noisy, factory.silent = False, False
    factory.received, factory.answer, factory.port = b"", None, port
    listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
    where = f"http://127.0.0.1:{listening.getHost().port}"
    try:
        yield factory, Guard(private="refuse", proxy=where, allow=[GOOD])
    finally:
        await listening.stopListening()


@ensureDeferred
async def test_proxy() -> None:
    """
    With a proxy all requests go through its tunnels, which are used again; it looks
    up names.
    """
    async with stage() as on, proxy(on.port) as (proxying, guard):
        for _ in range(2):
            url = f"http://a.example:{on.port}/"
            assert await on.outcome(guard, url) == Done()
        asked = f"a.example:{on.port}".encode()
        head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (asked, asked)
        assert proxying.received == head
        assert on.resolver.asked == []
        assert set(on.dialling.dialled) == {"127.0.0.1"}
        assert b"POST / HTTP/1.1\r\nHost: %b\r\n" % asked in on.good.received
        assert on.good.connections == 1


@ensureDeferred
async def test_proxy_and_guard() -> None:
    """
    What the guard can judge without a look-up it does judge, before the proxy.
    """
    async with stage() as on, proxy(on.port) as (proxying, guard):
        for url in (
            f"http://{BAD}/",
            "http://[::ffff:127.0.0.66]/",
            "http://[fe80::1]/",
        ):
            await on.is_refused(guard, url)
        for other in ({"deny": ["a.example"]}, {"ports": [1]}, {"schemes": ["https"]}):
            options: Any = other
            await on.is_refused(attrs.evolve(guard, **options), "http://a.example/")
        assert proxying.received == b""


@pytest.mark.parametrize(
    "host",
    ["10.0.0.9", "::ffff:10.0.0.9", "64:ff9b::a00:9", "127.0.0.1", "::ffff:7f00:1"],
)
def test_own_broker(host: str) -> None:
    """
    The address of our own broker is not asked for: the proxy may reach it.
    """
    own = ["10.0.0.9:5672", "localhost:5672"]
    guard = Guard(proxy="http://10.0.0.1:4750", own=own)
    for port, forbidden in ((5672, True), (80, False)):
        memory = MemoryReactor()
        endpoint = ProxiedEndpoint(memory, Names(memory, 1.0), guard, host, port, 1.0)
        failures: list[Any] = []
        endpoint.connect(Factory()).addErrback(failures.append)
        assert [each.type for each in failures] == [Forbidden] * forbidden
        assert len(memory.tcpClients) == (not forbidden)


@ensureDeferred
async def test_proxy_refuses() -> None:
    """
    A host that the proxy refuses is forbidden; any other failure is one of an attempt.
    """
    async with stage() as on, proxy(on.port) as (proxying, guard):
        smokescreen = b"407 Request rejected by proxy\r\nX-Smokescreen-Error: 10.0.0.1"
        for answer, kind in (
            (b"HTTP/1.1 403 No\r\n\r\n", FORBIDDEN),
            (b"HTTP/1.1 %b\r\n\r\nwhy" % smokescreen, FORBIDDEN),
            (b"HTTP/1.1 407 Log in\r\n\r\n", "the proxy answered 407"),
            (b"HTTP/1.0 502 Bad gateway\r\n\r\n", "the proxy answered 502"),
            (b"HTTP/1.1 100 Go on\r\n\r\n", "the proxy answered 100"),
            (b"SSH-2.0-x\r\n\r\n", "the proxy's answer is not HTTP"),
            (b"x" * 20_000, "the proxy's answer is not HTTP"),
            (b"", "the proxy closed the connection"),
        ):
            proxying.answer = answer
            with logged() as lines:
                outcome = await on.outcome(guard, "http://a.example/")
            if isinstance(outcome, Bury):
                assert (outcome.kind, "10.0.0.1" in outcome.reason) == (kind, False)
            else:
                assert isinstance(outcome, Retry)
                assert any(kind in line for line in lines), (answer, lines)


@ensureDeferred
async def test_proxy_says_nothing() -> None:
    """
    A proxy that does not answer in time has failed.
    """
    async with stage() as on, proxy(on.port) as (proxying, guard):
        proxying.silent = True
        agent = Agent(on.dialling, connectTimeout=1.0, guard=guard)
        with pytest.raises(ExecutorError, match="did not answer in 1 s"):
            await agent.send("GET", "http://a.example/")
        requested = on.agent.guarded(guard).send("GET", "http://a.example/")
        await until(lambda: proxying.received.count(b"CONNECT") == 2)
        requested.cancel()
        with pytest.raises(CancelledError):
            await requested


@ensureDeferred
async def test_proxy_tls() -> None:
    """
    Within the tunnel there is TLS, with the certificate of the host.
    """
    authority = CA()
    issued = authority.issue_cert("a.example")
    certificate = PrivateCertificate.fromCertificateAndKeyPair(
        Certificate.loadPEM(issued.cert_chain_pems[0].bytes()),
        KeyPair.load(issued.private_key_pem.bytes(), 1),
    )
    server = Listener()
    port = reactor.listenSSL(0, server, certificate.options(), interface=GOOD)
    number = port.getHost().port
    async with stage() as on, proxy(number) as (_, guard):
        policy = Trusting(authority)
        agent = Agent(on.dialling, policy=policy, guard=guard)
        for _ in range(2):
            answer = await agent.send("GET", f"https://a.example:{number}/")
            assert await answer.content() == b"ok"
        assert server.connections == 1
        with pytest.raises(ExecutorError):
            await agent.send("GET", f"https://b.example:{number}/")
        while agent._pool.expiry.close_oldest():
            pass
    await port.stopListening()
