"""
How a queue is: what waits, who consumes, whether it is paused, what is dead.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from quebert.amqp.coordination import is_paused
from quebert.amqp.delays import arrivals_of
from quebert.amqp.queues import count_lookers, dead_letters_of, depth
from quebert.amqp.wire import Wire
from quebert.operations._elsewhere import Due
from quebert.operations._refusals import noted

__all__ = ["Status", "held_by_others", "living", "ready", "rest_of"]


@attrs.frozen
class Status:
    """
    A queue at a moment.  What the user may not see is C{None}.

    @ivar ready: messages that wait; C{None} also where there is no such queue.
    @ivar consumers: who takes them; 0 where there is no such queue.
    @ivar paused: whether mediators begin nothing of it.
    @ivar paused_by: who paused it; empty also where nobody tells.
    @ivar paused_since: since when, in seconds since the epoch.
    @ivar dead: messages that were given up; C{None} also where nobody asked.
    @ivar arrived: delayed messages that are due, and that the queue has not taken;
        C{None} also where nobody asked.
    @ivar unclaimed: delayed messages of any queue that was not there when they were
        due; C{None} also where nobody asked.
    @ivar running: messages that mediators have: their tasks run, or wait for their turn
        or for some seconds.
    @ivar retrying: tasks that wait in RabbitMQ to be tried again.
    @ivar delayed: tasks that wait there to be tried for the first time.
    @ivar rate_in: messages a second that come into the queue, tasks that come back
        included; a mean over some seconds.
    @ivar rate_out: messages a second that leave it for good, or to wait elsewhere.
    @ivar unknown: why some of these are C{None}, by their names; sentences.
    @ivar problems: what could not be seen or done, and why; sentences.
    """

    ready: int | None
    consumers: int | None
    paused: bool | None
    dead: int | None = None
    problems: tuple[str, ...] = ()
    arrived: int | None = None
    unclaimed: int | None = None
    running: int | None = None
    retrying: int | None = None
    delayed: Due | None = None
    rate_in: float | None = None
    rate_out: float | None = None
    unknown: Mapping[str, str] = attrs.field(factory=dict)
    paused_by: str = ""
    paused_since: float | None = None

    @property
    def exists(self) -> bool | None:
        """
        Whether there is such a queue.
        """
        if self.ready is None:
            return None if self.consumers is None else False
        return True


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


async def rest_of(wire: Wire, queue: str, now: Status) -> Status:
    """
    The same with what is dead of C{queue}, and what has arrived.
    """
    dead = arrived = None
    problems = [*now.problems]
    with noted(problems):
        dead = await _dead(wire, dead_letters_of(queue), problems)
    with noted(problems):
        arrived = await ready(wire, arrivals_of(queue))
    return attrs.evolve(now, dead=dead, arrived=arrived, problems=tuple(problems))


async def ready(wire: Wire, queue: str) -> int:
    """
    How many messages wait in a queue, if it is there.
    """
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
