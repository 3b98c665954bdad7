"""
The register of a queue's cancelled tasks, which the broker keeps: the durable queue
C{quebert.cancelled.<queue>}, with C{quebert.cancelling.<queue>} as its lock
(L{quebert.amqp.coordination._register}).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from quebert.amqp.coordination._cancellation import (
    KEPT,
    MOST,
    Cancellation,
    from_plain,
    merged,
    to_plain,
)
from quebert.amqp.coordination._register import Held, Publish, Register
from quebert.amqp.queues import derived
from quebert.errors import ConfigError

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["add_cancelled", "lock_of", "read_cancelled", "register_of"]

_PREFIX = "quebert.cancelled."
_LOCK = "quebert.cancelling."
# Bytes of all cancelled tasks of a queue together.
_MOST_BYTES = 2**21


def register_of(queue: str) -> str:
    """
    The queue that keeps the cancelled tasks of C{queue}.
    """
    return derived(_PREFIX, queue)


def lock_of(queue: str) -> str:
    """
    The queue that a program has for itself while it reads or changes the register.
    """
    return derived(_LOCK, queue)


async def read_cancelled(
    wire: Wire, queue: str, now: float, publish: Publish | None = None
) -> dict[str, Cancellation]:
    """
    The tasks of C{queue} that are cancelled, by their uuids.

    @param now: the time of day, in seconds since the epoch.
    @param publish: replaces messages of the register where that is needed; not over
        C{wire}, if that consumes, since RabbitMQ may read nothing more from a
        connection that publishes.
    @raise MayNotLook: the user lacks the permission to see it.
    @raise BrokerError: the broker does not tell.
    """
    register = _register(queue)
    if not await register.exists(wire):
        return {}
    async with register.held(wire) as held:
        found = merged(_told(held), now)
        if publish is not None:
            await held.renew(to_plain(found.values()), publish)
        return found


async def add_cancelled(
    wire: Wire, queue: str, added: Iterable[Cancellation], now: float
) -> bool:
    """
    Add to the cancelled tasks of C{queue}; returns when the broker has confirmed it.

    @param now: the time of day, in seconds since the epoch.
    @return: whether the register was made for that.
    @raise ConfigError: there are too many.
    @raise BrokerError: nobody knows whether they are added.
    """
    async with _register(queue).held(wire) as held:
        known = _told(held)
        cancelled = merged([*known, *added], now)
        body = to_plain(cancelled.values())
        if len(cancelled) > MOST or len(body) > _MOST_BYTES:
            raise ConfigError(
                f"queue {queue!r} has {len(merged(known, now))} cancelled tasks, and"
                f" may have {MOST}: they are forgotten {KEPT / 86_400:.0f} days"
                " after they were cancelled"
            )
        return await held.replace(body)


def _register(queue: str) -> Register:
    # A day later nothing in it is wanted any more.
    return Register(register_of(queue), lock_of(queue), KEPT + 86_400)


def _told(held: Held) -> list[Cancellation]:
    return [each for body in held.bodies for each in from_plain(body)]
