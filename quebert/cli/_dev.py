"""
C{quebert dev}: a broker, an executor and mediators in one process.

The mediators are those of L{quebert.service}: what is configured, in a file or here,
becomes L{Settings}, as in C{twistd quebert}.  The embedded broker takes the place of
C{[broker]}.
"""

from __future__ import annotations

import os
import shlex
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall

from quebert._twistd import (
    allow_many_connections,
    calm_garbage_collector,
    find_hook,
)
from quebert.amqp.delays import PREFIX
from quebert.cli._broker import (
    LOOPBACK,
    Served,
    not_listening,
    running_broker,
    until_told,
)
from quebert.cli._dev_log import DevLog, Tell, clock_time
from quebert.cli._dev_page import DevPage
from quebert.cli._reloading import LOOK, FileWatch, ReloadingFunctions
from quebert.cli._running import told_to_end
from quebert.config import (
    DEFAULT_AMQP_URL,
    BadConfig,
    Broker,
    QueueSettings,
    Service,
    Settings,
    Signing,
    Watch,
    default_amqp_url,
    read,
    settings_of,
)
from quebert.errors import ConfigError
from quebert.executor import ExecutorService
from quebert.guard import Guard, Place
from quebert.policy import RetryPolicy
from quebert.service import Watches, WatchEvents
from quebert.signatures import SharedSecret, Verifier
from quebert.task import Task
from quebert.telemetry.mediating import telemetry_of

__all__ = ["TOLD_OTHERWISE", "AskedToFail", "Dev", "Echo", "dev"]

#: Tasks at once.
AT_ONCE = 20
#: Between attempts, which a person waits for: 1 s, 2 s, 4 s, 5 s, 5 s, ...
RETRY = RetryPolicy(min_backoff=1.0, max_backoff=5.0)
#: Seconds that requests get when it is stopped; a person waits for it.
GRACE = 3.0
#: Whose warnings are about single tasks, of which there are lines.
TOLD_OTHERWISE = ("quebert.amqp.watch._settlement.", "quebert.mediator.")
#: Tasks whose failures are remembered.
_REMEMBERED = 10_000


class AskedToFail(Exception):
    """
    What the echo fails with.
    """


class Echo:
    """
    Gives the C{params} of a task; with C{{"fail": n}} in them, not at the first n
    attempts.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[object, int] = OrderedDict()

    def __call__(self, task: Task) -> object:
        """
        @raise AskedToFail: at those.
        """
        params, uuid = task.get("params"), str(task.get("uuid"))
        wanted = params.get("fail") if isinstance(params, dict) else None
        failures = self._failures.pop(uuid, 0) or task.get("failures", 0)
        if isinstance(wanted, int) and failures < wanted:
            self._failures[uuid] = failures + 1
            if len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)
            raise AskedToFail(f"{failures + 1} of {wanted}")
        return {} if params is None else params


@attrs.frozen
class Dev:
    """
    What C{quebert dev} is asked for.

    @ivar command: how it was called, for the line that is to be copied.
    @ivar config: a configuration file; C{None} for the one queue that the next three
        describe.
    @ivar function: the executor's; C{None} for the echo, or, with a file, for none.
    @ivar function_name: what it is called.
    @ivar default_url: an executor that is there already; C{None} for our own, or for
        those of the file.
    @ivar page: whether it serves the page.
    @ivar web_port: where; C{None} for the usual port, or any if that is in use.
    """

    broker: Served
    command: str = "quebert"
    http_port: int = 8000
    config: str | None = None
    exchange: str = "flow"
    queue: str = "tasks"
    key: str = "tasks.#"
    function: Callable[[Task], Any] | None = None
    function_name: str | None = None
    default_url: str | None = None
    page: bool = True
    web_port: int | None = None

    @property
    def needs_executor(self) -> bool:
        """
        Whether it runs an executor of its own.
        """
        if self.function is not None:
            return True
        return self.config is None and self.default_url is None

    def settings(
        self, broker: Broker, url: str | None = None, secret: SharedSecret | None = None
    ) -> Settings:
        """
        What the mediators go by.

        @param url: completes partial URLs; C{None} leaves it to the file.
        @param secret: signs each request, beside the keys of the file.
        @raise ConfigError: the file cannot be used.
        """
        if self.config is None:
            watch = Watch(self.exchange, self.queue, self.key, AT_ONCE)
            settings = settings_of([watch], broker, url or "", Service())
        else:
            settings = read(self.config, find=find_hook, broker=broker)
        queues = {
            name: self._queue(queue, url, secret)
            for name, queue in settings.queues.items()
        }
        service = attrs.evolve(settings.service, grace=GRACE, log_tasks=False)
        return attrs.evolve(settings, queues=queues, service=service)

    def _queue(
        self, queue: QueueSettings, url: str | None, secret: SharedSecret | None
    ) -> QueueSettings:
        if self.config is None:
            queue = attrs.evolve(queue, mediator="policy", retry=RETRY)
        if url is not None:
            queue = attrs.evolve(queue, default_url=url)
        if url is not None and secret is not None:
            before = queue.sign or Signing("", ())
            sign = attrs.evolve(before, keys=(*before.keys, secret))
            guard = _allowing(queue.guard, urlsplit(url).port or 80)
            queue = attrs.evolve(queue, sign=sign, guard=guard)
        return queue

    def add_line(self, port: int, queue: QueueSettings) -> str:
        """
        The command that adds a task to it.
        """
        words = [*shlex.split(self.command), "add", "/hello", '{"name": "you"}']
        url = self.broker.url(port)
        if port != 5672 or default_amqp_url() != DEFAULT_AMQP_URL:
            words += ["--amqp-url", url]
        if queue.exchange != "flow":
            words += ["--exchange", queue.exchange]
        key = queue.key if queue.exchange else queue.name
        if key not in ("#", "tasks.#", "tasks.*", "tasks.medium"):
            words += ["--key", key.replace("#", "any").replace("*", "any")]
        return shlex.join(words)


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
        if asked.needs_executor:
            # The executor runs tasks of these mediators alone: not of any web page that
            # is open in a browser of this machine, nor of its other users.
            secret = SharedSecret.generate()
            url = await _executor(reactor, asked, Verifier([secret]), stack)

        def settings() -> Settings:
            return asked.settings(Broker.from_url(asked.broker.url(port)), url, secret)

        telemetry = telemetry_of(reactor)
        stack.push_async_callback(telemetry.stop)
        watches = Watches(
            reactor,
            observe=lambda queue: DevLog(tell, queue.name),
            telemetry=telemetry,
            events=WatchEvents(),
        )
        changes = _Changes(asked, watches, settings, tell)
        begun = settings()
        stack.push_async_callback(watches.stop, GRACE)
        _introduce(asked, port, url, begun, depths, tell)
        await watches.start(begun)
        if asked.page:
            page = DevPage(asked.broker.url(port), asked.web_port, asked.broker.data)
            await page.serve(reactor, tuple(begun.queues), tell, stack)
        looking = LoopingCall(changes.look)
        looking.clock = reactor
        looking.start(LOOK, now=False)
        stack.callback(looking.stop)
        calm_garbage_collector()
        tell("ready", "Ctrl-C ends it")
        await until_told(told, broker)


def _allowing(guard: Guard, port: int) -> Guard:
    """
    A guard that lets tasks reach our own executor.
    """
    return attrs.evolve(
        guard,
        allow=(*guard.allow, Place.of(LOOPBACK, port)),
        ports=(*guard.ports, port) if guard.ports else (),
    )


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


class _Changes:
    """
    Looks whether the function or the file has changed, and has the new one used.
    """

    def __init__(
        self,
        asked: Dev,
        watches: Watches,
        settings: Callable[[], Settings],
        tell: Tell,
    ) -> None:
        self._asked = asked
        self._watches = watches
        self._settings = settings
        self._tell = tell
        self._files = FileWatch()
        self._config_changed()  # from now on

    def _say(self, word: str, text: str) -> None:
        self._tell(word, f"{clock_time(time.time())} {text}")

    def look(self) -> None:
        """
        Look once.
        """
        function = self._asked.function
        if isinstance(function, ReloadingFunctions):
            try:
                if function.look():
                    self._say("reloaded", self._asked.function_name or "")
            except BaseException as e:  # whatever the new code does
                why = e if isinstance(e, ConfigError) else f"{type(e).__name__}: {e}"
                self._say("broken", f"{why}; the code before goes on")
        if self._asked.config is not None and self._config_changed():
            self._reload(self._asked.config)

    def _config_changed(self) -> bool:
        config = self._asked.config
        return config is not None and bool(self._files.changed(iter([config])))

    def _reload(self, config: str) -> None:
        try:
            self._watches.change(self._settings())
        except BadConfig as e:
            for each in e.problems:
                self._say("broken", f"{each}; the settings before go on")
        except Exception as e:
            self._say("broken", f"{e}; the settings before go on")
        else:
            self._say("reloaded", config)


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
            tell("executor", each)
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
