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

__all__ = ["Budget"]


class Budget:
    """
    A message may begin if it fits beside what is taken, and nobody waits in the line.
    One that is larger than the whole budget may when no other is at work.

    @param most: bytes that all tasks at work take together.
    @ivar most: the same.
    @ivar taken: how many they take now; counted by those whose tasks these are, who
        have others L{go_on} when one of theirs has ended.
    @ivar line: what asks again, in the order in which it was refused.
    """

    def __init__(self, most: int = AT_WORK) -> None:
        self.most = most
        self.taken = 0
        self.line: dict[Callable[[], None], None] = {}

    def wait(self, again: Callable[[], None]) -> None:
        """
        Call C{again} when a message has ended, and it may be admitted.
        """
        self.line[again] = None

    def forget(self, again: Callable[[], None]) -> None:
        """
        What asked has no message that waits any more.
        """
        self.line.pop(again, None)

    def go_on(self) -> None:
        """
        Some memory is free again: whoever waits for it may ask again.
        """
        line, self.line = self.line, {}
        for again in line:
            again()
