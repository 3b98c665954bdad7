"""
Who has paused a queue, and since when.

AMQP tells no more of an exchange than that it exists.  So a message beside the sign of
a pause tells the rest, in a queue of the same name, C{quebert.paused.<queue>}, which
holds one message.  It is for people alone: a queue is paused without it, too, as by an
older quebert, or where RabbitMQ takes no messages.  Whoever reads it gives it back, and
another reader may find nothing meanwhile.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater

from quebert._protocol.extensions import MAX_LENGTH
from quebert._protocol.properties import encode_properties
from quebert._text import one_line
from quebert.amqp.coordination._pause_sign import TELLING, sign_of
from quebert.amqp.queues import CLASSIC, declare_queue, depth
from quebert.amqp.wire import temporary_channel
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["PauseNote", "leave_note", "read_note", "remove_note"]

# How often it is looked for while another reader has it, and seconds between.
_TRIES = 5
_STEP = 0.05
# Characters of a name.
_LONGEST = 200


@attrs.frozen
class PauseNote:
    """
    What is told of a pause.

    @ivar by: who paused the queue, such as C{"ada@laptop"}; empty if nobody tells.
    @ivar since: when, in seconds since the epoch.
    """

    by: str
    since: float


async def leave_note(wire: Wire, queue: str, note: PauseNote) -> None:
    """
    Tell of the pause of C{queue}, in place of what was told before.

    @raise BrokerError: RabbitMQ refuses it, or takes no messages.
    """
    name, body = sign_of(queue), json.dumps([note.by, note.since]).encode()
    await declare_queue(wire, name, {**CLASSIC, MAX_LENGTH: 1})
    channel = await wire.open_channel()
    try:
        persistent = encode_properties({"delivery-mode": 2})
        published = channel.publish("", name, body, persistent)
        await published.addTimeout(TELLING, wire.clock)
    except TimeoutError:
        raise BrokerError("RabbitMQ takes no messages now") from None
    finally:
        Deferred.fromCoroutine(channel.shut())


async def remove_note(wire: Wire, queue: str) -> None:
    """
    Tell nothing any more, if RabbitMQ lets us.
    """
    with suppress(BrokerError):
        async with temporary_channel(wire) as channel:
            await channel.call("queue_delete", queue=sign_of(queue))


async def read_note(wire: Wire, queue: str) -> PauseNote | None:
    """
    What is told of the pause of C{queue}; C{None} for nothing, also where the user may
    not read it.
    """
    with suppress(BrokerError):
        for _ in range(_TRIES):
            if await depth(wire, sign_of(queue)) is None:
                return None
            async with temporary_channel(wire) as channel:
                message = await channel.get(sign_of(queue))
            if message is not None:
                return _note(message.body)
            await deferLater(wire.clock, _STEP)
    return None


def _note(body: bytes) -> PauseNote | None:
    try:
        by, since = json.loads(body)
        return PauseNote(one_line(str(by), _LONGEST), float(since))
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
