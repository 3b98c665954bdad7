"""
Folds the events of mediators, and looks at the queues, into one view of all.  Pure: the
time is given by C{now}, which may go back.  Everything here has bounds, however many
queues, origins and mediators there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from quebert.events import (
    AttemptBatch,
    AttemptRecord,
    Gap,
    MediatorState,
    WatchState,
    clock_ahead,
)
from quebert.operations._live_hosts import clocks_of, hosts_of
from quebert.operations._live_values import Live, LiveHost, LiveQueue
from quebert.operations._overview import Overview
from quebert.operations._seen import LOST, SeenMediator, SeenQueue
from quebert.operations._series import Durations
from quebert.operations._status import Status
from quebert.operations._why_words import counted

__all__ = ["LiveFold"]

#: Seconds without a state after which a mediator is shown no more.
FORGOTTEN = 300.0
# Seconds of which a rate is the mean.
_MEAN = 5
# How many are known of each kind; more are not shown.
_MOST = 1_000
# What all mediators may weigh together: some hundred with hundreds of queues each.
_MOST_WEIGHT = 1_000_000


class LiveFold:
    """
    Takes events and looks at queues; gives a L{Live}.

    @param now: gives the time, in seconds since the epoch.
    @param only: the queues to see; C{None} for all.
    @param kept: queues that are told even if there is no such queue; any other one is
        forgotten after L{FORGOTTEN} seconds.
    """

    def __init__(
        self,
        now: Callable[[], float],
        only: Collection[str] | None = None,
        kept: Collection[str] = (),
    ) -> None:
        self._now = now
        self._only = only
        self._kept = frozenset((*kept, *(only or ())))
        self._began = now()
        self._queues: dict[str, SeenQueue] = {}
        self._mediators: dict[str, SeenMediator] = {}
        self._weight = 0
        self._overview = Overview({})
        self._dropped = self._dropped_lately = 0
        self._dropped_at = float("-inf")
        self._left_out_at = float("-inf")

    @property
    def queues(self) -> tuple[str, ...]:
        """
        The queues that are known.
        """
        return tuple(self._queues)

    def attempts(self, batch: AttemptBatch, gap: Gap | None = None) -> None:
        """
        Take a batch of attempts.

        @param gap: the attempts that are missing before the batch, if there are any.
        """
        now, by_queue = self._now(), dict[str, list[AttemptRecord]]()
        self._drop(now, batch.dropped if gap is None else gap.count)
        for each in batch.records:
            by_queue.setdefault(each.queue, []).append(each)
        for name, records in by_queue.items():
            if (queue := self._queue(name)) is not None:
                queue.ended(now, records, clock_ahead(batch.at, now))

    def _drop(self, now: float, count: int) -> None:
        """
        Count attempts that are missing.
        """
        if count:
            if not self._has_dropped(now):
                self._dropped_lately = 0
            self._dropped += count
            self._dropped_lately += count
            self._dropped_at = now

    def _has_dropped(self, now: float) -> bool:
        """
        Whether attempts went missing in the last minutes.
        """
        return abs(now - self._dropped_at) <= FORGOTTEN

    def state(self, state: MediatorState) -> bool:
        """
        Take the state of a mediator.

        @return: whether there is room for it.
        """
        known, now = self._mediators.get(state.mediator), self._now()
        if state.ended:
            self._forget(state.mediator)
            return True
        weight = self._weight + state.weight
        weight -= 0 if known is None else known.weight
        is_one_more = known is None and len(self._mediators) >= _MOST
        if is_one_more or weight > max(_MOST_WEIGHT, self._weight):
            self._left_out_at = now
            return False
        self._mediators[state.mediator] = SeenMediator(now, state, known)
        self._weight = weight
        for name in state.queues:
            self._queue(name)
        return True

    def looked(self, overview: Overview) -> None:
        """
        Take a look at the queues of the broker.
        """
        self._overview = overview
        now = self._now()
        for name, status in overview.queues.items():
            if (queue := self._queue(name)) is not None:
                self._note_gone(now, name, status.consumers)
                queue.looked(now, status, self._in_flight(name))
                if self._is_gone(now, name, queue):
                    del self._queues[name]

    def view(self) -> Live:
        """
        All of it.
        """
        now = self._now()
        for name, each in list(self._mediators.items()):
            if abs(now - each.heard) > FORGOTTEN:
                self._forget(name)
        hosts = {each.origin: each for each in self._hosts()}
        is_open = {origin for origin, each in hosts.items() if each.breaker == "open"}
        queues = {each: self._live_queue(now, each, is_open) for each in self._queues}
        return Live(
            at=now,
            queues=tuple(queues[each] for each in sorted(queues)),
            hosts=tuple(hosts[each] for each in sorted(hosts)[:_MOST]),
            mediators=tuple(
                self._mediators[each].live(now) for each in sorted(self._mediators)
            ),
            elsewhere=getattr(self._overview.elsewhere, "total", None),
            dropped=self._dropped,
            problems=(*self._overview.problems, *self._problems(now)),
        )

    def latency(self, queue: str) -> Durations | None:
        """
        How long the requests of a queue took; C{None} for a queue that is not known.
        """
        found = self._queues.get(queue)
        return None if found is None else found.durations

    # -- What is known

    def _queue(self, name: str) -> SeenQueue | None:
        if self._only is not None and name not in self._only:
            return None
        if name not in self._queues:
            if len(self._queues) >= _MOST:
                self._left_out_at = self._now()
                return None
            self._queues[name] = SeenQueue()
        return self._queues[name]

    def _forget(self, mediator: str) -> None:
        known = self._mediators.pop(mediator, None)
        self._weight -= 0 if known is None else known.weight

    def _is_gone(self, now: float, name: str, queue: SeenQueue) -> bool:
        """
        Whether a queue was deleted some time ago, and no mediator watches it.
        """
        since = queue.missing_since
        if since is None or name in self._kept:
            return False
        return abs(now - since) > FORGOTTEN and not any(self._watches(name))

    def _watching(self, queue: str) -> list[SeenMediator]:
        """
        The mediators that watch a queue, as far as is known.
        """
        now = self._now()
        return [
            each
            for each in self._mediators.values()
            if queue in each.state.queues
            and not each.is_lost(now)
            and queue not in each.gone
        ]

    def _watches(self, queue: str) -> Iterator[WatchState]:
        for each in self._watching(queue):
            yield each.state.queues[queue]

    def _note_gone(self, now: float, queue: str, consumers: int | None) -> None:
        """
        Note which mediators may have been killed: RabbitMQ counts fewer consumers than
        their states have.  These are the silent ones; the one that is silent for
        longest comes first.
        """
        consuming = [
            e for e in self._watching(queue) if e.state.queues[queue].consuming
        ]
        missing = 0 if consumers is None else max(0, len(consuming) - consumers)
        for each in sorted(consuming, key=lambda each: each.heard)[:missing]:
            if each.is_silent(now):
                each.gone.add(queue)

    def _in_flight(self, queue: str) -> int:
        return sum(each.in_flight for each in self._watches(queue))

    # -- What is told

    def _live_queue(self, now: float, name: str, is_open: set[str]) -> LiveQueue:
        queue = self._queues[name]
        told = self._overview.queues.get(name, Status(None, None, None))
        watches = [*self._watches(name)]
        held = sum(each.held for each in watches)
        running = told.running
        if watches:  # RabbitMQ counts every five seconds
            running = sum(each.in_flight for each in watches) - held
        retrying = told.retrying
        if retrying is not None:
            retrying += held
        series_in, series_out = queue.came.series(now), queue.went.series(now)
        is_heard = bool(watches) or any(series_out)
        rate_in = told.rate_in
        if rate_in is None and queue.is_counted:
            rate_in = queue.came.rate(now, _MEAN)
        p50, p99 = queue.durations.quantiles(now, 0.5, 0.99)
        return LiveQueue(
            name=name,
            exists=told.exists,
            ready=told.ready,
            delayed=None if told.delayed is None else told.delayed.total,
            running=running,
            retrying=retrying,
            dead=told.dead,
            consumers=told.consumers,
            paused=told.paused,
            paused_by=told.paused_by,
            paused_since=told.paused_since,
            rate_in=rate_in,
            rate_out=queue.went.rate(now, _MEAN) if is_heard else told.rate_out,
            oldest=queue.oldest(now),
            p50=p50,
            p99=p99,
            series_in=series_in,
            series_out=series_out,
            breakers=tuple(sorted(queue.sent_to(now) & is_open)),
            problems=tuple(dict.fromkeys((*told.problems, *_missing(told)))),
        )

    def _hosts(self) -> Iterable[LiveHost]:
        now = self._now()
        return hosts_of(m for m in self._mediators.values() if not m.is_lost(now))

    def _problems(self, now: float) -> Iterator[str]:
        if not self._mediators and now - self._began > LOST:
            yield "no mediator tells of itself, nor of attempts"
        for each in self._mediators.values():
            if each.is_lost(now):
                ago = f"{now - each.heard:.0f} s"
                yield f"mediator {each.state.mediator} has told nothing for {ago}"
        if self._has_dropped(now):
            lost = counted(self._dropped_lately, "attempt")
            yield f"{lost} of the last minutes were not told, and are not counted"
        yield from clocks_of(self._mediators.values())
        if abs(now - self._left_out_at) <= LOST:
            yield f"there are more than {_MOST} queues or mediators: not all are shown"


def _missing(told: Status) -> Iterator[str]:
    if told.exists is False and not told.paused:
        yield "there is no such queue"
