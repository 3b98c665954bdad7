"""
The page of C{quebert dev}: the web server of its own broker, in the same process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from quebert.cli._dev_log import Tell
from quebert.config import CloudTasksAPI, ClusterWeb, Listen
from quebert.errors import ConfigError, HistoryRefused, PortTaken
from quebert.operations import BrokerAccess

if TYPE_CHECKING:
    from quebert.web.cluster import WebService

__all__ = ["PORT", "DevPage"]

#: Where it listens, if that is free.
PORT = 8080
_LOOPBACK = "127.0.0.1"
_HISTORY, _TASKS, _TOKEN = "history.sqlite", "tasks.sqlite", "token"


@attrs.frozen
class DevPage:
    """
    @ivar url: of the broker.
    @ivar port: C{None} for L{PORT}, or any that is free.
    @ivar data: the folder that the history is kept in; C{None} for one that goes.
    @ivar asked: what the file says of C{quebert web}: its leases and its issuer count.
    """

    url: str
    port: int | None
    data: Path | None
    asked: ClusterWeb = attrs.field(factory=ClusterWeb)

    async def serve(
        self, reactor: Any, queues: tuple[str, ...], tell: Tell, stack: AsyncExitStack
    ) -> None:
        """
        Serve the page until C{stack} ends, with a token that may do everything.  What
        the page needs may be missing: then there is none.

        @param queues: to show, although nothing has happened yet.
        @raise ConfigError: the port that was asked for is in use.
        """
        from quebert.web import EVERYTHING, Grant, Tokens, new_token
        from quebert.web.cluster import WebService

        data = self.data
        if data is None:
            data = Path(tempfile.mkdtemp(prefix="quebert-"))
            stack.callback(shutil.rmtree, data, ignore_errors=True)
        token = new_token()
        asked = ClusterWeb(
            listen=Listen(_LOOPBACK, PORT if self.port is None else self.port),
            history=str(data / _HISTORY),
            tasks=str(data / _TASKS),
            leases=self.asked.leases,
            oidc=self.asked.oidc,
            cloud_tasks=CloudTasksAPI(),
        )
        access = BrokerAccess(reactor, self.url)
        tokens = Tokens.of(token, Grant("dev", EVERYTHING))
        service = WebService(reactor, access, asked, queues, tokens)
        try:
            await self._start(service, asked)
        except (ConfigError, HistoryRefused) as e:
            if self.port is not None:
                raise
            tell("page", f"none: {e}")
            return
        stack.push_async_callback(service.stop)
        self._write(data / _TOKEN, token)
        tell("page", f"{service.url}#token={token}")

    def _write(self, path: Path, token: str) -> None:
        """
        For programs, in a file of which nobody else reads.
        """
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{token}\n")

    async def _start(self, service: WebService, asked: ClusterWeb) -> None:
        try:
            await service.start()
        except PortTaken:
            if self.port is not None:
                raise
            service.listen_at(attrs.evolve(asked.listen, port=0))
            await service.start()
