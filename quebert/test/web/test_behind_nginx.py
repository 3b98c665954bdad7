"""
C{nginx-web.conf} of C{examples/deploy}: a real nginx, with its certificate, in front of
the API.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from trustme import CA
from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread

from quebert.test.real_proxy import DEPLOY, RealProxy
from quebert.test.web.doubles import MemoryAPI
from quebert.web import Assets
from quebert.web._resource import WebResource
from quebert.web._site import WebSite

EXAMPLE = "nginx-web.conf"
pytestmark = pytest.mark.skipif(not DEPLOY.exists(), reason="not in a checkout")
#: What tells the API that a proxy passes a request on, and whose host it is for.
TOLD = (
    "proxy_http_version 1.1;",
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Forwarded-For $remote_addr;",
)


class ServedAPI(MemoryAPI):
    """
    The API at a port of this machine.
    """

    def listen(self) -> None:
        """
        Begin.
        """
        reactor: Any = global_reactor
        self.resource = WebResource(reactor, self.api, Assets(), self.hub)
        self.site = WebSite(self.resource, reactor)
        self.listening = reactor.listenTCP(0, self.site, interface="127.0.0.1")

    @property
    def place(self) -> str:
        """
        The address and the port.
        """
        return f"127.0.0.1:{self.listening.getHost().port}"

    async def close(self) -> None:
        """
        End.
        """
        await self.listening.stopListening()
        self.resource.stop()
        await self.site.close()


@pytest_twisted.async_yield_fixture
async def served() -> Any:
    """
    The API, which listens.
    """
    api = ServedAPI()
    api.listen()
    yield api
    await api.close()


class TLSProxy(RealProxy):
    """
    An nginx with a certificate, and clients of it.

    @param place: the address and the port of the API.
    @param without: lines of the example that are left out.
    """

    def __init__(self, folder: Path, place: str, without: tuple[str, ...]) -> None:
        authority = CA()
        certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        certificate.write_to_path(str(folder / "web.pem"))
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)
        changes = {
            "/etc/quebert/web.pem": str(folder / "web.pem"),
            "127.0.0.1:8080;": f"{place};",
            **dict.fromkeys(without, ""),
        }
        super().__init__("nginx", EXAMPLE, folder, changes)

    async def ask(self, method: str, path: str, **headers: str) -> tuple[int, Any]:
        """
        The status of an answer, and what is in it: of a stream the first line.
        """
        found: tuple[int, Any] = await deferToThread(self._ask, method, path, headers)
        return found

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        client = HTTPSConnection(
            "127.0.0.1", self.port, context=self._context, timeout=60
        )
        try:
            client.request(method, path, headers=headers)
            answer = client.getresponse()
            if path == "/v1/events":
                return answer.status, answer.readline()
            return answer.status, json.loads(answer.read())
        finally:
            client.close()


@pytest.fixture
def proxy(
    request: pytest.FixtureRequest, tmp_path: Path, served: ServedAPI
) -> Iterator[TLSProxy]:
    """
    An nginx before the API.
    """
    found = TLSProxy(tmp_path, served.place, getattr(request, "param", ()))
    yield found
    found.end()


@pytest_twisted.ensureDeferred
async def test_tokens(proxy: TLSProxy) -> None:
    """
    Clients of nginx need a token to read.  Its own page may change something, and a
    stream of events is not held back.
    """
    await proxy.started()
    status, problem = await proxy.ask("GET", "/v1/overview")
    assert (status, problem["title"]) == (401, "Unauthorized")
    status, _ = await proxy.ask("GET", "/v1/overview", Authorization="Bearer reader")
    assert status == 200
    headers = {
        "Authorization": "Bearer operator",
        "Origin": f"https://127.0.0.1:{proxy.port}",
    }
    status, _ = await proxy.ask("POST", "/v1/queues/mail:pause", **headers)
    assert status == 200
    status, line = await proxy.ask("GET", "/v1/events", Authorization="Bearer reader")
    assert (status, line) == (200, b": quebert\n")


@pytest.mark.parametrize("proxy", [TOLD], indirect=True)
@pytest_twisted.ensureDeferred
async def test_bare(proxy: TLSProxy) -> None:
    """
    An nginx that only has C{proxy_pass} lets nobody read without a token, either.
    """
    await proxy.started()
    status, _ = await proxy.ask("GET", "/v1/overview")
    assert status == 401
    status, _ = await proxy.ask("GET", "/v1/overview", Authorization="Bearer reader")
    assert status == 200
