"""
What C{quebert dev} is asked for, and the L{Settings} that this is: what is configured,
in a file or here, is done as in C{twistd quebert}.  Pure, but for the file.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import attrs

from quebert._twistd import find_hook
from quebert.cli._broker import LOOPBACK, Served
from quebert.config import (
    DEFAULT_AMQP_URL,
    EVERY,
    Broker,
    LeaseSettings,
    MadeQueues,
    QueueSettings,
    Service,
    Settings,
    Signing,
    Watch,
    default_amqp_url,
    read,
    settings_of,
)
from quebert.guard import Guard, Place
from quebert.policy import RetryPolicy
from quebert.signatures import SharedSecret
from quebert.task import Task

__all__ = ["GRACE", "Dev"]

#: Tasks at once.
AT_ONCE = 20
#: Between attempts, which a person waits for: 1 s, 2 s, 4 s, 5 s, 5 s, ...
RETRY = RetryPolicy(min_backoff=1.0, max_backoff=5.0)
#: Seconds that requests get when it is stopped; a person waits for it.
GRACE = 3.0


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
        self,
        broker: Broker,
        url: str | None = None,
        secret: SharedSecret | None = None,
        leases: LeaseSettings | None = None,
    ) -> Settings:
        """
        What the mediators go by.

        @param url: completes partial URLs; C{None} leaves it to the file.
        @param secret: signs each request, beside the keys of the file.
        @param leases: of executors, where no file says which.
        @raise ConfigError: the file cannot be used.
        """
        if self.config is None:
            watch = Watch(self.exchange, self.queue, self.key, AT_ONCE)
            settings = settings_of([watch], broker, url or "", Service())
        else:
            settings = read(self.config, find=find_hook, broker=broker)
        queues = {
            name: self._queue(queue, url, secret, leases)
            for name, queue in settings.queues.items()
        }
        service = attrs.evolve(settings.service, grace=GRACE, log_tasks=False)
        made = settings.made_queues  # with a file, those that the file says
        if made.each is not None:
            each = self._queue(made.each, url, secret, leases)
            made = attrs.evolve(made, each=each)
        elif self.config is None:
            made = MadeQueues((EVERY,), *queues.values())
        return attrs.evolve(settings, queues=queues, service=service, made_queues=made)

    def _queue(
        self,
        queue: QueueSettings,
        url: str | None,
        secret: SharedSecret | None,
        leases: LeaseSettings | None,
    ) -> QueueSettings:
        if self.config is None:
            queue = attrs.evolve(queue, mediator="policy", retry=RETRY, leases=leases)
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


def _allowing(guard: Guard, port: int) -> Guard:
    """
    A guard that lets tasks reach our own executor.
    """
    return attrs.evolve(
        guard,
        allow=(*guard.allow, Place.of(LOOPBACK, port)),
        ports=(*guard.ports, port) if guard.ports else (),
    )
