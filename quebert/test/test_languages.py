"""
C{docs/languages.rst}: the request is as it says, and the examples in other languages do
tasks of a real mediator.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol

import quebert
from quebert.amqp import TxAMQPClient
from quebert.mediator import PolicyMediator
from quebert.producer import Producer
from quebert.signatures import Signer
from quebert.test.conftest import Names
from quebert.test.contract.patience import PATIENCE
from quebert.test.contract.patience import until as blocking_until
from quebert.test.documents import Document
from quebert.test.language_examples import (
    EXECUTORS,
    FOLDER,
    SECRET,
    ExampleExecutor,
)
from quebert.test.support import until
from quebert.test.test_quexecutor_process import listening
from quebert.testing import EmbeddedBroker

ROOT = Path(quebert.__file__).parents[1]
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="not in a checkout")


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """
    A broker of this module's: these tests are about none.
    """
    with EmbeddedBroker() as embedded:
        yield embedded


class RawServer(Protocol):
    """
    Keeps all that comes, and answers once.
    """

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it; answer at the end of the JSON.
        """
        self.received += data
        if self.received.endswith(b"}"):
            assert self.transport is not None
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest_twisted.ensureDeferred
async def test_request(client: TxAMQPClient, names: Names) -> None:
    """
    The request of a task is that in the document, but for its time and its uuid.
    """
    server = RawServer()
    factory: Any = Factory()
    factory.buildProtocol = lambda address: server
    tcp: Any = global_reactor
    port = tcp.listenTCP(0, factory, interface="127.0.0.1")
    url = f"http://localhost:{port.getHost().port}/"
    mediator = PolicyMediator(defaulturl=url)
    watcher = await client.watch(
        names.exchange, names.queue, "tasks.#", mediator.messageReceived
    )
    producer = Producer(client, exchange=names.exchange)
    await producer.add_task("/hello", {"name": "Ada"})
    await until(lambda: watcher.counts.done)
    await maybeDeferred(port.stopListening)

    document = Document.read(ROOT / "docs/languages.rst", "docs/languages.rst")
    [shown] = [each for each in document.blocks if "POST /hello HTTP/1.1" in each.text]
    head, body = shown.text.split("\n\n")
    expected = "\r\n".join([*head.splitlines(), "", body]).encode()
    assert anonymous(server.received) == anonymous(expected)
    assert len(body.encode()) == int(re.findall("Content-Length: (.*)", head)[0])


def anonymous(request: bytes) -> bytes:
    """
    A request without what is another each time.
    """
    varies = (
        rb"(?<=localhost:)\d+",
        rb"(?<=quebert/)\S+",
        rb"[0-9a-f]{8}-[0-9a-f-]{27}",
        rb"\d{4}-\d\d-\d\dT[\d:.]+Z",
    )
    return re.sub(b"|".join(varies), b"...", request)


@pytest.fixture(scope="module", params=EXECUTORS)
def example(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExampleExecutor]:
    """
    Each of them, one after the other.
    """
    folder = tmp_path_factory.mktemp("example")
    with ExampleExecutor.of(EXECUTORS[request.param], folder) as executor:
        yield executor


@pytest.mark.parametrize("name", ["python", "node", "express", "go", "ruby"])
def test_end(name: str, tmp_path: Path) -> None:
    """
    At its end an example answers the task that it has begun, and takes no more of them
    over that connection.
    """
    with ExampleExecutor.of(EXECUTORS[name], tmp_path) as server:
        body = b'{"params": {"name": "you"}}'
        request = [b"POST /hello HTTP/1.1", b"Host: localhost"]
        fields = server.signer.headers(None, body).items()
        request += [f"{key}: {value}".encode() for key, value in fields]
        request += [b"Content-Type: application/json"]
        request += [b"Content-Length: %d" % len(body), b"", body[:5]]
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
            client.sendall(b"\r\n".join(request))
            # Answered, so that the first request has come, too.
            assert server.ask("/none", b"{}")[0] == 404
            server.process.send_signal(signal.SIGTERM)
            blocking_until(lambda: not listening(server.port))
            client.sendall(body[5:])
            answer = b"".join(iter(lambda: client.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK"), answer
        assert b"onnection: close" in answer
        assert server.process.wait(PATIENCE) == 0


@pytest_twisted.ensureDeferred
async def test_example(
    example: ExampleExecutor, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    It does tasks of any size and in any language, each over the connection of the one
    before.
    """
    results: list[Any] = []
    mediator = PolicyMediator(defaulturl=example.url, signer=example.signer)
    mediator.add_posthook(lambda task, result: results.append(result["said"]))
    client = make_client()
    watcher = await client.watch(
        names.exchange, names.queue, names.key, mediator.messageReceived
    )
    sizes = (0, 1000, 3_000_000)
    for size in sizes:
        task = {"url": "/hello", "params": {"name": "Zoë"}, "more": "x" * size}
        body = json.dumps(task, ensure_ascii=False).encode()
        await client.publish("", names.queue, body)
    await until(lambda: watcher.counts.done == len(sizes), shown=lambda: results)
    assert results == ["hello, Zoë"] * len(sizes)


def test_answers(example: ExampleExecutor) -> None:
    """
    What is no task is refused with a sentence, and so is what nobody has signed; a
    failure is none of the server.
    """
    assert example.ask("/hello", b"{")[0] == 400
    assert example.ask("/none", b"{}")[0] == 404
    status, said = example.ask("/hello", b"{}")
    assert (status >= 400, "<" in said) == (True, False), said
    task = b'{"params": {"name": "you"}}'
    assert example.ask("/hello", task, headers={})[0] == 401
    stale = Signer([SECRET], now=lambda: time.time() - 310).headers(None, task)
    assert example.ask("/hello", task, stale)[0] == 401
    assert example.ask("/hello", task)[0] == 200
