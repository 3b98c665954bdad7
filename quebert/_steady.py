"""
A call after some seconds of the monotonic clock.

The timers of a reactor go by the time of day.  When that is set back by an hour, each
of them is an hour late; a thread that sleeps is not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

__all__ = ["SteadyCall"]


class SteadyCall:
    """
    Calls something once, in the thread of the reactor.

    @param clock: a reactor, or a clock without threads, whose own timer is used then.
    @param seconds: how long from now on.
    @param call: what is called.
    """

    def __init__(
        self, clock: IReactorTime, seconds: float, call: Callable[[], object]
    ) -> None:
        self._call: Callable[[], object] | None = call
        self._timer: Any
        if IReactorFromThreads.providedBy(clock):
            reactor: Any = clock
            fire = (self._fire,)
            self._timer = threading.Timer(seconds, reactor.callFromThread, fire)
            self._timer.daemon = True  # the process need not wait for it
            self._timer.start()
        else:
            self._timer = clock.callLater(seconds, self._fire)

    def active(self) -> bool:
        """
        Whether it is still to be called.
        """
        return self._call is not None

    def cancel(self) -> None:
        """
        It is not to be called any more.
        """
        self._call = None
        self._timer.cancel()

    def _fire(self) -> None:
        call, self._call = self._call, None
        if call is not None:  # not cancelled while the reactor was busy
            call()
