"""
The metrics of some mediators: of one, of the workers of a supervisor, or of a cluster.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import attrs

from quebert import __version__
from quebert.errors import ConfigError
from quebert.events import (
    AttemptBatch,
    Columns,
    MediatorState,
    OriginState,
    WatchState,
)
from quebert.metrics._catalogue import FAMILIES
from quebert.metrics._states import FATES, States
from quebert.metrics._totals import MOST_QUEUES, OTHERS, Totals, rows_of

__all__ = ["ClusterMetrics", "QueueDepth", "Sample", "exposition_of"]

# Mediators whose batches are counted.
_MOST_SEQUENCES = 1_000
_BREAKERS = ("closed", "half-open", "open")


@attrs.frozen
class QueueDepth:
    """
    The tasks of a queue in RabbitMQ; C{None} for a figure that is not known.

    @ivar ready: tasks that wait in it.
    @ivar delayed: tasks whose time has not come.
    @ivar retrying: tasks that wait for a retry.
    @ivar dead: its dead letters.
    @ivar oldest: seconds for which the first has waited.
    """

    ready: float | None = None
    delayed: float | None = None
    retrying: float | None = None
    dead: float | None = None
    oldest: float | None = None


#: The values of the labels of a metric, and its value: a number, or a histogram.
Sample = tuple[tuple[str, ...], Any]


class ClusterMetrics:
    """
    Takes events of mediators, and gives metrics.  It keeps numbers alone, and a bounded
    set of them, however many tasks, queues, hosts and mediators there are.

    @param since: when this began to listen, in seconds since the epoch: a mediator that
        was started before counts from its first state on.  0 for the mediators of this
        process.
    @param now: gives the time, in seconds since the epoch.
    @param most_queues: how many queues have figures of their own.
    @ivar ready: says whether all queues are consumed; C{None} for no such metric.
    @ivar refresh: called before metrics are made, to have the latest figures.
    """

    def __init__(
        self,
        *,
        since: float | None = None,
        now: Callable[[], float] = time.time,
        most_queues: int = MOST_QUEUES,
    ) -> None:
        self.ready: Callable[[], bool] | None = None
        self.refresh: Callable[[], object] = lambda: None
        self._now = now
        self._most_queues = most_queues
        self._totals = Totals(most_queues)
        self._states = States(now() if since is None else since, most_queues)
        self._depths: Mapping[str, QueueDepth] = {}
        self._sequences: dict[str, int] = {}
        self._dropped = 0
        self._exposition: Callable[[str], tuple[str, bytes]] | None = None

    # -- What comes

    def attempts(self, batch: AttemptBatch) -> None:
        """
        Some attempts have ended.
        """
        before = self._sequences.pop(batch.mediator, None)
        self._sequences[batch.mediator] = batch.sequence
        if len(self._sequences) > _MOST_SEQUENCES:
            del self._sequences[next(iter(self._sequences))]
        if before is not None and batch.sequence <= before:
            self._sequences[batch.mediator] = before  # delivered a second time
        else:
            self._dropped += max(0, batch.dropped)
            self._totals.add(rows_of(batch.records))

    def columns(self, columns: Columns) -> None:
        """
        Some attempts have ended in this process.
        """
        self._totals.add_columns(columns)

    def state(self, state: MediatorState) -> None:
        """
        Take the state of a mediator.
        """
        self._states.add(state, self._now())
        if state.ended:
            self.ended(state.mediator)

    def ended(self, mediator: str) -> None:
        """
        A mediator has ended in good order, or its end is known.
        """
        self._states.forget(mediator)
        self._sequences.pop(mediator, None)

    def lost(self, count: int) -> None:
        """
        So many attempts are known to be lost on the way.
        """
        self._dropped += max(0, count)

    def depths(self, depths: Mapping[str, QueueDepth]) -> None:
        """
        Take the depths of all queues, in place of those before.
        """
        self._depths = dict(islice(depths.items(), self._most_queues))

    # -- What one process tells another

    def take(self) -> dict[str, Any]:
        """
        All that was counted of attempts since the last time, as JSON has it.
        """
        dropped, self._dropped = self._dropped, 0
        return {"queues": self._totals.take(), "dropped": dropped}

    def merge(self, taken: Mapping[str, Any]) -> None:
        """
        Add the figures that L{take} gave in another process.
        """
        self._totals.merge(taken["queues"])
        self._dropped += taken["dropped"]

    # -- What is told

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """
        The content type of the metrics, and the metrics.

        @param accept: what the client accepts, as its header says.
        @raise ConfigError: C{prometheus-client} is missing.
        """
        if self._exposition is None:
            self._exposition = exposition_of(self.samples, self._now)
        return self._exposition(accept)

    def prepare(self) -> None:
        """
        See whether there can be an exposition.

        @raise ConfigError: C{prometheus-client} is missing.
        """
        exposition_of(self.samples, self._now)

    def samples(self) -> dict[str, list[Sample]]:
        """
        The samples of each metric, by its name in L{FAMILIES}.
        """
        self.refresh()
        found: dict[str, list[Sample]] = {each.name: [] for each in FAMILIES}
        for name, labels, value in self._samples():
            found[name].append((labels, value))
        return found

    def _samples(self) -> Iterator[tuple[str, tuple[str, ...], Any]]:
        known = list(self._states.mediators(self._now()))
        living = [state for state, is_there in known if is_there]
        yield from self._of_attempts()
        for queue, counts in self._states.counts().items():
            yield "tasks_received_total", (queue,), counts["received"]
            for fate in FATES:
                yield "tasks_settled_total", (queue, fate), counts[fate]
        for queue, watches in self._states.watches(living).items():
            yield from _of_watches(queue, watches)
        for queue, depth in self._depths.items():
            for name in ("ready", "delayed", "retrying", "dead"):
                if (value := getattr(depth, name)) is not None:
                    yield f"queue_{name}_tasks", (queue,), value
            if depth.oldest is not None:
                yield "queue_oldest_seconds", (queue,), depth.oldest
        for origin, states in self._states.origins(living).items():
            yield from _of_origin(origin, states)
        for state, is_there in known:
            yield from _of_mediator(state, is_there=is_there)
        yield "mediators", (), len(living)
        yield "events_dropped_total", (), self._dropped
        if self.ready is not None:
            yield "ready", (), float(self.ready())
        yield "build_info", (__version__,), 1

    def _of_attempts(self) -> Iterator[tuple[str, tuple[str, ...], Any]]:
        for queue, totals in self._totals.queues.items():
            for (status, outcome), number in totals.attempts.items():
                yield "attempts_total", (queue, status, outcome), number
            yield "request_duration_seconds", (queue,), totals.request
            yield "task_wait_seconds", (queue,), totals.wait
            yield "task_life_seconds", (queue,), totals.life


def exposition_of(
    samples: Callable[[], Mapping[str, list[Sample]]], clock: Callable[[], float]
) -> Callable[[str], tuple[str, bytes]]:
    """
    A function that gives the metrics in the format that a client accepts.

    @raise ConfigError: C{prometheus-client} is missing.
    """
    try:
        from quebert.metrics._exposition import Exposition
    except ImportError as e:
        raise ConfigError(
            "metrics need prometheus-client, which is not installed: install"
            f" quebert-mediator[metrics] ({e})"
        ) from None
    return Exposition(samples, clock)


def _of_watches(
    queue: str, watches: list[WatchState]
) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    labels = (queue,)
    yield "tasks_in_flight", labels, sum(each.in_flight for each in watches)
    yield "tasks_held", labels, sum(each.held for each in watches)
    yield "consumers", labels, sum(each.consuming for each in watches)
    yield "queue_paused", labels, int(any(each.paused for each in watches))
    yield "prefetch", labels, sum(each.prefetch or math.inf for each in watches)
    rates = [each.rate for each in watches if each.rate is not None]
    if rates and queue != OTHERS:
        yield "rate_limit", labels, max(rates)


def _of_origin(
    origin: str, states: Iterable[OriginState]
) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    labels = (origin,)
    states = list(states)
    for breaker in _BREAKERS:
        number = sum(each.breaker == breaker for each in states)
        yield "origin_breakers", (origin, breaker), number
    yield "origin_in_flight", labels, sum(each.in_flight for each in states)
    limits = [each.limit for each in states]
    if all(limit is not None for limit in limits):
        yield "origin_concurrency_limit", labels, sum(each or 0 for each in limits)
    rates = [each.rate for each in states]
    if all(rate is not None for rate in rates):
        yield "origin_rate_limit", labels, sum(each or 0 for each in rates)


def _of_mediator(
    state: MediatorState, *, is_there: bool
) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    labels = (state.mediator,)
    yield "mediator_up", labels, int(is_there)
    yield "mediator_start_time_seconds", labels, state.started
    yield "mediator_cpu_seconds_total", labels, state.cpu
    yield "mediator_reconnects_total", labels, state.reconnects
    if is_there:
        yield "mediator_memory_bytes", labels, state.memory
        yield "mediator_reactor_lag_seconds", labels, state.lag
        yield "mediator_unconfirmed_messages", labels, state.unconfirmed
