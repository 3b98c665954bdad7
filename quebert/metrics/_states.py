"""
Sums of the states of all mediators.  Pure.

The counts of a mediator begin at 0 with each start, and those of a queue with each new
watch; a sum never falls.  Those of a mediator that was there first count from its first
state on: a sum that began with millions would look like millions in a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from quebert.events import MediatorState, OriginState, WatchState, clock_ahead
from quebert.metrics._totals import MOST_QUEUES, OTHERS

__all__ = ["FATES", "MOST_ORIGINS", "SILENT", "States"]

#: Seconds without a state after which a mediator is taken for lost.
SILENT = 15.0
#: Seconds without a state after which a mediator has no figures any more.  Its counts
#: are known for longer: it may have been cut off.
FORGOTTEN = 600.0
#: Seconds by which a state may be late.  One that is older by more comes from a machine
#: whose clock was set back.
LATE = 10.0
#: Mediators and origins that have figures of their own.
MOST_MEDIATORS = 1_000
MOST_ORIGINS = 50
#: What may become of a message, as C{WatchState} counts it.
FATES = ("done", "retried", "discarded", "buried", "returned")

# What all mediators may weigh together.
_MOST_WEIGHT = 2_000_000

_BREAKERS = ("closed", "half-open", "open")
_COUNTS = ("received", *FATES)


@attrs.define
class _Known:
    """
    A mediator.

    @ivar heard: when its newest state came, by the clock of this process.
    @ivar ended: whether the mediator has ended; a late state may still come.
    @ivar weight: that of the state.
    """

    state: MediatorState
    heard: float
    ended: bool = False
    weight: int = 0


class States:
    """
    The newest states of all mediators, and the sums of their counts.

    @param since: a mediator that was started before counts from its first state on.
        0 if all counts matter.
    @param most_queues: how many queues have figures of their own.
    """

    def __init__(self, since: float = 0.0, most_queues: int = MOST_QUEUES) -> None:
        self._since = since
        self._most_queues = most_queues
        self._known: dict[str, _Known] = {}  # the one heard last is last
        self._weight = 0
        self._sums: dict[str, dict[str, int]] = {}

    def add(self, state: MediatorState, now: float) -> None:
        """
        Take the state of a mediator.
        """
        known = self._known.pop(state.mediator, None)
        if known is not None:
            self._weight -= known.weight
            if 0.0 < known.state.at - state.at < LATE:
                state = known.state  # an earlier one that was late
        before = known.state.queues if known else {}
        ahead = clock_ahead(state.at, now)
        is_new = known is None and state.started - ahead < self._since
        for queue, watch in state.queues.items():
            self._count(queue, watch, watch if is_new else before.get(queue))
        ended = known is not None and known.ended
        self._known[state.mediator] = latest = _Known(state, now, ended, state.weight)
        self._weight += latest.weight
        while len(self._known) > MOST_MEDIATORS or self._weight > _MOST_WEIGHT:
            if len(self._known) == 1:
                break
            self._weight -= self._known.pop(next(iter(self._known))).weight

    def _count(self, queue: str, now: WatchState, before: WatchState | None) -> None:
        sums = self._sums_of(queue)
        if before is None or now.received < before.received:
            before = _NOTHING
        for name in _COUNTS:
            sums[name] += max(0, getattr(now, name) - getattr(before, name))

    def _sums_of(self, queue: str) -> dict[str, int]:
        if queue not in self._sums and len(self._sums) >= self._most_queues:
            queue = OTHERS
        return self._sums.setdefault(queue, dict.fromkeys(_COUNTS, 0))

    def forget(self, mediator: str) -> None:
        """
        A mediator has ended; what it has counted stays.
        """
        if (known := self._known.get(mediator)) is not None:
            known.ended = True

    def mediators(self, now: float) -> Iterator[tuple[MediatorState, bool]]:
        """
        Each mediator that is known, and whether it is there.
        """
        for each in self._known.values():
            silent = abs(now - each.heard)  # our clock may have been set back
            if not each.ended and silent <= FORGOTTEN:
                yield each.state, silent <= SILENT

    def counts(self) -> dict[str, dict[str, int]]:
        """
        The sums of the counts of all mediators, by queue.
        """
        return self._sums

    def watches(self, states: Iterable[MediatorState]) -> dict[str, list[WatchState]]:
        """
        How each queue is watched.
        """
        found: dict[str, list[WatchState]] = {}
        for state in states:
            for queue, watch in state.queues.items():
                known = queue in self._sums and queue != OTHERS
                found.setdefault(queue if known else OTHERS, []).append(watch)
        return found

    @staticmethod
    def origins(states: Iterable[MediatorState]) -> dict[str, list[OriginState]]:
        """
        How each origin is doing.  If there are too many, those that are worth a look
        have figures of their own.
        """
        found: dict[str, list[OriginState]] = {}
        for state in states:
            for origin, each in state.origins.items():
                found.setdefault(origin, []).append(each)
        if len(found) > MOST_ORIGINS:
            names = sorted(found, key=lambda name: _importance(name, found[name]))
            rest = [found.pop(name) for name in names[MOST_ORIGINS:]]
            found[OTHERS] = [each for some in rest for each in some]
        return found


_NOTHING = WatchState(consuming=False)


def _importance(name: str, states: Iterable[OriginState]) -> Any:
    is_well = all(each.breaker in ("", "closed") for each in states)
    return is_well, -sum(each.in_flight for each in states), name
