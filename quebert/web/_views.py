"""
What the API shows, as frozen values.  Pure.

Their names are those of the JSON, and C{None} is what nobody knows.  Times are seconds
since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from quebert.events import WatchState

__all__ = [
    "AttemptGap",
    "AttemptPage",
    "AttemptView",
    "BackgroundView",
    "ChangeView",
    "ClusterView",
    "DeadGroup",
    "DeadPage",
    "DeadView",
    "DueView",
    "HistoryView",
    "HostView",
    "LatencyColumn",
    "LatencyView",
    "MediatorView",
    "QueueDetail",
    "QueueView",
    "SeriesView",
    "TaskDetail",
    "TaskPage",
    "TaskView",
    "WhyEach",
    "WhyView",
]


@attrs.frozen(kw_only=True)
class SeriesView:
    """
    Tasks per second, of each of the last 60 seconds, the newest last.

    @ivar tasks_in: that came; C{in} in JSON.
    @ivar out: whose attempt ended.
    """

    tasks_in: tuple[float, ...] = ()
    out: tuple[float, ...] = ()


@attrs.frozen(kw_only=True)
class QueueView:
    """
    A queue now.

    @ivar oldest: how many seconds the oldest task has waited.
    @ivar p50: seconds that the half of the requests of the last minute took at most.
    @ivar p99: the same of 99 of 100.
    @ivar breakers: origins whose circuit breaker is open.
    """

    name: str
    exists: bool | None = None
    ready: int | None = None
    delayed: int | None = None
    running: int | None = None
    retrying: int | None = None
    dead: int | None = None
    consumers: int | None = None
    paused: bool | None = None
    rate_in: float | None = None
    rate_out: float | None = None
    oldest: float | None = None
    p50: float | None = None
    p99: float | None = None
    series: SeriesView = attrs.field(factory=SeriesView)
    breakers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class AttemptView:
    """
    An attempt (L{AttemptRecord<quebert.events.AttemptRecord>}), and whose it was.
    """

    uuid: str
    queue: str
    url: str
    number: int
    started: float
    ended: float
    outcome: str
    added: float | None = None
    due: float | None = None
    status: int | None = None
    reason: str = ""
    answer: str = ""
    retry_at: float | None = None
    mediator: str = ""


@attrs.frozen(kw_only=True)
class TaskView:
    """
    A task, as far as the history knows it.

    @ivar attempts: how many there were.
    """

    uuid: str
    queue: str
    url: str
    state: str
    added: float | None = None
    due: float | None = None
    attempts: int = 0
    last: AttemptView | None = None
    retry_at: float | None = None


@attrs.frozen(kw_only=True)
class AttemptGap:
    """
    Attempts of a mediator that nobody knows of.

    @ivar begin: from when on; C{from} in JSON.
    @ivar end: until when; C{to} in JSON.
    @ivar count: how many; C{None} if nobody knows.
    """

    mediator: str
    begin: float | None
    end: float | None
    count: int | None


@attrs.frozen(kw_only=True)
class TaskDetail:
    """
    A task and its attempts, the oldest first.
    """

    task: TaskView
    attempts: tuple[AttemptView, ...] = ()
    gaps: tuple[AttemptGap, ...] = ()


@attrs.frozen(kw_only=True)
class TaskPage:
    """
    Some tasks, and where the next ones begin; C{None} after the last one.
    """

    tasks: tuple[TaskView, ...]
    next_page_token: str | None = None


@attrs.frozen(kw_only=True)
class AttemptPage:
    """
    How many attempts there were since the last page, and some of them.
    """

    count: int
    shown: tuple[AttemptView, ...]


@attrs.frozen(kw_only=True)
class DeadView:
    """
    A dead letter.

    @ivar first: when its first attempt began.
    @ivar last: when it was given up.
    @ivar answer: the beginning of the last answer.
    """

    uuid: str
    url: str
    kind: str
    reason: str
    attempts: int | None = None
    first: float | None = None
    last: float | None = None
    status: int | None = None
    answer: str = ""


@attrs.frozen(kw_only=True)
class DeadGroup:
    """
    Dead letters that were given up for the same reason.
    """

    kind: str
    reason: str
    count: int


@attrs.frozen(kw_only=True)
class DeadPage:
    """
    Some dead letters of a queue.

    @ivar count: how many match, on all pages.
    """

    dead: tuple[DeadView, ...]
    groups: tuple[DeadGroup, ...]
    count: int
    next_page_token: str | None = None


@attrs.frozen(kw_only=True)
class HostView:
    """
    An origin, over all mediators.

    @ivar mediators: how many request something of it.
    """

    origin: str
    breaker: str = ""
    open_until: float | None = None
    limit: float | None = None
    in_flight: int = 0
    rate: float | None = None
    mediators: int = 0


@attrs.frozen(kw_only=True)
class MediatorView:
    """
    A mediator (L{MediatorState<quebert.events.MediatorState>}).

    @ivar cpu: its share of a core since the state before.
    @ivar lost: whether it has told nothing for 15 s.
    """

    name: str
    host: str
    pid: int
    version: str
    started: float
    at: float
    lag: float = 0.0
    cpu: float | None = None
    memory: int = 0
    reconnects: int = 0
    unconfirmed: int = 0
    queues: Mapping[str, WatchState] = attrs.field(factory=dict)
    settings: Mapping[str, str] = attrs.field(factory=dict)
    lost: bool = False


@attrs.frozen(kw_only=True)
class HistoryView:
    """
    How the history is.

    @ivar behind: seconds since the newest attempt in it ended, while there are newer.
    @ivar gaps: how often attempts were lost.
    @ivar dropped: how many were.
    """

    ok: bool = True
    problem: str = ""
    behind: float = 0.0
    gaps: int = 0
    dropped: int = 0


@attrs.frozen(kw_only=True)
class ClusterView:
    """
    All of it at a moment.
    """

    at: float
    queues: tuple[QueueView, ...] = ()
    hosts: tuple[HostView, ...] = ()
    mediators: tuple[MediatorView, ...] = ()
    problems: tuple[str, ...] = ()
    history: HistoryView = attrs.field(factory=HistoryView)


@attrs.frozen(kw_only=True)
class LatencyColumn:
    """
    How many requests that ended in the time after C{at} took how long: a number for
    each bucket, and one for what is longer.
    """

    at: float
    counts: tuple[int, ...]


@attrs.frozen(kw_only=True)
class LatencyView:
    """
    How long requests take.

    @ivar buckets: their upper bounds in seconds.
    """

    buckets: tuple[float, ...] = ()
    columns: tuple[LatencyColumn, ...] = ()


@attrs.frozen(kw_only=True)
class DueView:
    """
    How many tasks are due until C{at}, and after the one before.
    """

    at: float
    count: int


@attrs.frozen(kw_only=True)
class QueueDetail:
    """
    A queue, with its newest attempts first.
    """

    queue: QueueView
    latency: LatencyView = attrs.field(factory=LatencyView)
    due: tuple[DueView, ...] = ()
    attempts: tuple[AttemptView, ...] = ()


@attrs.frozen(kw_only=True)
class WhyEach:
    """
    A reason why a task waits.

    @ivar until: when it is over, if somebody knows.
    @ivar position: how many tasks are before it.
    @ivar rate: how many of these go per second.
    @ivar by: who has paused the queue.
    """

    reason: str
    text: str
    until: float | None = None
    position: int | None = None
    rate: float | None = None
    by: str | None = None


@attrs.frozen(kw_only=True)
class WhyView:
    """
    Why a task waits: the reason that counts, and each that applies.

    @ivar queue: that the task is of; empty if nobody knows.
    @ivar unseen: what could not be seen, and why; sentences.
    """

    first: WhyEach
    every: tuple[WhyEach, ...] = ()
    queue: str = ""
    unseen: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ChangeView:
    """
    What became of a wish for one task.

    @ivar result: such as C{"cancelled"}.
    @ivar text: the same as a sentence.
    """

    result: str
    text: str = ""


@attrs.frozen(kw_only=True)
class BackgroundView:
    """
    How far an operation is that goes on in the background.

    @ivar count: how many messages were done.
    @ivar total: how many there were to look at; C{None} if nobody knows yet.
    @ivar problem: why it has failed; empty if it has not.
    """

    operation: str
    kind: str
    queue: str
    done: bool = False
    count: int = 0
    total: int | None = None
    problem: str = ""
