"""
Faults of telemetry itself, logged once in a while: they may come with each task.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["PERIOD", "Faults"]

#: Seconds at least between two of them that are told.
PERIOD = 60.0


class Faults:
    """
    @param tell: logs a text, and the exception that is being handled.
    """

    def __init__(
        self,
        tell: Callable[[str], object],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._seconds = seconds
        self._told_at = float("-inf")

    def met(self, text: str) -> None:
        """
        Something went wrong, and the task goes on without it.
        """
        now = self._seconds()
        if now - self._told_at >= PERIOD:
            self._told_at = now
            self._tell(text)
