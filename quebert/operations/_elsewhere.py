"""
What waits on the delay ladder: tasks that were delayed, and tasks that are tried again.

Theory of operation.  A rung of the ladder holds tasks of all queues, and AMQP tells no
more than their number.  The wait that is in the rung's name tells when the last of them
is due at the latest: behind a rung of less than 64 s, its tasks are due; those of a
longer one before the wait of the next rung would be over.  (Only while a rung is
new, for some seconds in the life of a broker, do its tasks begin in a shorter one.)  Of
which queue a task is, when exactly it is due and whether it was tried are in its
message alone.  So where no rung holds more than L{_FEW_IN_RUNG} tasks, all of them are
looked at, as mediators do with the first one of each rung
(C{amqp/delays/_rungs_in_use}): fetched, and given back when the channel is closed.
More than 32 might come back in another order (C{amqp/queues/_browse}).  Before RabbitMQ
4.0, which may lose some where several look at many, there are fewer
(L{held_at_most<quebert.amqp.queues.held_at_most>}).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import TYPE_CHECKING

import attrs

from quebert._lanes import all_of
from quebert.amqp.delays import (
    FIRST_WAITS,
    WAITS,
    Rungs,
    has_quorum,
    latest_due,
    pass_on_overdue,
)
from quebert.amqp.queues import depth, held_at_most
from quebert.amqp.wire import ERRORS, NOT_BEFORE, Message, temporary_channel, version_of
from quebert.errors import BrokerRefused
from quebert.policy import ATTEMPTS

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["Due", "LadderLook", "LadderLooks", "WaitingTask"]

# Rungs that are asked at a time.
_CHANNELS = 16
# How many tasks of a rung are looked at, and how many of all; more are only counted.
_FEW_IN_RUNG = 24
_FEW = 200
# How often a rung is looked at that has fewer than were counted.
_TRIES = 3
# Bytes of the bodies that come with them.
_MOST_BYTES = 4 * 2**20
# Seconds for which a rung that was not there is not asked for again, unless the
# management API tells of it: RabbitMQ's log has an error each time.
_ALL_AGAIN = 30.0


@attrs.frozen
class Due:
    """
    How many tasks are due when; each is counted once.

    @ivar minute: within a minute.
    @ivar hour: later, within an hour.
    @ivar day: later, within a day.
    @ivar later: after that.
    """

    minute: int = 0
    hour: int = 0
    day: int = 0
    later: int = 0

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Due:
        """
        Of tasks that are due in so many seconds.
        """
        return cls.of_many((each, 1) for each in seconds)

    @classmethod
    def of_many(cls, pairs: Iterable[tuple[float, int]]) -> Due:
        """
        The same, with the number of tasks that are due in so many seconds.
        """
        counts = [0, 0, 0, 0]
        for seconds, count in pairs:
            counts[(seconds > 60) + (seconds > 3600) + (seconds > 86400)] += count
        return cls(*counts)

    @property
    def total(self) -> int:
        """
        All of them.
        """
        return self.minute + self.hour + self.day + self.later


@attrs.frozen
class WaitingTask:
    """
    A task on the ladder.

    @ivar queue: that it is of.
    @ivar due: in how many seconds.
    @ivar tried: whether there was an attempt, which failed.
    """

    queue: str
    due: float
    tried: bool


@attrs.frozen
class LadderLook:
    """
    What waits on the ladder at a moment, of all queues.

    @ivar counts: how many tasks are in the rungs for a wait of so many seconds.
    @ivar tasks: all of them; C{None} where they were not looked at.
    @ivar why: why they were not; a sentence.
    """

    counts: tuple[tuple[int, int], ...]
    tasks: tuple[WaitingTask, ...] | None
    why: str = ""

    @property
    def due(self) -> Due:
        """
        When all are due: exactly, or, where they were not looked at, at the latest.
        """
        if self.tasks is not None:
            return Due.of(each.due for each in self.tasks)
        return Due.of_many((latest_due(wait), count) for wait, count in self.counts)


class LadderLooks:
    """
    Looks at the ladder over one connection, again and again.

    @param now: gives the time of day, in seconds of the epoch.
    """

    def __init__(self, wire: Wire, now: Callable[[], float]) -> None:
        kinds = [False, True] if has_quorum(wire) else [False]
        self._kinds = [Rungs(quorum=each) for each in kinds]
        self._wire = wire
        self._now = now
        self._rungs = {each.name(w): w for each in self._kinds for w in WAITS}
        quorum = (each for each in self._kinds if each.quorum)
        self._quorum = {each.name(wait) for each in quorum for wait in WAITS}
        self._logs_missing = version_of(wire) is not None
        self._there: list[str] = []
        self._asked_all = -_ALL_AGAIN

    async def look(self, there: Set[str] | None = None) -> LadderLook:
        """
        @param there: the names of all rungs that are there, if somebody knows them.
        @raise MayNotLook: the user may not see the ladder.
        @raise BrokerError: the connection is lost.
        """
        counts = await self._counts(there)
        by_wait = tuple((self._rungs[name], count) for name, count in counts.items())
        why = f"{sum(counts.values())} such tasks wait in RabbitMQ, too many to look at"
        tasks = None
        try:
            if self._are_few(counts):
                tasks = await self._tasks(counts)
        except BrokerRefused as e:
            why = f"the user may not look at such tasks: {e}"
        return LadderLook(by_wait, tasks, why)

    async def _counts(self, there: Set[str] | None) -> dict[str, int]:
        """
        How many tasks are in each rung in which there are some.
        """
        if there is None:
            names = await self._names()
        else:
            names = [*self._rungs.keys() & there]
        found = await all_of((depth(self._wire, each) for each in names), _CHANNELS)
        pairs = [(n, d.ready) for n, d in zip(names, found, strict=True) if d]
        self._there = [name for name, _ in pairs]
        return {name: count for name, count in pairs if count}

    async def _names(self) -> list[str]:
        """
        The rungs to ask for.
        """
        now = self._wire.clock.seconds()
        if self._logs_missing and now - self._asked_all < _ALL_AGAIN:
            return self._there
        self._asked_all = now
        return [name for kind in self._kinds for name in await self._of_kind(kind)]

    async def _of_kind(self, kind: Rungs) -> list[str]:
        """
        All rungs of a kind, unless it has none: some are made before any other.
        """
        first = [kind.name(wait) for wait in FIRST_WAITS]
        found = await all_of((depth(self._wire, each) for each in first), _CHANNELS)
        return [kind.name(wait) for wait in WAITS] if any(found) else []

    def _are_few(self, counts: Mapping[str, int]) -> bool:
        most = held_at_most(self._wire, _FEW_IN_RUNG)
        few = sum(counts.values()) <= _FEW
        return few and all(each <= most for each in counts.values())

    async def _tasks(self, counts: dict[str, int]) -> tuple[WaitingTask, ...] | None:
        tasks: list[WaitingTask] = []
        room = _MOST_BYTES
        for name, count in counts.items():
            messages = await self._messages(name, count, room)
            room -= sum(len(each.body) for each in messages)
            if room <= 0:
                return None
            tasks += [self._task(each, name) for each in messages]
        return tuple(tasks)

    async def _messages(self, rung: str, count: int, room: int) -> list[Message]:
        """
        The first messages of a rung, which are back when this returns.
        """
        for _ in range(_TRIES):
            found = await self._first(rung, count, room)
            if len(found) == count or sum(len(e.body) for e in found) >= room:
                break
            # The wait of the others is over; or a mediator looked at one just then.
            now = await depth(self._wire, rung)
            if now is None or now.ready <= len(found):
                break
        return found

    async def _first(self, rung: str, count: int, room: int) -> list[Message]:
        found: list[Message] = []
        async with temporary_channel(self._wire) as channel:
            while len(found) < count and room > 0:
                message = await channel.get(rung)
                if message is None:
                    break
                found.append(message)
                room -= len(message.body)
        if not found and rung in self._quorum:
            await pass_on_overdue(self._wire, rung)
        return found

    def _task(self, message: Message, rung: str) -> WaitingTask:
        tried = message.number_in(ATTEMPTS) > 0 or message.number_in(ERRORS) > 0
        not_before = message.number_in(NOT_BEFORE)
        left = not_before - self._now()
        due = max(0.0, left) if not_before else latest_due(self._rungs[rung])
        return WaitingTask(message.routing_key, due, tried)
