"""
What the watches of one client share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from quebert.amqp.link import Publisher, Session

if TYPE_CHECKING:
    from quebert.amqp.coordination import Pauses
    from quebert.amqp.delays import Forwarder, Ladder
    from quebert.amqp.queues import Bindings
    from quebert.amqp.watch._memory_budget import Budget
    from quebert.amqp.watch._one_suspect import OneSuspect
    from quebert.amqp.watch._suspects import Suspects

__all__ = ["WatchSession"]


class WatchSession(Session, Protocol):
    """
    The connections of a client, and what its watches share.

    @ivar connectTimeout: seconds in which a watch wants a connection; C{None}
        for no limit.
    @ivar one_suspect: attempts suspects, one at a time.
    @ivar suspects: what is known of messages that were in flight when mediators ended.
    @ivar bindings: makes bindings anew that somebody has deleted.
    @ivar budget: the memory of all tasks at work.
    @ivar ladder: where messages wait that are not due yet.
    @ivar pauses: tells watches that queues are paused.
    """

    connectTimeout: float | None
    one_suspect: OneSuspect
    suspects: Suspects
    bindings: Bindings
    budget: Budget
    ladder: Ladder
    pauses: Pauses

    @property
    def now(self) -> Callable[[], float]:
        """
        Gives the time of day, in seconds since the epoch.
        """

    def make_forwarder(self, queue: str, publisher: Publisher) -> Forwarder:
        """
        What brings delayed messages to C{queue} when they are due.
        """

    def watch_ended(self, watcher: Any) -> None:
        """
        Called by a watch that has ended.
        """
