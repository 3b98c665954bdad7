"""
Deferreds of all who wait for the same event, and of all who ask for the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Once", "Waiters", "another_waiter"]

P = ParamSpec("P")
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


class Once(Generic[P]):
    """
    Work that is done once, however many ask for it.

    @param work: what is done.
    @param again: whether it is done again for who asks after its end.
    """

    def __init__(
        self, work: Callable[P, Coroutine[Any, Any, None]], *, again: bool = False
    ) -> None:
        self._work = work
        self._again = again
        self._done: Deferred[None] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Deferred[None]:
        """
        Do it, unless it is done or being done.

        @return: fires or fails when it has ended; to cancel it does not end the work.
        """
        done = self._done
        if done is None:
            done = self._done = Deferred()
            work = Deferred.fromCoroutine(self._work(*args, **kwargs))
            work.addBoth(self._ended, done)
        return another_waiter(done)

    def _ended(self, result: Any, done: Deferred[None]) -> None:
        if self._again:
            self._done = None
        done.callback(result)
