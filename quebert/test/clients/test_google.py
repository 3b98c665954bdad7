"""
Google's own clients of Cloud Tasks, for Python and Node, by REST and gRPC.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trustme import CA

import quebert
from quebert.errors import QuebertError
from quebert.test.clients.real_server import RealServer
from quebert.test.contract.patience import until
from quebert.test.support import Program
from quebert.testing import find_rabbitmq, free_port
from quebert.web.cloud_tasks.grpc._descriptors import POOL
from quebert.web.cloud_tasks.grpc._schema import MESSAGES

pytestmark = pytest.mark.clients
#: Where C{make test-google} installs the clients.
CLIENTS = Path(quebert.__file__).parents[1] / ".venv-google"
#: Seconds: far more than anything takes.
PATIENCE = 300.0
_TOKENS = {"TOKEN": "qbt_all", "READ_TOKEN": "qbt_reader"}
_HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A folder with a certificate, its key, and their authority.
    """
    folder = tmp_path_factory.mktemp("google")
    authority = CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    issued = authority.issue_cert("localhost")
    pem = folder / "server.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
    pem.chmod(0o600)
    return folder


def environment(folder: Path, scheme: str, rest: int, grpc: int) -> dict[str, str]:
    """
    What the clients of a server have in the environment, but for C{TRANSPORT}.
    """
    authority = str(folder / "authority.pem")
    return {
        **_TOKENS,
        "SCHEME": scheme,
        "REST": str(rest),
        "GRPC": str(grpc),
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": authority,
        "REQUESTS_CA_BUNDLE": authority,
        "NODE_EXTRA_CA_CERTS": authority,
    }


@pytest.fixture(scope="module")
def real(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """
    C{quebert web} and three mediators; gives the environment of their clients.
    """
    try:
        find_rabbitmq()
    except QuebertError as e:
        pytest.skip(str(e))
    rest, grpc = free_port(), free_port()
    server = RealServer(folder, rest, grpc, _TOKENS, mediators=3)
    try:
        yield environment(folder, "https", rest, grpc)
    finally:
        sys.stdout.write(server.output)  # pytest shows it where a test failed
        server.close()


@pytest.fixture(scope="module")
def in_memory(folder: Path) -> Iterator[dict[str, str]]:
    """
    A server over rows in memory; gives the environment of its clients.
    """
    rest, grpc = free_port(), free_port()
    pem = str(folder / "server.pem")
    command = ["-m", "quebert.test.clients.server", str(rest), str(grpc), pem]
    program = Program(folder, command, _TOKENS)
    try:
        until(lambda: "ready" in program.output or not program.running)
        assert program.running, program.output
        yield environment(folder, "http", rest, grpc)
    finally:
        program.kill()


@pytest.fixture(scope="module", params=["in_memory", "real"])
def server(request: pytest.FixtureRequest) -> dict[str, str]:
    """
    Either.
    """
    found: dict[str, str] = request.getfixturevalue(request.param)
    return found


def fields() -> str:
    """
    The fields of our messages of Cloud Tasks, and of those that they have, as JSON.
    """
    seen: dict[str, Any] = {}
    package = "google.cloud.tasks.v2"
    for line in MESSAGES[package].split("\n"):
        name, *_ = line.split() or ["+"]
        if name != "+":
            _see(POOL.FindMessageTypeByName(f"{package}.{name}"), seen)
    return json.dumps(seen)


def _see(message: Any, seen: dict[str, Any]) -> None:
    if message.full_name in seen:
        return
    found = seen[message.full_name] = []
    for field in sorted(message.fields, key=lambda each: int(each.number)):
        kind = field.message_type or field.enum_type
        values = field.enum_type.values if field.enum_type else ()
        group = field.containing_oneof
        found.append(
            [
                field.name,
                field.number,
                field.type,
                field.is_repeated,
                field.has_presence,
                kind.full_name if kind else "",
                {value.name: value.number for value in values},
                group.name if group else "",
            ]
        )
        if field.message_type:
            _see(field.message_type, seen)


def run(command: list[str], environment: dict[str, str]) -> None:
    """
    Run a suite, and show its output where it fails.
    """
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run_python(suite: str, server: dict[str, str], transport: str) -> None:
    """
    Run a suite for Python.
    """
    python = CLIENTS / "bin/python"
    if not python.exists():
        pytest.skip("google-cloud-tasks is not there: make test-google installs it")
    place = f"{server['SCHEME']}://localhost:{server['REST']}"
    endpoint = place if transport == "rest" else f"localhost:{server['GRPC']}"
    run(
        [str(python), str(_HERE / suite)],
        {**server, "TRANSPORT": transport, "ENDPOINT": endpoint, "FIELDS": fields()},
    )


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_python(server: dict[str, str], transport: str) -> None:
    """
    google-cloud-tasks for Python finds what it finds at Google's.
    """
    run_python("google_python.py", server, transport)


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_dispatches(real: dict[str, str], transport: str) -> None:
    """
    Tasks that google-cloud-tasks creates reach their handlers, as Google's do.
    """
    run_python("google_dispatches.py", real, transport)


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_node(server: dict[str, str], transport: str) -> None:
    """
    @google-cloud/tasks for Node finds what it finds at Google's.
    """
    node, modules = shutil.which("node"), CLIENTS / "node_modules"
    if node is None or not (modules / "@google-cloud/tasks").exists():
        pytest.skip("@google-cloud/tasks is not there: make test-google installs it")
    port = server["REST" if transport == "rest" else "GRPC"]
    run(
        [node, "--test", str(_HERE / "google_node.mjs")],
        {
            **server,
            "TRANSPORT": transport,
            "HOST": "localhost",
            "PORT": port,
            "MODULES": str(modules),
        },
    )
