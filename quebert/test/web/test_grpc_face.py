"""
L{GRPCFace}: its certificate, and packages that are missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from pytest_twisted import ensureDeferred
from trustme import CA
from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread

from quebert.config import TLS, Listen
from quebert.errors import ConfigError
from quebert.test.support import PATIENCE
from quebert.testing import free_port
from quebert.web import EVERYTHING, Grant, Tokens
from quebert.web._access_rules import AccessRules
from quebert.web.cluster._grpc import GRPCFace

reactor: Any = global_reactor
pytestmark = pytest.mark.filterwarnings(
    "ignore:Passing pyOpenSSL:DeprecationWarning",
    "ignore:Attempting to mutate a Context:DeprecationWarning",
)


async def answer(
    method: str, request: Mapping[str, Any], grant: Grant
) -> dict[str, Any]:
    """
    Answer with the rights of the client.
    """
    return {"name": grant.name}


async def asked(authority: CA, port: int) -> bytes:
    """
    The answer to a client that trusts an authority.
    """
    trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    with grpc.secure_channel(f"localhost:{port}", trusted) as channel:
        call = channel.unary_unary("/google.cloud.tasks.v2.CloudTasks/GetQueue")
        metadata = (("authorization", "Bearer secret"),)
        answered: bytes = await deferToThread(
            call, b"", metadata=metadata, timeout=PATIENCE
        )
    return answered


@ensureDeferred
async def test_certificate(tmp_path: Path) -> None:
    """
    It has the certificate and the key of one file, and reads them again.
    """
    pem = tmp_path / "web.pem"

    def issue() -> CA:
        authority = CA()
        issued = authority.issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
        return authority

    first = issue()
    rules = AccessRules(Tokens.of("secret", Grant("me", EVERYTHING)))
    face = GRPCFace(reactor, answer, rules.grant, TLS(certfile=str(pem)))
    face.listen(Listen("127.0.0.1", free_port()))
    assert await asked(first, face.port) == b"\n\x02me"
    second = issue()
    face.renew()
    assert await asked(second, face.port) == b"\n\x02me"
    pem.write_text("none")
    with pytest.raises(ConfigError, match="has no certificates"):
        face.renew()
    assert await asked(second, face.port) == b"\n\x02me"
    await face.stop()


@pytest.mark.parametrize(
    ("module", "package"), [("grpc", "grpcio"), ("google.protobuf", "protobuf")]
)
def test_missing_packages(module: str, package: str) -> None:
    """
    Where a package is missing, the extra is named that brings it.
    """
    program = (
        "import sys\n"
        f"sys.modules[{module!r}] = None\n"
        "from quebert.web.cluster._grpc import GRPCFace\n"
        "GRPCFace(None, None, None)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wanted = f"Cloud Tasks over gRPC needs {package}"
    wanted = f"ConfigError: {wanted}: pip install 'quebert-mediator[grpc]'"
    assert done.stderr.strip().splitlines()[-1].endswith(wanted)


def test_quiet(tmp_path: Path) -> None:
    """
    A client whose TLS fails has no line on standard error.
    """
    pem = tmp_path / "web.pem"
    issued = CA().issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
    program = (
        "import socket, sys\n"
        "from twisted.internet.task import Clock\n"
        "from quebert.config import TLS, Listen\n"
        "from quebert.web.cluster._grpc import GRPCFace\n"
        "face = GRPCFace(Clock(), None, None, TLS(certfile=sys.argv[1]))\n"
        f"face.listen(Listen('127.0.0.1', {free_port()}))\n"
        "client = socket.create_connection(('127.0.0.1', face.port), 60)\n"
        "client.sendall(b'GET / HTTP/1.1' + bytes(100))\n"
        "while client.recv(1000): pass\n"
        "face._server._server.stop(0).wait()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(pem)]
    environment = {k: v for k, v in os.environ.items() if k != "GRPC_VERBOSITY"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
