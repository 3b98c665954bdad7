"""
The questions to the history, and its answers, as frozen values.  Pure.

All times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Union

import attrs

from quebert.events import AttemptBatch, AttemptRecord

__all__ = [
    "BUCKETS",
    "LIVES",
    "DueCount",
    "DurationColumn",
    "HistoryGap",
    "HistoryPage",
    "HistoryQuery",
    "LatencyMap",
    "LifeRecord",
    "Lives",
    "PastAttempt",
    "Retention",
    "TaskHistory",
    "TaskSummary",
    "TaskTries",
    "Totals",
    "Write",
]

#: What can happen to a task without an attempt.
LIVES = (
    "added",
    "delayed",
    "running",
    "cancelled",
    "discarded",
    "buried",
    "redriven",
)
#: Upper bounds of the durations of requests that are counted together, in seconds; one
#: more counts all that took longer.
BUCKETS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)


@attrs.frozen(kw_only=True)
class LifeRecord:
    """
    Something that has happened to a task without an attempt.

    @ivar uuid: of the task.
    @ivar queue: that the task is in.
    @ivar state: one of L{LIVES}.
    @ivar at: when it happened.
    @ivar url: of the task, if that is known.
    @ivar added: when the task was published first, if that is known.
    @ivar due: when the task is due, if it is delayed.
    @ivar reason: by whom, or why; on one line.
    """

    uuid: str
    queue: str
    state: str
    at: float
    url: str = ""
    added: float | None = None
    due: float | None = None
    reason: str = ""


_OF_RECORD = tuple(field.name for field in attrs.fields(AttemptRecord))


@attrs.frozen(kw_only=True)
class PastAttempt(AttemptRecord):
    """
    An attempt in the history.

    @ivar mediator: the name of the mediator; empty if it is forgotten.
    """

    mediator: str = ""

    @classmethod
    def of(cls, record: AttemptRecord, mediator: str) -> PastAttempt:
        """
        An attempt of a mediator.
        """
        fields = {name: getattr(record, name) for name in _OF_RECORD}
        return cls(mediator=mediator, **fields)


@attrs.frozen(kw_only=True)
class TaskSummary:
    """
    A task, as the newest entry of the history has it.

    @ivar uuid: of the task.
    @ivar queue: that the task was in.
    @ivar url: of the task.
    @ivar added: when it was published first; C{None} if no entry tells.
    @ivar due: when the newest attempt was due; C{None} for at once.
    @ivar state: C{"retrying"}, C{"delayed"} (it comes back without an attempt), one of
        L{quebert.events.OUTCOMES} or one of L{LIVES}.
    @ivar attempts: how many are in the history.
    @ivar last: the newest of these.
    @ivar retry_at: when it is attempted next; C{None} if that is not known.
    """

    uuid: str
    queue: str
    url: str
    state: str
    added: float | None = None
    due: float | None = None
    attempts: int = 0
    last: PastAttempt | None = None
    retry_at: float | None = None


@attrs.frozen(kw_only=True)
class HistoryGap:
    """
    Records of a mediator that never came.

    @ivar mediator: its name; empty if it is forgotten.
    @ivar start: they are not older than this; C{None} if that is not known.
    @ivar end: they are not newer than this.
    @ivar batches: how many batches are missing.
    @ivar records: how many records are missing; C{None} if that is not known.
    """

    mediator: str
    start: float | None
    end: float
    batches: int = 0
    records: int | None = None


@attrs.frozen(kw_only=True)
class TaskTries:
    """
    The requests that were made for a task, in sum.

    @ivar count: how many, as mediators count them: also of those that the history has
        not, or no more.
    @ivar answers: how many of those in the history were answered.
    @ivar first: when the first one began; C{None} if the history has it no more.
    @ivar last: the newest one.
    """

    count: int
    answers: int
    first: float | None
    last: PastAttempt


@attrs.frozen(kw_only=True)
class TaskHistory:
    """
    The whole life of a task, as far as the history has it.

    @ivar summary: how the task is now.
    @ivar attempts: the oldest first.
    @ivar lives: the other events of its life, the oldest first.
    @ivar gaps: the gaps in which there may have been more.
    """

    summary: TaskSummary
    attempts: Sequence[PastAttempt]
    lives: Sequence[LifeRecord]
    gaps: Sequence[HistoryGap]


@attrs.frozen(kw_only=True)
class HistoryQuery:
    """
    Conditions for a search of tasks.  The newest entry of a task must match all.

    @ivar uuid: the beginning of the uuid.
    @ivar queue: the name of the queue.
    @ivar patterns: of names of queues, with C{*}, C{?} and C{[...]}: one must match.
    @ivar url: the beginning of the URL, if this begins with C{http:} or C{https:}; else
        a part of the URL.  Upper and lower case differ.
    @ivar status: of the answer; C{4} stands for all from 400 to 499, and so on.
    @ivar outcome: one of L{quebert.events.OUTCOMES}, or of L{LIVES}.
    @ivar reason: a part of the reason.
    @ivar after: the newest attempt has ended then, or later.
    @ivar before: the newest attempt has ended then, or earlier.
    """

    uuid: str = ""
    queue: str = ""
    patterns: tuple[str, ...] = ("*",)
    url: str = ""
    status: int | None = None
    outcome: str = ""
    reason: str = ""
    after: float | None = None
    before: float | None = None


@attrs.frozen(kw_only=True)
class HistoryPage:
    """
    Some of the tasks that a query matches.

    @ivar tasks: those first that were attempted last.
    @ivar next_page_token: for the tasks that follow; empty if there are none.  While
        there is one, there may be more, even if this page has few tasks, or none: a
        page takes a bounded time, and so ends where few of many tasks match.
    """

    tasks: Sequence[TaskSummary]
    next_page_token: str = ""


@attrs.frozen(kw_only=True)
class DurationColumn:
    """
    The requests that ended in one minute.

    @ivar at: when the minute began.
    @ivar counts: how many took how long: one number for each of L{BUCKETS}, and one for
        those that took longer.
    """

    at: float
    counts: Sequence[int]


@attrs.frozen(kw_only=True)
class LatencyMap:
    """
    How long the requests of a queue took.

    @ivar buckets: L{BUCKETS}.
    @ivar columns: the oldest first; minutes without a request are left out.
    """

    buckets: Sequence[float]
    columns: Sequence[DurationColumn]


@attrs.frozen(kw_only=True)
class DueCount:
    """
    How many tasks of a queue are due within some seconds.

    @ivar at: when these seconds begin.
    @ivar count: how many tasks.
    """

    at: float
    count: int


@attrs.frozen(kw_only=True)
class Retention:
    """
    How long entries are kept; by default 7 days, in 10 GiB.

    @ivar age: seconds; C{None} for ever.
    @ivar size: bytes that the database takes at most, about; C{None} for no limit.
    """

    age: float | None = attrs.field(default=7 * 86400.0)
    size: int | None = attrs.field(default=10 * 1024**3)

    @age.validator
    @size.validator
    def _check(self, attribute: attrs.Attribute[float | None], value: object) -> None:
        if value is not None and not (isinstance(value, (int, float)) and value > 0):
            raise ValueError(f"{attribute.name} must be more than 0, or None")


@attrs.frozen
class Lives:
    """
    Events in the lives of some tasks that are no attempts.
    """

    records: Sequence[LifeRecord]


#: What is written.
Write = Union[AttemptBatch, Lives]
#: Counts by queue and outcome.
Totals = Mapping[str, Mapping[str, int]]
