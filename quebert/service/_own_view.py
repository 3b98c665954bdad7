"""
What one mediator shows of itself; as a worker it tells its supervisor, who shows it for
all of them (C{_workers_view}).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from quebert._workers import supervised, tell
from quebert.config import Web
from quebert.events import MediatorState, encode_state
from quebert.metrics import ClusterMetrics, Readiness, Row
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
    @ivar state: gives how the mediator is now; C{None} if nobody knows.
    @ivar flush: has L{rows} called with all attempts up to now.
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
        self.state: Callable[[], MediatorState | None] = lambda: None
        self.flush: Callable[[], object] = lambda: None
        self._readiness = readiness
        self._tell = told
        self._metrics = ClusterMetrics(since=0.0)
        self._metrics.refresh = self._refresh
        self._view = None
        self._telling = LoopingCall(self._tell_all)
        self._telling.clock = reactor
        if not supervised():
            self._view = View(self._metrics, readiness, alive, reactor)

    def start(self, web: Web) -> None:
        """
        Show it from now on.

        @raise ConfigError: it cannot be shown.
        """
        self.wanted = web.listen is not None
        if self._view is not None:
            self._view.start(web.listen)
        else:
            self._telling.start(TELL)

    def change(self, web: Web) -> None:
        """
        Show it elsewhere.

        @raise ConfigError: it cannot be shown.
        """
        if self._view is not None:
            self._view.change(web.listen)
        self.wanted = web.listen is not None

    def stop(self) -> Deferred[None]:
        """
        Show it no more.
        """
        if self._telling.running:
            self._tell_all()
            self._telling.stop()
        return succeed(None) if self._view is None else self._view.stop()

    def rows(self, rows: list[Row]) -> None:
        """
        Some attempts have ended.
        """
        if self.wanted:
            self._metrics.rows(rows)

    def _refresh(self) -> None:
        self.flush()
        state = self.state()
        if state is not None:
            self._metrics.state(state)

    def _tell_all(self) -> None:
        told: dict[str, Any] = {"reasons": self._readiness().as_json()}
        if self.wanted:
            self.flush()
            told["taken"] = self._metrics.take()
            state = self.state()
            if state is not None:
                told["state"] = b64encode(encode_state(state)).decode("ascii")
        self._tell(told)
