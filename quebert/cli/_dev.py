"""
C{quebert dev}: a broker, an executor and mediators in one process.

The mediators are those of L{quebert.service}: what is asked for becomes L{Settings}
(C{_dev_asked}).  The embedded broker takes the place of C{[broker]}.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall

from quebert._twistd import allow_many_connections, calm_garbage_collector
from quebert._url import without_userinfo
from quebert.amqp.delays import PREFIX
from quebert.cli._broker import LOOPBACK, not_listening, running_broker, until_told
from quebert.cli._dev_asked import GRACE, Dev
from quebert.cli._dev_changes import DevChanges
from quebert.cli._dev_log import DevLog, Tell
from quebert.cli._dev_page import DevPage
from quebert.cli._echo import Echo
from quebert.cli._reloading import LOOK
from quebert.cli._running import told_to_end
from quebert.config import Broker, LeaseSettings, Settings
from quebert.errors import ConfigError
from quebert.executor import ExecutorService
from quebert.service import ServedQueues, Watches, WatchEvents
from quebert.signatures import SharedSecret, Verifier
from quebert.telemetry.mediating import telemetry_of

__all__ = ["TOLD_OTHERWISE", "dev"]

#: Whose warnings are about single tasks, of which there are lines.
TOLD_OTHERWISE = ("quebert.amqp.watch._settlement.", "quebert.mediator.")


async def dev(reactor: Any, asked: Dev, tell: Tell) -> None:
    """
    Run a broker, an executor and mediators until SIGINT or SIGTERM.

    @param tell: called with a word and a line for each of them, and for
        whatever happens to a task.
    @raise ConfigError: a port is in use, a folder cannot be, or the file is wrong.
    @raise StoreError: the database cannot be used, at once or later.
    """
    allow_many_connections()
    told = told_to_end(reactor)
    async with AsyncExitStack() as stack:
        broker, port = await stack.enter_async_context(
            running_broker(reactor, asked.broker)
        )
        depths = broker.depths()
        url, secret = asked.default_url, None
        leases: LeaseSettings | None = None
        if asked.needs_executor:
            # The executor runs tasks of these mediators alone: not of any web page that
            # is open in a browser of this machine, nor of its other users.
            secret = SharedSecret.generate()
            url = await _executor(reactor, asked, Verifier([secret]), stack)

        def settings() -> Settings:
            there = Broker.from_url(asked.broker.url(port))
            return asked.settings(there, url, secret, leases)

        telemetry = telemetry_of(reactor)
        stack.push_async_callback(telemetry.stop)
        watches = ServedQueues(
            Watches(
                reactor,
                observe=lambda queue: DevLog(tell, queue.name),
                telemetry=telemetry,
                events=WatchEvents(),
            ),
            reactor,
        )
        changes = DevChanges(asked, watches, settings, tell)
        begun = settings()
        stack.push_async_callback(watches.stop, GRACE)
        _introduce(asked, port, url, begun, depths, tell)
        if asked.page:
            page = DevPage(
                asked.broker.url(port),
                asked.web_port,
                asked.broker.data,
                begun.cluster_web,
            )
            leases = await page.serve(reactor, tuple(begun.queues), tell, stack)
        await watches.start(settings())
        looking = LoopingCall(changes.look)
        looking.clock = reactor
        looking.start(LOOK, now=False)
        stack.callback(looking.stop)
        calm_garbage_collector()
        tell("ready", "Ctrl-C ends it")
        await until_told(told, broker)


async def _executor(
    reactor: Any, asked: Dev, verifier: Verifier, stack: AsyncExitStack
) -> str:
    """
    Run an executor until C{stack} ends, and give its URL.
    """
    service = ExecutorService(
        asked.function or Echo(),
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


def _introduce(
    asked: Dev,
    port: int,
    url: str | None,
    settings: Settings,
    depths: Mapping[str, int],
    tell: Tell,
) -> None:
    data = asked.broker.data
    kept = "in memory only" if data is None else f"kept in {os.path.relpath(data)}"
    tell("broker", f"{asked.broker.url(port)}  {kept}")
    if not asked.needs_executor:
        for each in sorted({queue.default_url for queue in settings.queues.values()}):
            tell("executor", without_userinfo(each))
    else:
        tell("executor", f"{url}  {asked.function_name or 'echoes params'}")
    # Delayed tasks wait elsewhere, and nobody sees of which queue they are.
    delayed = sum(n for name, n in depths.items() if name.startswith(f"{PREFIX}."))
    queues = list(settings.queues.values())
    for queue in queues:
        waiting = depths.get(queue.name, 0) + (delayed if len(queues) == 1 else 0)
        tell("queue", f"{queue.name}, {waiting} waiting" if waiting else queue.name)
    if delayed and len(queues) > 1:
        tell("delayed", f"{delayed} of these queues")
    tell("add a task", asked.add_line(port, queues[0]))
