"""
A semaphore, and coroutines that run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore

from quebert._reentrancy import NonReentrant

__all__ = ["Lanes", "all_of"]

T = TypeVar("T")


class Lanes(DeferredSemaphore):
    """
    A semaphore that hundreds may wait for.

    C{DeferredSemaphore} calls each waiter within the release of the one before.  Where
    all fail at once, as after the connection was lost, that goes as deep as there are
    waiters, and Python ends it half-way: some are never called.  Here one is called
    after the other.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__(tokens)
        self._call_waiting = NonReentrant(self._call_all)

    def release(self) -> None:
        """
        Let the next one begin.
        """
        assert self.tokens < self.limit
        self.tokens += 1
        self._call_waiting()

    def _call_all(self) -> None:
        while self.tokens and self.waiting:
            self.tokens -= 1
            self.waiting.pop(0).callback(self)  # type: ignore[arg-type]


async def all_of(
    works: Iterable[Coroutine[Any, Any, T]], most: int | None = None
) -> list[T]:
    """
    The results of coroutines that run side by side, in their order.

    @param most: how many run at a time; C{None} for all.
    @raise Exception: what the first of them raised that failed, once all have ended.
    """
    run: Callable[[Coroutine[Any, Any, T]], Deferred[T]] = Deferred.fromCoroutine
    if most is not None:
        run = partial(Lanes(most).run, run)
    results: Any = await DeferredList([run(each) for each in works], consumeErrors=True)
    for well, result in results:
        if not well:
            result.raiseException()
    return [result for _, result in results]
