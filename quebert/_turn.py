"""
When work is done in the turns of the reactor: at the end of one, when all that has come
is dealt with, and what was gathered meanwhile is best done in one go; or in several, so
that nothing else waits for long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["EndOfTurn", "InSteps"]

T = TypeVar("T")


class EndOfTurn:
    """
    Calls something once, at the end of each turn in which somebody has asked for that.

    @param call: what is called.
    """

    def __init__(self, clock: IReactorTime, call: Callable[[], object]) -> None:
        self._clock = clock
        self._call = call
        self._pending: Any = None

    def ask(self) -> None:
        """
        Have C{call} called at the end of this turn.
        """
        pending: Any = self._pending
        if pending is None or not pending.active():
            self._pending = pending = self._clock.callLater(0, self._call)
            # Else it would have to wait where the clock is set back meanwhile.
            pending.time = 0.0

    def now(self) -> None:
        """
        Call C{call} now, if that was asked for.
        """
        if self.cancel():
            self._call()

    def cancel(self) -> bool:
        """
        Do not call C{call} any more.

        @return: whether it was to be called.
        """
        pending, self._pending = self._pending, None
        if pending is None or not pending.active():
            return False
        pending.cancel()
        return True


class InSteps:
    """
    Does work that takes long in steps, one in each turn, so that other events wait for
    one step at most.  The work that came first is done first.
    """

    def __init__(self, clock: Callable[[], IReactorTime]) -> None:
        self._clock = clock
        self._works: deque[tuple[Generator[None, None, Any], Deferred[Any]]] = deque()
        self._ends: EndOfTurn | None = None

    def do(self, steps: Generator[None, None, T]) -> Deferred[T]:
        """
        Do some work, whose first step is done at the end of this turn at the earliest.

        @return: fires with what C{steps} returns, or fails with what it raises.  When
            it is cancelled, the other steps are left out.
        """
        done: Deferred[T] = Deferred(lambda _: steps.close())
        self._works.append((steps, done))
        if self._ends is None:
            self._ends = EndOfTurn(self._clock(), self._step)
        self._ends.ask()
        return done

    def _step(self) -> None:
        assert self._ends is not None
        steps, done = self._works[0]
        try:
            next(steps)
        except StopIteration as e:
            self._works.popleft()
            if not done.called:
                done.callback(e.value)
        except Exception:
            self._works.popleft()
            done.errback()
        if self._works:
            self._ends.ask()
