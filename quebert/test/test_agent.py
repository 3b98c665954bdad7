"""
L{quebert.http.Agent} on real sockets.
"""

from __future__ import annotations

from pathlib import Path
from socket import AF_INET, SOCK_STREAM
from threading import Event
from typing import Any

import pytest
import treq
from pytest_twisted import ensureDeferred
from trustme import CA
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.internet.threads import deferToThread
from twisted.web.iweb import IPolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from quebert.config import TLS
from quebert.errors import ExecutorError
from quebert.guard import Guard
from quebert.http import Agent, Dispatcher, HostTLS, Limits
from quebert.test.support import PATIENCE

reactor: Any = global_reactor
# What Twisted does with a certificate of ours; Twisted 24.11 does the second.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Passing pyOpenSSL:DeprecationWarning",
    "ignore:Attempting to mutate a Context:DeprecationWarning",
)


class Echo(Resource):
    """
    Answers with what it was sent.
    """

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """
        Echo.
        """
        body: bytes = request.content.read()
        return b"%b %b %b" % (request.method, request.uri, body)


def quiet_site() -> Site:
    """
    A server that logs nothing.
    """
    site = Site(Echo())
    site.noisy = False
    site.log = lambda request: None  # type: ignore[method-assign]
    return site


@implementer(IPolicyForHTTPS)
class Trusting:
    """
    Trusts one authority.
    """

    def __init__(self, authority: CA) -> None:
        certificate = Certificate.loadPEM(authority.cert_pem.bytes())
        self._root = trustRootFromCertificates([certificate])

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """
        For any host.
        """
        return optionsForClientTLS(hostname.decode(), trustRoot=self._root)


def certificate_of(authority: CA, *wanted: Certificate) -> CertificateOptions:
    """
    What a server at C{localhost} shows, issued by C{authority}.

    @param wanted: the authorities of which clients need a certificate.
    """
    issued = authority.issue_cert("localhost")
    key = KeyPair.load(issued.private_key_pem.bytes(), 1)
    ours = PrivateCertificate.fromCertificateAndKeyPair(
        Certificate.loadPEM(issued.cert_chain_pems[0].bytes()), key
    )
    options: CertificateOptions = ours.options(*wanted)
    return options


@ensureDeferred
async def test_large_bodies() -> None:
    """
    Large requests and answers go over TCP at the same time, whole.
    """
    port = reactor.listenTCP(0, quiet_site(), interface="127.0.0.1")
    dispatcher = Dispatcher(Agent(reactor))
    url = f"http://127.0.0.1:{port.getHost().port}/x"
    bodies = [bytes([n]) * 900_000 for n in range(20)]
    for _ in range(2):  # the second time on the same connections
        answers = await gatherResults(
            [dispatcher.request("POST", url, data=body) for body in bodies]
        )
        contents = await gatherResults([answer.content() for answer in answers])
        assert contents == [b"POST /x " + body for body in bodies]
    await port.stopListening()


@ensureDeferred
async def test_addresses_need_no_thread() -> None:
    """
    An address is requested while slow names hold all threads in which the reactor looks
    names up.
    """
    port = reactor.listenTCP(0, quiet_site(), interface="127.0.0.1")
    slow = Event()
    for _ in range(reactor.getThreadPool().max):
        reactor.callInThread(slow.wait)
    try:
        url = f"http://127.0.0.1:{port.getHost().port}/x"
        asking = Agent(reactor).send("POST", url, (), b"{}")
        answer = await asking.addTimeout(PATIENCE, reactor)
    finally:
        slow.set()
    assert await answer.content() == b"POST /x {}"
    await port.stopListening()


@ensureDeferred
async def test_slow_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A name is found while the system's resolver hangs with twenty others, and the
    threads of the reactor stay free.
    """
    port = reactor.listenTCP(0, quiet_site(), interface="127.0.0.1")
    slow = Event()

    def getaddrinfo(host: str, *_: Any, **__: Any) -> Any:
        if host != "good.test":
            slow.wait(PATIENCE)
            raise OSError("no such host")
        return [(AF_INET, SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    agent = Agent(reactor)
    asked = [agent.send("POST", f"http://slow{n}.test/", (), b"") for n in range(20)]
    url = f"http://good.test:{port.getHost().port}/x"
    try:
        answer = await agent.send("POST", url, (), b"{}").addTimeout(PATIENCE, reactor)
        assert await deferToThread(lambda: 1) == 1
        assert not any(each.called for each in asked)
    finally:
        slow.set()
    assert await answer.content() == b"POST /x {}"
    for each in asked:
        with pytest.raises(ExecutorError, match="slow"):
            await each
    await port.stopListening()


@ensureDeferred
async def test_unix(tmp_path: Path) -> None:
    """
    A server at a Unix socket can be requested.
    """
    path = tmp_path / "socket"
    port = reactor.listenUNIX(str(path), quiet_site())
    url = f"http+unix://{str(path).replace('/', '%2F')}/task?a"
    for _ in range(2):
        agent = Agent(reactor, guard=Guard(schemes=["http+unix"]))
        answer = await agent.send("POST", url, (), b"{}")
        assert await answer.content() == b"POST /task?a {}"
    await port.stopListening()


@ensureDeferred
async def test_tls() -> None:
    """
    Over TLS the server must have a certificate for its host, of an authority
    that we trust.
    """
    authority = CA()
    options = certificate_of(authority)
    port = reactor.listenSSL(0, quiet_site(), options, interface="127.0.0.1")
    number = port.getHost().port
    body = b"x" * 500_000
    agent = Agent(reactor, policy=Trusting(authority))
    for _ in range(3):
        answer = await agent.send("POST", f"https://localhost:{number}/", (), body)
        assert await answer.content() == b"POST / " + body
    for url, wrong in (
        (f"https://localhost:{number}/", Agent(reactor)),
        (f"https://127.0.0.1:{number}/", agent),
    ):
        with pytest.raises(ExecutorError, match="before an answer"):
            await wrong.send("GET", url)
    await port.stopListening()


@ensureDeferred
async def test_with_treq() -> None:
    """
    treq can use it, for all that treq can do.
    """
    port = reactor.listenTCP(0, quiet_site(), interface="127.0.0.1")
    client = treq.client.HTTPClient(Agent(reactor))
    url = f"http://127.0.0.1:{port.getHost().port}/"
    answer = await client.post(url, json={"a": 1}, params={"q": "ü"})
    assert await answer.text() == 'POST /?q=%C3%BC {"a":1}'
    await port.stopListening()


@ensureDeferred
async def test_tls_of_hosts(tmp_path: Path) -> None:
    """
    A host may have an authority of its own, and want a certificate of ours; files that
    cannot be used are told, and read again for the next request.
    """
    authority, ours = CA(), CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    me = ours.issue_cert("quebert")
    me.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    options = certificate_of(authority, Certificate.loadPEM(ours.cert_pem.bytes()))
    port = reactor.listenSSL(0, quiet_site(), options, interface="127.0.0.1")
    name = f"localhost:{port.getHost().port}"
    url = f"https://{name}/"
    missing, trusting, whole = (
        TLS(str(tmp_path / "none.pem")),
        TLS(str(tmp_path / "ca.pem")),
        TLS(str(tmp_path / "ca.pem"), str(tmp_path / "me.pem")),
    )
    policy = HostTLS({"localhost": whole})
    agent = Agent(reactor, policy=policy)
    for hosts, others in (
        ({"localhost": whole}, None),  # another port
        ({name: trusting}, whole),
        ({name: missing}, whole),
    ):
        policy.hosts, policy.others = hosts, others
        agent.change_limits(Limits(), {})  # which has connections made anew
        with pytest.raises(ExecutorError, match=r"before an answer|cannot be read"):
            await agent.send("GET", url)
    for hosts, others in (({name: whole}, None), ({}, whole)):
        policy.hosts, policy.others = hosts, others
        agent.change_limits(Limits(), {})
        answer = await agent.send("GET", url)
        assert await answer.content() == b"GET / "
    await port.stopListening()


@ensureDeferred
async def test_renewed_certificate(tmp_path: Path) -> None:
    """
    A certificate that was renewed is used for the next connection, and the one from
    before as long as the new file cannot be used.
    """
    authority, former, ours = CA(), CA(), CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    mine = tmp_path / "me.pem"
    options = certificate_of(authority, Certificate.loadPEM(ours.cert_pem.bytes()))
    port = reactor.listenSSL(0, quiet_site(), options, interface="127.0.0.1")
    url = f"https://localhost:{port.getHost().port}/"
    policy = HostTLS(others=TLS(str(tmp_path / "ca.pem"), str(mine)))
    agent = Agent(reactor, policy=policy, limits=Limits(idle=0))
    former.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(str(mine))
    with pytest.raises(ExecutorError, match="before an answer"):
        await agent.send("GET", url)
    ours.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(str(mine))
    for text in (None, b"half of"):
        if text is not None:
            mine.write_bytes(text)
        answer = await agent.send("GET", url)
        assert await answer.content() == b"GET / "
    await port.stopListening()
