"""
How much memory requests take together.

Theory of operation.  There are two books.

L{Transit} holds what is on its way: bodies that come, and answers that leave.  Whoever
sends or takes slowly holds memory for long.  So if there is too much, those have to go
whose time is over, the oldest one first; if there is none, the request that asks for
more is refused.

L{Turns} has the tasks that functions are working on, decoded.  Clients cannot hold
these by being slow, so tasks beyond wait.  To decode a large body takes up to some
tenths of a second: other events have their turn between two of them.

Small requests are free, in both books: they are taken however many large ones there
are.  There are no more of them than connections.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, succeed

from quebert._reentrancy import NonReentrant

__all__ = ["FREE", "Transit", "Turns"]

#: Bytes of a request that are not counted.
FREE = 16_384
#: Seconds after which what is on its way may be stopped, if there is too much.
DUE = 10.0
# Bytes of memory of a task, from which on it has a turn of the reactor for itself.
_LARGE = 2**20

Holder = TypeVar("Holder", bound=Hashable)


class Transit(Generic[Holder]):
    """
    What is on its way.  Pure; time is an argument, in seconds.

    @param most: bytes that there may be.  One holder alone may have more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        # The oldest one first.
        self._held: dict[Holder, tuple[int, float]] = {}

    @property
    def is_too_much(self) -> bool:
        """
        Whether somebody has to go.
        """
        return self._taken > self._most and len(self._held) > 1

    def hold(self, holder: Holder, size: int, since: float) -> None:
        """
        C{holder} has C{size} bytes now.

        @param since: when that began, if it holds none yet; infinity for what is never
            to be stopped.
        """
        before, since = self._held.get(holder, (0, since))
        if before or size > FREE:
            self._taken += size - before
            self._held[holder] = size, since

    def release(self, holder: Holder) -> None:
        """
        C{holder} has nothing any more.
        """
        size, _ = self._held.pop(holder, (0, 0.0))
        self._taken -= size

    def overdue(self, now: float) -> Iterator[Holder]:
        """
        The holders that have held memory for too long, the oldest one first.
        """
        for holder, (_, since) in self._held.items():
            if now - since >= DUE:
                yield holder


class Turns:
    """
    The tasks at work.

    @param most: bytes of memory that they take together.  One alone may take more.
    @param call_later: calls something in so many seconds; with 0, after other events.
    """

    def __init__(self, most: int, call_later: Callable[..., object]) -> None:
        self._most = most
        self._call_later = call_later
        self._taken = 0
        self._line: dict[Deferred[None], int] = {}
        self._resting = False
        self._go_on = NonReentrant(self._begin_all)  # a task may end at once

    def begin(self, size: int) -> Deferred[None]:
        """
        Fires when a task of C{size} bytes may be decoded; at once for a small one.  If
        it is cancelled, the task has left the line; else L{end} must follow.
        """
        if size <= FREE:
            return succeed(None)
        begun: Deferred[None] = Deferred(self._leave)
        self._line[begun] = size
        self._go_on()
        return begun

    def end(self, size: int) -> None:
        """
        The task is not at work any more.
        """
        if size > FREE:
            self._taken -= size
            self._go_on()

    def _leave(self, begun: Deferred[Any]) -> None:
        del self._line[begun]
        self._go_on()  # it may have been the first

    def _begin_all(self) -> None:
        while self._line and not self._resting:
            begun, size = next(iter(self._line.items()))
            if self._taken and self._taken + size > self._most:
                break
            del self._line[begun]
            self._taken += size
            if size > _LARGE:
                self._resting = True
                self._call_later(0, self._rested)
            begun.callback(None)

    def _rested(self) -> None:
        self._resting = False
        self._go_on()
