"""
The roles that leases need, as Protocols.  The doubles are in
C{quebert.test.leases.doubles}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from quebert.errors import BrokerError
from quebert.leases._values import Lease, LeaseChange, LeasedMessage

__all__ = ["LeaseBroker", "LeaseRows"]


class LeaseRows(Protocol):
    """
    The rows of leases.  Each method raises L{TaskStoreError
    <quebert.errors.TaskStoreError>} where the database does not answer; then nobody
    knows whether the change was made.  What returns outlives a power cut.
    """

    def hold(self, messages: Sequence[LeasedMessage]) -> Awaitable[None]:
        """
        Messages have come: give each its row, as C{new_lease} of C{_states} says.  Rows
        of other leases of the same message that are held, or due, are lost then.
        """

    def change(self, change: LeaseChange) -> Awaitable[Lease | None]:
        """
        Change a row as L{CHANGES<quebert.leases.CHANGES>} says.  A row that is lost or
        ended loses its message.

        @return: the row after it; C{None} where nothing was changed.
        """

    def complete_early(self, lease: Lease) -> Awaitable[Sequence[Lease]]:
        """
        Write the rows that L{early_leases} says, unless the lease has one.

        @return: these rows, that of the lease first; none where nothing was written.
        """

    def find(self, id: str) -> Awaitable[Lease | None]:
        """
        A row.
        """

    def page(self, state: str, until: float, size: int) -> Awaitable[Sequence[Lease]]:
        """
        Some rows of a state whose C{until} has come by then, the longest ago first.
        """

    def sweep(self, now: float) -> Awaitable[int]:
        """
        Remove some rows that are ended, early or lost, and whose C{until} has come.

        @return: how many.
        """


class LeaseBroker(Protocol):
    """
    RabbitMQ, for leases.
    """

    def put_back(
        self, messages: Sequence[LeasedMessage]
    ) -> Awaitable[Sequence[BrokerError | None]]:
        """
        Publish messages to their queues.

        @return: for each C{None} once RabbitMQ has confirmed it, or why not.
        """

    def tell_end(self, messages: Sequence[LeasedMessage]) -> Awaitable[None]:
        """
        Tell the end of tasks to whoever asked for that: they are done.  The same task
        may be told twice.

        @raise QuebertError: nobody knows whether it was told.
        """
