"""
The values that the API shows, frozen.

Their names are those of the JSON.  C{None} stands for a figure that is not known.
Times are seconds since the epoch.  Hosts, mediators and reasons why tasks wait are
shown as L{quebert.operations} tells them.
"""

from __future__ import annotations

import attrs

from quebert.operations import LiveHost, LiveMediator, WhyReason

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
    "LatencyColumn",
    "LatencyView",
    "QueueDetail",
    "QueueView",
    "SeriesView",
    "TaskDetail",
    "TaskPage",
    "TaskView",
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

    @ivar name: its name.
    @ivar exists: whether there is such a queue.
    @ivar ready: how many tasks wait for a mediator.
    @ivar delayed: how many wait for their time.
    @ivar running: how many mediators have.
    @ivar retrying: how many wait to be tried again.
    @ivar dead: how many were given up.
    @ivar consumers: how many consumers it has.
    @ivar paused: whether it is paused.
    @ivar rate_in: tasks per second that come.
    @ivar rate_out: attempts per second that end.
    @ivar oldest: how many seconds the oldest task has waited.
    @ivar p50: seconds that the half of the requests of the last minute took at most.
    @ivar p99: the same of 99 of 100.
    @ivar series: the same for each second.
    @ivar breakers: origins whose circuit breaker is open.
    @ivar problems: what could not be seen, and why; sentences.
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

    @ivar uuid: of the task.
    @ivar queue: that the task came from.
    @ivar url: without user, password and query.
    @ivar number: from 1.
    @ivar started: when it began.
    @ivar ended: when its outcome was clear.
    @ivar outcome: one of L{OUTCOMES<quebert.events.OUTCOMES>}.
    @ivar added: when the task was published first.
    @ivar due: when it was due.
    @ivar status: of the answer.
    @ivar reason: why the task is not done.
    @ivar answer: the beginning of the answer.
    @ivar retry_at: when the task is tried again.
    @ivar mediator: its name.
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

    @ivar uuid: of the task.
    @ivar queue: that it came from.
    @ivar url: without user, password and query.
    @ivar state: such as C{"retrying"}.
    @ivar added: when it was published first.
    @ivar due: when its next attempt is due.
    @ivar attempts: how many there were.
    @ivar last: its last attempt.
    @ivar retry_at: when it is tried again.
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

    @ivar mediator: its name.
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

    @ivar task: the task.
    @ivar attempts: the oldest first.
    @ivar gaps: where some of them may be missing.
    """

    task: TaskView
    attempts: tuple[AttemptView, ...] = ()
    gaps: tuple[AttemptGap, ...] = ()


@attrs.frozen(kw_only=True)
class TaskPage:
    """
    Some tasks, and where the next ones begin; C{None} after the last one.

    @ivar tasks: the newest first.
    @ivar next_page_token: where the next page begins.
    """

    tasks: tuple[TaskView, ...]
    next_page_token: str | None = None


@attrs.frozen(kw_only=True)
class AttemptPage:
    """
    How many attempts there were since the last page, and some of them.

    @ivar count: how many there were.
    @ivar shown: some of them.
    """

    count: int
    shown: tuple[AttemptView, ...]


@attrs.frozen(kw_only=True)
class DeadView:
    """
    A dead letter.

    @ivar uuid: of the task.
    @ivar url: without user, password and query.
    @ivar kind: such as C{"exhausted"}.
    @ivar reason: why it was given up.
    @ivar attempts: how many there were.
    @ivar first: when its first attempt began.
    @ivar last: when it was given up.
    @ivar status: of the last answer.
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

    @ivar kind: such as C{"exhausted"}.
    @ivar reason: why they were given up.
    @ivar count: how many there are.
    """

    kind: str
    reason: str
    count: int


@attrs.frozen(kw_only=True)
class DeadPage:
    """
    Some dead letters of a queue.

    @ivar dead: those of the page.
    @ivar groups: all that match, by their reasons.
    @ivar count: how many match, on all pages.
    @ivar next_page_token: where the next page begins.
    """

    dead: tuple[DeadView, ...]
    groups: tuple[DeadGroup, ...]
    count: int
    next_page_token: str | None = None


@attrs.frozen(kw_only=True)
class HistoryView:
    """
    How the history is.

    @ivar ok: whether it takes attempts.
    @ivar problem: why it does not; a sentence.
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

    @ivar at: when.
    @ivar queues: all queues that are known.
    @ivar hosts: all origins that are known.
    @ivar mediators: all mediators that are known.
    @ivar problems: what could not be seen, and why; sentences.
    @ivar history: how the history is.
    """

    at: float
    queues: tuple[QueueView, ...] = ()
    hosts: tuple[LiveHost, ...] = ()
    mediators: tuple[LiveMediator, ...] = ()
    problems: tuple[str, ...] = ()
    history: HistoryView = attrs.field(factory=HistoryView)


@attrs.frozen(kw_only=True)
class LatencyColumn:
    """
    How many requests that ended in the time after C{at} took how long: a number for
    each bucket, and one for what is longer.

    @ivar at: when the time of the column begins.
    @ivar counts: of requests, for each bucket.
    """

    at: float
    counts: tuple[int, ...]


@attrs.frozen(kw_only=True)
class LatencyView:
    """
    How long requests take.

    @ivar buckets: their upper bounds in seconds.
    @ivar columns: the oldest first.
    """

    buckets: tuple[float, ...] = ()
    columns: tuple[LatencyColumn, ...] = ()


@attrs.frozen(kw_only=True)
class DueView:
    """
    How many tasks are due until C{at}, and after the one before.

    @ivar at: the end of a time.
    @ivar count: of tasks that are due in it.
    """

    at: float
    count: int


@attrs.frozen(kw_only=True)
class QueueDetail:
    """
    A queue, with its newest attempts first.

    @ivar queue: the queue.
    @ivar latency: how long its requests take.
    @ivar due: when its delayed tasks are due.
    @ivar attempts: the newest first.
    """

    queue: QueueView
    latency: LatencyView = attrs.field(factory=LatencyView)
    due: tuple[DueView, ...] = ()
    attempts: tuple[AttemptView, ...] = ()


@attrs.frozen(kw_only=True)
class WhyView:
    """
    Why a task waits: the reason that counts, and each that applies.

    @ivar first: the reason that counts.
    @ivar every: each that applies.
    @ivar queue: that the task is of; empty if nobody knows.
    @ivar unseen: what could not be seen, and why; sentences.
    """

    first: WhyReason
    every: tuple[WhyReason, ...] = ()
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

    @ivar operation: its identifier.
    @ivar kind: such as C{"redrive"}.
    @ivar queue: of which the messages are.
    @ivar done: whether it has ended.
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
