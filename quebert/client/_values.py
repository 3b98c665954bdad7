"""
What answers of the API tell, as values.  Pure.

Times are seconds since the epoch.  Fields that are not known here are left out, since
the API may be of a newer version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from quebert.task_ends import EndNote

__all__ = ["AttemptInfo", "ChangeResult", "TaskInfo", "TaskRow"]


@attrs.frozen(kw_only=True)
class TaskRow:
    """
    A task that was created over HTTP, as the API keeps it.

    @ivar uuid: of the task.
    @ivar queue: that it goes to.
    @ivar name: unique in the queue; C{None} for none.
    @ivar state: C{new}, C{published}, C{deleting}, C{deleted} or C{ended}.
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

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> TaskRow:
        """
        From JSON.
        """
        fields, end = _known(cls, told), told.get("end")
        if end is not None:
            fields["end"] = EndNote(
                **{**_known(EndNote, end), "uuid": told["uuid"], "queue": told["queue"]}
            )
        return cls(**fields)


@attrs.frozen(kw_only=True)
class AttemptInfo:
    """
    An attempt at a task.

    @ivar number: from 1.
    @ivar outcome: such as C{done} or C{retrying}.
    @ivar started: when the mediator began with it.
    @ivar ended: when its outcome was clear.
    @ivar status: of the executor's answer; C{None} where there was none.
    @ivar reason: why it is not done; empty if it is.
    @ivar answer: the beginning of the answer to a failed attempt, if answers are kept.
    @ivar retry_at: when it is tried again; C{None} for never.
    @ivar mediator: the name of the mediator.
    """

    number: int
    outcome: str
    started: float
    ended: float
    status: int | None = None
    reason: str = ""
    answer: str = ""
    retry_at: float | None = None
    mediator: str = ""


@attrs.frozen(kw_only=True)
class TaskInfo:
    """
    A task, however it was added, as far as the API knows it.

    @ivar uuid: of the task.
    @ivar queue: that it was in.
    @ivar url: without user, password and query.
    @ivar state: such as C{waiting}, C{retrying}, C{done} or C{exhausted}.
    @ivar added: when it was added; C{None} if that is not known.
    @ivar due: when its newest attempt was due; C{None} for at once.
    @ivar retry_at: when it is attempted next; C{None} if that is not known.
    @ivar attempts: those in the history, the oldest first.
    @ivar created: its row; C{None} if it was not created over HTTP, or long ago.
    """

    uuid: str
    queue: str
    url: str
    state: str
    added: float | None = None
    due: float | None = None
    retry_at: float | None = None
    attempts: tuple[AttemptInfo, ...] = ()
    created: TaskRow | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> TaskInfo:
        """
        From JSON.
        """
        fields, row = _known(cls, told), told.get("created")
        fields["attempts"] = tuple(
            AttemptInfo(**_known(AttemptInfo, each)) for each in told["attempts"]
        )
        fields["created"] = None if row is None else TaskRow.of(row)
        return cls(**fields)


@attrs.frozen
class ChangeResult:
    """
    What was done with a task.

    @ivar result: such as C{cancelled}.
    @ivar text: the same as a sentence.
    """

    result: str
    text: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> ChangeResult:
        """
        From JSON.
        """
        return cls(**_known(cls, told))


def _known(kind: type[Any], told: Mapping[str, Any]) -> dict[str, Any]:
    names = (each.name for each in attrs.fields(kind))
    return {name: told[name] for name in names if name in told}
