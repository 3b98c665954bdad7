"""
What one mediator shows of itself; as a worker it tells its supervisor, who shows it for
all of them (C{_workers_view}).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from quebert._log import Logger
from quebert._workers import is_heard, supervised, tell
from quebert.config import Web
from quebert.events import Columns, MediatorState, encode_state
from quebert.metrics import ClusterMetrics, Readiness
from quebert.service._lag import Lag
from quebert.service._view import View

__all__ = ["TELL", "EventSource", "OwnView"]

#: Seconds between two words of a worker.
TELL = 1.0


class EventSource(Protocol):
    """
    Tells of this mediator, as L{WatchEvents<quebert.service.WatchEvents>} does.

    @ivar listeners: called with attempts that have ended.
    """

    listeners: list[Callable[[Columns], object]]

    def flush(self) -> None:
        """
        Tell the listeners all that has ended up to now.
        """

    def state(self) -> MediatorState | None:
        """
        How the mediator is now; C{None} before it has begun.
        """


class OwnView:
    """
    Shows the metrics of this process, and whether it is well.

    @param events: tells what is to be shown.
    @param readiness: tells whether all is consumed that should be.
    @param alive: tells whether this process does anything at all.
    @param told: called with what a worker has to tell.
    @param heard: whether the supervisor has read what it was told before; while it has
        not, it is told nothing: no worker waits for that.
    """

    log = Logger()

    def __init__(
        self,
        events: EventSource,
        readiness: Callable[[], Readiness],
        alive: Callable[[], bool],
        reactor: Any,
        *,
        told: Callable[[dict[str, Any]], object] = tell,
        heard: Callable[[], bool] = is_heard,
    ) -> None:
        self._events = events
        self._readiness = readiness
        self._tell = told
        self._heard = heard
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
        self.count(web)
        if self._view is None:
            self._telling.start(TELL)

    def change(self, web: Web) -> None:
        """
        Show it elsewhere.

        @raise ConfigError: it cannot be shown.
        """
        if self._view is not None:
            self._view.change(web.listen)
        self.count(web)

    def count(self, web: Web) -> None:
        """
        Have attempts counted, if they are to be shown.
        """
        wanted, is_told = web.listen is not None, self._is_told
        if wanted and not is_told:
            self._events.listeners.append(self._metrics.columns)
            self._lag.start()
        elif is_told and not wanted:
            self._events.listeners.remove(self._metrics.columns)
            self._lag.stop()

    @property
    def _is_told(self) -> bool:
        """
        Whether attempts are counted.
        """
        return self._metrics.columns in self._events.listeners

    def stop(self) -> Deferred[None]:
        """
        Show it no more.
        """
        if self._telling.running:
            self._tell_all()
            self._telling.stop()
        self._lag.stop()
        return succeed(None) if self._view is None else self._view.stop()

    def _refresh(self) -> None:
        self._events.flush()
        if (state := self._state()) is not None:
            self._metrics.state(state)

    def _state(self) -> MediatorState | None:
        state = self._events.state()
        return None if state is None else attrs.evolve(state, lag=self._lag.most)

    def _tell_all(self) -> None:
        if self._heard():
            try:
                self._tell(self._news())
            except Exception:
                self.log.failure("The supervisor is not told how this worker is.")

    def _news(self) -> dict[str, Any]:
        told: dict[str, Any] = {"reasons": self._readiness().as_json()}
        if self._is_told:
            self._events.flush()
            told["taken"] = self._metrics.take()
            if (state := self._state()) is not None:
                told["state"] = b64encode(encode_state(state)).decode("ascii")
        return told
