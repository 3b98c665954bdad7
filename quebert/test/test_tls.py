"""
TLS with a real RabbitMQ: whom we trust, who we are, and what is said when one
side does not accept the certificate of the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pytest_twisted import ensureDeferred
from trustme import CA, Blob, LeafCert
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from quebert.amqp import Message, TxAMQPClient
from quebert.config import TLS
from quebert.errors import (
    BrokerError,
    BrokerUnreachable,
    CertificateRefused,
    ConfigError,
)
from quebert.producer import BlockingProducer
from quebert.test.conftest import Names
from quebert.test.support import until
from quebert.testing import RabbitMQNode, free_port

# What Twisted does with a certificate of ours; Twisted 24.11 does the second.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Passing pyOpenSSL:DeprecationWarning",
    "ignore:Attempting to mutate a Context:DeprecationWarning",
)

Make = Callable[..., TxAMQPClient]
Log = list[LogEvent]


class Node:
    """
    A RabbitMQ that speaks TLS, too, as C{127.0.0.1}.  The listener is added while it
    runs: to start a RabbitMQ for each set of options takes 5 s of a processor each.

    @param rabbitmq: which listens on one port more from now on.
    @param folder: where its files are, all in PEM, and those of its clients.
    @param options: Erlang's terms for C{ssl_options}.
    @ivar url: where it speaks without TLS, as an AMQP URL.
    @ivar ca: the file with the authority's certificate.
    """

    def __init__(self, rabbitmq: RabbitMQNode, folder: Path, *options: str) -> None:
        self.files = folder
        self.authority = CA()
        self.ca = self.write("ca", self.authority.cert_pem)
        self.url, self.port, self.tls_port = rabbitmq.url, rabbitmq.port, free_port()
        self.ctl = rabbitmq.ctl
        files = self.pair("server", self.authority.issue_cert("127.0.0.1"))
        files["cacertfile"] = self.ca
        terms = ", ".join([*(f'{{{k}, "{v}"}}' for k, v in files.items()), *options])
        address = f'{{"127.0.0.1", {self.tls_port}}}'
        listen = f"rabbit_networking:start_ssl_listener({address}, [{terms}], 1)"
        rabbitmq.eval(f"rabbit_networking:ensure_ssl(), ok = {listen}")

    def tls_url(self, host: str = "127.0.0.1", **options: str) -> str:
        """
        Where it speaks TLS; its authority is trusted unless C{options} differ.
        """
        query = urlencode({"cacertfile": self.ca, **options})
        return f"amqps://{host}:{self.tls_port}/?{query}"

    def write(self, name: str, *contents: Blob) -> str:
        """
        Write a file, and give its path.
        """
        path = self.files / f"{name}.pem"
        path.write_bytes(b"".join(each.bytes() for each in contents))
        return str(path)

    def pair(self, name: str, leaf: LeafCert) -> dict[str, str]:
        """
        Write a certificate and its key, each to a file of its own.
        """
        return {
            "certfile": self.write(name, *leaf.cert_chain_pems),
            "keyfile": self.write(f"{name}-key", leaf.private_key_pem),
        }


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQNode) -> Node:
    """
    A broker that asks nobody for a certificate.
    """
    return Node(rabbitmq, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=["tlsv1.2", "tlsv1.3"])
def strict(
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    rabbitmq: RabbitMQNode,
) -> Node:
    """
    A broker that wants a certificate, by either version of TLS.
    """
    return Node(
        rabbitmq,
        tmp_path_factory.mktemp("tls"),
        f"{{versions, ['{request.param}']}}",
        "{verify, verify_peer}",
        "{fail_if_no_peer_cert, true}",
    )


@pytest.fixture
def log() -> Iterator[Log]:
    """
    What is logged, apart from details.
    """
    events: Log = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] > LogLevel.debug:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def ignore(message: Message) -> None:
    """
    Be done with it.
    """


async def works(client: TxAMQPClient, names: Names, url: str | None = None) -> None:
    """
    What C{client} publishes comes to it, and what the blocking producer adds
    at C{url}.
    """
    seen: list[bytes] = []

    def callback(message: Message) -> None:
        seen.append(message.body)

    watcher = await client.watch(names.exchange, names.queue, "#", callback)
    await client.publish(names.exchange, "a", b"published")
    await until(lambda: seen == [b"published"])
    if url is not None:
        with BlockingProducer(url, names.exchange) as producer:
            producer.add_raw_task(b"added")
        await until(lambda: seen == [b"published", b"added"])
    await watcher.stop()


async def is_refused(client: TxAMQPClient, sentence: str, log: Log) -> None:
    """
    C{client} is refused for good, and not for want of time, without noise.
    """
    log.clear()
    with pytest.raises(CertificateRefused, match=sentence) as caught:
        await client.watch("flow", "queue", "#", ignore)
    assert caught.value.final
    assert "\n" not in str(caught.value)
    assert len(log) <= 1
    assert not any("log_failure" in event for event in log)


def blocking_refusal(url: str) -> str:
    """
    With what the blocking producer is refused.
    """
    with pytest.raises((BrokerError, ConfigError)) as caught:
        BlockingProducer(url).add_task("/")
    assert "\n" not in str(caught.value)
    return f"{type(caught.value).__name__}: {caught.value}"


# -- Whom we trust


@ensureDeferred
async def test_authority(broker: Node, make_client: Make, names: Names) -> None:
    """
    A broker whose certificate the authority of the cacertfile signed is used.
    """
    url = broker.tls_url()
    await works(make_client(url), names, url)


@ensureDeferred
async def test_unknown_authority(broker: Node, make_client: Make, log: Log) -> None:
    """
    A broker whose certificate the cacertfile's authority, or the platform's,
    did not sign is refused at once.
    """
    other_ca = broker.write("other-ca", CA().cert_pem)
    platform = f"amqps://127.0.0.1:{broker.tls_port}/"
    for url in (platform, broker.tls_url(cacertfile=other_ca)):
        await is_refused(make_client(url), "signed by an authority that we trust", log)
        said = blocking_refusal(url)
        assert said.startswith("CertificateRefused: no TLS with the broker at 127.")
        assert "certificate verify failed" in said


@ensureDeferred
async def test_other_host(broker: Node, make_client: Make, log: Log) -> None:
    """
    A certificate for another host is refused at once.
    """
    url = broker.tls_url("localhost")
    await is_refused(make_client(url), "its certificate is not for this host", log)
    said = blocking_refusal(url)
    assert said.startswith("CertificateRefused: ")
    assert "not valid for 'localhost'" in said


@ensureDeferred
async def test_next_host(broker: Node, make_client: Make, names: Names) -> None:
    """
    Where the certificate of one host is refused, the next one is tried.
    """
    url = broker.tls_url(f"localhost:{broker.tls_port},127.0.0.1")
    await works(make_client(url), names, url)


@ensureDeferred
async def test_argument(
    broker: Node,
    make_client: Make,
    names: Names,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    The argument tls is files, or Twisted's options, or True for the platform's
    authorities.
    """
    url = f"amqp://127.0.0.1:{broker.tls_port}"
    authority = Certificate.loadPEM(broker.authority.cert_pem.bytes())
    for tls in (TLS(broker.ca), optionsForClientTLS("127.0.0.1", authority)):
        await works(make_client(url, tls=tls), names)
    await is_refused(make_client(url, tls=True), "an authority that we trust", log)
    monkeypatch.setenv("SSL_CERT_FILE", broker.ca)
    await works(make_client(url, tls=True), names, url.replace("amqp", "amqps"))


# -- Who we are


@ensureDeferred
async def test_certificate(strict: Node, make_client: Make, names: Names) -> None:
    """
    A certificate of ours has its key in another file or in its own, and may
    be followed by those that lead to its authority.
    """
    authority, write = strict.authority, strict.write
    chained = authority.create_child_ca().issue_cert("quebert.example")
    key, certificates = chained.private_key_pem, chained.cert_chain_pems
    assert len(certificates) == 2
    for options in (
        strict.pair("direct", authority.issue_cert("quebert.example")),
        strict.pair("chained", chained),
        {"certfile": write("key-first", key, *certificates)},
        {"certfile": write("key-last", *certificates, key)},
    ):
        url = strict.tls_url(**options)
        await works(make_client(url), names, url)


@ensureDeferred
async def test_certificate_not_accepted(
    strict: Node, make_client: Make, log: Log
) -> None:
    """
    A broker that does not accept our certificate, or wants one, is not tried
    again.
    """
    strange = strict.pair("strange", CA().issue_cert("quebert.example"))
    for options in ({}, strange):
        url = strict.tls_url(**options)
        sentence = "does not accept our certificate, or wants one"
        await is_refused(make_client(url), sentence, log)
        for _ in range(10):  # TLS 1.3 tells us in either of two ways
            assert sentence in blocking_refusal(url)


@ensureDeferred
async def test_renewed(strict: Node, make_client: Make, names: Names, log: Log) -> None:
    """
    A certificate that was renewed is used for the next connection, which waits
    while the file is spoilt.
    """

    def renew(name: str) -> str:
        host = "quebert.example"
        leaf = strict.authority.issue_cert(host, common_name=name)
        return strict.write("renewed", leaf.private_key_and_cert_chain_pem)

    def subjects() -> str:
        return strict.ctl("list_connections", "peer_cert_subject")

    url = strict.tls_url(certfile=renew("the-first"))
    client = make_client(url)
    watcher = await client.watch(names.exchange, names.queue, "#", ignore)
    assert "CN=the-first" in subjects()
    spoilt = strict.write("renewed", Blob(b"half a certi"))
    (await client.connected()).transport.abortConnection()
    problem = f"the certfile {spoilt!r} has no certificates in PEM"
    await until(lambda: any(problem in str(event.get("why")) for event in log))
    renew("the-second")
    await until(lambda: watcher.consuming)
    assert "CN=the-second" in subjects()
    assert not any("log_failure" in event for event in log)


# -- Files that are of no use


def bad_files(node: Node) -> Iterator[tuple[dict[str, str], str]]:
    """
    Options for TLS, and what is said about them.
    """
    mine = node.authority.issue_cert("quebert.example")
    others = node.authority.issue_cert("other.example")
    pair, others_key = node.pair("mine", mine), node.pair("others", others)["keyfile"]
    certfile, nowhere = pair["certfile"], "/no/such.pem"
    no_pem = node.write("text", Blob(b"no PEM"))
    key = load_pem_private_key(mine.private_key_pem.bytes(), None)
    locking = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame"))
    locked = node.write("locked", Blob(key.private_bytes(*locking)))
    no_key = "has no key in PEM without a passphrase"
    yield {**pair, "keyfile": locked}, f"the keyfile '{locked}' {no_key}"
    yield {**pair, "keyfile": no_pem}, f"the keyfile '{no_pem}' {no_key}"
    yield {"certfile": certfile}, f"the certfile '{certfile}' {no_key}"
    yield {**pair, "keyfile": nowhere}, f"the keyfile '{nowhere}' cannot be read: No"
    yield {**pair, "keyfile": others_key}, f"with the key in '{others_key}'"
    yield {"keyfile": pair["keyfile"]}, "the keyfile for TLS needs a certfile"
    for name in ("cacertfile", "certfile"):
        yield {name: nowhere}, f"the {name} '{nowhere}' cannot be read: No such file"
        yield {name: no_pem}, f"the {name} '{no_pem}' has no certificates in PEM"


def test_bad_files(broker: Node) -> None:
    """
    A file that cannot be used is named, before anything is connected to.
    """
    for options, sentence in bad_files(broker):
        url = broker.tls_url(**options)
        with pytest.raises(ConfigError) as caught:
            TxAMQPClient.from_url(url)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
        said = blocking_refusal(url)
        assert said.startswith("ConfigError: ")
        assert "needs a certfile" in said or all(
            each in said for each in options.values()
        )


#: Runs on a terminal, where OpenSSL asks for a passphrase if it is let.
ON_A_TERMINAL = """
import os, sys
os.open(os.ttyname(0), os.O_RDWR)
from quebert.amqp import TxAMQPClient
from quebert.errors import ConfigError
from quebert.producer import BlockingProducer
for connect in TxAMQPClient.from_url, lambda url: BlockingProducer(url).add_task("/"):
    try:
        connect(sys.argv[1])
    except ConfigError:
        print("told")
"""


@ensureDeferred
async def test_no_passphrase(broker: Node) -> None:
    """
    Nobody is asked for a passphrase.
    """
    options, _ = next(bad_files(broker))
    ours, terminal = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, broker.tls_url(**options)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    try:
        await until(lambda: program.poll() is not None)
        assert os.read(ours, 10_000).split() == [b"told", b"told"]
    finally:
        program.kill()
        program.wait()
        os.close(terminal)
        os.close(ours)


# -- What else may happen


@ensureDeferred
async def test_one_side_without_tls(broker: Node, make_client: Make) -> None:
    """
    Where only one side speaks TLS, that ends with an error in time.
    """
    plain_to_tls = f"amqp://127.0.0.1:{broker.tls_port}"
    tls_to_plain = f"amqps://127.0.0.1:{broker.port}"
    for url in (plain_to_tls, tls_to_plain):
        client = make_client(url, connectTimeout=5.0)
        with pytest.raises(BrokerUnreachable, match=r"in 5\.0 s: .* lost") as caught:
            await client.watch("flow", "queue", "#", ignore)
        assert "\n" not in str(caught.value)
        assert blocking_refusal(url).startswith("BrokerUnreachable: the broker at 127.")


@ensureDeferred
async def test_lost(broker: Node, make_client: Make, names: Names) -> None:
    """
    A connection that is lost is made again, and consumes again.
    """
    client = make_client(broker.tls_url())
    lost: list[Any] = []
    watcher = await client.watch(
        names.exchange, names.queue, "#", ignore, onDisconnect=lost.append
    )
    (await client.connected()).transport.abortConnection()
    await until(lambda: lost)
    await client.publish(names.exchange, "a", b"x")
    await until(lambda: watcher.counts.done == 1)
    assert len(lost) == 1
