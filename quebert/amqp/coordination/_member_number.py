"""
The number of a watch among those that share something: 0, 1 and so on.

Each number is a lock (L{ConsumerSign}): no two watches have the same.  A watch takes a
number below the number of members, so that in the end all are taken.  That costs
nothing while nobody comes or goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from quebert.amqp.coordination._consumer_sign import ConsumerSign

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["MemberNumber"]


class MemberNumber:
    """
    @param lock: makes the lock of a number.
    """

    def __init__(self, lock: Callable[[int], ConsumerSign]) -> None:
        self._lock = lock
        self._number = 0
        self._held: ConsumerSign | None = None
        self._asked: ConsumerSign | None = None
        self._left = False

    @property
    def value(self) -> int | None:
        """
        Our number; C{None} while we have none.
        """
        held = self._held
        return self._number if held is not None and held.is_given else None

    async def take(self, wire: Wire, members: int) -> None:
        """
        Take a number, or a lower one, if there are fewer members now.  Where all are
        taken, somebody is about to leave, or to take a lower one: then we keep ours.

        @raise BrokerError: RabbitMQ refuses it, or the connection is lost.
        """
        ours = self.value
        if ours is not None and ours < members:
            return
        # Nearly always that one is free.
        likely = (members - 1,) if ours is None else ()
        for number in dict.fromkeys((*likely, *range(members))):
            if self._left:
                return
            lock = self._asked = self._lock(number)
            if await lock.give(wire):
                held, self._held, self._number = self._held, lock, number
                if held is not None:
                    await held.take_back()
                return

    async def leave(self) -> None:
        """
        Have no number any more, for ever.
        """
        self._left = True
        for each in (self._asked, self._held):
            if each is not None:
                await each.end()
