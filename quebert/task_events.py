"""
What happens to tasks in a mediator, as a stream of frozen values.  Pure.

A mediator tells its L{TaskObserver} of each message that it gets, once it is clear what
becomes of the message: L{AttemptEnded} where a request was made or left out, else
L{NotAttempted}.  L{AttemptBegun} comes before, when the request begins; the same
L{TaskAttempt} is in both.

An observer is called in the middle of the mediator's work, so it must be quick, and
must not block.  If it raises, the log tells so, and the mediator goes on.  Without an
observer no event is made.

Who needs to know of each task only afterwards, and of thousands a second, is no
observer but a L{TaskRecorder}, such as the method C{append} of a list: it gets an
L{EndedTask}, which is as the mediator knows it, and takes no time to make presentable.

To add an observer: a function that takes a L{TaskEvent}; it goes to
C{Mediator(observer=...)}, or, for the mediators of a configuration, into C{_observer}
of C{service/_watches}.  L{told_to} has several be told.  To add an event: L{TaskEvent}
here, C{mediator/_observation}, which makes them, and each observer that matches it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, Union

import attrs

from quebert.outcome import Outcome

__all__ = [
    "AttemptBegun",
    "AttemptEnded",
    "EndedTask",
    "NotAttempted",
    "TaskAttempt",
    "TaskEvent",
    "TaskObserver",
    "TaskRecorder",
    "told_to",
]


@attrs.frozen(eq=False)
class TaskAttempt:
    """
    One attempt at a task.  Two are equal only if they are the same object: a task may
    be in the queue twice.

    @ivar uuid: of the task, on one line; empty where it has none, or none that can be
        read.
    @ivar url: as the task has it, on one line, without user, password and query.
    @ivar number: from 1.
    """

    uuid: str
    url: str
    number: int


@attrs.frozen(eq=False)
class AttemptBegun:
    """
    The request of an attempt begins.

    @ivar attempt: which.
    """

    attempt: TaskAttempt


@attrs.frozen(eq=False)
class AttemptEnded:
    """
    An attempt has ended.

    @ivar attempt: which.
    @ivar status: of the answer; C{None} where there was none.
    @ivar seconds: from when the mediator got the message; hooks are included.
    @ivar outcome: what becomes of the message.
    @ivar why: what went wrong, on one line, without the secrets of the request; empty
        if the task is done.
    @ivar answer: the beginning of the answer to a failed attempt, likewise, if answers
        are kept.  Executors choose it freely.
    @ivar html: whether that is HTML.
    """

    attempt: TaskAttempt
    status: int | None
    seconds: float
    outcome: Outcome
    why: str = ""
    answer: str = ""
    html: bool = False


@attrs.frozen(eq=False)
class NotAttempted:
    """
    No attempt was made at a task: it is cancelled, has expired, is early, had its
    attempts, must wait for its host, or is no task.

    @ivar attempt: the one that was not made.
    @ivar outcome: what becomes of the message.
    @ivar why: the reason, on one line.
    """

    attempt: TaskAttempt
    outcome: Outcome
    why: str


#: What happens to a task.
TaskEvent = Union[AttemptBegun, AttemptEnded, NotAttempted]


class EndedTask:
    """
    A task, once it is clear what becomes of it.  All times are seconds since the epoch.

    It is no attrs class, and is filled while the task is on its way, since every task
    has one.

    @ivar uuid: as the task has it: anything; C{None} where it has none.
    @ivar url: as the task has it: anything, and with its secrets.
    @ivar number: of the attempt, from 1.
    @ivar added: when the task was published first; C{None} if nothing tells.
    @ivar due: when the attempt was due; C{None} for at once, or if nothing tells.
    @ivar started: when the mediator began with it.
    @ivar seconds: until its outcome was clear.
    @ivar has_begun: whether the request of the attempt was begun.
    @ivar status: of the answer; C{None} where there was none.
    @ivar outcome: what becomes of it.
    @ivar why: why it is not done, on one line, without secrets.
    @ivar answer: the beginning of the answer to a failed attempt, if answers are kept.
    @ivar html: whether that is HTML, as far as there is an observer, too.
    """

    __slots__ = (
        "added",
        "answer",
        "due",
        "has_begun",
        "html",
        "number",
        "outcome",
        "seconds",
        "started",
        "status",
        "url",
        "uuid",
        "why",
    )

    added: float | None
    answer: str
    due: float | None
    has_begun: bool
    html: bool
    number: int
    outcome: Outcome
    seconds: float
    started: float
    status: int | None
    url: object
    uuid: object
    why: str


#: Is given each task when it has ended.
TaskRecorder = Callable[[EndedTask], object]


class TaskObserver(Protocol):
    """
    What is told of tasks.
    """

    def __call__(self, event: TaskEvent, /) -> object:
        """
        Something has happened to a task.
        """


def told_to(observers: Iterable[TaskObserver]) -> TaskObserver | None:
    """
    One observer that tells all of these; C{None} where there are none.  If one raises,
    the others are told, too, and the first error is raised then.
    """
    several = tuple(observers)
    if len(several) < 2:
        return several[0] if several else None

    def tell(event: TaskEvent) -> None:
        errors: list[Exception] = []
        for each in several:
            try:
                each(event)
            except Exception as e:
                errors.append(e)
        if errors:
            raise errors[0]

    return tell
