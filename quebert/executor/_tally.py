"""
Counting what is to come to an end: running calls, open connections.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, succeed

from quebert._waiters import Waiters

__all__ = ["Tally"]


@attrs.define(eq=False)
class Tally:
    """
    How many there are of something, and word when there are none.
    """

    count: int = 0
    _waiters: Waiters[None] = attrs.field(init=False, factory=Waiters)

    def add(self) -> None:
        """
        One more.
        """
        self.count += 1

    def remove(self) -> None:
        """
        One less.
        """
        self.count -= 1
        if self.count == 0:
            self._waiters.fire(None)

    def none(self) -> Deferred[None]:
        """
        Fires once there are none; may be cancelled.
        """
        return self._waiters.wait() if self.count else succeed(None)
