"""
Declaring queues.

quebert names the type of each queue that it makes for itself, so that the default queue
type of a virtual host changes none of them.  On RabbitMQ 4 it declares quorum queues
without a delivery limit (C{x-delivery-limit} of -1), so that RabbitMQ drops no message
however often it came back.  RabbitMQ 3 takes -1 for 0: it drops a message that comes
back once (3.10.8).  A policy with a C{delivery-limit} wins over that: where one of the
two is negative, RabbitMQ takes the larger one.

A policy with C{delayed-retry-type} has the quorum queues of RabbitMQ 4.3 hold back a
message that was given back, for at least C{delayed-retry-min} milliseconds.  quebert
gives back messages that it only looks at.  A policy overrules the argument
C{x-delayed-retry-type}, even C{disabled}; but of a policy and an argument, the smaller
maximum counts.  Measured on RabbitMQ 4.3.6, and to be read in its
C{rabbit_quorum_queue:get_delayed_retry_config/1}.  RabbitMQ 4.0 takes the argument and
ignores it; the queue still has it after an upgrade to 4.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quebert._protocol.extensions import (
    DELAYED_RETRY_MAX,
    DELIVERY_LIMIT,
    MAX_LENGTH,
    QUEUE_TYPE,
)
from quebert.amqp.queues._existing import explained
from quebert.amqp.queues._names import risk_of
from quebert.amqp.wire import refusal, temporary_channel, version_of
from quebert.errors import BrokerRefused, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Wire

__all__ = [
    "CLASSIC",
    "DIFFERENT",
    "QUORUM",
    "STREAM",
    "declare_queue",
    "declare_task_queue",
    "no_delivery_limit",
    "no_single_tasks",
    "own_quorum",
    "unreached_length_limit",
]

#: The arguments of a classic queue.
CLASSIC = {QUEUE_TYPE: "classic"}
#: The arguments of a quorum queue.
QUORUM = {QUEUE_TYPE: "quorum"}
#: A type whose messages nobody can take out.
STREAM = "stream"
#: The text of a RabbitMQ that has the queue otherwise, such as "PRECONDITION_FAILED -
#: inequivalent arg 'x-max-length' for queue 'tasks' in vhost '/': received none but
#: current is the value '10' of type 'signedint'".
DIFFERENT = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for .*: received .*"
    r" current is (?:(?P<none>none)|(?:the value )?'(?P<value>.*?)'"
    r"(?: of type '(?P<type>\w+)')?)$",
    re.DOTALL,
)

# No delivery limit.
_NONE = -1
_INTEGER = re.compile(r"-?[0-9]+")
_LIMITED_SINCE = (4,)
# Milliseconds for which a quorum queue holds back what was given back.
_SHORTEST = 1
_UNREACHED = 2**31 - 1
_TELLS_OF_ROOM_SINCE = (4,)


def no_delivery_limit(wire: Wire) -> dict[str, Any]:
    """
    The argument of a quorum queue without a delivery limit, for RabbitMQ 4.  A limit
    that a policy sets overrules it.
    """
    limited = (version_of(wire) or ()) >= _LIMITED_SINCE
    return {DELIVERY_LIMIT: _NONE} if limited else {}


def own_quorum(wire: Wire) -> dict[str, Any]:
    """
    The arguments, beside its type, of a quorum queue that quebert makes for itself:
    RabbitMQ 4 drops nothing there (see L{no_delivery_limit}), and holds nothing back
    that was given back.
    """
    limitless = no_delivery_limit(wire)
    return {**limitless, DELAYED_RETRY_MAX: _SHORTEST} if limitless else {}


def unreached_length_limit(wire: Wire) -> dict[str, Any]:
    """
    The argument of a quorum queue which has RabbitMQ 3 take messages again when a
    policy with C{max-length} is removed while the queue is full.  Of the delay ladder,
    the queues for arrivals and for what nobody claims have it, and the rungs have not.

    RabbitMQ tells those who publish to the queue when it is full, and when there is
    room again; its own workers for dead letters are among them.  If the queue has no
    limit any more, RabbitMQ before 4.0 does not tell of the room: a worker waits until
    RabbitMQ is started again (C{rabbit_fifo:evaluate_limit/5}; measured on 3.10.8).  So
    the queue has a limit of its own, which no queue reaches.
    """
    version = version_of(wire)
    return (
        {MAX_LENGTH: _UNREACHED} if version and version < _TELLS_OF_ROOM_SINCE else {}
    )


async def declare_queue(
    wire: Wire, queue: str, *ways: Mapping[str, Any]
) -> Mapping[str, Any]:
    """
    Declare a durable queue with the first of several sets of arguments that the broker
    accepts.  Earlier versions of quebert named no type: in a virtual host whose default
    is another, their queues are accepted only without one.

    @return: the arguments that it accepts.
    @raise BrokerRefused: it accepts none of them, or the user may not declare it.
    """
    *_, last = ways
    for arguments in ways:
        try:
            async with temporary_channel(wire) as channel:  # which a refusal closes
                await channel.call(
                    "queue_declare", queue=queue, durable=True, arguments=arguments
                )
                break
        except BrokerRefused as e:
            if e.code != ReplyCode.PRECONDITION_FAILED or arguments is last:
                raise
    return arguments


async def declare_task_queue(
    wire: Wire, channel: Channel, queue: str, arguments: Mapping[str, Any]
) -> float | None:
    """
    Declare a durable queue for tasks, without a delivery limit.  Where the queue is
    there without that argument, or is no quorum queue, it is declared with
    C{arguments} alone; where somebody gave it another limit, it is used as it is.

    @return: the highest delivery count that a message can reach, as far as the queue's
        arguments tell: its delivery limit; infinity without one, even if RabbitMQ has a
        default limit, which we cannot see; C{None} for a queue that may be a classic
        one.
    @raise BrokerError: the broker refuses that, too.
    """
    try:
        return await _declare_task_queue(wire, channel, queue, arguments)
    except BrokerRefused as e:
        found = DIFFERENT.search(str(e))
        if found is None or not found["name"].startswith("x-"):
            raise explained(e, queue) from None
        name, value = found["name"], found["value"] or "classic"
        if (name, value) == (QUEUE_TYPE, STREAM):
            raise BrokerRefused(e.code, no_single_tasks(queue, e)) from None
        raise BrokerRefused(e.code, f"{e}; {_remedy(name, value)}") from None


async def _declare_task_queue(
    wire: Wire, channel: Channel, queue: str, arguments: Mapping[str, Any]
) -> float | None:
    limitless, kind = no_delivery_limit(wire), arguments.get(QUEUE_TYPE)
    # A type that is not named is the default of the virtual host.  RabbitMQ refuses the
    # limit where that is no quorum queue, and must be able to.
    unnamed = kind is None and bool(limitless) and not risk_of(queue)
    may_be_quorum = kind == "quorum" or unnamed
    if may_be_quorum and DELIVERY_LIMIT not in arguments:
        ways = {**arguments, **limitless}, arguments
        try:
            await declare_queue(wire, queue, *ways)
        except BrokerRefused as e:
            if e.code != ReplyCode.PRECONDITION_FAILED or DELIVERY_LIMIT not in str(e):
                raise
            found = DIFFERENT.search(str(e))
            limit = (
                found["value"] if found and found["name"] == DELIVERY_LIMIT else None
            )
            if not limit or not _INTEGER.fullmatch(limit):
                return 1
            return _highest_count(wire, limit)
        is_classic = kind is None and await _is_classic(wire, queue, arguments)
        return None if is_classic else math.inf
    given = dict(arguments)
    await channel.call("queue_declare", queue=queue, durable=True, arguments=given)
    limit = given.get(DELIVERY_LIMIT)
    return None if limit is None else _highest_count(wire, limit)


def _highest_count(wire: Wire, limit: float | str) -> float:
    """
    The highest delivery count of a message where the limit is this: RabbitMQ 4 takes
    any negative number for none, and RabbitMQ 3 for 0.
    """
    count, version = float(limit), version_of(wire)
    if count >= 0:
        return count
    return 0 if version and version < _LIMITED_SINCE else math.inf


async def _is_classic(wire: Wire, queue: str, arguments: Mapping[str, Any]) -> bool:
    """
    Whether a queue that was declared with C{arguments}, which name no type, is a
    classic one.  That it was accepted with a delivery limit or not does not tell:
    RabbitMQ accepts any limit for a classic queue that is there already, and refuses
    ours for a quorum queue that somebody else has declared (4.0.5, 4.3.6).
    """
    classic = {**arguments, **CLASSIC}
    declared = {"queue": queue, "durable": True, "arguments": classic}
    return await refusal(wire, "queue_declare", **declared) is None


def _remedy(name: str, value: str) -> str:
    """
    What has a queue that exists with another argument be watched as it is.
    """
    if name == QUEUE_TYPE:
        return f'set queue_type to "{value}"'
    return f"give the queue the argument {name} with its value in RabbitMQ"


def no_single_tasks(queue: str, why: object) -> str:
    """
    What to do where RabbitMQ refuses something of C{queue} since it is a stream.
    """
    return (
        f"{queue} is a stream, from which nobody can take single tasks: read it with a"
        f" client for streams, and delete it; mediators declare it anew as a queue"
        f" ({why})"
    )
