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
                      |    +---------- CANCELLED, from STARTING, too
                      +--------------- RESTING, from either, and from STARTING

 - ABSENT: the watch wants no deliveries, or has no channel.
 - STARTING: it wants them, and a consumer is asked for.
 - CONSUMING: RabbitMQ delivers.
 - RENEWING: it does, and another consumer is to take over.
 - RESTING: the watch wants deliveries, but a throttle lets no message begin soon.
   There is no consumer, or the one there is will be cancelled.
 - CANCELLED: RabbitMQ has ended the consumer: its queue was deleted, the queue's node
   is lost, or (since 4.3) a message of a quorum queue was held for too long.  The queue
   is declared in any case before there is another consumer.
 - ENDING: the watch wants no deliveries any more, and the consumer is to be cancelled.

Two events end it from any state:

 - end: it is ENDING, and ABSENT when RabbitMQ has answered, unless it is to begin again
   meanwhile: then it is STARTING.
 - lose: the channel is gone, and all its consumers with it.  It is ABSENT.

RabbitMQ 3.10.8 and 4.0.5 close the connection (541) if a consumer is cancelled before
they have told that there is one; 4.3.6 does not.  So calls are made one after the
other, and the state may have changed when it is the turn of one.  Then the call is left
out, unless the state still asks for it: whoever has changed the state has asked for
another call.  So a consumer that is wanted again before it was cancelled remains.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto

__all__ = ["DELIVERING", "TABLE", "WANTED", "ConsumerEvent", "ConsumerState"]


class ConsumerState(IntEnum):
    """
    Where a consumer stands.
    """

    ABSENT = auto()
    STARTING = auto()
    CONSUMING = auto()
    RENEWING = auto()
    RESTING = auto()
    CANCELLED = auto()
    ENDING = auto()


class ConsumerEvent(IntEnum):
    """
    What happens to a consumer.
    """

    BEGIN = auto()  # the watch wants deliveries
    CONSUME = auto()  # RabbitMQ has told that there is a consumer
    RENEW = auto()  # another one is to take over
    RENEWED = auto()  # it has, or could not
    REST = auto()  # a throttle lets no message begin soon
    WAKE = auto()  # it does again
    CANCEL = auto()  # RabbitMQ has ended the consumer
    REPLACE = auto()  # its queue was declared anew
    END = auto()  # the watch wants no deliveries any more
    ENDED = auto()  # there is no consumer any more
    LOSE = auto()  # the channel is gone


#: The states in which RabbitMQ delivers, as far as it has told.
DELIVERING = frozenset({ConsumerState.CONSUMING, ConsumerState.RENEWING})
#: The states in which the watch wants deliveries, even while a throttle allows none.
WANTED = frozenset(ConsumerState) - {ConsumerState.ABSENT, ConsumerState.ENDING}

_AS_BEFORE = {state: state for state in ConsumerState}

#: For each event, the states in which it may happen, and the state that follows.
TABLE: Mapping[ConsumerEvent, Mapping[ConsumerState, ConsumerState]] = {
    ConsumerEvent.BEGIN: {
        ConsumerState.ABSENT: ConsumerState.STARTING,
        ConsumerState.STARTING: ConsumerState.STARTING,
        ConsumerState.CONSUMING: ConsumerState.CONSUMING,
        ConsumerState.RENEWING: ConsumerState.RENEWING,
        ConsumerState.RESTING: ConsumerState.STARTING,
        ConsumerState.CANCELLED: ConsumerState.CANCELLED,
        ConsumerState.ENDING: ConsumerState.STARTING,
    },
    ConsumerEvent.CONSUME: {
        ConsumerState.STARTING: ConsumerState.CONSUMING,
        # The consumer before is there still.
        ConsumerState.RENEWING: ConsumerState.RENEWING,
        # That has come meanwhile.
        ConsumerState.CANCELLED: ConsumerState.CANCELLED,
        ConsumerState.ENDING: ConsumerState.ENDING,
        # Its channel is being closed.
        ConsumerState.ABSENT: ConsumerState.ABSENT,
    },
    ConsumerEvent.RENEW: {ConsumerState.CONSUMING: ConsumerState.RENEWING},
    ConsumerEvent.RENEWED: {
        **_AS_BEFORE,
        ConsumerState.RENEWING: ConsumerState.CONSUMING,
    },
    ConsumerEvent.REST: {
        ConsumerState.STARTING: ConsumerState.RESTING,
        ConsumerState.CONSUMING: ConsumerState.RESTING,
        ConsumerState.RENEWING: ConsumerState.RESTING,
    },
    ConsumerEvent.WAKE: {**_AS_BEFORE, ConsumerState.RESTING: ConsumerState.STARTING},
    ConsumerEvent.CANCEL: {
        ConsumerState.STARTING: ConsumerState.CANCELLED,
        ConsumerState.CONSUMING: ConsumerState.CANCELLED,
        ConsumerState.RENEWING: ConsumerState.CANCELLED,
        # It was to be cancelled.
        ConsumerState.ENDING: ConsumerState.ENDING,
        ConsumerState.RESTING: ConsumerState.RESTING,
    },
    ConsumerEvent.REPLACE: {
        **_AS_BEFORE,
        ConsumerState.CANCELLED: ConsumerState.STARTING,
    },
    ConsumerEvent.END: {
        **dict.fromkeys(ConsumerState, ConsumerState.ENDING),
        ConsumerState.ABSENT: ConsumerState.ABSENT,
    },
    ConsumerEvent.ENDED: {
        ConsumerState.ENDING: ConsumerState.ABSENT,
        ConsumerState.RESTING: ConsumerState.RESTING,
        # It has begun again meanwhile.
        ConsumerState.STARTING: ConsumerState.STARTING,
        # Its channel is being closed.
        ConsumerState.ABSENT: ConsumerState.ABSENT,
    },
    ConsumerEvent.LOSE: dict.fromkeys(ConsumerState, ConsumerState.ABSENT),
}
