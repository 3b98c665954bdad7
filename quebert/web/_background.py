"""
Long operations, which run in the background and report their progress.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from quebert._log import Logger
from quebert.errors import QuebertError
from quebert.operations import Progress
from quebert.web._exchange import APIProblem
from quebert.web._views import BackgroundView

__all__ = ["MOST_AT_ONCE", "Background"]

#: Operations at a time; each has a connection to the broker.
MOST_AT_ONCE = 3
#: Those that have ended, and are remembered.
_REMEMBERED = 200
# Seconds between two looks at how far they are.
_PACE = 0.5
_LATER = ("Retry-After", "5")

Work = Callable[[Progress], Awaitable[object]]


@attrs.define(eq=False)
class _Running:
    """
    One operation.
    """

    view: BackgroundView
    queue: str
    progress: Progress
    ending: Deferred[None] | None = None

    def now(self, **changes: Any) -> BackgroundView:
        """
        The progress of the operation.
        """
        progress = self.progress
        total = progress.total or None if not self.view.done else progress.total
        self.view = attrs.evolve(self.view, count=progress.done, total=total, **changes)
        return self.view


class Background:
    """
    All long operations.

    @param reactor: keeps the time.
    @param tell: called with the progress of an operation, and with its end.
    """

    log = Logger()

    def __init__(self, reactor: Any, tell: Callable[[BackgroundView], object]) -> None:
        self._reactor = reactor
        self._tell = tell
        self._running: dict[str, _Running] = {}
        self._ended: OrderedDict[str, BackgroundView] = OrderedDict()
        self._told: dict[str, BackgroundView] = {}
        self._timer: Any = None

    def start(
        self,
        kind: str,
        queue: str,
        work: Work,
        ended: Callable[[BackgroundView], object],
    ) -> BackgroundView:
        """
        Begin an operation.

        @param work: awaited with the C{Progress} that it has to keep up to date.
        @param ended: called with the operation at its end.
        @raise APIProblem: too many operations run.
        """
        if len(self._running) >= MOST_AT_ONCE:
            text = (
                f"{MOST_AT_ONCE} operations are going on; try again when one has ended"
            )
            raise APIProblem(HTTPStatus.TOO_MANY_REQUESTS, text, _LATER)
        view = BackgroundView(operation=secrets.token_hex(8), kind=kind, queue=queue)
        running = _Running(view, queue, Progress())
        self._running[view.operation] = running
        running.ending = Deferred.fromCoroutine(self._run(running, work, ended))
        self._look_later()
        return view

    async def _run(
        self,
        running: _Running,
        work: Work,
        ended: Callable[[BackgroundView], object],
    ) -> None:
        problem = ""
        try:
            await work(running.progress)
        except QuebertError as e:
            problem = str(e)
        except CancelledError:
            problem = "it was stopped half-way, since the server is stopped"
        except Exception as e:
            self.log.failure("An operation in the background failed.")
            problem = f"it has failed: {type(e).__name__}"
        view = running.now(done=True, problem=problem)
        del self._running[view.operation]
        self._told.pop(view.operation, None)
        self._ended[view.operation] = view
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        ended(view)
        self._tell(view)

    def _look_later(self) -> None:
        if self._timer is None and self._running:
            self._timer = self._reactor.callLater(_PACE, self._look)

    def _look(self) -> None:
        self._timer = None
        for name, running in list(self._running.items()):
            now = running.now()
            if self._told.get(name) != now:
                self._told[name] = now
                self._tell(now)
        self._look_later()

    def find(self, operation: str) -> BackgroundView | None:
        """
        How far one is; C{None} where there is none, or it ended long ago.
        """
        running = self._running.get(operation)
        return self._ended.get(operation) if running is None else running.now()

    async def stop(self) -> None:
        """
        Stop all.
        """
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        endings = [each.ending for each in self._running.values()]
        for ending in endings:
            if ending is not None:
                ending.cancel()
        await gatherResults([each for each in endings if each is not None])
