"""
Declaring the queue of a watch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quebert.amqp._brief import brief_channel
from quebert.amqp._broker_version import version_of
from quebert.errors import BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp._channel import Channel
    from quebert.amqp._wire import Wire

__all__ = ["declare_task_queue"]

#: Argument of C{queue.declare}: how often a quorum queue delivers a message again.
DELIVERY_LIMIT = "x-delivery-limit"
_NO_LIMIT = -1
_PRECONDITION_FAILED = 406


async def declare_task_queue(
    wire: Wire, channel: Channel, queue: str, arguments: Mapping[str, Any]
) -> None:
    """
    Declare a durable queue from which RabbitMQ drops nothing, however often it has
    delivered it.  Where the queue is there with other arguments, or cannot have that
    one, it is declared with C{arguments} alone.

    @raise BrokerError: the broker does not let us.
    """
    unlimited = {**arguments, DELIVERY_LIMIT: _NO_LIMIT}
    if not _may_have_a_limit(wire, arguments) or not await _declared(
        wire, queue, unlimited
    ):
        await channel.call(
            "queue_declare", queue=queue, durable=True, arguments=dict(arguments)
        )


def _may_have_a_limit(wire: Wire, arguments: Mapping[str, Any]) -> bool:
    """
    Whether the queue may be one that RabbitMQ gives a delivery limit of its own.  The
    type that is not named is the virtual host's default.
    """
    version = version_of(wire)
    kind = arguments.get("x-queue-type", "quorum")
    limited = version is not None and version >= (4,) and kind == "quorum"
    return limited and DELIVERY_LIMIT not in arguments


async def _declared(wire: Wire, queue: str, arguments: Mapping[str, Any]) -> bool:
    try:
        async with brief_channel(wire) as channel:
            await channel.call(
                "queue_declare", queue=queue, durable=True, arguments=dict(arguments)
            )
    except BrokerRefused as e:
        if e.code != _PRECONDITION_FAILED:
            raise
        return False
    return True
