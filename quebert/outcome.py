"""
What is to become of a message that was delivered: a closed union of frozen values.
Pure.

A callback given to L{quebert.amqp.TxAMQPClient.watch} may return any of them;
a mediator always does.  The watch carries them out
(C{quebert/amqp/watch/_settlement.py}).

To add an outcome: L{Outcome} here; C{_as_outcome} in C{watch/_handler}, which refuses
what it does not know, and C{Deliveries._decided}, which acknowledges what it does not
know; C{Settlement}, and a fate with its counter (L{quebert.amqp.watch._delivery});
C{with_history} in C{mediator/_history}; C{cli/_dev_log}; C{_name} in
C{events/_ended_tasks}; the docstring of L{TxAMQPClient.watch
<quebert.amqp.TxAMQPClient.watch>}, C{docs/watching.rst} and C{docs/api.rst}; and
C{docs/travel.rst}, if mediators decide so.  The log tells of a
L{Retry} in C{Failures._told} of C{mediator}, and of a L{Discard} or a L{Bury} in
C{Settlement}.  A message that is to wait for a time goes by L{quebert.amqp.delays}.  No
message waits for an event yet: it would need a queue (L{quebert.amqp.queues}), and an
operation that tells the event (L{quebert.operations}, L{quebert.cli}).  If something is
published: C{wire/_replacement_properties}, and C{doctor/_permissions}.  If an executor
may ask for it: C{policy/_answers}, C{policy/_rules}, C{docs/retries.rst}.

To add a kind of L{Discard}: a constant beside L{EXPIRED}; C{outcome} of L{EndNote
<quebert.task_ends.EndNote>}; C{_DISCARDS} in
C{events/_ended_tasks}, and L{OUTCOMES<quebert.events.OUTCOMES>}.

To add a kind of dead letter: a constant beside L{EXHAUSTED}; C{outcome} of L{EndNote
<quebert.task_ends.EndNote>}; the lists of kinds in the
docstrings of L{Bury}, of C{KIND} in C{queues/_dead_letters}, and of L{DeadLetter.kind
<quebert.operations.DeadLetter.kind>}; C{_answer_is_why} of that class, if the last
answer is not the reason; C{docs/retries.rst} and C{docs/operating.rst}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

import attrs

__all__ = [
    "CANCELLED",
    "DISCARDED",
    "EXHAUSTED",
    "EXPIRED",
    "FORBIDDEN",
    "POISON",
    "Bury",
    "Discard",
    "Done",
    "Outcome",
    "Retry",
]

#: Why a message is buried: the endpoint kept failing, ...
EXHAUSTED = "exhausted"
#: ... or it is no task at all, or it ended its mediators again and again, or its
#: properties cannot be written anew, as putting it back requires, ...
POISON = "poison"
#: ... or the guard refuses its request.
FORBIDDEN = "forbidden"

#: Why a message is dropped: its executor, a policy or a user says so, or it is no task,
#: ...
DISCARDED = "discarded"
#: ... or its time to live is over, ...
EXPIRED = "expired"
#: ... or somebody has cancelled it.
CANCELLED = "cancelled"


@attrs.frozen
class Done:
    """
    The task was executed; the message is acknowledged.
    """


@attrs.frozen
class Retry:
    """
    The message is put back: published anew, at once or later, and then acknowledged.

    @ivar body: the new body, or C{None} for the one it came with.
    @ivar after: seconds from now until it goes back.
    @ivar headers: AMQP headers that it has then, beside those it came with; with
        C{None} one is removed.
    @ivar otherwise: how it goes back where the broker refuses C{body}, as too large;
        with C{None} the message is buried as it came.
    @ivar attempted: C{False} where no request was made: then the headers stay that tell
        of the mediators that ended with it.  Where nothing else of the message changes,
        and C{after} is at most C{hold_up_to}, the message waits in the process, and its
        callback is called with it again.
    @ivar queue: the queue that it goes to at once, in place of its own; C{None} for its
        own.  It is declared if it is not there.
    """

    body: bytes | None = None
    after: float = 0.0
    headers: Mapping[str, Any] = attrs.field(factory=dict)
    otherwise: Retry | None = None
    attempted: bool = True
    queue: str | None = None


@attrs.frozen
class Discard:
    """
    The message is dropped; acknowledged and logged, never tried again.

    @ivar reason: one sentence for the log.
    @ivar kind: L{DISCARDED}, L{EXPIRED} or L{CANCELLED}.
    """

    reason: str
    kind: str = DISCARDED


@attrs.frozen
class Bury:
    """
    The message goes to where it can be looked at: the queue C{<queue>.dead}.

    @ivar reason: one sentence.
    @ivar kind: L{EXHAUSTED}, L{POISON} or L{FORBIDDEN}.
    @ivar headers: AMQP headers that it gets there: what there is to tell of it.
    """

    reason: str
    kind: str = EXHAUSTED
    headers: Mapping[str, Any] = attrs.field(factory=dict)


#: What becomes of a message.
Outcome = Union[Done, Retry, Discard, Bury]
