"""
By how much the reactor is late.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall

__all__ = ["LOOK", "WINDOW", "Lag"]

#: Seconds between two looks.
LOOK = 0.5
#: Seconds for which a lag is told, at least; at most twice as long.  Prometheus asks
#: every 15 or 30 seconds.
WINDOW = 30.0


class Lag:
    """
    Sees by how much a timer is late.

    @param reactor: has the timer.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timer: IDelayedCall | None = None
        self._due = self._begun = 0.0
        self._now = self._before = 0.0

    @property
    def most(self) -> float:
        """
        By how many seconds it was late at most, lately.
        """
        return max(self._now, self._before)

    def start(self) -> None:
        """
        Look from now on.
        """
        if self._timer is None:
            self._begun = self._reactor.seconds()
            self._wait()

    def _wait(self) -> None:
        self._due = self._reactor.seconds() + LOOK
        self._timer = self._reactor.callLater(LOOK, self._look)

    def _look(self) -> None:
        now = self._reactor.seconds()
        if now - self._begun >= WINDOW:
            self._begun, self._before, self._now = now, self._now, 0.0
        self._now = max(self._now, now - self._due)
        self._wait()

    def stop(self) -> None:
        """
        Look no more.
        """
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
