"""
The states of the consumer of a watch, and which event leads from which to which.  Pure.

Theory of operation: a watch has RabbitMQ deliver by one consumer after the other.  It
is in one of these states::

             begin             consume              renew
     ABSENT -------> STARTING ---------> CONSUMING <-------> RENEWING
                      ^    ^              |    |    renewed   |    |
                 wake |    | replace      |    |              |    |
                      |    |         rest |    | cancel  rest |    | cancel
                      |    |              v    v              v    v
                      |    +---------- CANCELLED, from either
                      +--------------- RESTING, from either, and from STARTING

 - ABSENT: the watch wants no deliveries, or has no channel.
 - STARTING: it wants them, and a consumer is asked for.
 - CONSUMING: RabbitMQ delivers.
 - RENEWING: it does, and another consumer is to take over.
 - RESTING: the watch wants deliveries, but the rate lets no message begin soon.  There
   is no consumer, or the one there is will be cancelled.
 - CANCELLED: RabbitMQ has ended the consumer, since its queue is gone.  The queue must
   be declared before there can be another one.
 - ENDING: the watch wants no deliveries any more, and the consumer is to be cancelled.

Two events end it from any state:

 - end: it is ENDING, and ABSENT when RabbitMQ has answered, unless it is to begin again
   meanwhile: then it is STARTING.
 - lose: the channel is gone, and all its consumers with it.  It is ABSENT.

RabbitMQ closes the connection if a consumer is cancelled before it has told that there
is one.  So calls are made one after the other, and the state may have changed when it
is the turn of one.  Then the call is left out, unless the state still asks for it:
whoever has changed the state has asked for another call.  So a consumer that is wanted
again before it was cancelled remains.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto

__all__ = ["DELIVERING", "TABLE", "WANTED", "Event", "State"]


class State(IntEnum):
    """
    Where a consumer stands.
    """

    ABSENT = 0
    STARTING = auto()
    CONSUMING = auto()
    RENEWING = auto()
    RESTING = auto()
    CANCELLED = auto()
    ENDING = auto()


class Event(IntEnum):
    """
    What happens to a consumer.
    """

    BEGIN = 0  # the watch wants deliveries
    CONSUME = auto()  # RabbitMQ has told that there is a consumer
    RENEW = auto()  # another one is to take over
    RENEWED = auto()  # it has, or could not
    REST = auto()  # the rate lets no message begin soon
    WAKE = auto()  # it does again
    CANCEL = auto()  # RabbitMQ has ended the consumer
    REPLACE = auto()  # its queue was declared anew
    END = auto()  # the watch wants no deliveries any more
    ENDED = auto()  # there is no consumer any more
    LOSE = auto()  # the channel is gone


#: The states in which RabbitMQ delivers, as far as it has told.
DELIVERING = frozenset({State.CONSUMING, State.RENEWING})
#: The states in which the watch wants deliveries, even while the rate allows none.
WANTED = frozenset(State) - {State.ABSENT, State.ENDING}

_AS_BEFORE = {state: state for state in State}

#: For each event, the states in which it may happen, and the state that follows.
TABLE: Mapping[Event, Mapping[State, State]] = {
    Event.BEGIN: {
        State.ABSENT: State.STARTING,
        State.STARTING: State.STARTING,
        State.CONSUMING: State.CONSUMING,
        State.RENEWING: State.RENEWING,
        State.RESTING: State.STARTING,
        State.CANCELLED: State.CANCELLED,
        State.ENDING: State.STARTING,
    },
    Event.CONSUME: {
        State.STARTING: State.CONSUMING,
        # The consumer before is there still.
        State.RENEWING: State.RENEWING,
        # That has come meanwhile.
        State.CANCELLED: State.CANCELLED,
        State.ENDING: State.ENDING,
    },
    Event.RENEW: {State.CONSUMING: State.RENEWING},
    Event.RENEWED: {**_AS_BEFORE, State.RENEWING: State.CONSUMING},
    Event.REST: {
        State.STARTING: State.RESTING,
        State.CONSUMING: State.RESTING,
        State.RENEWING: State.RESTING,
    },
    Event.WAKE: {**_AS_BEFORE, State.RESTING: State.STARTING},
    Event.CANCEL: {
        State.STARTING: State.CANCELLED,
        State.CONSUMING: State.CANCELLED,
        State.RENEWING: State.CANCELLED,
        # It was to be cancelled.
        State.ENDING: State.ENDING,
    },
    Event.REPLACE: {**_AS_BEFORE, State.CANCELLED: State.STARTING},
    Event.END: {**dict.fromkeys(State, State.ENDING), State.ABSENT: State.ABSENT},
    Event.ENDED: {
        State.ENDING: State.ABSENT,
        State.RESTING: State.RESTING,
        # It has begun again meanwhile.
        State.STARTING: State.STARTING,
    },
    Event.LOSE: dict.fromkeys(State, State.ABSENT),
}
