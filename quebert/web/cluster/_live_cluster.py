"""
The cluster now: looks at the queues of the broker, and the events of all mediators,
read from a queue that lasts as long as the connection.

Theory of operation.  The queues are looked at each second while clients ask, and else
each C{IDLE} seconds, so that metrics are never older.  A failure is shown as a problem,
and tried again: nothing here ends before it is stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._waiters import Waiters
from quebert.errors import BrokerRefused, QuebertError
from quebert.events import AttemptBatch, AttemptRecord, Gap, MediatorState, reading
from quebert.metrics import ClusterMetrics, QueueDepth
from quebert.operations import BrokerAccess, Live, LiveFold, Overview, observing
from quebert.web import ClusterWatcher

__all__ = ["LiveCluster"]

# Seconds between looks while somebody asks, and while nobody does.
BUSY, IDLE = 1.0, 15.0
# Seconds for which somebody counts as asking.
_ASKING = 10.0
# Seconds in which a look is there for who asks.
_PATIENCE = 3.0
# Seconds until it is tried again.
_AGAIN = 2.0
# Attempts of a queue that are kept, and queues whose attempts are.
_RECENT = 50
_MOST_QUEUES = 1_000


class LiveCluster:
    """
    Folds looks and events into L{Live<quebert.operations.Live>}, and passes events on
    to watchers.

    @param queues: names of queues to show, beside those that mediators watch.
    @param metrics: get the same states and attempts.
    @param now: gives the time of day.
    @ivar problem: why the broker cannot be looked at; empty if it can.
    """

    log = Logger()

    def __init__(
        self,
        broker: BrokerAccess,
        queues: Sequence[str],
        metrics: ClusterMetrics,
        now: Callable[[], float],
    ) -> None:
        self.problem = "the broker was not asked yet"
        self.overview = Overview({})
        self._broker = broker
        self._queues = tuple(queues)
        self._metrics = metrics
        self._fold = LiveFold(now, kept=self._queues)
        self._watchers: list[ClusterWatcher] = []
        self._recent: dict[str, deque[tuple[AttemptRecord, str]]] = {}
        self._deaf = ""  # why no events are heard
        self._asked_at = float("-inf")
        self._is_idle = False
        self._looked_at = float("-inf")
        self._looked: Waiters[None] = Waiters()
        self._sleeping: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self._warning = RepeatedWarning(
            self.log,
            lambda: broker.reactor,
            "The broker cannot be looked at",
            "The broker can be looked at again",
        )

    def watch(self, watcher: ClusterWatcher) -> None:
        """
        Tell C{watcher} of attempts from now on.
        """
        self._watchers.append(watcher)

    # -- Life

    def start(self) -> None:
        """
        Begin.
        """
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda f: f.trap(CancelledError))

    async def stop(self) -> None:
        """
        End.
        """
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await running
        self._warning.end()

    async def _run(self) -> None:
        while True:
            try:
                await self._look_on()
            except QuebertError as e:
                self._fail(e)
            except CancelledError:
                raise
            except Exception as e:
                self.log.failure("Looking at the cluster failed.")
                self._fail(e)
            await self._sleep(_AGAIN)

    async def _look_on(self) -> None:
        async with AsyncExitStack() as stack:
            client, _ = await stack.enter_async_context(self._broker.client())
            observed = observing(self._broker, self._queues)
            look = await stack.enter_async_context(observed)
            self._deaf = ""
            try:
                await stack.enter_async_context(reading(client, self))
            except BrokerRefused as e:
                self._deaf = f"mediators cannot be heard: {e}"
            while True:
                try:
                    self._take(await look(*self._fold.queues))
                except QuebertError as e:
                    self._fail(e)
                self._is_idle = self._reactor.seconds() - self._asked_at >= _ASKING
                await self._sleep(IDLE if self._is_idle else BUSY)

    @property
    def _reactor(self) -> Any:
        return self._broker.reactor

    async def _sleep(self, seconds: float) -> None:
        self._sleeping = deferLater(self._reactor, seconds)
        try:
            await self._sleeping
        except CancelledError:
            if self._running is None:
                raise
        finally:
            self._sleeping = None

    def _take(self, found: Overview) -> None:
        self._warning.succeeded()
        self.problem = ""
        self.overview = found
        self._fold.looked(found)
        self._looked_at = self._reactor.seconds()
        live = self._fold.view()
        self._metrics.depths(
            {
                each.name: QueueDepth(
                    ready=each.ready,
                    delayed=each.delayed,
                    retrying=each.retrying,
                    dead=each.dead,
                    oldest=each.oldest,
                )
                for each in live.queues
            }
        )
        self._looked.fire(None)

    def _fail(self, error: BaseException) -> None:
        self.problem = str(error) or type(error).__name__
        self._warning.met(self.problem)
        self._looked.fire(None)

    # -- Who asks

    async def view(self) -> Live:
        """
        All of it, at most two seconds old, unless it has a problem.
        """
        self._asked_at = self._reactor.seconds()
        if self._is_idle and self._sleeping is not None:
            self._sleeping.cancel()
        if self._reactor.seconds() - self._looked_at > 2 * BUSY:
            waiting = self._looked.wait()
            try:
                await waiting.addTimeout(_PATIENCE, self._reactor)
            except TimeoutError:
                self.problem = self.problem or "the broker does not answer"
        found = self._fold.view()
        own = [each for each in (self.problem, self._deaf) if each]
        return attrs.evolve(found, problems=(*own, *found.problems))

    def recent(self, queue: str) -> list[tuple[AttemptRecord, str]]:
        """
        The newest attempts at tasks of a queue, and their mediators; the newest first.
        """
        return [*reversed(self._recent.get(queue, ()))]

    # -- Events

    def attempts(self, batch: AttemptBatch, gap: Gap | None) -> None:
        """
        Attempts of a mediator have ended.
        """
        self._fold.attempts(batch, gap)
        self._metrics.attempts(batch)
        if gap is not None:
            self._metrics.lost(max(0, gap.count - batch.dropped))
        self._keep(batch)
        for watcher in self._watchers:
            if gap is not None:
                watcher.lost(gap.mediator, gap.count)
            watcher.attempted(batch)

    def _keep(self, batch: AttemptBatch) -> None:
        by_queue: dict[str, list[AttemptRecord]] = {}
        for record in batch.records:
            by_queue.setdefault(record.queue, []).append(record)
        for queue, records in by_queue.items():
            ring = self._recent.get(queue)
            if ring is None:
                if len(self._recent) >= _MOST_QUEUES:
                    continue
                ring = self._recent[queue] = deque(maxlen=_RECENT)
            ring.extend((each, batch.mediator) for each in records[-_RECENT:])

    def state(self, state: MediatorState) -> None:
        """
        A mediator has published its state.
        """
        if self._fold.state(state):
            self._metrics.state(state)
