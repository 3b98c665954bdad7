"""
Declaring a part of the delay ladder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quebert._protocol.extensions import (
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_ROUTING_KEY,
    MESSAGE_TTL,
)
from quebert.amqp.queues import Declared, declared
from quebert.amqp.wire import Call, call_in_one_write
from quebert.errors import BrokerRefused, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["declare"]

# The arguments that tell when messages leave a queue, and where they go.
_WAYS_OUT = (
    MESSAGE_TTL,
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_ROUTING_KEY,
)


async def declare(wire: Wire, calls: list[Call], *, exists: bool) -> None:
    """
    Make the calls that declare a queue, and what belongs to it.  A queue that is there
    otherwise is used as it is, unless it is a rung that messages leave at another time,
    or for another place.

    @param exists: whether the queue is there.  Then only a rung is declared again:
        RabbitMQ logs an error where the arguments differ, as they do if another version
        of quebert has made the queue.
    @raise BrokerRefused: RabbitMQ refuses it, or there is another rung.
    """
    queue = next(how for each, how in calls if each == "queue_declare")
    others = [each for each in calls if each[0] != "queue_declare"]
    is_rung = MESSAGE_TTL in queue["arguments"]
    try:
        await call_in_one_write(wire, calls if is_rung or not exists else others)
    except BrokerRefused as e:
        if e.code != ReplyCode.PRECONDITION_FAILED or " for queue " not in str(e):
            raise
        if is_rung:
            await _check_ways_out(wire, queue["queue"], queue["arguments"])
        await call_in_one_write(wire, others)


async def _check_ways_out(wire: Wire, queue: str, wanted: Mapping[str, Any]) -> None:
    """
    @raise BrokerRefused: messages leave a queue otherwise than they should.
    """
    how = await declared(wire, queue, Declared(arguments=dict(wanted)))
    if how is None:
        return
    for name in _WAYS_OUT:
        has, should = how.arguments.get(name), wanted.get(name)
        if has != should:
            raise BrokerRefused(
                ReplyCode.PRECONDITION_FAILED,
                f"queue {queue!r} has {name} {has or 'none'}, and must have"
                f" {should or 'none'}: delete the queue, and quebert declares it anew",
            )
