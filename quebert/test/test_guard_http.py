"""
The guard over the real HTTP client, with real sockets on loopback.

A stub resolves names.  The places where no task may go are aliases of the loopback, at
which somebody listens and counts; what cannot be listened at is seen at the reactor,
which is asked for each connection.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from quebert.errors import ExecutorError
from quebert.guard import Guard
from quebert.http import Agent, Dispatcher
from quebert.http._names import Names
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.outcome import FORBIDDEN, POISON, Bury, Done, Outcome, Retry
from quebert.policy import LAST_ANSWER
from quebert.test import test_guard as table
from quebert.test.mediating import FakeMessage
from quebert.test.support import logged

reactor: Any = global_reactor

#: Where an executor is, and where no task may go.
GOOD, BAD = "127.0.0.11", "127.0.0.66"


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


HAS_IPV6 = _has_ipv6()
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Listener(Factory):
    """
    A server that gives one answer to all, and counts.
    """

    noisy = False

    def __init__(self, answer: bytes = _OK) -> None:
        self.answer = answer
        self.connections = 0
        self.received = b""

    def buildProtocol(self, addr: Any) -> Protocol:
        """
        Count a connection.
        """
        self.connections += 1
        protocol = _Answering()
        protocol.factory = self
        return protocol


class _Answering(Protocol):
    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        factory.received += data
        transport: Any = self.transport
        transport.write(factory.answer)


@implementer(IHostnameResolver)
class StubResolver:
    """
    Knows some names, and takes for an address whatever C{inet_aton} does, as the
    system's resolver.

    @ivar answers: by name; for each look-up the next answer, the last one for ever.
    @ivar asked: the names that were looked up.
    """

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name: list(each) for name, each in answers.items()}
        self.asked: list[str] = []

    def _answer(self, name: str) -> Sequence[str]:
        try:
            return [socket.inet_ntoa(socket.inet_aton(name))]
        except OSError:
            pass
        answers = self.answers.get(name.lower().rstrip("."), [[]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def resolveHostName(
        self, receiver: Any, hostName: str, portNumber: int = 0, *_: Any
    ) -> Any:
        """
        Answer at once.
        """
        self.asked.append(hostName)
        receiver.resolutionBegan(None)
        for each in self._answer(hostName):
            kind = IPv6Address if ":" in each else IPv4Address
            receiver.addressResolved(kind("TCP", each, portNumber))
        receiver.resolutionComplete()


class Dialling:
    """
    The real reactor, with a stub resolver.  No connection leaves the loopback.

    @ivar dialled: the addresses that were dialled.
    """

    def __init__(self, resolver: StubResolver) -> None:
        self.nameResolver = resolver
        self.dialled: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def connectTCP(self, host: str, *arguments: Any, **named: Any) -> Any:
        """
        Note the address, and dial it.
        """
        self.dialled.append(host)
        address = ip_address(host)  # nothing is left to be looked up
        inner = getattr(address, "ipv4_mapped", None) or address
        assert inner.is_loopback, host
        return reactor.connectTCP(host, *arguments, **named)


@attrs.define
class Stage:
    """
    Two servers, at L{GOOD} and L{BAD}, at the same port, and a client.
    """

    good: Listener
    bad: Listener
    port: int
    resolver: StubResolver
    dialling: Dialling
    agent: Agent

    def under(self, guard: Guard) -> Dispatcher:
        """
        The client under a guard.
        """
        return Dispatcher(self.agent.guarded(guard))

    async def outcome(self, guard: Guard, url: str, **task: Any) -> Outcome:
        """
        What a mediator makes of a task.
        """
        mediator = Mediator(http=self.under(guard), reactor=reactor, bury=True)
        body = json.dumps({"url": url, "uuid": "u", **task}).encode()
        return await mediator.messageReceived(FakeMessage(body))

    async def is_not_dialled(self, guard: Guard, url: str, **task: Any) -> Outcome:
        """
        See that a task is not done, and that nothing is dialled for it.
        """
        before = list(self.dialling.dialled)
        outcome = await self.outcome(guard, url, **task)
        assert not isinstance(outcome, Done), url
        assert (self.dialling.dialled, self.bad.connections) == (before, 0), url
        return outcome

    async def is_refused(self, guard: Guard, url: str, **task: Any) -> Bury:
        """
        See that it is buried at once, too.
        """
        outcome = await self.is_not_dialled(guard, url, **task)
        assert isinstance(outcome, Bury), (url, outcome)
        assert outcome.kind in (FORBIDDEN, POISON), (url, outcome)
        return outcome


async def listen(good: Listener, bad: Listener) -> list[Any]:
    """
    Listen at all addresses, with the same port: one that no other process uses at any
    of them.
    """
    there = [(GOOD, good), (BAD, bad), *([("::1", good)] if HAS_IPV6 else [])]
    for _ in range(20):
        ports: list[Any] = []
        try:
            for address, listener in there:
                number = ports[0].getHost().port if ports else 0
                ports.append(reactor.listenTCP(number, listener, interface=address))
        except CannotListenError:
            for each in ports:
                await each.stopListening()
        else:
            return ports
    raise AssertionError("no port is free at all addresses")


@asynccontextmanager
async def stage(**answers: Sequence[Sequence[str]]) -> AsyncIterator[Stage]:
    """
    @param answers: what the names resolve to, which have C{_} for a dot.
    """
    good, bad = Listener(), Listener()
    ports = await listen(good, bad)
    number = ports[0].getHost().port
    resolver = StubResolver(**{n.replace("_", "."): a for n, a in answers.items()})
    dialling = Dialling(resolver)
    names = Names(dialling, 30.0, kept=0.0)
    agent = Agent(dialling, names=names)
    try:
        yield Stage(good, bad, number, resolver, dialling, agent)
    finally:
        while agent._pool.expiry.close_oldest():
            pass
        for each in ports:
            await each.stopListening()


#: Refuses private addresses but that of the executor.
strict = Guard(private="refuse", allow=[GOOD])
_ALL = [*table.FORBIDDEN, *table.PRIVATE, BAD, f"::ffff:{BAD}", "64:ff9b::127.0.0.66"]


def authority(address: str) -> str:
    """
    An address as a URL has it.
    """
    return f"[{address}]" if ":" in address else address


LITERALS = [authority(a) for a in _ALL]
#: Other spellings of addresses, and of URLs; 127.0.0.66 is 2130706498.
SPELLINGS = [
    "2130706498",
    "0x7f000042",
    "0X7F000042",
    "017700000102",
    "0177.0.0.0102",
    "0x7f.0x0.0x0.0x42",
    "127.66",
    "127.0.66",
    "127.0.0.066",
    "127.0.0.0x42",
    "0x7f.66",
    "00000177.0.0.66",
    "127.0.0.66.",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "025177524776",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "169.254.0251.0xfe",
    "169.254.169.254.",
    "0",
    "0x0",
    "00.0.0.0",
    "0.0",
    "\uff11\uff12\uff17.0.0.66",
    "127\u30020.0.66",
    "127\uff0e0\uff0e0\uff0e66",
    "\u2460\u2461\u2466.0.0.\u2465\u2465",
    "\u2170.evil.example\u3002",
    "[0:0:0:0:0:ffff:127.0.0.66]",
    "[0000:0000:0000:0000:0000:ffff:7f00:0042]",
    "[::FFFF:7F00:42]",
    "[::ffff:127.0.0.66%25lo]",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[::]",
    "[0:0:0:0:0:0:0:0]",
    "[::127.0.0.66",
    "[127.0.0.66]",
    "[v1.127.0.0.66]",
    "127.0.0.66%2e",
    "%31%32%37.0.0.66",
    "127.0.0.66%00",
    "127.0.0.66\\@good.example",
    "good.example\\@127.0.0.66",
    "good.example@127.0.0.66",
    "user:word@127.0.0.66",
    "a@b@127.0.0.66",
    "good.example:80@127.0.0.66",
    "127.0.0.66\t",
    "127.0.0.66\r\nHost: x",
    "127.0.0.66 good.example",
    "good.example#@127.0.0.66",
    "metadata.google.internal",
    "METADATA.google.internal.",
    "localtest.evil.example",
]
#: Whole URLs.
URLS = [
    "file:///etc/passwd",
    "gopher://127.0.0.66:6379/_FLUSHALL",
    "dict://127.0.0.66:11211/stat",
    "ftp://127.0.0.66/",
    "ldap://127.0.0.66/",
    "jar:http://127.0.0.66!/",
    "data:text/plain,x",
    "http+unix://%2Frun%2Fdocker.sock/containers/json",
    "unix:///run/docker.sock",
    "//127.0.0.66:{port}/",
    "http:127.0.0.66",
    "http:/127.0.0.66/",
    "http:///127.0.0.66/",
    "http://",
    "http:\\\\127.0.0.66\\",
    "HtTp://127.0.0.66:{port}/",
    "https://127.0.0.66:{port}/",
    "https://[::ffff:127.0.0.66]:{port}/",
    "http://127.0.0.66:0{port}/",
    "http://127.0.0.66:{port}?x=1",
    "http://127.0.0.66:{port}#x",
]
_NAMES = {
    "metadata_google_internal": [["169.254.169.254"]],
    "localtest_evil_example": [["127.0.0.66", "::ffff:127.0.0.66"]],
    "xn--evil-8za_example": [["127.0.0.66"]],
    "ix_evil_example": [["127.0.0.66"]],
    "i_evil_example": [["127.0.0.66"]],
    "good_example": [[BAD]],
}
TRICKS = len(LITERALS) + len(_ALL) + len(SPELLINGS) + len(URLS)


@ensureDeferred
async def test_literals() -> None:
    """
    No URL with a forbidden or private address is requested.
    """
    async with stage() as on:
        for each in LITERALS:
            await on.is_refused(strict, f"http://{each}:{on.port}/")
        for address in table.FORBIDDEN:
            await on.is_refused(Guard(), f"http://{authority(address)}:{on.port}/")
        assert on.resolver.asked == []


@ensureDeferred
async def test_answers() -> None:
    """
    Nor one whose name leads there; neither the reason nor the log tells where.
    """
    assert TRICKS > 250
    async with stage() as on:
        with logged() as lines:
            for address in _ALL:
                on.resolver.answers["evil.example"] = [[address]]
                buried = await on.is_refused(strict, f"http://evil.example:{on.port}/")
                assert buried.kind == FORBIDDEN
                assert "the guard refuses the address of the host" in buried.reason
                assert address not in buried.reason
                assert not any(address in line for line in lines if len(address) > 3)


@ensureDeferred
async def test_spellings() -> None:
    """
    No other spelling of an address or a URL leads there either.
    """
    answers: dict[str, Any] = _NAMES
    async with stage(**answers) as on:
        for each in SPELLINGS:
            await on.is_not_dialled(strict, f"http://{each}:{on.port}/x")
            await on.is_not_dialled(strict, f"http://{each}/x")
        for url in URLS:
            await on.is_not_dialled(strict, url.format(port=on.port))


@ensureDeferred
async def test_agent_alone() -> None:
    """
    The client needs nobody to read a URL before it.
    """
    answers: dict[str, Any] = _NAMES
    async with stage(**answers) as on:
        client = on.under(strict)
        for each in [*LITERALS, *SPELLINGS]:
            with pytest.raises(ExecutorError):
                await client.request("GET", f"http://{each}:{on.port}/")
        assert on.dialling.dialled == []


#: What leads to an executor: a URL, the guard, and what the URL's name resolves to.
PASSING: list[tuple[str, Guard, list[str]]] = [
    ("http://127.0.0.11:{port}/", strict, []),
    ("http://127.0.0.11:{port}/", Guard(), []),
    ("http://a.example:{port}/", strict, [GOOD]),
    ("http://A.EXAMPLE.:{port}/", strict, [GOOD]),
    ("http://a.example:{port}/", strict, [GOOD, BAD]),
    ("http://a.example:{port}/", strict, [BAD, "169.254.169.254", GOOD]),
    ("http://a.example:{port}/", strict, ["::1", f"::ffff:{GOOD}"]),
    ("http://user:word@a.example:{port}/x", strict, [GOOD]),
    ("http://a.example:{port}/http://169.254.169.254/", strict, [GOOD]),
    ("http://a.example:{port}/?to=127.0.0.66@x", strict, [GOOD]),
    ("http://a.example:{port}/#127.0.0.66", strict, [GOOD]),
    ("http://[::1]:{port}/", Guard(private="refuse", allow=["::1"]), []),
    ("http://[::1]:{port}/", Guard(), []),
    ("http://a.example:{port}/", Guard(private="refuse", allow=["a.example"]), [GOOD]),
    ("http://[::ffff:127.0.0.11]:{port}/", strict, []),
    ("http://\u00e4.example:{port}/", Guard(deny=[BAD]), [GOOD]),
    ("http://127.0.0.11:{port}/", Guard(schemes=["http"], deny=["b.example"]), []),
]


@ensureDeferred
async def test_passing() -> None:
    """
    What is permitted is requested as before, with the host of its URL.
    """
    assert len(PASSING) >= 15
    for url, guard, addresses in PASSING:
        if not HAS_IPV6 and ("[" in url or "::1" in addresses):
            continue
        answers: Any = {"a_example": [addresses], "xn--4ca_example": [addresses]}
        async with stage(**answers) as on:
            where = url.format(port=on.port)
            assert await on.outcome(guard, where) == Done(), where
            assert (on.good.connections, on.bad.connections) == (1, 0), where
            assert f":{on.port}\r\n".encode() in on.good.received


@ensureDeferred
async def test_several_addresses() -> None:
    """
    Of several addresses the next is tried where one does not answer, for any name.
    """
    async with stage() as on:
        on.resolver.answers["_a_b.example"] = [["127.0.0.99", GOOD]]
        guard = Guard(private="refuse", allow=["127.0.0.99", GOOD])
        assert await on.outcome(guard, f"http://_a_b.example:{on.port}/") == Done()
        assert on.dialling.dialled == ["127.0.0.99", GOOD]


@ensureDeferred
async def test_port_of_place() -> None:
    """
    A place that is allowed with a port is allowed at this port alone, and C{ports}
    and C{schemes} are kept to.
    """
    async with stage(svc_internal=[[GOOD]]) as on:
        allow = [f"svc.internal:{on.port}"]
        guard = Guard(private="refuse", allow=allow)
        url = f"http://svc.internal:{on.port}/"
        assert await on.outcome(guard, url) == Done()
        await on.is_refused(guard, f"http://127.0.0.1:{on.port}/")
        await on.is_refused(guard, "http://svc.internal:1/")
        for other in (Guard(ports=[443]), Guard(schemes=["https"])):
            buried = await on.is_refused(other, url)
            assert buried.kind == FORBIDDEN


@ensureDeferred
async def test_rebinding() -> None:
    """
    A name is looked up once for a connection, so that a second answer cannot differ;
    the next connection, of another attempt, is judged anew.
    """
    async with stage(a_example=[[GOOD], [BAD]]) as on:
        on.good.answer = (
            b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        url = f"http://a.example:{on.port}/"
        assert isinstance(await on.outcome(strict, url), Retry)
        assert (on.resolver.asked, on.dialling.dialled) == (["a.example"], [GOOD])
        await on.is_refused(strict, url)
        assert on.resolver.asked == ["a.example"] * 2


@ensureDeferred
async def test_mixed_answers() -> None:
    """
    Of several addresses those that are refused are never dialled, even where no other
    answers.
    """
    closed = "127.0.0.99"
    async with stage(a_example=[[BAD, closed, f"::ffff:{BAD}"]]) as on:
        guard = Guard(private="refuse", allow=[closed])
        outcome = await on.outcome(guard, f"http://a.example:{on.port}/")
        assert isinstance(outcome, Retry)
        assert on.dialling.dialled == [closed]
        assert on.bad.connections == 0


@ensureDeferred
async def test_redirects() -> None:
    """
    A redirect, which is followed only where a program asks for it, is judged like any
    URL.
    """
    async with stage(evil_example=[[BAD]], a_example=[[GOOD]]) as on:
        client = on.under(strict)
        for where in (
            f"http://{BAD}:{on.port}/",
            f"//{BAD}:{on.port}/",
            f"http://evil.example:{on.port}/",
            f"http://[::ffff:{BAD}]:{on.port}/",
            "http://169.254.169.254/latest/meta-data/",
            "http://0x7f.66/",
            "http+unix://%2Frun%2Fdocker.sock/",
            "file:///etc/passwd",
        ):
            location = where.encode()
            on.good.answer = b"HTTP/1.1 307 Go\r\nLocation: %b\r\n" % location
            on.good.answer += b"Content-Length: 0\r\n\r\n"
            url = f"http://a.example:{on.port}/"
            with pytest.raises(Exception) as caught:  # noqa: PT011
                await client.get(url, allow_redirects=True)
            assert isinstance(caught.value, ExecutorError), where
            assert on.bad.connections == 0, where
            outcome = await on.outcome(strict, url)
            assert isinstance(outcome, Retry), where  # a mediator follows none
        assert set(on.dialling.dialled) == {GOOD}


@ensureDeferred
async def test_kept_connection() -> None:
    """
    A connection that one guard has permitted is not used under another.
    """
    async with stage(a_example=[[GOOD]]) as on:
        url = f"http://a.example:{on.port}/"
        for _ in range(2):
            assert await on.outcome(Guard(), url) == Done()
            assert await on.outcome(Guard(deny=[BAD]), url) == Done()
        assert on.good.connections == 2
        for guard in (Guard(private="refuse"), Guard(deny=[GOOD]), Guard(ports=[1])):
            await on.is_refused(guard, url)
        assert await on.outcome(Guard(), url) == Done()
        assert on.good.connections == 2


@ensureDeferred
async def test_own_broker() -> None:
    """
    The broker is forbidden at its port, by each of its addresses and names, and by
    each other address of the same machine.
    """
    async with stage(rabbit=[[GOOD]], x_example=[[GOOD]], y_example=[["::1"]]) as on:
        guard = Guard(own=[f"rabbit:{on.port}"])
        for host in ("rabbit", "x.example", "y.example", GOOD, BAD, "[::1]"):
            buried = await on.is_refused(guard, f"http://{host}:{on.port}/")
            assert buried.kind == FORBIDDEN
        assert on.good.connections == 0
        elsewhere = Guard(own=["rabbit:1"])
        assert await on.outcome(elsewhere, f"http://rabbit:{on.port}/") == Done()
        allowed = Guard(own=[f"rabbit:{on.port}"], allow=["x.example"])
        assert await on.outcome(allowed, f"http://x.example:{on.port}/") == Done()


@ensureDeferred
async def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No proxy is used that the environment names.
    """
    async with stage() as on:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{BAD}:{on.port}/")
        assert await on.outcome(strict, f"http://{GOOD}:{on.port}/") == Done()
        assert (on.good.connections, on.bad.connections) == (1, 0)


@ensureDeferred
async def test_host() -> None:
    """
    A task cannot name another site of a server that it may reach.
    """
    async with stage() as on:
        url = f"http://{GOOD}:{on.port}/"
        for name in ("Host", "host", "HOST"):
            for host in ("admin.internal", BAD, f"{GOOD}:1", f"{GOOD}:{on.port}, x"):
                buried = await on.is_refused(strict, url, headers={name: host})
                assert f"headers: {name} is not the host" in buried.reason
        for name in ("Host ", " Host", "Host:", "Host\r\nX", "Transfer_Encoding"):
            await on.is_refused(strict, url, headers={name: "x"})
        right = {"Host": f"{GOOD}:{on.port}"}
        assert await on.outcome(strict, url, headers=right) == Done()


@ensureDeferred
async def test_answer_is_not_kept() -> None:
    """
    Where private addresses are refused, a dead letter tells the status of the last
    answer, and nothing that it says.
    """
    async with stage() as on:
        on.good.answer = b"HTTP/1.1 404 No\r\nContent-Length: 6\r\n\r\nsecret"
        body = b'{"url": "http://%b:%d/"}' % (GOOD.encode(), on.port)
        for guard, kept in ((Guard(), "secret"), (strict, None)):
            for kind, options in (
                (PolicyMediator, {"permanent": [404]}),
                (DelayOnErrorMediator, {"max_attempts": 1}),
            ):
                mediator = kind(
                    http=on.under(guard),
                    keep_answers=guard.keeps_answers,
                    reactor=reactor,
                    **options,
                )
                outcome = await mediator.messageReceived(FakeMessage(body))
                assert isinstance(outcome, Bury)
                assert outcome.headers[LAST_ANSWER] == kept
                assert ("secret" in repr(outcome)) == bool(kept)
