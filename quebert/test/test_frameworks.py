"""
The examples for Flask, FastAPI, Starlette and Django in their real servers, asked by a
real mediator, and by a client that is none.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted

import quebert
from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import dead_letters_of
from quebert.mediator import PolicyMediator
from quebert.policy import RetryPolicy
from quebert.signatures import SharedSecret, Signer, write_key
from quebert.test.conftest import Names
from quebert.test.contract.patience import PATIENCE
from quebert.test.contract.patience import until as blocking_until
from quebert.test.support import until
from quebert.testing import EmbeddedBroker, free_port

ROOT = Path(quebert.__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "examples").exists(), reason="not in a checkout"
)
GUNICORN = ("gunicorn", "--no-control-socket", "--bind=127.0.0.1:{port}")
UVICORN = ("uvicorn", "--port={port}")
#: The servers with their applications.
SERVERS: Mapping[str, tuple[str, ...]] = {
    "flask": (*GUNICORN, "examples.flask_app:app"),
    "flask-gevent": (*GUNICORN, "--worker-class=gevent", "examples.flask_app:app"),
    "fastapi": (*UVICORN, "examples.fastapi_app:app"),
    "starlette": (*UVICORN, "examples.starlette_app:app"),
    "django": (*GUNICORN, "examples.django_app:application"),
    "django-asgi": (*UVICORN, "examples.django_app:asgi_application"),
}
QUICK = RetryPolicy(max_attempts=5, min_backoff=0.02, max_backoff=0.04)
JSON = {"Content-Type": "application/json"}


@attrs.frozen
class Server:
    """
    A web server that runs.
    """

    name: str
    port: int
    signer: Signer

    @property
    def url(self) -> str:
        """
        Where its tasks are.
        """
        return f"http://127.0.0.1:{self.port}/tasks/"

    def ask(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> tuple[int, str]:
        """
        The answer to a request, signed unless there are headers; all of its body is
        sent before its answer is read.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE)
        fields = self.signer.headers(None, body) if headers is None else headers
        connection.request(method, path, body, {**JSON, **fields})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """
    Each of them, one after the other.
    """
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    secret, output = folder / "secret", folder / "output"
    write_key(secret, SharedSecret.generate())
    program, *rest = (each.format(port=port) for each in SERVERS[request.param])
    environment = {**os.environ, "TASK_SECRETS": str(secret), "PYTHONPATH": str(ROOT)}
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name(program)), *rest],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    found = Server(request.param, port, Signer.from_file(secret))

    def answers() -> bool:
        assert process.poll() is None, output.read_text()
        try:
            return found.ask("/tasks/none", b"{}")[0] == 404
        except ConnectionError:
            return False

    try:
        blocking_until(answers, output.read_text)
        yield found
        process.terminate()
        process.wait(PATIENCE)
        said = output.read_text()
        failures = said.count("ConnectionError: the mail server does not answer")
        assert said.count("Traceback") == failures, said
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_requests(server: Server) -> None:
    """
    Functions of each kind are called for signed requests; others are refused with one
    sentence, even if their bodies are too large.
    """

    def task(**params: Any) -> bytes:
        return json.dumps({"url": "/", "params": params}).encode()

    exported = (200, "order,total\n1,10\n")
    assert server.ask("/tasks/export", task(orders=1)) == exported
    assert server.ask("/tasks/export/", task(orders=1)) == exported
    # More than Django takes by default.
    large = task(orders=1, more="x" * 3_000_000)
    assert server.ask("/tasks/export", large) == exported
    last = {"Quebert-Attempt": "7"}
    body = task()
    headers = {**server.signer.headers(None, body), **last}
    reported = server.ask("/tasks/report", body, headers)
    assert reported == (200, '{"report":"done","attempt":7}')

    unsigned = "the request is not signed: it has no webhook-id"
    assert server.ask("/tasks/export", task(orders=1), {}) == (401, unsigned)
    headers = server.signer.headers(None, body)
    changed = server.ask("/tasks/report", task(x=1), headers)
    assert changed == (401, "no signature fits the request and a secret")
    status, said = server.ask("/tasks/export", b" " * (16 * 2**20 + 1))
    assert (status, said[:17]) == (413, "the body is large"), said
    assert server.ask("/tasks/export", b"{")[0] == 400
    assert server.ask("/tasks/export", b"", method="GET")[0] == 405


@pytest_twisted.ensureDeferred
async def test_mediated(
    server: Server, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    A mediator has tasks done that fail twice, that are to come later, that are given
    up, and that nobody does; with another secret, none.
    """
    results: list[Any] = []
    dead: list[Any] = []
    with EmbeddedBroker() as broker:
        mediator = PolicyMediator(
            defaulturl=server.url,
            policy=QUICK,
            max_retry_after=0.1,
            signer=server.signer,
        )
        mediator.add_posthook(lambda task, result: results.append(result))
        client = make_client(broker.url)
        watcher = await client.watch(
            names.exchange, names.queue, names.key, mediator.messageReceived
        )
        await client.watch("", dead_letters_of(names.queue), "", dead.append)
        for path, params in (
            ("mail", {"to": "you@example.com"}),
            ("report", None),
            ("mail", {"to": "nöbody"}),
        ):
            body = json.dumps({"url": f"/tasks/{path}", "params": params}).encode()
            await client.publish("", names.queue, body)
        await until(lambda: watcher.counts.done == 2 and len(dead) == 1)
        assert sorted(each["attempt"] for each in results) == [2, 3]
        assert "given up by its executor: nöbody is no address" in why(dead[0])
        assert dead[0].headers["quebert-attempts"] == 1

        await client.publish("", names.queue, b'{"url": "/tasks/none"}')
        await until(lambda: len(dead) == 2)
        assert "no function does tasks at /none" in why(dead[1])
        other = PolicyMediator(
            defaulturl=server.url,
            policy=QUICK,
            permanent=[401],
            signer=Signer([SharedSecret.generate()]),
        )
        await client.watch("", "other", "", other.messageReceived)
        await client.watch("", dead_letters_of("other"), "", dead.append)
        await client.publish("", "other", b'{"url": "/tasks/report"}')
        await until(lambda: len(dead) == 3)
        assert "no signature fits" in why(dead[2])
        await client.stop(grace=0)


def why(message: Any) -> str:
    """
    The reason of a dead letter, with the answer.
    """
    headers = message.headers
    return f"{headers['quebert-reason']} {headers['quebert-last-answer']}"
