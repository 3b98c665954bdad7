"""
What the watches of one client share.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from quebert.amqp.link import Publisher, Session

if TYPE_CHECKING:
    from quebert.amqp.delays import Forwarder, Ladder
    from quebert.amqp.queues import Bindings
    from quebert.amqp.watch._memory_budget import Budget
    from quebert.amqp.watch._one_suspect import OneSuspect
    from quebert.amqp.watch._options import WatchOptions
    from quebert.amqp.watch._questioning import Questioning
    from quebert.amqp.watch._suspects import Suspects
    from quebert.amqp.watch._switch import Step, Switch
    from quebert.amqp.watch._throttle import Throttle

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
    @ivar questions: asks watches about their tasks.
    """

    connectTimeout: float | None
    one_suspect: OneSuspect
    suspects: Suspects
    bindings: Bindings
    budget: Budget
    ladder: Ladder
    questions: Questioning

    def make_forwarder(self, queue: str, publisher: Publisher) -> Forwarder:
        """
        The forwarder that brings delayed messages to C{queue} when they are due.
        """

    def make_throttles(self, queue: str, options: WatchOptions) -> Iterable[Throttle]:
        """
        The throttles of a watch of C{queue}.
        """

    def make_switch(self, queue: str, halt: Step, go_on: Step) -> Switch:
        """
        What pauses a watch of C{queue}, and has it go on.

        @param halt: awaited when the queue is paused.
        @param go_on: awaited when it is paused no more.
        """

    def watch_ended(self, watcher: Any) -> None:
        """
        Called by a watch that has ended.
        """
