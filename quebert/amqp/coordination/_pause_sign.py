"""
The sign that a queue is paused, and the ways to tell of it.

A queue is paused while the durable exchange C{quebert.paused.<queue>} exists.  RabbitMQ
keeps it, and all nodes know it.

L{set_paused} sets or removes the sign and deletes the exchange L{MARK}, in such an
order that mediators notice what has changed, wherever the program is killed.  Then it
publishes to L{CONTROL}, with the queue as the routing key.  A message can be lost, and
RabbitMQ takes none while it is short of memory.  But each client sees that the mark is
gone (L{quebert.amqp.coordination._pause_mark}).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, TimeoutError

from quebert._protocol.properties import encode_properties
from quebert.amqp.queues import derived, find_exchange
from quebert.amqp.wire import Call, Unconfirmed, call_in_one_write
from quebert.errors import BrokerError, BrokerRefused, ReplyCode, Unroutable

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["CONTROL", "MARK", "announce", "is_paused", "set_paused", "sign_of"]

#: The exchange over which watches are told to look.
CONTROL = "quebert.control"
#: The exchange that is deleted when a queue is paused or resumed.
MARK = "quebert.control.mark"
#: Seconds in which RabbitMQ must take a message that tells watches to look.
TELLING = 2.0
_SIGN = "quebert.paused."


def sign_of(queue: str) -> str:
    """
    The exchange that is there while C{queue} is paused.
    """
    return derived(_SIGN, queue)


async def is_paused(wire: Wire, queue: str) -> bool:
    """
    Whether C{queue} is paused.

    @raise MayNotLook: the user lacks the permission to see it.
    """
    return await find_exchange(wire, sign_of(queue)) is not None


async def set_paused(wire: Wire, queue: str, paused: bool) -> BrokerError | None:
    """
    Pause C{queue}, or end its pause, and have its watches look whether it is paused.

    RabbitMQ may read nothing more from C{wire} after this, until it is not short of
    memory any more: C{wire.blocked} tells.

    @return: why the watches do not know, if they cannot be told.
    @raise BrokerError: the broker does not do it.
    """
    unmarked = await _set_sign(wire, queue, paused)
    unheard = await _announce(wire, queue)
    return unheard if unmarked is not None else None


async def _set_sign(wire: Wire, queue: str, paused: bool) -> BrokerError | None:
    """
    Set or remove the sign, and delete the mark.

    When a connection ends, RabbitMQ may have done any number of its last calls.  The
    mark goes before the sign, so that it is gone if only these two were done, and again
    after the sign: a client may have looked, and made the mark anew, in between.

    @return: why the mark cannot be deleted.
    """
    setting: Call = ("exchange_delete", {"exchange": sign_of(queue)})
    if paused:
        kind = {"exchange_type": "fanout", "durable": True}
        setting = ("exchange_declare", {"exchange": sign_of(queue), **kind})
    marking: Call = ("exchange_delete", {"exchange": MARK})
    try:
        await call_in_one_write(wire, [marking, setting, marking])
    except BrokerRefused as e:
        await call_in_one_write(wire, [setting])
        return e
    return None


async def announce(wire: Wire, name: str) -> BrokerError | None:
    """
    Have clients look that hear of C{name}, which is no queue: publish to them, and if
    that fails, delete the mark, so that all their watches look, too.

    RabbitMQ may read nothing more from C{wire} after this, until it is not short of
    memory any more.

    @return: why they do not know, if they cannot be told.
    @raise BrokerError: the connection is lost.
    """
    unheard = await _announce(wire, name)
    if unheard is None:
        return None
    try:
        await call_in_one_write(wire, [("exchange_delete", {"exchange": MARK})])
    except BrokerRefused:
        return unheard
    return None


async def _announce(wire: Wire, queue: str) -> BrokerError | None:
    """
    Publish to the watches of C{queue} that they are to look.

    @return: why they are not told.
    """
    try:
        channel = await wire.open_channel()
        published = channel.publish(CONTROL, queue, b"", encode_properties({}))
        try:
            await published.addTimeout(TELLING, wire.clock)
        finally:
            # A broker that reads nothing may take its time.
            Deferred.fromCoroutine(channel.shut())
    except Unroutable:
        pass  # nobody watches the queue now
    except TimeoutError:
        why = wire.blocked or f"no answer within {TELLING:g} s"
        return BrokerError(f"RabbitMQ takes no messages now: {why}")
    except Unconfirmed as e:
        if e.refusal is None or e.refusal.code != ReplyCode.NOT_FOUND:
            return e.refusal or e
        # A watch that listens has made that exchange.
    except BrokerError as e:
        return e
    return None
