"""
Leases, as values.  Pure.
"""

from __future__ import annotations

import attrs

__all__ = ["Lease", "LeaseChange", "LeasedMessage"]


@attrs.frozen(kw_only=True)
class LeasedMessage:
    """
    A message that an executor has, as it is to be put back.  Times are in seconds since
    the epoch.

    @ivar id: of the lease.
    @ivar identity: the same for each copy of the message.
    @ivar queue: that the message comes from.
    @ivar uuid: of the task.
    @ivar until: when the lease runs out.
    @ivar last: the lease is not renewed beyond that time.
    @ivar backoff: seconds for which the task waits if the executor says that it has
        failed, and not for how long to wait.
    @ivar body: of the message.
    @ivar properties: of the message, encoded as AMQP has them.
    """

    id: str
    identity: bytes
    queue: str
    uuid: str
    until: float
    last: float
    backoff: float = 0.0
    body: bytes = b""
    properties: bytes = b""


@attrs.frozen(kw_only=True)
class Lease:
    """
    A lease: its row.

    @ivar id: of the lease.
    @ivar identity: the same for each lease of the message.
    @ivar state: one of L{quebert.leases.STATES}.
    @ivar until: when it runs out; of one that is C{DUE} when its message is published
        again; of one that is over when its row goes.
    @ivar message: C{None} where it has not come yet, and once the lease is over.
    """

    id: str
    identity: bytes
    state: str
    until: float
    message: LeasedMessage | None = None


@attrs.frozen(kw_only=True)
class LeaseChange:
    """
    A change of a row; nothing where the row is not there, or its state has no such
    change.

    @ivar id: of the lease.
    @ivar event: one of L{quebert.leases.EVENTS}.
    @ivar until: of the lease, after it.
    """

    id: str
    event: str
    until: float
