"""
The states of a lease, and what leads from which to which.  Pure.

To add a state: C{STATES}, the events that lead to it and from it in L{CHANGES}, and
what goes on with it after a kill in L{quebert.leases.Leases}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from quebert.leases._values import Lease, LeaseChange, LeasedMessage

__all__ = [
    "CHANGES",
    "COMPLETE",
    "DELAY",
    "DUE",
    "EARLY",
    "ENDED",
    "ENDING",
    "EVENTS",
    "FAIL",
    "HELD",
    "LOST",
    "PUBLISH",
    "RENEW",
    "RUN_OUT",
    "STATES",
    "TELL",
    "LeaseTransition",
    "changed_lease",
    "early_leases",
    "new_lease",
]

#: The executor has the task.
HELD = "held"
#: The executor has completed the task, and whoever waits for its end may not know.
ENDING = "ending"
#: The task is done.
ENDED = "ended"
#: The executor has completed the task, and the message has not come yet.
EARLY = "early"
#: The message is to be published to its queue again.
DUE = "due"
#: The executor does not have the task any more.
LOST = "lost"

#: All of them.
STATES = (HELD, ENDING, ENDED, EARLY, DUE, LOST)
#: Those in which the task is done.
_DONE = (ENDING, ENDED, EARLY)
# Those that have no message.
_OVER = (EARLY, ENDED, LOST)

#: The executor wants more time.
RENEW = "renew"
#: The executor has done the task.
COMPLETE = "complete"
#: The executor has not done the task.
FAIL = "fail"
#: The lease has run out.
RUN_OUT = "run_out"
#: RabbitMQ does not take the message.
DELAY = "delay"
#: RabbitMQ has confirmed the message in its queue.
PUBLISH = "publish"
#: Whoever waits for the end of the task knows it.
TELL = "tell"


@attrs.frozen
class LeaseTransition:
    """
    A change of rows.

    @ivar of: the states that have it.
    @ivar to: the state after it.
    """

    of: tuple[str, ...]
    to: str


#: What each event does.
CHANGES: Mapping[str, LeaseTransition] = {
    RENEW: LeaseTransition((HELD,), HELD),
    COMPLETE: LeaseTransition((HELD,), ENDING),
    FAIL: LeaseTransition((HELD,), DUE),
    RUN_OUT: LeaseTransition((HELD,), DUE),
    DELAY: LeaseTransition((DUE,), DUE),
    PUBLISH: LeaseTransition((DUE,), LOST),
    TELL: LeaseTransition((ENDING,), ENDED),
}
#: All events.
EVENTS = tuple(CHANGES)


def changed_lease(row: Lease | None, change: LeaseChange) -> Lease | None:
    """
    The row of a lease after a change; C{None} where nothing is to be changed.

    @param row: C{None} where there is none.
    """
    wanted = CHANGES[change.event]
    if row is None or row.state not in wanted.of:
        return None
    if change.event == RUN_OUT and row.until > change.until:
        return None  # it was renewed meanwhile
    message = None if wanted.to in _OVER else row.message
    return attrs.evolve(row, state=wanted.to, until=change.until, message=message)


def new_lease(
    message: LeasedMessage, own: Lease | None, copies: Sequence[Lease]
) -> Lease | None:
    """
    The row of a lease whose message has come.

    @param own: the row that it has.
    @param copies: the rows of other leases of the same message.
    @return: C{None} where nothing is to be done: the message has come before, and that
        one, or another copy, is here.  One that was put back may come again with the
        same lease: whoever redrives a dead letter has its attempts counted from 1.
    """
    if own is not None and own.state == EARLY:
        return attrs.evolve(own, state=ENDING, message=message)
    is_live = any(each.state in (HELD, DUE) for each in copies)
    if own is not None and (own.state != LOST or is_live):
        return None
    row = Lease(
        id=message.id,
        identity=message.identity,
        state=HELD,
        until=message.until,
        message=message,
    )
    done = [each for each in copies if each.state in _DONE]
    if not done:
        return row
    row = attrs.evolve(row, until=max(each.until for each in done))
    if all(each.state == EARLY for each in done):  # no message has told the end
        return attrs.evolve(row, state=ENDING)
    return attrs.evolve(row, state=ENDED, message=None)


def early_leases(lease: Lease, copies: Sequence[Lease]) -> Sequence[Lease]:
    """
    The rows to write where an executor completes a task before its message has come:
    the lease first.  If the message is leased to another executor meanwhile, the task
    is done all the same.

    @param lease: C{EARLY}.
    @param copies: the rows of other leases of the same message.
    @return: none where the task is done already.
    """
    if any(each.state in _DONE for each in copies):
        return []
    live = [each for each in copies if each.state in (HELD, DUE)]
    if not live:
        return [lease]
    ending = [attrs.evolve(e, state=ENDING, until=lease.until) for e in live]
    return [attrs.evolve(lease, state=ENDED), *ending]
