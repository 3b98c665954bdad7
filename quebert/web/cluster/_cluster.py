"""
Reads the real cluster for the API: from L{LiveCluster}, the history and the broker to
L{quebert.web._views}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred

from quebert.errors import ConfigError, HistoryError, UnknownPageToken
from quebert.history import (
    HistoryLedger,
    HistoryQuery,
    LatencyMap,
    PastAttempt,
    TaskHistory,
)
from quebert.operations import Live, Match
from quebert.web import (
    AttemptGap,
    BadPageToken,
    ClusterView,
    ClusterWatcher,
    DeadPage,
    QueueDetail,
    TaskDetail,
    TaskPage,
    TaskQuery,
    WhyView,
)
from quebert.web.cluster._dead_letters import DeadLetterBook
from quebert.web.cluster._history_feeder import HistoryFeeder
from quebert.web.cluster._live_cluster import LiveCluster

__all__ = ["RealCluster"]

T = TypeVar("T")
# Seconds of the latency that are shown.
_LATENCY = 3_600.0
# Attempts of a queue.
_SHOWN = 50
_NO_LATENCY = LatencyMap(buckets=(), columns=())


class HasProblems(Protocol):
    """
    L{CreatedTaskKeeper<quebert.web.cluster._created.CreatedTaskKeeper>}, or
    L{LeaseKeeper<quebert.web.cluster._leases.LeaseKeeper>}.
    """

    @property
    def problems(self) -> Sequence[str]:
        """
        What is wrong; sentences.
        """


class RealCluster:
    """
    Reads the cluster (L{quebert.web.Cluster}).

    @param explain: says why a task waits.
    @param kept: what else can be wrong: with the tasks that are created over HTTP, and
        with leases.
    """

    def __init__(
        self,
        live: LiveCluster,
        feeder: HistoryFeeder,
        ledger: HistoryLedger,
        letters: DeadLetterBook,
        explain: Callable[[str, str], Awaitable[WhyView]],
        now: Callable[[], float],
        kept: Sequence[HasProblems] = (),
    ) -> None:
        self._live = live
        self._history_feeder = feeder
        self._ledger = ledger
        self._letters = letters
        self._explain = explain
        self._now = now
        self._kept = kept

    def watch(self, watcher: ClusterWatcher) -> None:
        """
        Tell C{watcher} of attempts from now on.
        """
        self._live.watch(watcher)

    async def overview(self) -> ClusterView:
        """
        All of it now.
        """
        live = await self._live.view()
        problems = [text for each in self._kept for text in each.problems]
        return _overview(live, self._history_feeder, problems)

    async def queue(self, name: str) -> QueueDetail:
        """
        One queue, with its latencies, its due times and its newest attempts.

        @raise ConfigError: there is no such queue.
        """
        live = await self._live.view()
        found = next((each for each in live.queues if each.name == name), None)
        if found is None:
            raise ConfigError(f"no queue {name!r} is known here")
        problems = list(found.problems)
        # All are asked at once: a database that hangs is waited for once.
        latest = self._ledger.latency(name, self._now() - _LATENCY)
        asking = self._asked(latest, _NO_LATENCY, problems)
        latency = Deferred.fromCoroutine(asking)
        asking_due = self._asked(self._ledger.due(name), (), problems)
        due = Deferred.fromCoroutine(asking_due)
        attempts = await self._asked(self._attempts(name), (), problems)
        return QueueDetail(
            latency=await latency,
            due=await due,
            attempts=attempts,
            queue=attrs.evolve(found, problems=tuple(dict.fromkeys(problems))),
        )

    async def _asked(self, asking: Awaitable[T], default: T, problems: list[str]) -> T:
        try:
            return await asking
        except HistoryError as e:
            problems.append(str(e))
            return default

    async def _attempts(self, queue: str) -> Sequence[PastAttempt]:
        recent = self._live.recent(queue)
        if len(recent) < _SHOWN:  # since this process began
            past = await self._ledger.attempts_of(queue, most=_SHOWN)
            if len(past) > len(recent):
                return past
        return tuple(PastAttempt.of(*each) for each in recent)

    async def dead(
        self, queue: str, matches: Sequence[Match], token: str, size: int
    ) -> DeadPage:
        """
        The dead letters of a queue that match.

        @raise ConfigError: there is no such queue.
        @raise BadPageToken: the token is none of ours.
        @raise BrokerError: the broker cannot be asked.
        """
        return await self._letters.page(queue, matches, token, size)

    async def tasks(self, query: TaskQuery) -> TaskPage:
        """
        The tasks that match, the newest first.

        @raise BadPageToken: the token is none of ours.
        @raise HistoryError: the history cannot be asked.
        """
        wanted = HistoryQuery(
            uuid=query.q,
            queue=query.queue,
            patterns=query.patterns,
            url=query.url,
            status=query.status,
            outcome=query.outcome,
            reason=query.reason,
            after=query.after,
            before=query.before,
        )
        try:
            asking = self._ledger.tasks(wanted, query.page_token, query.page_size)
            found = await asking
        except UnknownPageToken as e:
            raise BadPageToken(str(e)) from None
        return TaskPage(
            tasks=found.tasks,
            next_page_token=found.next_page_token or None,
        )

    async def task(self, uuid: str) -> TaskDetail | None:
        """
        One task; C{None} if the history knows none.

        @raise HistoryError: the history cannot be asked.
        """
        found = await self._ledger.task(uuid)
        return None if found is None else _detail(found)

    async def why(self, uuid: str, queue: str) -> WhyView:
        """
        Why a task waits.

        @raise BrokerError: the broker cannot be asked.
        """
        return await self._explain(uuid, queue)


# -- From the values of other rooms


def _overview(
    live: Live, feeder: HistoryFeeder, problems: Sequence[str]
) -> ClusterView:
    return ClusterView(
        at=live.at,
        queues=live.queues,
        hosts=live.hosts,
        mediators=live.mediators,
        problems=tuple(dict.fromkeys((*live.problems, *problems))),
        history=feeder.view,
    )


def _detail(found: TaskHistory) -> TaskDetail:
    gaps = (
        AttemptGap(
            mediator=each.mediator, begin=each.start, end=each.end, count=each.records
        )
        for each in found.gaps
    )
    return TaskDetail(
        task=found.summary,
        attempts=found.attempts,
        gaps=tuple(gaps),
    )
