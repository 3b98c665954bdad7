"""
Starts the Cloud Tasks API over gRPC, where its packages are installed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from quebert._tls import server_pem
from quebert.config import TLS, Listen
from quebert.errors import ConfigError
from quebert.web._exchange import APIRequest
from quebert.web._tokens import Grant

if TYPE_CHECKING:
    from quebert.web.cloud_tasks.grpc import GRPCServer

__all__ = ["GRPCFace"]

_PACKAGES = {"grpc": "grpcio", "google": "protobuf"}


class GRPCFace:
    """
    Cloud Tasks over gRPC.

    @param answer: the C{call} of L{CloudTasks<quebert.web.cloud_tasks.CloudTasks>}.
    @param admit: gives the rights of a request, or raises L{APIProblem
        <quebert.web._exchange.APIProblem>}; called in threads.
    @param tls: the certificate, and its key; C{None} for none.
    @raise ConfigError: packages are missing, or the files cannot be used.
    @ivar port: where it listens, once it does.
    """

    def __init__(
        self,
        reactor: Any,
        answer: Callable[
            [str, Mapping[str, Any], Grant], Coroutine[Any, Any, dict[str, Any]]
        ],
        admit: Callable[[APIRequest], Grant],
        tls: TLS | None = None,
    ) -> None:
        self.port = 0
        self._tls = tls
        self._pem = self._read()
        self._server: GRPCServer = _server_class()(reactor, answer, admit)

    def listen(self, listen: Listen) -> None:
        """
        Listen there.

        @raise PortTaken: it cannot.
        """
        self.port = self._server.listen(listen, self._pem)

    def renew(self) -> None:
        """
        Read the certificate and the key again.

        @raise ConfigError: they cannot be used; the old ones go on to be.
        """
        pem = self._read()
        if pem is not None:
            self._server.renew(pem)

    async def stop(self) -> None:
        """
        Listen no more, and answer the calls that there are.
        """
        await self._server.stop()

    def _read(self) -> tuple[bytes, bytes] | None:
        if self._tls is None:
            return None
        assert self._tls.certfile is not None
        return server_pem(self._tls.certfile, self._tls.keyfile)


def _server_class() -> type[GRPCServer]:
    try:
        from quebert.web.cloud_tasks.grpc import GRPCServer
    except ModuleNotFoundError as e:
        module = (e.name or "").partition(".")[0]
        needed = f"Cloud Tasks over gRPC needs {_PACKAGES.get(module, module)}"
        text = f"{needed}: pip install 'quebert-mediator[grpc]'"
        raise ConfigError(text) from e
    return GRPCServer
