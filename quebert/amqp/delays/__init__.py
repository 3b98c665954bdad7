"""
The delay ladder: where messages wait in RabbitMQ until they are due.

L{Ladder} is the interface for who puts tasks into it:

  - L{Ladder.prepare} declares the queue in which delayed tasks of a task queue arrive.
  - L{Ladder.rung_for} gives the exchange to which a delayed task is published.
  - L{Ladder.kept} returns once a task that the broker has confirmed there is safe.

What changes together:

  - Another rung, which is another wait: L{WAITS}.  If the waits of up to 64 s change,
    C{wait_for} and C{FIRST_WAITS} beside it in C{_rungs}, too.  The wait of the longest
    rung is told in C{docs/delays.rst} and C{docs/watching.rst}.  A task that is delayed
    for longer waits several times.
  - A rung less: it passes its messages on all the same (C{wait_of} reads any name).
    But the doctor and C{RungsInUse} go through the L{WAITS} of their version: during an
    upgrade, only processes of the old version keep an old rung in use, and only those
    of the new version a new one.  When the former have ended, a policy with C{expires}
    may delete the old rung with its messages.
  - Another argument of a part: L{Rungs}.  Parts that exist keep theirs:
    C{_declarations} uses them as they are, but for C{_WAYS_OUT}, and C{_look} in
    C{doctor/_delays} has the arguments that may be missing.
  - Another part: L{Rungs} and L{Ladder}, which makes it and makes it anew;
    C{doctor/_delays} and C{doctor/_permissions}; the permissions in C{_refusals} and in
    C{docs/operating.rst}; C{docs/delays.rst}.
"""

from quebert.amqp.delays._astray import OldLadder, browse_store, is_for
from quebert.amqp.delays._due import due_in
from quebert.amqp.delays._forwarder import Forwarder
from quebert.amqp.delays._ladder import Ladder, has_quorum
from quebert.amqp.delays._ladder_search import LadderSearch
from quebert.amqp.delays._overdue import pass_on_overdue
from quebert.amqp.delays._refusals import LadderRefused
from quebert.amqp.delays._rungs import (
    ARRIVALS,
    FIRST_WAITS,
    PREFIX,
    UNCLAIMED,
    WAITS,
    Rungs,
    arrivals_of,
    latest_due,
)

__all__ = [
    "ARRIVALS",
    "FIRST_WAITS",
    "PREFIX",
    "UNCLAIMED",
    "WAITS",
    "Forwarder",
    "Ladder",
    "LadderRefused",
    "LadderSearch",
    "OldLadder",
    "Rungs",
    "arrivals_of",
    "browse_store",
    "due_in",
    "has_quorum",
    "is_for",
    "latest_due",
    "pass_on_overdue",
]
