"""
The reasons why a task waits, and the facts about the task, as frozen values.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from quebert.amqp.watch import HeldTask
from quebert.events import AttemptRecord, WatchState
from quebert.operations._live_values import LiveHost
from quebert.operations._status import Status

__all__ = ["REASONS", "Facts", "OnLadder", "Why", "WhyReason"]

#: The reasons.
REASONS = (
    "not_due",
    "paused",
    "behind",
    "rate_limit",
    "breaker_open",
    "host_concurrency",
    "no_consumer",
    "prefetch_full",
    "lower_priority",
    "running",
    "retrying",
    "dead",
    "done",
    "not_found",
)


@attrs.frozen(kw_only=True)
class WhyReason:
    """
    A reason why a task waits.

    @ivar reason: one of L{REASONS}.
    @ivar text: the same in a sentence.
    @ivar until: when the reason ends, in seconds since the epoch, if that is known.
    @ivar position: how many tasks are before this one.
    @ivar rate: how many of these begin in a second.
    @ivar by: the user who has paused the queue, or the mediator that has the task.
    """

    reason: str
    text: str
    until: float | None = None
    position: int | None = None
    rate: float | None = None
    by: str | None = None


@attrs.frozen(kw_only=True)
class Why:
    """
    Why a task waits.

    @ivar uuid: of the task.
    @ivar queue: the queue of the task; empty if that is not known.
    @ivar reasons: all that apply; the first one decides.
    @ivar unseen: what could not be seen, and why; sentences.
    """

    uuid: str
    queue: str
    reasons: tuple[WhyReason, ...]
    unseen: tuple[str, ...] = ()

    @property
    def first(self) -> WhyReason:
        """
        The reason that decides.
        """
        return self.reasons[0]

    @property
    def plain(self) -> dict[str, Any]:
        """
        As JSON has it.
        """
        return {
            "uuid": self.uuid,
            "queue": self.queue,
            **attrs.asdict(self.first),
            "all": [attrs.asdict(each) for each in self.reasons],
            "unseen": [*self.unseen],
        }


@attrs.frozen(kw_only=True)
class OnLadder:
    """
    A task on the delay ladder, or behind it.

    @ivar due: when its time comes, in seconds since the epoch; C{None} if its message
        does not tell.
    @ivar tried: whether there was an attempt, which failed.
    @ivar arrived: whether it is behind the ladder, and its queue has not taken it.
    """

    due: float | None
    tried: bool
    arrived: bool = False


@attrs.frozen(kw_only=True)
class Facts:
    """
    The facts about a task from which its reasons follow.

    @ivar now: the time of day.
    @ivar status: of its queue.
    @ivar held: the mediators that have it, by their names.
    @ivar ladder: where it was found there.
    @ivar position: how many tasks are before it in its queue, where it was found there.
    @ivar unseen_ready: how many tasks wait in its queue that were not looked at.
    @ivar dead: the kind and the reason of its dead letter.
    @ivar last: its last attempt, as far as the history tells.
    @ivar watches: how the mediators watch its queue, by their names.
    @ivar present: the mediators that have answered a question about the queue.
    @ivar others: tasks of other priorities that the same mediators have.
    @ivar host: the origin that it goes to.
    @ivar rate_out: tasks of its queue that end in a second.
    @ivar not_all_seen: whether it may be where nobody has looked.
    """

    uuid: str
    queue: str
    now: float
    status: Status | None = None
    held: tuple[tuple[str, HeldTask], ...] = ()
    ladder: OnLadder | None = None
    position: int | None = None
    unseen_ready: int = 0
    dead: tuple[str, str] | None = None
    last: AttemptRecord | None = None
    watches: Mapping[str, WatchState] = attrs.field(factory=dict)
    present: tuple[str, ...] = ()
    others: int = 0
    host: LiveHost | None = None
    rate_out: float | None = None
    not_all_seen: bool = False
