"""
Counting what is to come to an end: running calls, open connections.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, succeed

__all__ = ["Tally"]


@attrs.define(eq=False)
class Tally:
    """
    How many there are of something, and word when there are none.
    """

    count: int = 0
    _waiting: list[Deferred[None]] = attrs.Factory(list)

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
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def none(self) -> Deferred[None]:
        """
        Fires once there are none; may be cancelled.
        """
        if self.count == 0:
            return succeed(None)
        fired: Deferred[None] = Deferred()
        self._waiting.append(fired)
        return fired
