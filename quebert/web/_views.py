"""
The values that the API shows, frozen.

Their names are those of the JSON, but for those that L{quebert.web._json} renames.
C{None} stands for a figure that is not known.  Times are seconds since the epoch.

Queues, hosts, mediators and reasons why tasks wait are values of L{quebert.operations};
tasks, attempts, latencies and due times are values of L{quebert.history}.

To add a field: its class, here or there, and the place that fills it, which is
C{cluster/_cluster} for most; C{assets/types.js}, and the view of the page that shows
it, such as C{assets/queues_view.js} for a column of the queues;
C{quebert.test.fake_cluster}; and C{docs/web.rst}.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from quebert.created_tasks import EndNote
from quebert.history import DueCount, LatencyMap, PastAttempt, TaskSummary
from quebert.operations import LiveHost, LiveMediator, LiveQueue, WhyReason

__all__ = [
    "AttemptGap",
    "AttemptPage",
    "BackgroundView",
    "ChangeView",
    "ClusterView",
    "CreatedPage",
    "CreatedView",
    "DeadGroup",
    "DeadPage",
    "DeadView",
    "HistoryView",
    "QueueDetail",
    "TaskDetail",
    "TaskPage",
    "WhyView",
]


@attrs.frozen(kw_only=True)
class AttemptGap:
    """
    Attempts of a mediator that are missing.

    @ivar mediator: its name.
    @ivar begin: from when on; C{from} in JSON.
    @ivar end: until when; C{to} in JSON.
    @ivar count: how many; C{None} if that is not known.
    """

    mediator: str
    begin: float | None
    end: float | None
    count: int | None


@attrs.frozen(kw_only=True)
class CreatedView:
    """
    The row of a task that was created over HTTP.

    @ivar uuid: of the task.
    @ivar queue: that it goes to.
    @ivar name: unique in the queue; C{None} for none.
    @ivar state: one of L{quebert.created_tasks.STATES}.
    @ivar added: when it was created.
    @ivar due: when it may run, not before.
    @ivar end: C{None} until it has ended.
    @ivar held_until: when its name is free again; C{None} until it has ended, or is
        deleted.
    """

    uuid: str
    queue: str
    name: str | None
    state: str
    added: float
    due: float
    end: EndNote | None = None
    held_until: float | None = None


@attrs.frozen(kw_only=True)
class CreatedPage:
    """
    Some tasks that were created over HTTP.

    @ivar tasks: the oldest first.
    @ivar next_page_token: where the next page begins; C{None} after the last one.
    """

    tasks: tuple[CreatedView, ...]
    next_page_token: str | None = None


@attrs.frozen(kw_only=True)
class TaskDetail:
    """
    A task and its attempts, the oldest first.

    @ivar task: the task.
    @ivar attempts: the oldest first.
    @ivar gaps: where some of them may be missing.
    @ivar created: its row; C{None} if it was not created over HTTP, or long ago, or the
        database of rows is away.
    """

    task: TaskSummary
    attempts: Sequence[PastAttempt] = ()
    gaps: tuple[AttemptGap, ...] = ()
    created: CreatedView | None = None


@attrs.frozen(kw_only=True)
class TaskPage:
    """
    Some tasks, and where the next ones begin; C{None} after the last one.

    @ivar tasks: the newest first.
    @ivar next_page_token: where the next page begins.
    """

    tasks: Sequence[TaskSummary]
    next_page_token: str | None = None


@attrs.frozen(kw_only=True)
class AttemptPage:
    """
    How many attempts there were since the last page, and some of them.

    @ivar count: how many there were.
    @ivar shown: some of them.
    """

    count: int
    shown: Sequence[PastAttempt]


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
    The cluster at a moment.

    @ivar at: the moment.
    @ivar queues: all queues that are known.
    @ivar hosts: all origins that are known.
    @ivar mediators: all mediators that are known.
    @ivar problems: what could not be seen, and why; sentences.
    @ivar history: how the history is.
    """

    at: float
    queues: tuple[LiveQueue, ...] = ()
    hosts: tuple[LiveHost, ...] = ()
    mediators: tuple[LiveMediator, ...] = ()
    problems: tuple[str, ...] = ()
    history: HistoryView = attrs.field(factory=HistoryView)


@attrs.frozen(kw_only=True)
class QueueDetail:
    """
    A queue, with its newest attempts first.

    @ivar queue: the queue.
    @ivar latency: how long its requests take.
    @ivar due: when its delayed tasks are due.
    @ivar attempts: the newest first.
    """

    queue: LiveQueue
    latency: LatencyMap
    due: Sequence[DueCount] = ()
    attempts: Sequence[PastAttempt] = ()


@attrs.frozen(kw_only=True)
class WhyView:
    """
    Why a task waits: the reason that counts, and each that applies.

    @ivar first: the reason that counts.
    @ivar every: each that applies.
    @ivar queue: the queue of the task; empty if that is not known.
    @ivar unseen: what could not be seen, and why; sentences.
    """

    first: WhyReason
    every: tuple[WhyReason, ...] = ()
    queue: str = ""
    unseen: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ChangeView:
    """
    The result of a change of one task.

    @ivar result: such as C{"cancelled"}.
    @ivar text: the same as a sentence.
    """

    result: str
    text: str = ""


@attrs.frozen(kw_only=True)
class BackgroundView:
    """
    The progress of an operation in the background.

    @ivar operation: its identifier.
    @ivar kind: such as C{"redrive"}.
    @ivar queue: the queue of the messages.
    @ivar done: whether it has ended.
    @ivar count: how many messages were done.
    @ivar total: how many there were to look at; C{None} if that is not known yet.
    @ivar problem: why it has failed; empty if it has not.
    """

    operation: str
    kind: str
    queue: str
    done: bool = False
    count: int = 0
    total: int | None = None
    problem: str = ""
