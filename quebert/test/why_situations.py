"""
Situations in which tasks wait, prepared in a C{quebert dev}: why, and with which words
that is to be told.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Protocol
from uuid import uuid4

import attrs
import pika

from quebert.producer import BlockingProducer

__all__ = ["CONFIG", "Dev", "Situation", "situations"]

#: The queues and hosts of which the situations are: to be formatted with C{one_at_once}
#: and C{closed}, which are places of hosts.
CONFIG = """
[queues.limited]
key = "limited.#"
rate = 0.001

[queues.narrow]
key = "narrow.#"
prefetch = 1

[queues.halted]
key = "halted.#"

[queues.high]
key = "high.#"
priority = "high"

[queues.low]
key = "low.#"
priority = "low"

[priorities]
concurrency = 2
weights = {{ high = 10, low = 1 }}

[hosts."{one_at_once}"]
concurrency = 1
adaptive = false

[hosts."{closed}"]
breaker = {{ failures = 1, pause = "1h", longest_pause = "1h" }}
"""
_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


class Dev(Protocol):
    """
    What is asked of the C{quebert dev}.  Its executor answers C{/runs} late, and to
    C{/fails} 500; one try of a failed task is 1,000 s after the other.

    @ivar one_at_once: the host that has one request at once.
    @ivar closed: the host to which nobody listens.
    @ivar amqp_url: of its broker.
    """

    @property
    def producer(self) -> BlockingProducer: ...
    @property
    def one_at_once(self) -> str: ...
    @property
    def closed(self) -> str: ...
    @property
    def amqp_url(self) -> str: ...

    def pause(self, queue: str) -> None: ...


@attrs.frozen
class Situation:
    """
    A task that waits.

    @ivar reason: why.
    @ivar uuid: of the task.
    @ivar queue: that it is of.
    @ivar text: an expression for the whole sentence that tells it.
    @ivar besides: reasons that are told, too.
    """

    reason: str
    uuid: str
    queue: str
    text: str
    besides: tuple[str, ...] = ()


def situations(dev: Dev) -> Iterator[Situation]:
    """
    Prepare all of them; soon they are so.
    """
    add = dev.producer.add_task
    yield Situation(
        "not_due",
        add("/later", run_at=time.time() + 3_600),
        "tasks",
        f"its time has not come: it is due at {_TIME}",
    )
    yield Situation(
        "running",
        add("/runs"),
        "tasks",
        rf"mediator \S+ attempts it; it came there at {_TIME}",
    )
    yield Situation(
        "retrying",
        add("/fails"),
        "tasks",
        r"an attempt has failed \(POST http://\S+/fails was answered 500\);"
        f" it is tried again at {_TIME}",
    )
    yield Situation(
        "dead",
        add("/fails", retry={"max_attempts": 1}),
        "tasks",
        r"it was given up \(exhausted\): task \S+ for /fails is given up after"
        r" 1 attempt in \d+ s: POST http://\S+/fails was answered 500",
    )
    yield Situation(
        "not_found",
        str(uuid4()),
        "tasks",
        "there is no such task in queue tasks: it was not added, or has ended",
    )
    yield from _closed(dev)
    yield from _crowded(dev)
    yield from _of_hosts(dev)


def _closed(dev: Dev) -> Iterator[Situation]:
    add = dev.producer.add_task
    dev.pause("halted")
    yield Situation(
        "paused",
        add("/x", kind="halted"),
        "halted",
        rf"queue halted is paused by \S+ since {_TIME}",
    )
    orphan = str(uuid4())
    with pika.BlockingConnection(pika.URLParameters(f"{dev.amqp_url}%2f")) as link:
        channel = link.channel()
        channel.queue_declare("orphan", durable=True)
        body = json.dumps({"uuid": orphan, "url": "/x"})
        channel.basic_publish("", "orphan", body.encode())
    yield Situation(
        "no_consumer", orphan, "orphan", "no mediator consumes queue orphan"
    )


def _crowded(dev: Dev) -> Iterator[Situation]:
    add = dev.producer.add_task
    yield Situation(
        "rate_limit",
        [add("/x", kind="limited") for _ in range(3)][-1],
        "limited",
        "queue limited begins one task in 17 minutes at most, and"
        " (this task is the next|1 task is before it)",
    )
    _, second, third = (add("/runs", kind="narrow") for _ in range(3))
    yield Situation(
        "prefetch_full",
        second,
        "narrow",
        "the mediators of queue narrow have 1 task of it, and take no more at the same"
        " time",
    )
    yield Situation(
        "behind",
        third,
        "narrow",
        "1 task is before it; (none has ended just now|how long that takes is unknown)",
        besides=("prefetch_full",),
    )
    for _ in range(2):
        add("/runs", kind="high")
    yield Situation(
        "lower_priority",
        add("/x", kind="low"),
        "low",
        "queue low, of priority low, shares places with other queues: their tasks have"
        " 2 of them now",
    )


def _of_hosts(dev: Dev) -> Iterator[Situation]:
    add = dev.producer.add_task
    one = f"http://{dev.one_at_once}"
    add(f"{one}/runs")
    yield Situation(
        "host_concurrency",
        add(f"{one}/runs"),
        "tasks",
        f"{one} has 1 request now, of at most 1 at the same time",
    )
    none = f"http://{dev.closed}"
    add(f"{none}/x")
    yield Situation(
        "breaker_open",
        add(f"{none}/x"),
        "tasks",
        f"requests to {none} have failed: its circuit breaker is open, and lets none"
        f" through until {_TIME}",
    )
