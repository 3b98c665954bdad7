"""
Attempts, and the states of mediators, as mediators publish them: frozen values.  Pure.

All times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = [
    "ANSWER",
    "CLOCKS",
    "FINAL",
    "OUTCOMES",
    "AttemptBatch",
    "AttemptRecord",
    "Gap",
    "MediatorState",
    "OriginState",
    "WatchState",
    "clock_ahead",
    "was_requested",
]

#: Characters of an answer that are kept.
ANSWER = 1024
#: Seconds by which the clock of a mediator may differ from the one here, or seem to.
CLOCKS = 30.0
#: What may become of a task after an attempt, or without one.  A new one goes to the
#: end: the history has their places as numbers.
OUTCOMES = (
    "done",
    "retry",
    "expired",
    "discarded",
    "buried",
    "postponed",
    "cancelled",
)
#: Those after which there is no further attempt.
FINAL = frozenset({"done", "expired", "discarded", "buried", "cancelled"})
# Outcomes that may come without a request, and of a request without an answer.
_UNCLEAR = frozenset(("retry", "discarded", "buried"))


@attrs.frozen(kw_only=True)
class AttemptRecord:
    """
    One attempt at a task, or the decision not to attempt it.

    @ivar uuid: of the task; empty where it has none.
    @ivar queue: that the task came from.
    @ivar url: on one line, without user, password and query.
    @ivar number: of the attempt, from 1.
    @ivar added: when the task was published first; C{None} if that is not known.
    @ivar due: when the attempt was due; C{None} for at once.
    @ivar started: when the mediator began with it.
    @ivar ended: when its outcome was clear.
    @ivar status: of the answer; C{None} where there was none.
    @ivar outcome: one of L{OUTCOMES}.  C{"postponed"} is a task that comes back without
        an attempt, in a second or later: one that waits for less, such as for its host,
        has no record of that.
    @ivar reason: why it is not done, on one line, without secrets.
    @ivar answer: the beginning of the answer to a failed attempt, up to L{ANSWER}
        characters, if answers are kept.
    @ivar retry_at: when it is tried again; C{None} for never.
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


def clock_ahead(told: float, now: float) -> float:
    """
    By how many seconds the clock of a mediator is ahead of the one here; 0 if they are
    about the same.

    @param told: the time by the clock of the mediator, when it published just now.
    @param now: the time by the clock here.
    """
    return told - now if abs(told - now) > CLOCKS else 0.0


def was_requested(status: int | None, outcome: str, seconds: float) -> bool:
    """
    Whether a record is of a request.  Where there was none, no time has passed.

    @param seconds: from C{started} to C{ended}.
    """
    return status is not None or (outcome in _UNCLEAR and seconds > 0.0)


@attrs.frozen(kw_only=True)
class AttemptBatch:
    """
    Some attempts of one mediator, in the order in which they ended.

    @ivar mediator: its name: unique, and another one after each start.
    @ivar sequence: the number of the batch, from 1.
    @ivar at: when it was made.
    @ivar records: the attempts.
    @ivar dropped: how many records before these were dropped for want of room, since
        the batch before.
    @ivar total: how many records the mediator has made, from its start to the last one
        of these, dropped ones included.
    """

    mediator: str
    sequence: int
    at: float
    records: tuple[AttemptRecord, ...]
    dropped: int = 0
    total: int = 0


@attrs.frozen(kw_only=True)
class Gap:
    """
    Records of one mediator that a reader did not get, and will not.

    @ivar mediator: its name.
    @ivar count: how many.
    @ivar since: when the batch before them was made; C{None} where there was none.
    @ivar until: when the batch behind them was made.
    """

    mediator: str
    count: int
    since: float | None
    until: float


@attrs.frozen(kw_only=True)
class WatchState:
    """
    How a mediator watches one queue.  The counts are since it began to.

    @ivar consuming: whether it has a consumer.
    @ivar paused: whether the queue is paused.
    @ivar prefetch: how many tasks it may have at once; 0 for no limit.
    @ivar in_flight: how many it has.
    @ivar held: how many of these wait for another attempt in the mediator.
    @ivar priority: its priority class; empty for none.
    @ivar rate: tasks per second that may begin, in all mediators; C{None} for no limit.
    @ivar received: how many tasks it got.
    @ivar done: how many of these are done; so with C{retried}, C{discarded}, C{buried}
        and C{returned} (given back to the broker).
    @ivar retried: see C{done}.
    @ivar discarded: see C{done}.
    @ivar buried: see C{done}.
    @ivar returned: see C{done}.
    """

    consuming: bool
    paused: bool = False
    prefetch: int = 0
    in_flight: int = 0
    held: int = 0
    received: int = 0
    done: int = 0
    retried: int = 0
    discarded: int = 0
    buried: int = 0
    returned: int = 0
    priority: str = ""
    rate: float | None = None


@attrs.frozen(kw_only=True)
class OriginState:
    """
    How a mediator does with one origin (scheme, host and port).

    @ivar breaker: C{"closed"}, C{"open"} or C{"half-open"}; empty where there is none.
    @ivar open_until: when the circuit breaker lets a request through again.
    @ivar limit: how many requests there may be at once, now; C{None} for no limit.
    @ivar in_flight: how many there are.
    @ivar rate: requests per second; C{None} for no limit.
    """

    breaker: str = ""
    open_until: float | None = None
    limit: float | None = None
    in_flight: int = 0
    rate: float | None = None


@attrs.frozen(kw_only=True)
class MediatorState:
    """
    The state of one mediator.

    @ivar mediator: its name, as in L{AttemptBatch}.
    @ivar host: the name of its machine.
    @ivar pid: of its process.
    @ivar version: of quebert.
    @ivar started: when it was started.
    @ivar at: when the mediator published this state.
    @ivar queues: by their names.
    @ivar origins: such as C{"https://example.com:443"}.
    @ivar settings: those in force, by their names in the file; no secrets.
    @ivar lag: seconds by which its reactor was late at most since the state before.
    @ivar cpu: seconds of processor time that it has used.
    @ivar memory: bytes of memory that it takes.
    @ivar reconnects: how often it has connected again.
    @ivar unconfirmed: how many publications wait for the confirm of the broker.
    @ivar ended: whether this is its last word: it has ended in good order.
    """

    mediator: str
    host: str
    pid: int
    version: str
    started: float
    at: float
    queues: Mapping[str, WatchState] = attrs.field(factory=dict)
    origins: Mapping[str, OriginState] = attrs.field(factory=dict)
    settings: Mapping[str, str] = attrs.field(factory=dict)
    lag: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    reconnects: int = 0
    unconfirmed: int = 0
    ended: bool = False

    @property
    def weight(self) -> int:
        """
        The memory that a reader needs to keep and show the state, in entries of some 64
        bytes.
        """
        queues, origins, settings = self.queues, self.origins, self.settings
        texts = *queues, *origins, *settings, *settings.values()
        lines = sum(map(len, texts)) // 64
        return 10 * len(queues) + 4 * len(origins) + len(settings) + lines
