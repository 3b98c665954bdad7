"""
Pausing a queue, and having it go on.
"""

from __future__ import annotations

from contextlib import suppress

import attrs
from twisted.internet.task import deferLater

from quebert.amqp.coordination import (
    PauseNote,
    is_paused,
    leave_note,
    remove_note,
    set_paused,
)
from quebert.amqp.wire import Wire
from quebert.errors import BrokerError, ConfigError, MayNotLook
from quebert.operations._access import BrokerAccess
from quebert.operations._status import Status, living

__all__ = ["pause", "resume"]

#: Seconds in which whoever watches a queue must have let it rest.
REST = 5.0
# Seconds between looks.
_STEP = 0.2


async def pause(
    broker: BrokerAccess, queue: str, *, missing_ok: bool = True, by: str = ""
) -> Status:
    """
    Pause C{queue}: no mediator begins anything of it until it is resumed.  Returns when
    nobody consumes it any more, or after five seconds, or when somebody has resumed it.

    @param missing_ok: whether a queue that does not exist is paused, too: those who
        watch it then begin with a pause.
    @param by: who pauses it, for others to see; not where it is paused already.
    @return: how it is then, without what L{status<quebert.operations.status>} alone
        tells: C{consumers} have not stopped yet, and C{paused} is C{False} if somebody
        has resumed it.
    @raise ConfigError: the URL is no AMQP URL; or there is no such queue, without
        C{missing_ok}.
    @raise BrokerError: it is not paused, or nobody knows: there is no broker in five
        seconds, or it does not let us, or the connection is lost.
    """
    async with broker.client() as (client, wire):
        if not missing_ok and (await living(wire, queue)).exists is False:
            raise ConfigError(f"there is no queue {queue!r}")
        was_paused = await _seems_paused(wire, queue)
        problems = await _set_paused(wire, queue, True)
        if wire.blocked is None and not was_paused:
            with suppress(BrokerError):  # it is paused all the same
                await leave_note(wire, queue, PauseNote(by, client.now()))
        if wire.blocked is None:
            now = await _at_rest(broker, wire, queue)
            return attrs.evolve(now, problems=(*problems, *now.problems))
    # RabbitMQ is short of memory, and reads no more from a connection that publishes.
    async with broker.client() as (_, wire):
        now = await _at_rest(broker, wire, queue)
        return attrs.evolve(now, problems=(*problems, *now.problems))


async def _at_rest(broker: BrokerAccess, wire: Wire, queue: str) -> Status:
    clock = broker.reactor
    end = clock.seconds() + REST
    while True:
        late = clock.seconds() >= end
        now = await living(wire, queue)
        if late or not now.consumers or now.paused is False:
            return now
        await deferLater(clock, _STEP)


async def resume(broker: BrokerAccess, queue: str) -> Status:
    """
    Have C{queue} go on.

    @return: how it was before, without what L{status<quebert.operations.status>} alone
        tells: C{paused} is C{False} if it was not paused.
    @raise ConfigError: the URL is no AMQP URL.
    @raise BrokerError: its pause is not over, or nobody knows: there is no broker in
        five seconds, or it does not let us, or the connection is lost.
    """
    async with broker.client() as (_, wire):
        before = await living(wire, queue)
        await remove_note(wire, queue)
        problems = await _set_paused(wire, queue, False)
        return attrs.evolve(before, problems=(*problems, *before.problems))


async def _set_paused(wire: Wire, queue: str, paused: bool) -> tuple[str, ...]:
    """
    Pause C{queue}, or resume it, and tell its mediators; gives the problem with the
    latter, if there is one.
    """
    why = await set_paused(wire, queue, paused)
    late = "mediators are not told, and may notice only when they connect again"
    return () if why is None else (f"{late}: {why}",)


async def _seems_paused(wire: Wire, queue: str) -> bool:
    with suppress(MayNotLook):
        return await is_paused(wire, queue)
    return False
