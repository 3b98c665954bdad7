"""
Calls that threads make into the reactor, and wait for.

Theory of operation.  A thread puts its call into a queue, and waits.  The reactor
begins all calls that have come since its last turn: it is woken once for them.  A
thread waits no longer than for the client, whose call ends when it is cancelled or its
deadline has come: then a call that the reactor has not begun is never begun.  One that
it has begun goes on to its end if it changes something, as over HTTP; one that reads is
cancelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Abandoned", "ReactorCalls", "TooManyCalls"]

Work = Callable[[], Coroutine[Any, Any, Any]]
#: Registers what is called once the client's call has ended, in any thread; gives
#: C{False} where it has already.
OnEnd = Callable[[Callable[[], None]], bool]


class Abandoned(Exception):
    """
    Nobody waits for the answer any more.
    """


class TooManyCalls(Exception):
    """
    The reactor has begun too many calls that have not ended.
    """


class ReactorCalls:
    """
    The calls of all threads.

    @param most: calls that the reactor has begun, at a time.
    @param patience: seconds for which a thread waits.
    """

    def __init__(self, reactor: Any, most: int, patience: float) -> None:
        self._reactor = reactor
        self._most = most
        self._patience = patience
        self._waiting: deque[_ReactorCall] = deque()
        self._is_woken = False
        self._running = 0

    def run(self, work: Work, changes: bool, on_end: OnEnd) -> Any:
        """
        Have the reactor run a coroutine, and wait for its result.  To be called in a
        thread.

        @param changes: whether it changes something, and so goes on without a client.
        @raise Abandoned: the client has gone, or its deadline has come.
        @raise TooManyCalls: there are too many.
        @raise TimeoutError: it takes too long.
        @raise Exception: whatever the coroutine has raised.
        """
        call = _ReactorCall(work, changes)
        if not on_end(lambda: self._abandon(call)):
            raise Abandoned
        self._waiting.append(call)
        if not self._is_woken:  # two threads may wake it both: that does no harm
            self._is_woken = True
            self._reactor.callFromThread(self._begin_all)
        try:
            result = call.results.get(timeout=self._patience)
        except Empty:
            self._abandon(call)
            raise TimeoutError from None
        call.is_answered = True
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def _abandon(self, call: _ReactorCall) -> None:
        if call.is_answered:
            return
        call.is_abandoned = True
        call.results.put(Failure(Abandoned()))
        if not call.changes:
            self._reactor.callFromThread(call.cancel)

    # -- In the reactor

    def _begin_all(self) -> None:
        self._is_woken = False  # first: what comes from now on wakes it again
        while self._waiting:
            call = self._waiting.popleft()
            if not call.is_abandoned:
                self._begin(call)

    def _begin(self, call: _ReactorCall) -> None:
        if self._running >= self._most:
            call.results.put(Failure(TooManyCalls()))
            return
        self._running += 1
        call.running = Deferred.fromCoroutine(call.work())
        call.running.addBoth(self._ended, call)

    def _ended(self, result: Any, call: _ReactorCall) -> None:
        self._running -= 1
        call.results.put(result)


class _ReactorCall:
    """
    One call.  A queue of C is a tenth of the price of an event of C{threading}.
    """

    def __init__(self, work: Work, changes: bool) -> None:
        self.work = work
        self.changes = changes
        self.results: SimpleQueue[Any] = SimpleQueue()
        self.running: Deferred[Any] | None = None
        self.is_abandoned = False
        self.is_answered = False

    def cancel(self) -> None:
        """
        End it.
        """
        if self.running is not None:
            self.running.cancel()
