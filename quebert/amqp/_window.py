"""
The window: how many messages may be at work at once, and who waits for a place.

Pure bookkeeping: it knows neither the broker nor what is done with a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from quebert.amqp._message import Message

__all__ = ["Window"]


class Window:
    """
    At most C{limit} messages have a place; the others wait in their order.

    @param limit: 0 for none.
    @param begin: called with each message as it gets its place; that message
        may leave at once.
    """

    def __init__(self, limit: int, begin: Callable[[Message], None]) -> None:
        self._most = limit or float("inf")
        self._begin = begin
        self._placed: set[Message] = set()
        self._waiting: deque[Message] = deque()
        self._filling = False
        self._closed = False

    def enter(self, message: Message) -> None:
        """
        Give a message a place, now or later.
        """
        self._waiting.append(message)
        self._fill()

    def leave(self, message: Message) -> None:
        """
        Free the place of a message, if it still has one, for the next.
        """
        if message in self._placed:
            self._placed.remove(message)
            if self._waiting:
                self._fill()

    def has_room(self) -> bool:
        """
        Whether one more message would get a place at once.
        """
        return not self._waiting and len(self._placed) < self._most

    def forget_waiting(self) -> list[Message]:
        """
        Take out those that have no place yet.
        """
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def close(self) -> None:
        """
        Give no more places.
        """
        self._closed = True

    def _fill(self) -> None:
        if self._filling:
            return  # a message left as soon as it had begun
        self._filling = True
        try:
            self._give_places()
        finally:
            self._filling = False

    def _give_places(self) -> None:
        waiting, placed = self._waiting, self._placed
        while waiting and len(placed) < self._most and not self._closed:
            message = waiting.popleft()
            placed.add(message)
            self._begin(message)
