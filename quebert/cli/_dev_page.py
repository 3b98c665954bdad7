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
from quebert.config import CloudTasksAPI, ClusterWeb, LeaseSettings, Listen
from quebert.errors import ConfigError, HistoryRefused, PortTaken
from quebert.operations import BrokerAccess
from quebert.signatures import SharedSecret, read_keys, write_key

if TYPE_CHECKING:
    from quebert.web.cluster import WebService

__all__ = ["PORT", "DevPage"]

#: Where it listens, if that is free.
PORT = 8080
_LOOPBACK = "127.0.0.1"
_HISTORY, _TASKS = "history.sqlite", "tasks.sqlite"
_TOKEN, _LEASES = "token", "leases.secret"


@attrs.frozen
class DevPage:
    """
    @ivar url: of the broker.
    @ivar port: C{None} for L{PORT}, or any that is free.
    @ivar data: the folder that the history is kept in; C{None} for one that goes.
    @ivar asked: what the file says of C{quebert web}: its leases and its issuer count.
        Without leases of the file, there are some with a secret in the folder.
    """

    url: str
    port: int | None
    data: Path | None
    asked: ClusterWeb = attrs.field(factory=ClusterWeb)

    async def serve(
        self, reactor: Any, queues: tuple[str, ...], tell: Tell, stack: AsyncExitStack
    ) -> LeaseSettings | None:
        """
        Serve the page until C{stack} ends, with a token that may do everything.  What
        the page needs may be missing: then there is none.

        @param queues: to show, although nothing has happened yet.
        @return: its leases; C{None} where there is no page.
        @raise ConfigError: the port that was asked for is in use.
        """
        from quebert.web import EVERYTHING, Grant, Tokens, new_token
        from quebert.web.cluster import WebService

        data = self.data
        if data is None:
            data = Path(tempfile.mkdtemp(prefix="quebert-"))
            stack.callback(shutil.rmtree, data, ignore_errors=True)
        token, leases = new_token(), self.asked.leases or _own_leases(data / _LEASES)
        asked = ClusterWeb(
            listen=Listen(_LOOPBACK, PORT if self.port is None else self.port),
            history=str(data / _HISTORY),
            tasks=str(data / _TASKS),
            leases=leases,
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
            return None
        stack.push_async_callback(service.stop)
        self._write(data / _TOKEN, token)
        tell("page", f"{service.url}#token={token}")
        url = leases.url or service.url.rstrip("/")
        return attrs.evolve(leases, url=url)

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


def _own_leases(path: Path) -> LeaseSettings:
    """
    Leases with a secret that is kept, since leases outlast the process; their URL is
    known once the page is served.

    @raise ConfigError: the file cannot be used.
    """
    if not path.exists():
        write_key(path, SharedSecret.generate())
    keys = read_keys(path, signing=True)
    secrets = tuple(key.raw for key in keys if isinstance(key, SharedSecret))
    return LeaseSettings("", str(path), secrets)
