"""
Whether a policy has RabbitMQ 4.3 hold back messages that were given back.

AMQP does not tell policies.  So a probe is given back to a queue of our own, and should
be there again at once.
"""

from __future__ import annotations

from twisted.internet.task import deferLater

from quebert._protocol.extensions import EXPIRES
from quebert._protocol.properties import encode_properties
from quebert.amqp.queues import QUORUM
from quebert.amqp.wire import Channel, temporary_channel, version_of
from quebert.doctor._subject import Subject

__all__ = ["holds_back"]

_SINCE = (4, 3)
# Seconds in which a probe that was given back is there again.
_AT_ONCE = 0.5
# Seconds between two looks.
_STEP = 0.05
# Milliseconds after which RabbitMQ removes a probe queue that a killed doctor left.
_EXPIRES = 60_000
_PERSISTENT = encode_properties({"delivery-mode": 2})


async def holds_back(subject: Subject) -> bool:
    """
    Whether RabbitMQ holds back a message that was given back to a quorum queue.

    @raise BrokerError: RabbitMQ refuses it.
    """
    if (version_of(subject.wire) or ()) < _SINCE:
        return False
    queue = f"{subject.name}.given-back"
    arguments = {**QUORUM, EXPIRES: _EXPIRES}
    publisher = subject.client.make_publisher()
    try:
        async with temporary_channel(subject.wire) as channel:
            await channel.call(
                "queue_declare", queue=queue, durable=True, arguments=arguments
            )
            await publisher.publish("", queue, b"given back", _PERSISTENT)
            return not await _comes_back(subject, channel, queue)
    finally:
        publisher.shut()
        await subject.refusal("queue_delete", queue=queue)


async def _comes_back(subject: Subject, channel: Channel, queue: str) -> bool:
    clock, message = subject.client.reactor, await channel.get(queue)
    if message is None:
        return True  # somebody else has taken it
    channel.give_back(message.delivery_tag)
    end = clock.seconds() + _AT_ONCE
    while await channel.get(queue) is None:
        if clock.seconds() >= end:
            return False
        await deferLater(clock, _STEP)
    return True
