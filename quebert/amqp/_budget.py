"""
How much memory tasks at work may take, those of all watches of a client together.  That
holds beside the number of messages that each watch has.

A task beyond the budget is not refused.  It waits in its window, not decoded, until
others have ended.  No task begins while one that came before waits for the budget, so
that small tasks do not keep a large one waiting for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from quebert._bounds import AT_WORK
from quebert.amqp._message import Message

__all__ = ["Budget"]


class Budget:
    """
    @param most: bytes that all tasks at work take together.
    """

    def __init__(self, most: int = AT_WORK) -> None:
        self._most = most
        self._taken = 0
        # What asks again, in the order in which it was refused.
        self._line: dict[Callable[[], None], None] = {}

    def admits(self, message: Message) -> bool:
        """
        Whether a message may begin now.  One that is larger than the whole budget may
        when no other is at work.
        """
        if self._line:
            return False
        return not self._taken or self._taken + message.memory <= self._most

    def wait(self, again: Callable[[], None]) -> None:
        """
        Call C{again} when a message has ended, and it may be admitted.
        """
        self._line[again] = None

    def forget(self, again: Callable[[], None]) -> None:
        """
        What asked has no message that waits any more.
        """
        self._line.pop(again, None)

    def begun(self, message: Message) -> None:
        """
        A message is with its callback.
        """
        self._taken += message.memory

    def ended(self, message: Message) -> None:
        """
        The callback of a message has ended.
        """
        self._taken -= message.memory
        if self._line:
            line, self._line = self._line, {}
            for again in line:
                again()
