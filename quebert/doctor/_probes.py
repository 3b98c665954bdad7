"""
Probes: messages of our own that go through the broker, and come back to a queue of our
own.  RabbitMQ removes that queue by itself, however our connection ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from quebert._protocol.extensions import EXPIRES
from quebert.amqp.queues import CLASSIC
from quebert.amqp.wire import Channel, Message, temporary_channel
from quebert.doctor._subject import Subject

__all__ = ["ReturnedProbe", "ReturnedProbes", "returns"]

_STEP = 0.02


@attrs.frozen
class ReturnedProbe:
    """
    A probe that came back.

    @ivar at: when, in seconds of the reactor.
    """

    message: Message
    at: float


class ReturnedProbes:
    """
    The probes that came back, by their bodies.

    @ivar queue: where they come back to.
    """

    def __init__(self, queue: str, clock: IReactorTime, channel: Channel) -> None:
        self.queue = queue
        self.channel = channel
        self.found: dict[bytes, ReturnedProbe] = {}
        self._clock = clock
        channel.on_message = self._received
        channel.on_cancel = lambda consumer_tag: None  # we have deleted the queue

    def _received(self, message: Message) -> None:
        self.found[message.body] = ReturnedProbe(message, self._clock.seconds())

    async def wait(self, bodies: set[bytes], until: float) -> set[bytes]:
        """
        Wait for probes; returns those that have not come back.

        @param until: in seconds of the reactor.
        """
        while missing := bodies - self.found.keys():
            if self._clock.seconds() >= until:
                return missing
            await deferLater(self._clock, _STEP)
        return set()


@asynccontextmanager
async def returns(
    subject: Subject, suffix: str, keep: int | None = None
) -> AsyncIterator[ReturnedProbes]:
    """
    A queue of our own, which is consumed.  It ends with our connection.

    @param keep: for how many milliseconds it outlives our connection instead, since
        probes may come back late.
    @raise BrokerRefused: we may not declare or read C{quebert.doctor.…}.
    """
    queue = f"{subject.name}.{suffix}"
    how: dict[str, Any] = {"exclusive": True, "auto_delete": True, "arguments": CLASSIC}
    if keep is not None:
        how = {"durable": True, "arguments": {**CLASSIC, EXPIRES: keep}}
    async with temporary_channel(subject.wire) as channel:
        returned = ReturnedProbes(queue, subject.client.reactor, channel)
        await channel.call("queue_declare", queue=queue, **how)
        await channel.call("basic_consume", queue=queue, no_ack=True)
        yield returned
