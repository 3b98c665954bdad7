"""
C{quebert broker}: the embedded broker alone, and as a part of C{quebert dev}.
"""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
from twisted.internet.defer import maybeDeferred, race
from twisted.internet.error import CannotListenError

from quebert._bounds import SHORT_STRING
from quebert._listening import listen
from quebert._text import printable, what_is_wrong
from quebert._twistd import allow_many_connections, calm_garbage_collector
from quebert.broker import BrokerFactory, Store
from quebert.cli._dev_log import Tell
from quebert.cli._running import told_to_end
from quebert.errors import ConfigError

__all__ = [
    "LOOPBACK",
    "Served",
    "not_listening",
    "running_broker",
    "serve",
    "until_told",
]

LOOPBACK = "127.0.0.1"
#: What the database is called in its folder.
DATABASE = "broker.sqlite"
_GUEST = ("guest", "guest")


@attrs.frozen
class Served:
    """
    A broker that is asked for.

    @ivar port: 0 for any that is free.
    @ivar data: the folder that it keeps its database in; C{None} for memory.
    @ivar users: passwords by names.
    @ivar port_option: what changes C{port} on the command line.
    """

    host: str = LOOPBACK
    port: int = 5672
    data: Path | None = None
    vhosts: tuple[str, ...] = ("/",)
    users: Mapping[str, str] = attrs.field(factory=lambda: dict([_GUEST]), repr=False)
    port_option: str = "--port"

    def check(self) -> None:
        """
        @raise ConfigError: others than this machine would be let in by a
            password that everybody knows, or no client can name a virtual host.
        """
        if _GUEST in self.users.items() and not _is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} lets in others than this machine: give"
                " --user name:password, since guest's is known to everybody"
            )
        for name in self.vhosts:
            if not 0 < len(os.fsencode(name)) <= SHORT_STRING:
                told = printable(name[:40])
                raise ConfigError(
                    f"--vhost {told!r} must have 1 to {SHORT_STRING} bytes"
                )

    def url(self, port: int) -> str:
        """
        Where it is; of passwords, guest's alone is shown.
        """
        name, password = next(iter(self.users.items()))
        shown = password if (name, password) == _GUEST else "..."
        host = f"[{self.host}]" if ":" in self.host else self.host
        vhost = "" if self.vhosts[0] == "/" else quote(self.vhosts[0], safe="")
        return f"amqp://{quote(name, safe='')}:{shown}@{host}:{port}/{vhost}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@asynccontextmanager
async def running_broker(
    reactor: Any, served: Served
) -> AsyncIterator[tuple[BrokerFactory, int]]:
    """
    A broker that listens, and its port.

    @raise ConfigError: it cannot listen, or has no folder.
    @raise StoreError: its database cannot be used.
    """
    broker = _broker(reactor, served)
    try:
        listening = _listen(
            reactor, served.host, served.port, broker, served.port_option
        )
    except ConfigError:
        await broker.stop()
        raise
    try:
        yield broker, listening.getHost().port
    finally:
        await maybeDeferred(listening.stopListening)
        await broker.stop()


def _broker(reactor: Any, served: Served) -> BrokerFactory:
    about: Any = {"vhosts": served.vhosts, "users": served.users}
    if served.data is None:
        return BrokerFactory(reactor, **about)
    store = Store(_folder(served.data) / DATABASE)
    try:
        return BrokerFactory(reactor, store, store.records(), **about)
    except BaseException:
        store.close()
        raise


def _folder(path: Path) -> Path:
    """
    The folder, which is made where there is none, for nobody else to read and
    for no version control.  L{Store} checks one that was there.
    """
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
            (path / ".gitignore").write_text("*\n")
    except OSError as e:
        raise ConfigError(f"--data {path}: {what_is_wrong(e)}") from None
    return path


def _listen(reactor: Any, host: str, port: int, factory: Any, option: str) -> Any:
    """
    Listen.

    @param option: what changes C{port} on the command line.
    @raise ConfigError: the port is in use, or may not be listened on.
    """
    try:
        return listen(reactor, port, factory, host)
    except CannotListenError as e:
        raise ConfigError(not_listening(e, option)) from None


def not_listening(error: CannotListenError, option: str) -> str:
    """
    Why a port cannot be listened on, in one sentence.
    """
    why = error.socketError
    where = f"port {error.port} of {error.interface}"
    if not isinstance(why, OSError) or why.errno != errno.EADDRINUSE:
        return f"cannot listen on {where}: {what_is_wrong(why)}"
    return f"{where} is in use: choose another with {option}"


async def serve(reactor: Any, served: Served, tell: Tell) -> None:
    """
    Run a broker until SIGINT or SIGTERM.

    @param tell: called with C{"broker"} and its URL once it listens.
    @raise ConfigError: it cannot begin.
    @raise StoreError: its database cannot be used, at once or later.
    """
    allow_many_connections()
    told = told_to_end(reactor)
    async with running_broker(reactor, served) as (broker, port):
        calm_garbage_collector()
        tell("broker", served.url(port))
        await until_told(told, broker)


async def until_told(told: Any, broker: BrokerFactory) -> None:
    """
    Wait for C{told}.

    @raise StoreError: the broker has failed meanwhile.
    """
    _, error = await race([told, broker.failed])
    if error is not None:
        raise error
