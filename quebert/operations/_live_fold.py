"""
Folds what mediators tell, and what the broker tells, into one view of all.  Pure: time
is given by C{now}, which may go back.

Theory of operation.  The clocks of machines differ, so that an attempt counts in the
second in which it was heard of.  What comes into a queue is told by nobody: the
messages that are there now and were not, those that mediators have now and had not, and
those that left.  The numbers come at different moments, so a mean over some seconds is
told.

Who waits longest is not told, either.  Tasks begin in their order, about: the first one
that waits came after the one that began last.

All of it has bounds, however many queues, origins and mediators there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

from quebert._url import origin_of
from quebert.events import AttemptBatch, AttemptRecord, Gap, MediatorState, WatchState
from quebert.operations._live_values import Live, LiveHost, LiveMediator, LiveQueue
from quebert.operations._overview import Overview
from quebert.operations._series import Durations, SecondCounts
from quebert.operations._status import Status

__all__ = ["LOST", "LiveFold"]

#: Seconds without a state, after which a mediator is lost, ...
LOST = 15.0
#: ... and after which it is shown no more.
FORGOTTEN = 300.0
# Seconds of which a rate is the mean.
_MEAN = 5
# Seconds over which it is seen what comes into a queue.
_IN = 3
# Seconds for which a queue is known to send tasks to an origin.
_SENT = 300.0
# How many are known of each kind; more are not shown.
_MOST = 1_000
# And how many origins of a queue.
_ORIGINS = 100
_BREAKERS = ("", "closed", "half-open", "open")


class LiveFold:
    """
    What is known now.

    @param now: tells the time, in seconds since the epoch.
    @param only: the queues to see; C{None} for all.
    """

    def __init__(
        self, now: Callable[[], float], only: Collection[str] | None = None
    ) -> None:
        self._now = now
        self._only = only
        self._began = now()
        self._queues: dict[str, _SeenQueue] = {}
        self._mediators: dict[str, _SeenMediator] = {}
        self._overview = Overview({})
        self._dropped = 0
        self._left_out = 0

    @property
    def queues(self) -> tuple[str, ...]:
        """
        The queues that are known.
        """
        return tuple(self._queues)

    def attempts(self, batch: AttemptBatch, gap: Gap | None = None) -> None:
        """
        A mediator told of attempts.

        @param gap: those before that were not told, if there are any.
        """
        self._dropped += batch.dropped if gap is None else gap.count
        now, by_queue = self._now(), dict[str, list[AttemptRecord]]()
        for each in batch.records:
            by_queue.setdefault(each.queue, []).append(each)
        for name, records in by_queue.items():
            if (queue := self._queue(name)) is not None:
                queue.ended(now, records)

    def state(self, state: MediatorState) -> None:
        """
        A mediator told of itself.
        """
        known = self._mediators.get(state.mediator)
        if known is None and len(self._mediators) >= _MOST:
            self._left_out += 1
            return
        now = self._now()
        self._mediators[state.mediator] = _SeenMediator(now, state, known)
        for name in state.queues:
            self._queue(name)

    def ended(self, mediator: str) -> None:
        """
        A mediator has ended in good order.
        """
        self._mediators.pop(mediator, None)

    def looked(self, overview: Overview) -> None:
        """
        The broker told of queues.
        """
        self._overview = overview
        now = self._now()
        for name, status in overview.queues.items():
            if (queue := self._queue(name)) is not None:
                queue.looked(now, status, self._in_flight(name))

    def view(self) -> Live:
        """
        All of it.
        """
        now = self._now()
        for name, each in list(self._mediators.items()):
            if now - each.heard > FORGOTTEN:
                del self._mediators[name]
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

    def _queue(self, name: str) -> _SeenQueue | None:
        if self._only is not None and name not in self._only:
            return None
        if name not in self._queues:
            if len(self._queues) >= _MOST:
                self._left_out += 1
                return None
            self._queues[name] = _SeenQueue()
        return self._queues[name]

    def _watches(self, queue: str) -> Iterator[WatchState]:
        now = self._now()
        for each in self._mediators.values():
            if queue in each.state.queues and not each.is_lost(now):
                yield each.state.queues[queue]

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
            rate_out=queue.went.rate(now, _MEAN) if watches else told.rate_out,
            oldest=queue.oldest(now),
            p50=p50,
            p99=p99,
            series_in=series_in,
            series_out=series_out,
            breakers=tuple(sorted(queue.sent_to(now) & is_open)),
            problems=tuple(dict.fromkeys((*told.problems, *_missing(told)))),
        )

    def _hosts(self) -> Iterable[LiveHost]:
        now, found = self._now(), dict[str, LiveHost]()
        for each in self._mediators.values():
            if each.is_lost(now):
                continue
            for origin, state in each.state.origins.items():
                one = LiveHost(
                    origin=origin,
                    breaker=state.breaker,
                    open_until=state.open_until,
                    limit=state.limit,
                    in_flight=state.in_flight,
                    rate=state.rate,
                    mediators=1,
                )
                before = found.get(origin)
                found[origin] = one if before is None else _together(before, one)
        return found.values()

    def _problems(self, now: float) -> Iterator[str]:
        if not self._mediators and now - self._began > LOST:
            yield "no mediator tells of itself, nor of attempts"
        for each in self._mediators.values():
            if each.is_lost(now):
                ago = f"{now - each.heard:.0f} s"
                yield f"mediator {each.state.mediator} has told nothing for {ago}"
        if self._dropped:
            yield f"{self._dropped} attempts were not told, and are not counted"
        if self._left_out:
            yield f"there are more than {_MOST} queues or mediators: not all are shown"


class _SeenQueue:
    """
    What is known of a queue.
    """

    def __init__(self) -> None:
        self.came = SecondCounts()
        self.went = SecondCounts()
        self.durations = Durations()
        self.is_counted = False
        self._ended = 0
        self._looks: deque[tuple[float, int]] = deque(maxlen=_IN + 1)
        self._origins: dict[str, float] = {}
        self._ready = 0
        self._last_came: float | None = None  # the task that began last
        self._waiting_since: float | None = None

    def ended(self, now: float, records: list[AttemptRecord]) -> None:
        """
        Attempts have ended.
        """
        self._ended += len(records)
        self.went.add(now, len(records))
        attempted = [each for each in records if each.status is not None]
        self.durations.add(now, (each.ended - each.started for each in attempted))
        first = (each for each in records if each.number <= 1 and each.added)
        came = max((each.due or each.added or 0.0 for each in first), default=None)
        if came is not None:
            self._last_came = max(came, self._last_came or came)
        for origin in {origin_of(each.url) for each in records}:
            self._origins.pop(origin, None)
            self._origins[origin] = now
            if len(self._origins) > _ORIGINS:
                del self._origins[next(iter(self._origins))]

    def looked(self, now: float, status: Status, in_flight: int) -> None:
        """
        The broker has told of it.
        """
        ready = status.ready or 0
        total = ready + in_flight + self._ended
        self._looks.append((now, total))
        before, then = self._looks[0]
        if now > before:
            self.is_counted = True
            came = max(0.0, (total - then) / (now - before))
            last = self._looks[-2][0]
            self.came.add(now, came * min(now - last, _IN))
        if not ready:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        self._ready = ready

    def oldest(self, now: float) -> float | None:
        """
        Seconds for which the first one waits, at most.
        """
        if self._waiting_since is None or not self._ready:
            return 0.0 if self._looks else None
        if self._last_came is None:
            return None
        since = min(self._last_came, self._waiting_since)
        return max(0.0, now - since)

    def sent_to(self, now: float) -> set[str]:
        """
        The origins to which its tasks went.
        """
        return {o for o, when in self._origins.items() if now - when <= _SENT}


class _SeenMediator:
    """
    What is known of a mediator.

    @ivar heard: when it told last.
    """

    def __init__(
        self, now: float, state: MediatorState, before: _SeenMediator | None
    ) -> None:
        self.heard = now
        self.state = state
        self._cpu: float | None = None
        if before is not None and state.at > before.state.at:
            used = state.cpu - before.state.cpu
            self._cpu = max(0.0, used / (state.at - before.state.at))

    def is_lost(self, now: float) -> bool:
        """
        Whether it has told nothing for too long.
        """
        return now - self.heard > LOST

    def live(self, now: float) -> LiveMediator:
        """
        What is told of it.
        """
        state = self.state
        return LiveMediator(
            name=state.mediator,
            host=state.host,
            pid=state.pid,
            version=state.version,
            started=state.started,
            at=state.at,
            lag=state.lag,
            cpu=self._cpu,
            memory=state.memory,
            reconnects=state.reconnects,
            unconfirmed=state.unconfirmed,
            queues=state.queues,
            settings=state.settings,
            lost=self.is_lost(now),
        )


def _together(one: LiveHost, other: LiveHost) -> LiveHost:
    def total(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a + b

    untils = [e for e in (one.open_until, other.open_until) if e is not None]
    return LiveHost(
        origin=one.origin,
        breaker=max(one.breaker, other.breaker, key=_severity),
        open_until=max(untils, default=None),
        limit=total(one.limit, other.limit),
        in_flight=one.in_flight + other.in_flight,
        rate=total(one.rate, other.rate),
        mediators=one.mediators + other.mediators,
    )


def _severity(breaker: str) -> int:
    return _BREAKERS.index(breaker) if breaker in _BREAKERS else 0


def _missing(told: Status) -> Iterator[str]:
    if told.exists is False and not told.paused:
        yield "there is no such queue"
