"""
Priorities between the queues of one process, by weights.  These are not the priorities
of AMQP, which order the messages of one queue.

Queues of a group share the same places, each according to its weight.

Stride scheduling: each message that begins moves its queue on by C{1 / weight}, and
the queue that is least far begins the next.  A queue that was empty for a while does
not make up for it.  A message that has waited here for long goes before all others,
even without a free place, one per queue at a time: so nothing starves.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert.amqp.watch import DeliveredMessage, Throttle
from quebert.errors import ConfigError

__all__ = ["Member", "PriorityGroup"]


class PriorityGroup:
    """
    For the C{group} of several watches, of one client or more in one process.

    @param concurrency: how many messages of all queues may be with their callbacks
        at once; beyond these, one of each queue that has waited too long.
    @param ageing: seconds that a message waits here at most, whatever the weights.
    @ivar running: how many are with their callbacks now, of those that have one of
        the common places.
    """

    def __init__(self, concurrency: int = 100, ageing: float = 60.0) -> None:
        if not concurrency >= 1:
            raise ConfigError(f"concurrency={concurrency} must be at least 1")
        if not ageing > 0:
            raise ConfigError(f"ageing={ageing} must be more than 0 seconds")
        self.concurrency = concurrency
        self.ageing = ageing
        self.running = 0
        self._progress = 0.0
        self._wanting: set[Member] = set()
        self._chosen: Member | None = None
        self._choosing = False
        self._timer: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<PriorityGroup: {self.running} of {self.concurrency} places taken>"

    def join(self, weight: float, clock: Callable[[], IReactorTime]) -> Member:
        """
        The throttle of another queue.

        @raise ConfigError: the weight is wrong.
        """
        if not 0 < weight < math.inf:
            raise ConfigError(f"weight={weight} must be more than 0")
        return Member(self, weight, clock)

    # -- For its members

    def may_begin(self, member: Member) -> bool:
        """
        Whether it is the turn of a member; where it is not, it will be.
        """
        its_turn = not self._choosing or self._chosen is member
        if its_turn and self._has_place(member):
            return True
        self._wanting.add(member)
        self._mind(member)
        return False

    def begun(self, member: Member, message: DeliveredMessage) -> None:
        """
        A member's message begins.
        """
        if self.running < self.concurrency:
            self.running += 1
        else:
            member.beyond = message
        self._chosen = None
        self.forget(member)
        self._progress = max(self._progress, member.progress)
        if not message.was_begun:  # else it has counted
            member.progress += 1 / member.weight

    def left(self, member: Member, message: DeliveredMessage) -> None:
        """
        A member's message leaves its place.
        """
        if member.beyond is message:
            member.beyond = None
        else:
            self.running -= 1
        self._choose()

    def forget(self, member: Member) -> None:
        """
        A member wants nothing for now.
        """
        self._wanting.discard(member)
        if self._timer is not None and not self._wanting:
            self._timer.cancel()
            self._timer = None

    def catch_up(self, member: Member) -> None:
        """
        A member that had nothing has something again.
        """
        member.progress = max(member.progress, self._progress)

    # -- Whose turn it is

    def _has_place(self, member: Member) -> bool:
        if self.running < self.concurrency:
            return True
        return member.beyond is None and self._is_old(member)

    def _is_old(self, member: Member) -> bool:
        return member.since + self.ageing <= member.now

    def _choose(self) -> None:
        """
        Let those begin that may.
        """
        if self._choosing:
            return  # one has left as soon as it had begun: there is a place more
        self._choosing = True
        try:
            while may := [each for each in self._wanting if self._has_place(each)]:
                self._chosen = member = self._first(may)
                self._wanting.discard(member)
                member.again()
        finally:
            self._choosing, self._chosen = False, None

    def _first(self, members: list[Member]) -> Member:
        old = [each for each in members if self._is_old(each)]
        if old:
            return min(old, key=lambda each: each.since)
        return min(members, key=lambda each: each.progress)

    def _mind(self, member: Member) -> None:
        """
        See to it that a message of a member begins before it is too old.
        """
        if member.beyond is not None:
            return  # it is the next one's turn when that has left
        wait = max(0.0, member.since + self.ageing - member.now)
        clock = member.clock()
        if self._timer is not None:
            if self._timer.getTime() <= clock.seconds() + wait:
                return
            self._timer.cancel()
        self._timer = clock.callLater(wait, self._grown_old)

    def _grown_old(self) -> None:
        self._timer = None
        self._choose()
        for each in list(self._wanting):
            self._mind(each)


class Member(Throttle):
    """
    The throttle of one queue of a group.

    @ivar progress: how far it is, in messages by weight.
    @ivar beyond: its message that has none of the common places, if there is one.
    @ivar again: has it asked again whether one may begin.
    """

    def __init__(
        self, group: PriorityGroup, weight: float, clock: Callable[[], IReactorTime]
    ) -> None:
        self.group = group
        self.weight = weight
        self.clock = clock
        self.progress = 0.0
        self.beyond: DeliveredMessage | None = None
        self.again: Callable[[], None] = lambda: None
        self._came: deque[float] = deque()

    @property
    def now(self) -> float:
        """
        The time.
        """
        return self.clock().seconds()

    @property
    def since(self) -> float:
        """
        When the message came that has waited longest.
        """
        return self._came[0] if self._came else math.inf

    def may_begin(self, again: Callable[[], None]) -> bool:
        """
        See L{Throttle.may_begin}.
        """
        self.again = again
        return self.group.may_begin(self)

    def entered(self) -> None:
        """
        See L{Throttle.entered}.
        """
        if not self._came:
            self.group.catch_up(self)
        self._came.append(self.now)

    def begun(self, message: DeliveredMessage) -> None:
        """
        See L{Throttle.begun}.
        """
        self._came.popleft()
        self.group.begun(self, message)

    def left(self, message: DeliveredMessage) -> None:
        """
        See L{Throttle.left}.
        """
        self.group.left(self, message)

    def withdrawn(self, number: int) -> None:
        """
        See L{Throttle.withdrawn}.
        """
        for _ in range(number):
            self._came.popleft()
        if not self._came:
            self.group.forget(self)
