"""
What one mediator shows of itself; as a worker it tells its supervisor, who shows it for
all of them (C{_workers_view}).
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from quebert._workers import supervised, tell
from quebert.config import Web
from quebert.events import Columns, MediatorState, encode_state
from quebert.metrics import ClusterMetrics, Readiness
from quebert.service._lag import Lag
from quebert.service._view import View

__all__ = ["TELL", "OwnView"]

#: Seconds between two words of a worker.
TELL = 1.0


class OwnView:
    """
    Shows the metrics of this process, and whether it is well.

    @param readiness: tells whether all is consumed that should be.
    @param alive: tells whether this process does anything at all.
    @param told: called with what a worker has to tell.
    @ivar wanted: whether attempts are counted.
    @ivar state: gives how the mediator is, at a time, with a lag of the reactor;
        C{None} if nobody knows.
    """

    def __init__(
        self,
        readiness: Callable[[], Readiness],
        alive: Callable[[], bool],
        reactor: Any,
        *,
        told: Callable[[dict[str, Any]], object] = tell,
    ) -> None:
        self.wanted = False
        self.state: Callable[[float, float], MediatorState] | None = None
        self._readiness = readiness
        self._tell = told
        self._metrics = ClusterMetrics(since=0.0)
        self._metrics.refresh = self._refresh
        self._view: View | None = None
        self._lag = Lag(reactor)
        self._telling = LoopingCall(self._tell_all)
        self._telling.clock = reactor
        if not supervised():
            self._view = View(self._metrics, readiness, alive, reactor)

    def start(self, web: Web) -> None:
        """
        Show it from now on.

        @raise ConfigError: it cannot be shown.
        """
        if self._view is not None:
            self._view.start(web.listen)
        self._want(web)
        if self._view is None:
            self._telling.start(TELL)

    def change(self, web: Web) -> None:
        """
        Show it elsewhere.

        @raise ConfigError: it cannot be shown.
        """
        if self._view is not None:
            self._view.change(web.listen)
        self._want(web)

    def _want(self, web: Web) -> None:
        self.wanted = web.listen is not None
        if self.wanted:
            self._lag.start()
        else:
            self._lag.stop()

    def stop(self) -> Deferred[None]:
        """
        Show it no more.
        """
        if self._telling.running:
            self._tell_all()
            self._telling.stop()
        self._lag.stop()
        return succeed(None) if self._view is None else self._view.stop()

    def columns(self, columns: Columns) -> None:
        """
        Some attempts have ended.
        """
        if self.wanted:
            self._metrics.columns(columns)

    def _refresh(self) -> None:
        if self.state is not None:
            self._metrics.state(self.state(time.time(), self._lag.most))

    def _tell_all(self) -> None:
        told: dict[str, Any] = {"reasons": self._readiness().as_json()}
        if self.wanted:
            told["taken"] = self._metrics.take()
            if self.state is not None:
                state = encode_state(self.state(time.time(), self._lag.most))
                told["state"] = b64encode(state).decode("ascii")
        self._tell(told)
