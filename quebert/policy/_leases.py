"""
How an executor asks for a lease of its task, and how a message says that its task is
leased.

An executor asks by the status 202 and the header C{Quebert-Lease: 300}, the seconds in
which it completes the task, or renews the lease.  A lease is a retry with another wait:
the message goes to the queue L{LEASES} in place of its own, and says by its headers how
it is to come back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = [
    "LEASED",
    "LEASES",
    "LEASE_BACKOFF",
    "LEASE_HEADER",
    "LEASE_ID",
    "LEASE_LAST",
    "LEASE_QUEUE",
    "LEASE_UNTIL",
    "LEASE_URL",
    "lease_asked_for",
]

#: The durable queue of messages whose tasks are leased.
LEASES = "quebert.leases"
#: The status of an answer that asks for a lease.
LEASED = 202
#: Answers' header: the seconds of a lease.
LEASE_HEADER = b"quebert-lease"
#: Request header: the URL of the lease that the executor may ask for.
LEASE_URL = "Quebert-Lease-URL"
#: Message headers: the id of the lease, ...
LEASE_ID = "quebert-lease-id"
#: ... the queue that the message comes from, ...
LEASE_QUEUE = "quebert-lease-queue"
#: ... when the lease runs out, in seconds since the epoch, ...
LEASE_UNTIL = "quebert-lease-until"
#: ... beyond which time it is not renewed, ...
LEASE_LAST = "quebert-lease-last"
#: ... and the seconds that the task waits if its executor fails.
LEASE_BACKOFF = "quebert-lease-backoff"

_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)


def lease_asked_for(values: Sequence[str], longest: float) -> float:
    """
    The seconds of a lease that an executor asks for: 1 at least, C{longest} at most.

    @param values: of the header C{Quebert-Lease}, of which an answer has one.
    @raise ValueError: they are none.
    """
    if len(values) != 1:
        raise ValueError(f"the answer has {len(values)} of them, not one")
    found = _SECONDS.fullmatch(values[0].strip(" \t"))
    if found is None:
        raise ValueError("it must be the number of seconds")
    return min(max(1.0, float(found[0])), longest)
