"""
The end of the reactor's turn: when all that has come is dealt with, and what was
gathered meanwhile is best done in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

__all__ = ["EndOfTurn"]


class EndOfTurn:
    """
    Calls something at the end of a turn in which that was asked for, once.

    @param call: what is called.
    """

    def __init__(self, clock: IReactorTime, call: Callable[[], object]) -> None:
        self._clock = clock
        self._call = call
        self._pending: Any = None

    def ask(self) -> None:
        """
        It is to be called at the end of this turn.
        """
        if self._pending is None:
            self._pending = self._clock.callLater(0, self._end)
            # Else it would have to wait where the clock is set back meanwhile.
            self._pending.time = 0.0

    def now(self) -> None:
        """
        If it is to be called, do so now.
        """
        if self._pending is not None:
            self._pending.cancel()
            self._end()

    def cancel(self) -> None:
        """
        It is not to be called any more.
        """
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _end(self) -> None:
        self._pending = None
        self._call()
