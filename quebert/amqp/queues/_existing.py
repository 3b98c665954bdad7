"""
Whether a queue or an exchange exists, and how much there is in a queue.

The question is a passive declaration.  RabbitMQ before 4.2.6 answers it for every user.
RabbitMQ 4.2.6 and 4.3.0 want the permission to configure the name; later versions want
any permission on it: to configure, to write or to read (rabbitmq-server, pull requests
16085 and 16272).  When these refuse, they name the permission to configure.  Measured
with queues and exchanges, also with names that are not there: 3.10.8 and 4.0.5 answer
everybody, 4.3.6 wants any of the three permissions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from quebert.amqp.link import has_failed
from quebert.amqp.queues._names import risk_of
from quebert.amqp.wire import temporary_channel, version_of
from quebert.errors import BrokerRefused, MayNotLook, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = [
    "Depth",
    "depth",
    "explained",
    "find_exchange",
    "find_queue",
    "is_gone",
]

# "NOT_FOUND - home node 'rabbit@a' of durable queue 'q' in vhost '/' is down or
# inaccessible"
_NODE_DOWN = "home node"
_WANT_CONFIGURE = ((4, 2, 6), (4, 3, 0))


@attrs.frozen
class Depth:
    """
    A queue at a moment.

    @ivar ready: how many messages are there for whoever asks.
    @ivar consumers: how many consumers it has.
    """

    ready: int
    consumers: int


async def depth(wire: Wire, queue: str) -> Depth | None:
    """
    What there is in C{queue}; C{None} where there is no such queue.

    @raise MayNotLook: the user lacks the permission to see it.
    """
    found = await find_queue(wire, queue)
    if found is None:
        return None
    return Depth(found.message_count, found.consumer_count)


async def find_queue(wire: Wire, queue: str) -> Any:
    """
    RabbitMQ's C{queue.declare-ok} with the numbers of messages and consumers; C{None}
    where there is no such queue.

    @raise MayNotLook: the user lacks the permission that the question takes.
    @raise BrokerError: the broker does not answer.
    """
    return await _find(wire, "queue", queue)


async def is_gone(wire: Wire, queue: str) -> bool:
    """
    Whether it is certain that there is no such queue.  One whose node is down is there,
    with its messages, although RabbitMQ refuses it by the same code; and one that the
    user may not look at may be.

    @raise ChannelLost: the connection is lost.
    """
    async with temporary_channel(wire) as channel:
        try:
            await channel.call("queue_declare", queue=queue, passive=True)
        except BrokerRefused as e:
            return e.code == ReplyCode.NOT_FOUND and _NODE_DOWN not in str(e)
    return False


async def find_exchange(wire: Wire, exchange: str) -> Any:
    """
    The same of an exchange, of whatever type.
    """
    return await _find(wire, "exchange", exchange, exchange_type="fanout")


async def _find(wire: Wire, kind: str, name: str, **arguments: str) -> Any:
    asked = {kind: name, "passive": True, **arguments}
    async with temporary_channel(wire) as channel:  # which a refusal closes
        try:
            return await channel.call(f"{kind}_declare", **asked)
        except BrokerRefused as e:
            if e.code == ReplyCode.NOT_FOUND:
                return None
            if e.code == ReplyCode.ACCESS_REFUSED:
                needs = f"the user needs to {_permission(wire)} {kind} {name!r}"
                raise MayNotLook(f"{needs}: {e}") from None
            raise explained(e, name) from None


def explained(refusal: BrokerRefused, name: str) -> BrokerRefused:
    """
    A refusal that concerns C{name}, a queue or an exchange.  Where RabbitMQ does not
    say why it refuses, and the name may be the reason, the text tells so.
    """
    risk = risk_of(name) if has_failed(refusal) else ""
    return BrokerRefused(refusal.code, f"{refusal}; {risk}") if risk else refusal


def _permission(wire: Wire) -> str:
    wants_configure = version_of(wire) in _WANT_CONFIGURE
    return "configure" if wants_configure else "configure, write or read"
