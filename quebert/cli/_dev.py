"""
C{quebert dev}: a broker, an executor and a mediator composed into one process.  It may
import anything; only the command line imports it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import attrs
from twisted.internet.error import CannotListenError

from quebert._twistd import allow_many_connections, calm_garbage_collector
from quebert.amqp import TxAMQPClient
from quebert.amqp.delays import PREFIX
from quebert.amqp.queues import dead_letters_of
from quebert.cli._broker import (
    LOOPBACK,
    Served,
    not_listening,
    running_broker,
    until_told,
)
from quebert.cli._running import told_to_end
from quebert.cli._telling import Tell, TellingMediator
from quebert.config import DEFAULT_AMQP_URL, default_amqp_url
from quebert.errors import ConfigError
from quebert.executor import ExecutorService
from quebert.guard import Guard
from quebert.http import Dispatcher
from quebert.signatures import SharedSecret, Signer, Verifier
from quebert.task import Task

__all__ = ["AskedToFail", "Dev", "dev", "echo"]

#: Tasks at once.
AT_ONCE = 20
#: Of the delays between attempts, which a person waits for: 1.25 s, 1.6 s, ...
CONSTANT, MAX_DELAY = 1.25, 5.0
#: Seconds that requests get when it is stopped; a person waits for it.
GRACE = 3.0


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
        await until_told(told, broker)


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
        raise ConfigError(not_listening(e, "--http-port")) from None
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
