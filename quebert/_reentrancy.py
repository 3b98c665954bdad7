"""
Work that may ask for itself while it is being done.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["NonReentrant"]


class NonReentrant:
    """
    Does a piece of work, but never within itself: if it is asked for while it is being
    done, it is done again afterwards.

    @param work: it has to do with whatever there is to do, so that it matters not how
        often it was asked for.
    """

    __slots__ = ("_asked", "_running", "_work")

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._running = self._asked = False

    def __call__(self) -> None:
        """
        Do the work, or have whoever does it do it again.
        """
        self._asked = True
        if self._running:
            return
        self._running = True
        try:
            while self._asked:
                self._asked = False
                self._work()
        finally:
            self._running = False
