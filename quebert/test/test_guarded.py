"""
Tests for L{quebert.http._guarded}, L{quebert.http._proxied} and
L{quebert.http._host_tls}, without sockets.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trustme import CA
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHostnameResolver,
    IOpenSSLClientConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from quebert.config import TLS
from quebert.errors import ConfigError, ExecutorError, Forbidden
from quebert.guard import Guard
from quebert.http._agent import Agent
from quebert.http._guarded import _Pinned
from quebert.http._host_tls import HostTLS
from quebert.test.doubles import MemoryReactor, Resolution
from quebert.test.test_dispatch import FakeServer, fields_of


@implementer(IHostnameResolver)
class Names:
    """
    A resolver with a table.
    """

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.addresses = addresses

    def resolveHostName(
        self, resolutionReceiver: Any, hostName: str, portNumber: int = 0, *rest: Any
    ) -> Any:
        """
        Tell the addresses of a name.
        """
        resolution = Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for each in self.addresses.get(hostName, ()):
            kind = IPv6Address if ":" in each else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", each, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


class AgentTestCase(SynchronousTestCase):
    """
    Requests over an agent with a guard.
    """

    def setUp(self) -> None:
        """
        Know some names.
        """
        self.reactor = MemoryReactor()
        self.reactor.nameResolver = Names(
            one=["8.8.8.1"],
            six=["2606:4700::1"],
            two=["8.8.8.1", "8.8.8.2"],
            private=["10.0.0.1"],
            mixed=["10.0.0.1", "8.8.8.9"],
            broker=["8.8.8.5"],
            alias=["8.8.8.5"],
            here=["127.0.0.1"],
            there=["127.0.0.2"],
            every=["0.0.0.0"],
        )

    def ask(self, guard: Guard, url: str) -> Deferred[Any]:
        """
        Send a request.
        """
        agent = Agent(self.reactor, guard=guard)
        return agent.send("POST", url, (), b"{}")

    def dialled(self) -> list[tuple[str, int]]:
        """
        Where connections were begun.
        """
        return [each[:2] for each in self.reactor.tcpClients]

    def forbidden(self, guard: Guard, url: str) -> None:
        """
        A request is refused, and nothing is dialled.
        """
        before = len(self.reactor.tcpClients)
        self.failureResultOf(self.ask(guard, url), Forbidden)
        self.assertEqual(len(self.reactor.tcpClients), before)


class GuardedTests(AgentTestCase):
    """
    L{GuardedEndpoint<quebert.http._guarded.GuardedEndpoint>}.
    """

    def test_one_address(self) -> None:
        """
        The address that a name has is dialled as it was judged.
        """
        for name in ("one", "six"):
            self.ask(Guard(), f"http://{name}:81/")
        self.assertEqual(self.dialled(), [("8.8.8.1", 81), ("2606:4700::1", 81)])

    def test_several_addresses(self) -> None:
        """
        Of several addresses the next one is tried when one does not answer.
        """
        self.ask(Guard(), "http://two:81/")
        self.reactor.advance(1)
        self.assertEqual(self.dialled(), [("8.8.8.1", 81), ("8.8.8.2", 81)])

    def test_forbidden(self) -> None:
        """
        A name that leads to no permitted address is refused; of one that leads to
        several, only those that are permitted are dialled.
        """
        guard = Guard(private="refuse")
        self.forbidden(guard, "http://private/")
        self.ask(guard, "http://mixed/")
        self.reactor.advance(1)
        self.assertEqual(self.dialled(), [("8.8.8.9", 80)])

    def test_own(self) -> None:
        """
        The broker of the mediator is not reached by another name, but at other ports.
        """
        guard = Guard(own=["broker:5672"])
        self.forbidden(guard, "http://alias:5672/")
        self.ask(guard, "http://alias:80/")
        self.assertEqual(self.dialled(), [("8.8.8.5", 80)])

    def test_own_machine(self) -> None:
        """
        Where the broker is on this machine, no other address of the machine leads to
        its port.
        """
        guard = Guard(own=["here:5672"])
        self.forbidden(guard, "http://there:5672/")
        self.ask(guard, "http://one:5672/")
        self.assertEqual(self.dialled(), [("8.8.8.1", 5672)])

    def test_own_machine_by_any_address(self) -> None:
        """
        The broker is on this machine if this machine has its address, whichever.
        """
        self.forbidden(Guard(own=["every:5672"]), "http://there:5672/")

    def test_other_machine(self) -> None:
        """
        Where the broker is on another machine, the addresses of this one lead to the
        port.
        """
        guard = Guard(own=["broker:5672"])
        self.ask(guard, "http://there:5672/")
        self.assertEqual(self.dialled(), [("127.0.0.2", 5672)])

    def test_unix_sockets(self) -> None:
        """
        A socket of this machine is reached only if the guard has the scheme.
        """
        url = "http+unix://%2Frun%2Fsock/path"
        self.forbidden(Guard(), url)
        self.ask(Guard(schemes=["http+unix"]), url)
        self.assertEqual(self.reactor.unixClients[0][0], "/run/sock")


class ProxiedTests(AgentTestCase):
    """
    L{ProxiedEndpoint<quebert.http._proxied.ProxiedEndpoint>}.
    """

    def setUp(self) -> None:
        super().setUp()
        where = "http://private:4750"
        self.guard = Guard(private="refuse", proxy=where, own=["8.8.8.5:5672"])

    def begin(self, url: str) -> tuple[Deferred[Any], FakeServer]:
        """
        Send a request, and be the proxy.
        """
        asked = self.ask(self.guard, url)
        server = FakeServer(self.reactor.tcpClients[-1][2])
        return asked, server

    def test_tunnel(self) -> None:
        """
        The proxy is asked for a tunnel, in which the request goes.
        """
        asked, server = self.begin("http://unknown:81/path")
        self.assertEqual(self.dialled(), [("10.0.0.1", 4750)])
        head = b"CONNECT unknown:81 HTTP/1.1\r\nHost: unknown:81\r\n\r\n"
        self.assertEqual(server.received, head)
        server.send(b"HTTP/1.1 200 Go", b" on\r\n", b"\r\n")
        request = server.received
        self.assertTrue(request.startswith(b"POST /path HTTP/1.1\r\n"), request)
        self.assertEqual(fields_of(request)[b"host"], b"unknown:81")
        self.assertNoResult(asked)
        server.send(b"HTTP/1.1 204 No content\r\n\r\n")
        self.assertEqual(self.successResultOf(asked).code, 204)

    def test_address(self) -> None:
        """
        An address is written in brackets where it has colons, and is judged before the
        proxy is asked.
        """
        _, server = self.begin("http://[2606:4700::1]:81/")
        self.assertTrue(server.received.startswith(b"CONNECT [2606:4700::1]:81 "))
        self.forbidden(self.guard, "http://10.0.0.1/")
        self.forbidden(self.guard, "http://8.8.8.5:5672/")

    def test_refusals(self) -> None:
        """
        A host that the proxy refuses is forbidden; any other failure is one of an
        attempt.  The connection is ended.
        """
        smokescreen = b"HTTP/1.1 407 No\r\nX-Smokescreen-Error: denied\r\n\r\n"
        for answer, kind, text in (
            (b"HTTP/1.1 403 No\r\n\r\n", Forbidden, "the proxy refuses"),
            (smokescreen, Forbidden, "the proxy refuses"),
            (b"HTTP/1.1 407 Log in\r\n\r\n", ExecutorError, "answered 407"),
            (b"HTTP/1.1 502 Bad\r\n\r\n", ExecutorError, "answered 502"),
            (b"SSH-2.0-x\r\n\r\n", ExecutorError, "is not HTTP"),
            (b"x" * 16_385, ExecutorError, "is not HTTP"),
        ):
            asked, server = self.begin("http://unknown:81/")
            server.send(answer)
            error = self.failureResultOf(asked, kind)
            self.assertIn(text, error.getErrorMessage())
            self.assertTrue(server.hung_up)
            server.send(b"more")

    def test_longest_head(self) -> None:
        """
        Of a head that has 16 KiB the end is waited for.
        """
        asked, server = self.begin("http://unknown:81/")
        server.send(b"x" * 16_384)
        self.assertNoResult(asked)
        self.assertFalse(server.hung_up)

    def test_spoken_too_early(self) -> None:
        """
        What comes with the proxy's answer is from the host, which was asked nothing.
        """
        asked, server = self.begin("http://unknown:81/")
        server.send(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 204 No content\r\n\r\n")
        self.failureResultOf(asked, ExecutorError)
        self.assertTrue(server.hung_up)

    def test_slow_head(self) -> None:
        """
        The head of the proxy's answer may come byte by byte, up to 16 KiB.
        """
        asked, server = self.begin("http://unknown:81/")
        server.send(b"HTTP/1.1 200 ", b"x" * 16_000)
        self.assertNoResult(asked)
        server.received  # noqa: B018
        server.send(b"\r\n\r\n")
        self.assertIn(b"POST / HTTP/1.1", server.received)

    def test_no_answer(self) -> None:
        """
        A proxy that says nothing, or hangs up, fails the attempt.
        """
        asked, server = self.begin("http://unknown:81/")
        server.close()
        error = self.failureResultOf(asked, ExecutorError)
        self.assertIn("the proxy closed the connection", error.getErrorMessage())
        asked, server = self.begin("http://unknown:81/")
        self.reactor.pump([10] * 20)
        error = self.failureResultOf(asked, ExecutorError)
        self.assertIn("the proxy did not answer in", error.getErrorMessage())
        self.assertTrue(server.hung_up)

    def test_end(self) -> None:
        """
        The end of the proxy's connection is that of the tunnel.
        """
        asked, server = self.begin("http://unknown:81/")
        server.send(b"HTTP/1.1 200 OK\r\n\r\n")
        server.close()
        self.failureResultOf(asked, ExecutorError)


class PinnedTests(SynchronousTestCase):
    """
    The resolver of an agent with a guard, which tells the addresses that it permits.
    """

    def test_receiver(self) -> None:
        """
        A receiver is told in the order that C{IResolutionReceiver} has.
        """

        class Receiver:
            def __getattr__(self, name: str) -> Any:
                return lambda *arguments: told.append((name, *arguments))

        told: list[Any] = []
        answer = [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
        pinned = _Pinned(MemoryReactor(), answer)
        pinned.resolveHostName(Receiver(), "executor", 443)
        self.assertEqual(
            told,
            [
                ("resolutionBegan", None),
                ("addressResolved", IPv4Address("TCP", "192.0.2.1", 443)),
                ("addressResolved", IPv6Address("TCP", "2001:db8::1", 443)),
                ("resolutionComplete",),
            ],
        )


class HostTLSTests(SynchronousTestCase):
    """
    L{HostTLS}: which files are used for which host.
    """

    def setUp(self) -> None:
        """
        Have two authorities.
        """
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.paths = [folder / f"{number}.pem" for number in range(2)]
        for path in self.paths:
            CA().cert_pem.write_to_path(str(path))
        self.one, self.two = (TLS(cacertfile=str(path)) for path in self.paths)

    def creator(self, tls: HostTLS, host: str, port: int) -> Any:
        """
        What makes connections.
        """
        return tls.creatorForNetloc(host.encode(), port)

    def test_hosts(self) -> None:
        """
        Files are found by the host, and with a port where that is not 443; an IPv6
        address is in brackets.
        """
        hosts = {"one": self.one, "one:8443": self.two, "[2606:4700::1]": self.two}
        policy = HostTLS(hosts)
        for host, port, tls in (
            ("one", 443, self.one),
            ("ONE", 443, self.one),
            ("one", 8443, self.two),
            ("2606:4700::1", 443, self.two),
            ("one", 9443, None),
            ("two", 443, None),
        ):
            found = self.creator(policy, host, port)
            self.assertEqual(getattr(found, "_tls", None), tls, (host, port))
            is_creator = IOpenSSLClientConnectionCreator.providedBy(found)
            self.assertTrue(is_creator, (host, port))
        others = HostTLS(hosts, self.two)
        self.assertEqual(self.creator(others, "three", 443)._tls, self.two)

    def test_renewed(self) -> None:
        """
        A file that has changed is read again, and only then; while it cannot be used,
        what was read before is.
        """
        creator = self.creator(HostTLS({}, self.one), "one", 443)
        made: list[Any] = []

        def connection() -> Any:
            wrapped = Factory.forProtocol(Protocol)
            factory = TLSMemoryBIOFactory(creator, True, wrapped)
            protocol = TLSMemoryBIOProtocol(factory, Protocol())
            made.append(creator.clientConnectionForTLS(protocol))
            return made[-1].get_context()

        before = connection()
        self.assertIs(connection(), before)
        self.paths[0].write_text("half of it")
        self.assertIs(connection(), before)
        CA().cert_pem.write_to_path(str(self.paths[0]))
        os.utime(self.paths[0], (1, 1))
        renewed = connection()
        self.assertIsNot(renewed, before)
        self.assertIs(connection(), renewed)
        self.paths[0].unlink()
        self.assertIs(connection(), renewed)

    def test_no_file(self) -> None:
        """
        A file that is not there is told at once.
        """
        tls = HostTLS({}, TLS(cacertfile="/nowhere/ca.pem"))
        self.assertRaises(ConfigError, self.creator, tls, "one", 443)
        sent = Agent(MemoryReactor(), policy=tls).send("POST", "https://one/", ())
        text = str(self.failureResultOf(sent, ExecutorError).value)
        self.assertIn("TLS to one cannot be used: ", text)
        self.assertIn("/nowhere/ca.pem", text)
