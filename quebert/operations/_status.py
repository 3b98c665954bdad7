"""
How a queue is: what waits, who consumes, whether it is paused, what is dead.
"""

from __future__ import annotations

import attrs

from quebert.amqp.coordination import is_paused
from quebert.amqp.delays import UNCLAIMED, arrivals_of
from quebert.amqp.queues import count_lookers, dead_letters_of, depth
from quebert.amqp.wire import Wire
from quebert.operations._access import BrokerAccess
from quebert.operations._refusals import noted

__all__ = ["Status", "held_by_others", "living", "status"]


@attrs.frozen
class Status:
    """
    A queue at a moment.  What the user may not see is C{None}.

    @ivar ready: messages that wait; C{None} also where there is no such queue.
    @ivar consumers: who takes them; 0 where there is no such queue.
    @ivar paused: whether mediators begin nothing of it.
    @ivar dead: messages that were given up; C{None} also where nobody asked.
    @ivar arrived: delayed messages that are due, and that the queue has not taken;
        C{None} also where nobody asked.
    @ivar unclaimed: delayed messages of any queue that was not there when they were
        due; C{None} also where nobody asked.
    @ivar problems: what could not be seen or done, and why; sentences.
    """

    ready: int | None
    consumers: int | None
    paused: bool | None
    dead: int | None = None
    problems: tuple[str, ...] = ()
    arrived: int | None = None
    unclaimed: int | None = None


async def living(wire: Wire, queue: str) -> Status:
    """
    How C{queue} is, but for what is dead.
    """
    ready = consumers = paused = None
    problems: list[str] = []
    with noted(problems):
        found = await depth(wire, queue)
        ready, consumers = (found.ready, found.consumers) if found else (None, 0)
    with noted(problems):
        paused = await is_paused(wire, queue)
    return Status(ready, consumers, paused, None, tuple(problems))


async def status(broker: BrokerAccess, queue: str) -> Status:
    """
    How C{queue} is.  What the user may not see is C{None}, and one of the C{problems}.

    @raise ConfigError: the URL is no AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it refuses the login, or
        the connection is lost.
    """
    dead = arrived = unclaimed = None
    async with broker.client() as (client, wire):
        now = await living(wire, queue)
        problems = [*now.problems]
        with noted(problems):
            dead = await _dead(wire, dead_letters_of(queue), problems)
        with noted(problems):
            arrived = await _ready(wire, arrivals_of(queue))
            stores = UNCLAIMED, *await client.old_ladder.stores(wire)
            unclaimed = sum([await _ready(wire, store) for store in stores])
    return attrs.evolve(
        now,
        dead=dead,
        problems=tuple(problems),
        arrived=arrived,
        unclaimed=unclaimed,
    )


async def _ready(wire: Wire, queue: str) -> int:
    found = await depth(wire, queue)
    return found.ready if found else 0


async def _dead(wire: Wire, dead: str, problems: list[str]) -> int | None:
    before = await count_lookers(wire, dead)
    found = await depth(wire, dead)
    if found is None:
        return 0
    if not before and not await count_lookers(wire, dead):
        return found.ready
    problems.append(held_by_others(dead))
    return None


def held_by_others(dead: str) -> str:
    """
    What to say where the dead letters in C{dead} cannot be counted.
    """
    return (
        f"not all dead letters can be seen: somebody else looks through {dead}, or"
        " consumes from it, and may hold them"
    )
