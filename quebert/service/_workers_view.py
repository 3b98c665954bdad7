"""
What a supervisor shows of its workers: their metrics as one, and whether all are well.

Each worker tells once a second what it has counted since, and how it is.  So the sums
are right to the last word of each: if a worker is killed, what it did in its last
second is not counted.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._workers import Onlooker
from quebert.config import Web
from quebert.errors import QuebertError
from quebert.events import decode_state
from quebert.metrics import ClusterMetrics, Readiness, Reason
from quebert.service._view import View

__all__ = ["SILENT", "WorkersView"]

#: Seconds without a word after which a worker is taken to hang.
SILENT = 30.0


@attrs.define
class _Worker:
    """
    A worker that runs.

    @ivar heard: when it said something last.
    @ivar mediator: what its mediator is called.
    """

    heard: float
    readiness: Readiness
    mediator: str = ""


class WorkersView(Onlooker):
    """
    Shows how the workers are.

    @param count: how many there should be.
    @param web: gives what the configuration says now.
    """

    log = Logger()

    def __init__(self, count: int, web: Callable[[], Web], reactor: Any) -> None:
        self._count = count
        self._web = web
        self._reactor = reactor
        self._workers: dict[str, _Worker] = {}
        self._stopping = False
        self._metrics = ClusterMetrics(since=0.0)
        self._view = View(self._metrics, self.readiness, self.alive, reactor)
        self._odd = RepeatedWarning(
            self.log,
            lambda: reactor,
            "What a worker tells of itself cannot be read",
            "What workers tell of themselves can be read again",
        )

    def start(self) -> None:
        """
        Listen.

        @raise ConfigError: that cannot be.
        """
        self._view.start(self._web().listen)

    def told(self, worker: str, told: dict[str, Any]) -> None:
        """
        A worker tells how it is doing.
        """
        try:
            self._note(worker, told)
        except (LookupError, TypeError, ValueError, QuebertError) as e:
            self._odd.met(f"{worker}: {type(e).__name__}: {e}")
        else:
            self._odd.succeeded()

    def _note(self, name: str, told: dict[str, Any]) -> None:
        readiness = Readiness.from_json(told["reasons"])
        worker = self._workers.setdefault(name, _Worker(0.0, readiness))
        worker.heard, worker.readiness = self._reactor.seconds(), readiness
        if "taken" in told:
            self._metrics.merge(told["taken"])
        if "state" in told:
            state = decode_state(b64decode(told["state"]))
            worker.mediator = state.mediator
            self._metrics.state(state)

    def ended(self, worker: str) -> None:
        """
        A worker has ended.
        """
        known = self._workers.pop(worker, None)
        if known is not None:
            self._metrics.ended(known.mediator)

    def readiness(self) -> Readiness:
        """
        Whether each worker consumes all that it should.
        """
        if self._stopping:
            text = "The workers are being stopped."
            return Readiness((Reason("stopping", text),))
        reasons = []
        for number in range(1, self._count + 1):
            name = f"worker {number}"
            known = self._workers.get(name)
            if known is None:
                text = f"{name}: It does not run, or has only begun to."
                reasons.append(Reason("worker_down", text))
            elif self._hangs(known):
                text = f"{name}: It has said nothing for {SILENT:g} s."
                reasons.append(Reason("worker_down", text))
            else:
                reasons += [
                    attrs.evolve(each, text=f"{name}: {each.text}")
                    for each in known.readiness.reasons
                ]
        return Readiness(tuple(reasons))

    def _hangs(self, worker: _Worker) -> bool:
        return bool(self._reactor.seconds() - worker.heard > SILENT)

    def alive(self) -> bool:
        """
        Whether not all workers hang.
        """
        hanging = sum(map(self._hangs, self._workers.values()))
        return self._stopping or hanging < self._count

    def reload(self) -> None:
        """
        Show it where the configuration says now.
        """
        try:
            self._view.change(self._web().listen)
        except QuebertError:
            pass  # the workers tell

    def stopping(self) -> None:
        """
        The workers are about to be ended.
        """
        self._stopping = True

    def stop(self) -> Deferred[None]:
        """
        Show it no more.
        """
        self._odd.end()
        return self._view.stop()
