"""
Deferreds of all who wait for the same event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Waiters", "another_waiter"]

T = TypeVar("T")


class Waiters(Generic[T]):
    """
    All who wait for an event that may come again and again.

    @param abandoned: called when the last one that waits was cancelled.
    """

    def __init__(self, abandoned: Callable[[], object] | None = None) -> None:
        self._abandoned = abandoned
        self._waiting: dict[Deferred[T], None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Deferred[T]:
        """
        Fires with the next event.
        """
        waiter: Deferred[T] = Deferred(self._leave)
        self._waiting[waiter] = None
        return waiter

    def fire(self, result: T | Failure) -> None:
        """
        Fire all Deferreds that there are, in the order in which they were made.  One
        that is made meanwhile waits for the next event.
        """
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            if not each.called:  # else one before has cancelled it
                each.callback(result)

    def _leave(self, waiter: Deferred[T]) -> None:
        if waiter not in self._waiting:  # the event has come, and others are told first
            return
        del self._waiting[waiter]
        if not self._waiting and self._abandoned is not None:
            self._abandoned()


def another_waiter(event: Deferred[None]) -> Deferred[None]:
    """
    Fires or fails when C{event} does, and can be cancelled without harm to it.
    """
    waiter: Deferred[None] = Deferred()

    def tell(result: T) -> T:
        if not waiter.called:  # else it was cancelled
            waiter.callback(result if isinstance(result, Failure) else None)
        return result

    event.addBoth(tell)
    return waiter
