"""
The memory that the tasks of one watch take: how much each takes at most, what those at
work take together, and for how long others wait for it.

What a task takes is reckoned once, when it comes (L{TaskMemory.weigh}), by the numbers
in L{quebert._bounds}: by the mediator for the body (C{memory_of} in
C{mediator/_codec}), and here for the properties.  What grows while a task is at work,
such as the body of its answer, is not counted.  To count it, a method of
L{WatchedMessage<quebert.boundaries.WatchedMessage>} would have to tell L{TaskMemory},
which takes it from its L{Part<quebert.amqp.watch._memory_budget.Part>} of the budget,
and gives it back when the callback has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from twisted.internet.interfaces import IReactorTime

from quebert._bounds import BODY_BYTE, PROPERTY_BYTE, memory_of
from quebert._consumer_timeout import wait_left
from quebert._deadlines import Deadlines
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._handler import owner_of
from quebert.amqp.watch._memory_budget import Again, Budget, Part

__all__ = ["TaskMemory", "memory_known_to"]


@runtime_checkable
class Weighing(Protocol):
    """
    An object that knows the memory of its tasks, such as a mediator.  If the callback
    of a watch is a method of such an object, the watch asks it.
    """

    def memory_of(self, body: bytes) -> int:
        """
        How many bytes of memory the task in a body takes.
        """


class TaskMemory:
    """
    The memory of one watch.

    @param clock: gives the clock that waits go by.
    @param put_off: called with each message that has waited for memory for so long that
        with the longest request it might be held for more than
        L{CONSUMER_TIMEOUT<quebert._consumer_timeout.CONSUMER_TIMEOUT>} seconds.
    @param memory_of: tells how many bytes the task in a body takes at most while it is
        at work.
    @ivar light: a message of so many bytes need not be weighed.
    """

    def __init__(
        self,
        budget: Budget,
        clock: Callable[[], IReactorTime],
        put_off: Callable[[DeliveredMessage], None] = lambda message: None,
        memory_of: Callable[[bytes], int] = memory_of,
    ) -> None:
        self._free = budget.free
        self.light = budget.free // max(BODY_BYTE, PROPERTY_BYTE)
        self._part = Part(budget)
        self._memory_of = memory_of
        self._clock = clock
        self._waits = Deadlines[DeliveredMessage](clock, put_off)

    def weigh(self, message: DeliveredMessage) -> None:
        """
        Note how much memory the task in a message takes at most; 0 for little.
        """
        properties = len(message.encoded_properties) * PROPERTY_BYTE
        memory = self._memory_of(message.body) + properties
        message.memory = memory if memory > self._free else 0

    def admits(self, message: DeliveredMessage, again: Again) -> bool:
        """
        Whether a message that takes memory may begin.

        @param again: called when others have ended, where it may not.
        """
        return self._part.admits(message.memory, again)

    def wait(self, message: DeliveredMessage) -> None:
        """
        A message that came some time ago begins to wait for memory.
        """
        left = wait_left(message.came, self._clock().seconds())
        self._waits.begin(message, left)

    def forget(self, again: Again, messages: Iterable[DeliveredMessage]) -> None:
        """
        These messages wait no more, and no others do.
        """
        self._part.forget(again)
        for message in messages:
            self._waits.end(message)

    def begin(self, message: DeliveredMessage) -> None:
        """
        A task that takes memory begins.
        """
        self._waits.end(message)
        self._part.take(message.memory)

    def ended(self, message: DeliveredMessage) -> None:
        """
        A task that takes memory has ended.
        """
        self._part.give(message.memory)

    def end(self) -> None:
        """
        The watch is over.
        """
        self._part.end()


def memory_known_to(callback: Callable[..., object]) -> Callable[[bytes], int]:
    """
    What tells how much memory the task in a body takes: a mediator whose method is the
    callback, or else nobody knows better than L{memory_of}.
    """
    owner = owner_of(callback)
    return owner.memory_of if isinstance(owner, Weighing) else memory_of
