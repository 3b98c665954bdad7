"""
The states of a delivery, and which event leads from which to which.  Pure.

Theory of operation: RabbitMQ has delivered a message, and waits until it is settled:
acknowledged, or given back.  Until then the delivery is in one of these states.  It
begins as WAITING, or as RUNNING where a place is free::

               begin            overdue
     WAITING --------> RUNNING --------> OVERDUE
      ^  | |  <-------    |                 |
      |  | |  turn away   | replace         | replace
      |  | |   replace    v                 |
      |  | +--------> REPLACING <-----------+
      |  |                | hold
      |  |                +------------> HELD, which may pass, too; and to
      |  |   examine      | hold         which postpone leads from RUNNING
      |  +----------> EXAMINING          and OVERDUE
      |     pass          |
      +-------------------+

At most C{prefetch} messages are at work at once.  Each has one of C{prefetch} places.
A replacement is whatever is published before the message is acknowledged: its retry, a
copy, or a dead letter; and an end note, which tells somebody that nothing else replaces
the message, or that a dead letter does (C{_end_notes}).

 - WAITING: the message has no place yet.
 - RUNNING: the callback runs.
 - OVERDUE: the callback still runs, but the message no longer counts for C{prefetch}.
 - EXAMINING: the message has come again.  It passes, or a replacement is published.
 - REPLACING: its replacement is to be published.
 - HELD: the message no longer counts for C{prefetch}.  It is examined or replaced, as
   in EXAMINING or REPLACING; or it was postponed, and passes soon.

Four events end a delivery; the first three settle it:

 - finish: the callback has ended, and nothing takes the place of the message.  The
   message is acknowledged.
 - confirm: RabbitMQ has confirmed what takes its place.  It is acknowledged.
 - give back: RabbitMQ is to deliver it again.
 - lose: the channel is gone.  RabbitMQ delivers it again by itself, and takes no
   acknowledgement of it.

So nothing is acknowledged before RabbitMQ has confirmed its replacement, as only
C{confirm} settles a delivery that is EXAMINING, REPLACING or HELD.  A delivery is
settled once, and one that is LOST is not settled at all: neither state has a way out.
An event that comes late, such as the outcome of a callback whose channel is gone, finds
the delivery SETTLED or LOST and changes nothing.

To add a state: L{LIVE}, if RabbitMQ waits for the message; L{TABLE}; and those who
count states (C{numbers} of the ledger): C{_backlog}, C{_deliveries},
C{_until_confirmed} and C{_watcher}.  To add a fate: L{Fate}; a property of L{Counts
<quebert.amqp.watch.Counts>}, and the sum in its docstring; whoever settles with it, in
C{_settlement}; and the sentences about C{watcher.counts} in C{docs/watching.rst}.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto

__all__ = ["LIVE", "TABLE", "Event", "Fate", "State"]


class State(IntEnum):
    """
    Where a delivery stands.
    """

    WAITING = 0
    RUNNING = auto()
    OVERDUE = auto()
    EXAMINING = auto()
    REPLACING = auto()
    HELD = auto()
    SETTLED = auto()
    LOST = auto()


class Event(IntEnum):
    """
    What happens to a delivery.
    """

    BEGIN = 0
    OVERDUE = auto()
    TURN_AWAY = auto()
    POSTPONE = auto()
    EXAMINE = auto()
    REPLACE = auto()
    HOLD = auto()
    PASS = auto()
    FINISH = auto()
    CONFIRM = auto()
    GIVE_BACK = auto()
    LOSE = auto()


class Fate(IntEnum):
    """
    What became of a message whose delivery is settled or lost, as L{Counts
    <quebert.amqp.watch.Counts>} tells.
    """

    DONE = 0
    RETRIED = auto()
    DISCARDED = auto()
    BURIED = auto()
    RETURNED = auto()


#: The states in which RabbitMQ waits for the message.
LIVE = (
    State.WAITING,
    State.RUNNING,
    State.OVERDUE,
    State.EXAMINING,
    State.REPLACING,
    State.HELD,
)

# Those in which a replacement is published, or may be.
_REPLACED = (State.EXAMINING, State.REPLACING, State.HELD)

#: For each event, the states in which it may happen, and the state that follows.
TABLE: Mapping[Event, Mapping[State, State]] = {
    Event.BEGIN: {State.WAITING: State.RUNNING},
    Event.OVERDUE: {
        State.RUNNING: State.OVERDUE,
        # There are two time limits.
        State.OVERDUE: State.OVERDUE,
        # The callback still has a message that a copy is to replace at the end.
        State.REPLACING: State.REPLACING,
        State.HELD: State.HELD,
    },
    Event.TURN_AWAY: {State.RUNNING: State.WAITING, State.OVERDUE: State.WAITING},
    Event.POSTPONE: {State.RUNNING: State.HELD, State.OVERDUE: State.HELD},
    Event.EXAMINE: {State.WAITING: State.EXAMINING},
    Event.REPLACE: {
        State.WAITING: State.REPLACING,
        State.RUNNING: State.REPLACING,
        State.OVERDUE: State.REPLACING,
    },
    Event.HOLD: dict.fromkeys(_REPLACED, State.HELD),
    Event.PASS: {State.EXAMINING: State.WAITING, State.HELD: State.WAITING},
    Event.FINISH: {State.RUNNING: State.SETTLED, State.OVERDUE: State.SETTLED},
    Event.CONFIRM: dict.fromkeys(_REPLACED, State.SETTLED),
    Event.GIVE_BACK: dict.fromkeys(LIVE, State.SETTLED),
    Event.LOSE: dict.fromkeys(LIVE, State.LOST),
}
