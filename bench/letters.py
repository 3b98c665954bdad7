"""
Publishing tasks, each peer's in its own format: one that the peer's own producer
made is taken out of its queue, and published again and again with another time
and other identifiers in it.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pika
from web import StageError

#: The time in the task that a peer is given to publish; as long as a true one.
MARK = 1_000_000_000_000_000_000
#: Seconds that the broker may take for what was published to be in its queue.
PATIENCE = 60.0
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")


@attrs.frozen
class Letter:
    """
    A task on its way, as a peer's own producer sent it.

    @ivar body: what the peer made of the task; in Latin-1.
    @ivar properties: those that it set, by pika's names.
    """

    exchange: str
    routing_key: str
    body: str
    properties: dict[str, Any]

    def identifiers(self) -> set[str]:
        """
        The UUIDs in it.
        """
        return set(_UUID.findall(f"{self.body} {self.properties}"))

    def fresh(self, identifiers: set[str]) -> tuple[bytes, pika.BasicProperties]:
        """
        Another one like it, sent now.
        """
        changes = {old: _another(old) for old in identifiers}
        changes[str(MARK)] = str(time.time_ns())
        properties = _changed(self.properties, changes)
        body = _changed(self.body, changes).encode("latin-1")
        return body, pika.BasicProperties(**properties)


def _another(identifier: str) -> str:
    new = uuid.uuid4()
    return str(new) if "-" in identifier else new.hex


def _changed(value: Any, changes: dict[str, str]) -> Any:
    """
    A value with all texts in it changed.
    """
    if isinstance(value, dict):
        return {key: _changed(each, changes) for key, each in value.items()}
    if isinstance(value, str):
        for old, new in changes.items():
            value = value.replace(old, new)
    return value


@contextmanager
def channel_to(amqp: str) -> Iterator[Any]:
    """
    A channel of a connection of its own.
    """
    parameters = pika.URLParameters(amqp)
    parameters.heartbeat = 0  # nobody answers while we sleep
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection.channel()
    finally:
        connection.close()


def take(amqp: str, queue: str) -> Letter:
    """
    Take the one message that is in a queue.
    """
    with channel_to(amqp) as channel:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
    if method is None:
        raise StageError(f"nothing was published to {queue}")
    if properties.delivery_mode != 2:
        raise StageError(f"what was published to {queue} is not persistent")
    there = {key: each for key, each in vars(properties).items() if each is not None}
    return Letter(method.exchange, method.routing_key, body.decode("latin-1"), there)


def fill(amqp: str, queue: str, letter: Letter, number: int) -> None:
    """
    Put that many tasks into an empty queue.
    """
    with channel_to(amqp) as channel:
        publish(channel, letter, number)
        await_messages(channel, queue, number)


def publish(channel: Any, letter: Letter, number: int) -> None:
    """
    Publish that many tasks.
    """
    identifiers = letter.identifiers()
    for _ in range(number):
        _publish(channel, letter, identifiers)


def _publish(channel: Any, letter: Letter, identifiers: set[str]) -> None:
    body, properties = letter.fresh(identifiers)
    channel.basic_publish(letter.exchange, letter.routing_key, body, properties)


def await_messages(channel: Any, queue: str, number: int) -> None:
    """
    Wait until so many messages are ready in a queue.
    """
    deadline = time.monotonic() + PATIENCE
    while (there := state(channel, queue)[0]) != number:
        if time.monotonic() > deadline:
            raise StageError(f"{there} messages in {queue}, not {number}")
        time.sleep(0.05)


def state(channel: Any, queue: str) -> tuple[int, int]:
    """
    How many messages are ready in a queue, and how many consumers it has.
    """
    method = channel.queue_declare(queue, passive=True).method
    return method.message_count, method.consumer_count


def pace(amqp: str, letter: Letter, rate: float, number: int) -> None:
    """
    Publish tasks at steady times, C{rate} a second.
    """
    identifiers = letter.identifiers()
    with channel_to(amqp) as channel:
        begin = time.monotonic()
        for n in range(number):
            time.sleep(max(0.0, begin + n / rate - time.monotonic()))
            _publish(channel, letter, identifiers)
