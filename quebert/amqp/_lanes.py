"""
Some at a time, however many wait.  Knows nothing of what they do.
"""

from __future__ import annotations

from twisted.internet.defer import DeferredSemaphore

__all__ = ["Lanes"]


class Lanes(DeferredSemaphore):
    """
    A semaphore that hundreds may wait for.

    L{DeferredSemaphore} calls each waiter within the release of the one before.  Where
    all fail at once, as after the connection was lost, that goes as deep as there are
    waiters, and Python ends it half-way: some are never called.  Here one is called
    after the other.
    """

    _calling = False

    def release(self) -> None:
        """
        Let the next one begin.
        """
        assert self.tokens < self.limit
        self.tokens += 1
        if self._calling:
            return  # the loop that has called us goes on
        self._calling = True
        try:
            while self.tokens and self.waiting:
                self.tokens -= 1
                self.waiting.pop(0).callback(self)  # type: ignore[arg-type]
        finally:
            self._calling = False
