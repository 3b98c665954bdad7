"""
One queue, and one mediator, as the live view has seen them.  Pure.

Theory of operation.  The clocks of machines differ, so an attempt counts in the second
in which its event came.  Where a clock differs by more than an event may take on its
way (L{CLOCKS<quebert.events.CLOCKS>}), times by this clock are moved by the difference.

Nobody counts the tasks that come into a queue.  Their number is the change of those
that wait and of those that mediators have, and those that left.  These figures come at
different moments, so the live view shows a mean over some seconds.

Nobody knows which task waits longest, either.  Tasks begin in their order, about: the
first one that waits came after the one that began last.
"""

from __future__ import annotations

from collections import deque

from quebert._url import origin_of
from quebert.events import AttemptRecord, MediatorState, clock_ahead, was_requested
from quebert.operations._live_values import LiveMediator
from quebert.operations._series import Durations, SecondCounts
from quebert.operations._status import Status

__all__ = ["LOST", "SeenMediator", "SeenQueue"]

#: Seconds without a state after which a mediator is lost.
LOST = 15.0
#: Seconds in which a mediator tells of itself again, if it is there.
SILENT = 3.0
# Seconds over which it is seen what comes into a queue.
_IN = 3
# Seconds for which a queue is known to send tasks to an origin.
_SENT = 300.0
# How many origins of a queue are known.
_ORIGINS = 100


class SeenQueue:
    """
    A queue, by events and by looks.

    @ivar missing_since: since when there is no such queue; C{None} if there is.
    """

    def __init__(self) -> None:
        self.came = SecondCounts()
        self.went = SecondCounts()
        self.durations = Durations()
        self.is_counted = False
        self.missing_since: float | None = None
        self._ended = 0
        self._looks: deque[tuple[float, int]] = deque(maxlen=_IN + 1)
        self._origins: dict[str, float] = {}
        self._ready = 0
        self._last_came: float | None = None  # the task that began last
        self._waiting_since: float | None = None

    def ended(
        self, now: float, records: list[AttemptRecord], ahead: float = 0.0
    ) -> None:
        """
        Attempts have ended.

        @param ahead: by how many seconds the clock of their mediator is ahead.
        """
        self._ended += len(records)
        self.went.add(now, len(records))
        took = [(each, each.ended - each.started) for each in records]
        self.durations.add(
            now, [s for each, s in took if was_requested(each.status, each.outcome, s)]
        )
        first = (each for each in records if each.number <= 1 and each.added)
        came = max((each.due or each.added or 0.0 for each in first), default=None)
        if came is not None:
            came -= ahead
            self._last_came = max(came, self._last_came or came)
        for origin in {origin_of(each.url) for each in records}:
            self._origins.pop(origin, None)
            self._origins[origin] = now
            if len(self._origins) > _ORIGINS:
                del self._origins[next(iter(self._origins))]

    def looked(self, now: float, status: Status, in_flight: int) -> None:
        """
        Take a look at the queue.
        """
        is_missing = status.exists is False and not status.paused
        self.missing_since = (self.missing_since or now) if is_missing else None
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


class SeenMediator:
    """
    A mediator, by its newest state.

    @ivar heard: when this state came.
    @ivar ahead: by how many seconds its clock is ahead of the one here.
    @ivar gone: queues of which RabbitMQ counts no consumer of it any more.
    @ivar weight: that of the state.
    """

    def __init__(
        self, now: float, state: MediatorState, before: SeenMediator | None
    ) -> None:
        self.heard = now
        self.state = state
        self.ahead = clock_ahead(state.at, now)
        self.gone: set[str] = set()
        self.weight = state.weight
        self._cpu: float | None = None
        if before is not None and state.at > before.state.at:
            used = state.cpu - before.state.cpu
            self._cpu = max(0.0, used / (state.at - before.state.at))

    def is_lost(self, now: float) -> bool:
        """
        Whether no state has come for too long.
        """
        # The clock here may have been set back.
        return abs(now - self.heard) > LOST

    def is_silent(self, now: float) -> bool:
        """
        Whether another state should have come.
        """
        return abs(now - self.heard) > SILENT

    def live(self, now: float) -> LiveMediator:
        """
        The mediator, for the live view.
        """
        state = self.state
        return LiveMediator(
            name=state.mediator,
            host=state.host,
            pid=state.pid,
            version=state.version,
            started=state.started - self.ahead,
            at=state.at - self.ahead,
            lag=state.lag,
            cpu=self._cpu,
            memory=state.memory,
            reconnects=state.reconnects,
            unconfirmed=state.unconfirmed,
            queues=state.queues,
            settings=state.settings,
            lost=self.is_lost(now),
        )
