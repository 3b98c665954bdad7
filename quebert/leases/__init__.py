"""
Leases: an executor answers C{202}, and goes on without an open connection.

Theory of operation.  The mediator that got the C{202} publishes the message to the
queue C{quebert.leases}, as it would be put back, and acknowledges it once that is
confirmed.  From there it comes into a row, and waits for the executor to complete it,
or to say that it has failed, or for the lease to run out.  Then the message is
published to its queue again.  So a message is in one of three places at any time, or in
two after a kill: its queue, C{quebert.leases}, or a row.  All that clients ask for is
one change of one row, which happens if the row is in the right state: of all who
complete a task, one is told that it has.

A message may be attempted twice, as any may (its mediator was killed before it could
acknowledge it), and so may be leased twice, at the same time or one after the other.
The same attempt has the same lease (L{quebert.signatures.LeaseIDs}).  Leases of other
attempts have the same C{identity}: a digest of the queue, the message's uuid, its time
and its body.  The newer lease takes the place of one that is held.  One that was
completed ends the newer one: the task is done.

An executor may complete a task before the message has come into a row.  Then the row is
there first, C{EARLY}, and ends the message when that comes.  That of another attempt
ends then, too: of all attempts at a message, one completes it.

A message that RabbitMQ does not take, such as that of a queue that is gone, waits for a
while, so that others have their turn.

  - C{_states}: what may become of a lease, as one table.
  - C{_leases}: what executors ask for, and what goes on by itself.
  - C{_boundaries}: the roles that it needs.
"""

from quebert.leases._boundaries import LeaseBroker, LeaseRows
from quebert.leases._leases import Leases
from quebert.leases._received import received
from quebert.leases._states import (
    CHANGES,
    DUE,
    EARLY,
    ENDED,
    ENDING,
    EVENTS,
    HELD,
    LOST,
    STATES,
    changed_lease,
    early_leases,
    new_lease,
)
from quebert.leases._values import Lease, LeaseChange, LeasedMessage

__all__ = [
    "CHANGES",
    "DUE",
    "EARLY",
    "ENDED",
    "ENDING",
    "EVENTS",
    "HELD",
    "LOST",
    "STATES",
    "Lease",
    "LeaseBroker",
    "LeaseChange",
    "LeaseRows",
    "LeasedMessage",
    "Leases",
    "changed_lease",
    "early_leases",
    "new_lease",
    "received",
]
