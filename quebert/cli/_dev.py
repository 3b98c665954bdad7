"""
C{quebert dev} and its parts: a broker, an executor and a mediator composed into
one process.  It may import anything; only the command line imports it.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
from twisted.internet.defer import maybeDeferred, race
from twisted.internet.error import CannotListenError

from quebert._listening import listen
from quebert._twistd import allow_many_connections, calm_garbage_collector
from quebert.amqp import TxAMQPClient
from quebert.amqp.delays import PREFIX
from quebert.amqp.queues import dead_letters_of
from quebert.broker import BrokerFactory, Store
from quebert.cli._running import told_to_end
from quebert.cli._telling import Tell, TellingMediator
from quebert.config import DEFAULT_AMQP_URL, default_amqp_url
from quebert.errors import ConfigError
from quebert.executor import ExecutorService
from quebert.guard import Guard
from quebert.http import Dispatcher
from quebert.signatures import SharedSecret, Signer, Verifier
from quebert.task import Task

__all__ = [
    "AskedToFail",
    "Dev",
    "Served",
    "dev",
    "echo",
    "serve",
]

LOOPBACK = "127.0.0.1"
#: What the database is called in its folder.
DATABASE = "broker.sqlite"
_GUEST = ("guest", "guest")

#: Tasks at once.
AT_ONCE = 20
#: Of the delays between attempts, which a person waits for: 1.25 s, 1.6 s, ...
CONSTANT, MAX_DELAY = 1.25, 5.0
#: Seconds that requests get when it is stopped; a person waits for it.
GRACE = 3.0


# -- The broker


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
            password that everybody knows.
        """
        if _GUEST in self.users.items() and not _is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} lets in others than this machine: give"
                " --user name:password, since guest's is known to everybody"
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
        raise ConfigError(f"--data {path}: {e.strerror or e}") from None
    return path


def _listen(reactor: Any, host: str, port: int, factory: Any, option: str) -> Any:
    try:
        return listen(reactor, port, factory, host)
    except CannotListenError as e:
        raise ConfigError(_not_listening(e, option)) from None


def _not_listening(error: CannotListenError, option: str) -> str:
    why: Any = error.socketError
    where = f"port {error.port} of {error.interface}"
    if getattr(why, "errno", None) != errno.EADDRINUSE:
        return f"cannot listen on {where}: {getattr(why, 'strerror', None) or why}"
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
        await _until_told(told, broker)


async def _until_told(told: Any, broker: BrokerFactory) -> None:
    _, error = await race([told, broker.failed])
    if error is not None:
        raise error


# -- All of it


class AskedToFail(Exception):
    """
    What the echo fails with.
    """


def echo(task: Task) -> object:
    """
    The C{params} of the task; with C{{"fail": n}} in them, not at the first n
    attempts.

    @raise AskedToFail: at those.
    """
    params = task.get("params")
    wanted = params.get("fail") if isinstance(params, dict) else None
    failures = task.get("failures", 0)
    if isinstance(wanted, int) and failures < wanted:
        raise AskedToFail(f"{failures + 1} of {wanted}")
    return {} if params is None else params


@attrs.frozen
class Dev:
    """
    What C{quebert dev} is asked for.

    @ivar command: how it was called, for the line that is to be copied.
    @ivar function: the executor's.
    @ivar function_name: what it is called, C{None} for the echo.
    @ivar default_url: an executor that is there already; C{None} for our own.
    """

    broker: Served
    command: str = "quebert"
    http_port: int = 8000
    exchange: str = "flow"
    queue: str = "tasks"
    key: str = "tasks.#"
    function: Callable[[Task], Any] = echo
    function_name: str | None = None
    default_url: str | None = None

    def add_line(self, port: int) -> str:
        """
        The command that adds a task to it.
        """
        words = [*shlex.split(self.command), "add", "/hello", '{"name": "you"}']
        url = self.broker.url(port)
        if port != 5672 or default_amqp_url() != DEFAULT_AMQP_URL:
            words += ["--amqp-url", url]
        if self.exchange != "flow":
            words += ["--exchange", self.exchange]
        if self.key not in ("#", "tasks.#", "tasks.*", "tasks.medium"):
            words += ["--key", self.key.replace("#", "any").replace("*", "any")]
        return shlex.join(words)


async def dev(reactor: Any, asked: Dev, tell: Tell) -> None:
    """
    Run a broker, an executor and a mediator until SIGINT or SIGTERM.

    @param tell: called with a word and a line for each of them, and for
        whatever happens to a task.
    @raise ConfigError: a port is in use, or a folder cannot be.
    @raise StoreError: the database cannot be used, at once or later.
    """
    allow_many_connections()
    told = told_to_end(reactor)
    async with AsyncExitStack() as stack:
        broker, port = await stack.enter_async_context(
            running_broker(reactor, asked.broker)
        )
        left = _left(broker.depths(), asked.queue)
        # The executor runs tasks of this mediator alone: not of any web page that is
        # open in a browser of this machine, nor of its other users.
        secret = SharedSecret.generate()
        url = asked.default_url
        signer = None
        if url is None:
            url = await _executor(reactor, asked, Verifier([secret]), stack)
            signer = Signer([secret])
        client = TxAMQPClient.from_url(asked.broker.url(port), reactor=reactor)
        stack.push_async_callback(client.stop, GRACE)
        _introduce(asked, port, url, left, tell)
        mediator = TellingMediator(
            tell,
            Dispatcher.with_reactor(reactor, Guard(own=[f"127.0.0.1:{port}"])),
            dead_letters_of(asked.queue),
            defaulturl=url,
            signer=signer,
            reactor=reactor,
            constant=CONSTANT,
            maxDelay=MAX_DELAY,
        )
        await client.watch(
            asked.exchange,
            asked.queue,
            asked.key,
            mediator.messageReceived,
            maxEvents=AT_ONCE,
        )
        calm_garbage_collector()
        tell("ready", "Ctrl-C ends it")
        await _until_told(told, broker)


def _left(depths: Mapping[str, int], queue: str) -> int:
    """
    How many tasks there are of another time: in the queue, or to come back to it.
    """
    ladder = f"{PREFIX}."
    return sum(
        n for name, n in depths.items() if name == queue or name.startswith(ladder)
    )


async def _executor(
    reactor: Any, asked: Dev, verifier: Verifier, stack: AsyncExitStack
) -> str:
    """
    Run an executor until C{stack} ends, and give its URL.
    """
    service = ExecutorService(
        asked.function,
        asked.http_port,
        LOOPBACK,
        grace=GRACE,
        verifier=verifier,
        reactor=reactor,
    )
    try:
        service.startService()
    except CannotListenError as e:
        raise ConfigError(_not_listening(e, "--http-port")) from None
    stack.push_async_callback(service.stopService)
    return f"http://{LOOPBACK}:{service.port_number}/"


def _introduce(asked: Dev, port: int, url: str, left: int, tell: Tell) -> None:
    data = asked.broker.data
    kept = "in memory only" if data is None else f"kept in {os.path.relpath(data)}"
    tell("broker", f"{asked.broker.url(port)}  {kept}")
    if asked.default_url is not None:
        tell("executor", url)
    else:
        tell("executor", f"{url}  {asked.function_name or 'echoes params'}")
    waiting = f", {left} waiting" if left else ""
    tell("queue", f"{asked.queue}{waiting}")
    tell("add a task", asked.add_line(port))
