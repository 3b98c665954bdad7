"""
Who asks a watch about its tasks, and tells it which of them are cancelled.

L{Questioning} is a role.  The one that there is stands in
L{quebert.amqp.coordination}, which this room does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import attrs

from quebert.boundaries import CancelMark

__all__ = [
    "DROPPED",
    "RETRYING",
    "RETURNING",
    "RUNNING",
    "WAITING",
    "HeldTask",
    "Holder",
    "Questioning",
]

#: The states of a task that a mediator has: its request was made, and not answered yet;
RUNNING = "running"
#: it waits for its turn;
WAITING = "waiting"
#: it waits there for some seconds, for another attempt or for its time;
RETRYING = "retrying"
#: it is on its way to the broker, where it waits for longer, or to the dead;
RETURNING = "returning"
#: it was cancelled, and was dropped.
DROPPED = "dropped"


@attrs.frozen
class HeldTask:
    """
    A task that a mediator has, or had.

    @ivar uuid: of the task; empty if it has none.
    @ivar state: L{RUNNING}, L{WAITING}, L{RETRYING}, L{RETURNING} or L{DROPPED}.
    @ivar since: when it came to the mediator, or was dropped there, in seconds since
        the epoch.
    @ivar attempted: whether it was attempted, as far as its message tells; C{None} if
        that may be, or may be going on: another mediator had it, and has lost its
        connection or has given it back.
    @ivar url: that the task has; empty if nobody has looked.
    """

    uuid: str
    state: str
    since: float
    attempted: bool | None = False
    url: str = ""


class Holder(Protocol):
    """
    What is asked: a watch whose callback is a mediator.
    """

    @property
    def consumers(self) -> int:
        """
        How many consumers the broker counts for it.
        """

    def find(self, uuids: Collection[str] | None) -> Sequence[HeldTask]:
        """
        The tasks with these uuids that it has, or has dropped; all that it has with
        C{None}.  Called when somebody looks for tasks, or cancels some.
        """

    def retry_now(self, uuids: Collection[str]) -> Sequence[HeldTask]:
        """
        Have the tasks with these uuids wait no longer that wait here for another
        attempt.

        @return: those that it has, as they were, or has dropped.
        """


class Questioning(Protocol):
    """
    Asks watches.
    """

    def cancelled_in(self, queue: str) -> Mapping[str, CancelMark]:
        """
        The tasks of C{queue} that are cancelled, by their uuids.  It is the same object
        always, and changes.
        """

    def met(self, queue: str, uuid: str) -> None:
        """
        A cancelled task is dropped, and no other message seems to have it.
        """

    def join(self, queue: str, holder: Holder) -> None:
        """
        Ask C{holder}, too, about C{queue}.
        """

    def leave(self, queue: str, holder: Holder) -> None:
        """
        Ask C{holder} no more.
        """
