"""
What C{docs/servers.rst} says of web servers, seen with real ones: Django, gunicorn,
uvicorn and Express, as they are by default, asked by a real mediator.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from quebert.amqp import TxAMQPClient
from quebert.test.conftest import Names
from quebert.test.contract.patience import until as blocking_until
from quebert.test.mediated_queue import MediatedQueue
from quebert.test.support import logged, until
from quebert.test.test_quexecutor_process import listening
from quebert.testing import EmbeddedBroker, free_port

DJANGO = """
import json
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    MIDDLEWARE=[
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="0" * 50,
)

def view(request):
    return JsonResponse({"n": json.loads(request.body)["params"]["n"]})

urlpatterns = [path("plain/", view), path("exempt/", csrf_exempt(view))]
application = get_wsgi_application()
"""
#: Works until there is a file; for ever in C{/hang}.
WSGI = """
import pathlib
import time

def application(environ, start_response):
    environ["wsgi.input"].read()
    with open("began", "a") as began:
        began.write(environ["PATH_INFO"])
    while environ["PATH_INFO"] == "/hang" or not pathlib.Path("finish").exists():
        time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b"{}"]
"""
ASGI = """
import asyncio
import pathlib

async def application(scope, receive, send):
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    while not pathlib.Path("finish").exists():
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})
"""
EXPRESS = """
const express = require("express");
const app = express();
const answer = (request, response) => response.json({n: request.body.params.n});
app.post("/plain", express.json(), answer);
app.post("/large", express.json({limit: "16mb"}), answer);
app.listen(process.argv[2], "127.0.0.1");
"""
# Debian's and others' Node find no packages beside the file otherwise.
NODE_MODULES = Path(sys.prefix, "node_modules")


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """
    A broker of this module's: these tests are about none.
    """
    with EmbeddedBroker() as embedded:
        yield embedded


class WebServer:
    """
    A web server in a process of its own.

    @ivar folder: where it runs.
    @param command: with C{{port}} in it.
    """

    def __init__(self, folder: Path, *command: str) -> None:
        self.folder = folder
        self._port = free_port()
        self._output = folder / "output"
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                [each.format(port=self._port) for each in command],
                cwd=folder,
                env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            blocking_until(self._listening, self._output.read_text)
        except BaseException:
            self.end()
            raise

    def _listening(self) -> bool:
        assert self._process.poll() is None, self._output.read_text()
        return listening(self._port)

    @property
    def url(self) -> str:
        """
        Where it is, without a slash at the end.
        """
        return f"http://127.0.0.1:{self._port}"

    def finish(self) -> None:
        """
        Have it answer what waits for that.
        """
        (self.folder / "finish").touch()

    @property
    def began(self) -> int:
        """
        How many requests it has begun.
        """
        path = self.folder / "began"
        return path.read_text().count("/") if path.exists() else 0

    def end(self) -> None:
        """
        End it.
        """
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


StartServer = Callable[..., WebServer]


def python_server(package: str) -> str:
    """
    The command of a server that is a Python package.
    """
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return str(Path(sys.executable).with_name(package))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """
    Starts servers of a program.
    """
    servers: list[WebServer] = []

    def start(program: str, name: str, *command: str) -> WebServer:
        (tmp_path / name).write_text(program)
        servers.append(WebServer(tmp_path, *command))
        return servers[-1]

    yield start
    for each in servers:
        each.finish()
        each.end()


def start_gunicorn(start: StartServer, program: str, *options: str) -> WebServer:
    """
    Start gunicorn.
    """
    gunicorn = python_server("gunicorn")
    address = "--bind=127.0.0.1:{port}", "--no-control-socket"
    return start(program, "app.py", gunicorn, *address, *options, "app")


async def refusal(queue: MediatedQueue, url: str, **fields: Any) -> str:
    """
    Why a task failed in its only attempt, as the log says.
    """
    before = queue.watcher.counts.buried
    with logged() as lines:
        await queue.add(1, url=url, retry={"max_attempts": 1}, **fields)
        await until(lambda: queue.watcher.counts.buried > before)
    [line] = [line for line in lines if "is given up after 1 attempt" in line]
    return line.partition(" s: ")[2]


@pytest_twisted.ensureDeferred
async def test_django(
    start_server: StartServer, client: TxAMQPClient, names: Names
) -> None:
    """
    Django refuses what has no CSRF token, redirects where a slash is missing, and reads
    no body of more than 2.5 MiB.
    """
    python_server("django")
    url = start_gunicorn(start_server, DJANGO).url
    queue = await MediatedQueue.at(url, client, names, at_once=2)
    plain, slashless, exempt = f"{url}/plain/", f"{url}/exempt", f"{url}/exempt/"
    assert await refusal(queue, plain) == f"POST {plain} was answered 403"
    assert await refusal(queue, slashless) == f"POST {slashless} was answered 301"
    told = await refusal(queue, exempt, more="x" * 2_621_440)
    assert told == f"POST {exempt} was answered 400"
    named = exempt.replace("127.0.0.1", "localhost")
    assert await refusal(queue, named) == f"POST {named} was answered 400"
    await queue.add(1, url=exempt, more="x" * 2_621_000)
    await until(lambda: queue.done == [4])


@pytest_twisted.ensureDeferred
async def test_gunicorn_backlog(
    start_server: StartServer, client: TxAMQPClient, names: Names
) -> None:
    """
    A worker of gunicorn does one task at a time.  Others wait in its backlog, and are
    begun although the mediator has hung up.
    """
    server = start_gunicorn(start_server, WSGI)
    queue = await MediatedQueue.at(server.url, client, names, at_once=5)
    await queue.add(3, timeout=0.3)
    await until(lambda: server.began and queue.watcher.counts.retried >= 3)
    assert server.began == 1
    server.finish()
    await queue.all_done()
    await until(lambda: server.began > 3)


@pytest_twisted.ensureDeferred
async def test_gunicorn_timeout(
    start_server: StartServer, client: TxAMQPClient, names: Names
) -> None:
    """
    gunicorn kills a worker that works on a task for longer than its timeout.
    """
    server = start_gunicorn(start_server, WSGI, "--timeout=1")
    queue = await MediatedQueue.at(server.url, client, names, at_once=2)
    url = f"{server.url}/hang"
    assert await refusal(queue, url) == f"POST {url} was answered 500"


@pytest_twisted.ensureDeferred
async def test_uvicorn_limit(
    start_server: StartServer, client: TxAMQPClient, names: Names
) -> None:
    """
    uvicorn answers 503 if there are as many connections as its limit says.
    """
    uvicorn = python_server("uvicorn")
    options = "--port={port}", "--limit-concurrency=3", "--lifespan=off"
    server = start_server(ASGI, "app.py", uvicorn, *options, "app:application")
    queue = await MediatedQueue.at(server.url, client, names, at_once=3)
    with logged() as lines:
        await queue.add(3)
        await until(lambda: queue.watcher.counts.retried)
    refused = f"POST {server.url}/task was answered 503"
    assert any(line.endswith(refused) for line in lines), lines
    server.finish()
    await queue.all_done()


@pytest_twisted.ensureDeferred
async def test_express_limit(
    start_server: StartServer, client: TxAMQPClient, names: Names
) -> None:
    """
    Express reads no JSON of more than 100 kB.
    """
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "express").exists():
        pytest.skip("Node or Express is not installed")
    server = start_server(EXPRESS, "app.js", node, "app.js", "{port}")
    queue = await MediatedQueue.at(server.url, client, names, at_once=2)
    plain, large = f"{server.url}/plain", f"{server.url}/large"
    told = await refusal(queue, plain, more="x" * 102_400)
    assert told == f"POST {plain} was answered 413"
    await queue.add(1, url=large, more="x" * 3_000_000)
    await until(lambda: queue.done == [1])
