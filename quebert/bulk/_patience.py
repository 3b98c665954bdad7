"""
How long a run waits for the broker: as long as that says that it blocks, and otherwise
not without limit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.python.failure import Failure

from quebert._waiters import another_waiter
from quebert.amqp.wire import Wire
from quebert.errors import BrokerError

__all__ = ["GRACE", "PATIENCE", "Patience"]

T = TypeVar("T")

#: Seconds in which the broker must have carried out a batch, unless it blocks.
PATIENCE = 60.0
#: Seconds that the last batch gets when the run is to end.
GRACE = 5.0
# Seconds between two looks at whether the broker blocks, or the run is to end.
_LOOK = 0.5


class Patience:
    """
    Waits for a connection.

    @param tell: called with a sentence when the broker begins to block.
    @param is_told: whether the run is to end.
    """

    def __init__(
        self, wire: Wire, tell: Callable[[str], object], is_told: Callable[[], bool]
    ) -> None:
        self._wire = wire
        self._tell = tell
        self._is_told = is_told
        self._has_told = False

    @property
    def _is_blocked(self) -> bool:
        """
        Whether to wait, since the broker blocks; that is told once.
        """
        wire = self._wire
        if wire.blocked is None or wire.closed or self._is_told():
            self._has_told = False
            return False
        if not self._has_told:
            self._has_told = True
            text = f"the broker takes no messages for now ({wire.blocked}): waiting"
            self._tell(text)
        return True

    async def until_unblocked(self) -> None:
        """
        Wait until the broker does not block, or the run is to end.
        """
        while self._is_blocked:
            waiter = another_waiter(self._wire.when_unblocked())
            with suppress(TimeoutError):
                await waiter.addTimeout(_LOOK, self._wire.clock)

    async def answer(self, answering: Deferred[T]) -> T:
        """
        What comes of a batch, or of another thing that the broker was asked for.  It is
        cancelled if the wait is.

        @raise BrokerError: nothing in time.
        """
        wire, end = self._wire, self._wire.clock.seconds() + PATIENCE
        results: list[T | Failure] = []
        done: Deferred[None] = Deferred()

        def ended(result: T | Failure) -> None:
            results.append(result)
            done.callback(None)

        answering.addBoth(ended)
        while not done.called:
            waiter = another_waiter(done)
            try:
                await waiter.addTimeout(_LOOK, wire.clock)
                break
            except TimeoutError:
                pass
            except CancelledError:
                answering.cancel()
                raise
            now = wire.clock.seconds()
            if self._is_blocked:
                end = now + PATIENCE
            elif self._is_told():
                end = min(end, now + GRACE)
            if now >= end:
                why = wire.blocked or "no answer"
                text = f"nobody knows whether the broker has what was sent last: {why}"
                raise BrokerError(text)
        [result] = results
        if isinstance(result, Failure):
            result.raiseException()
        return result
