"""
What pauses a watch, and has it go on.

L{Switch} is a role.  The one switch that there is, for paused queues, stands in
L{quebert.amqp.coordination}, which this room does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["Step", "Switch"]

#: What the watch does when the switch is turned: it ends its consumer, or begins one.
Step = Callable[[], Coroutine[Any, Any, None]]


class Switch(Protocol):
    """
    Turns one watch off and on.  L{WatchSession.make_switch
    <quebert.amqp.watch._session.WatchSession.make_switch>} gives the switch two steps,
    C{halt} and C{go_on}.  The switch never runs two steps at once.
    """

    @property
    def paused(self) -> bool:
        """
        Whether the watch consumes nothing, or will not when C{halt} returns; also while
        nobody can say whether its queue is paused.
        """

    async def begin(self, wire: Wire) -> None:
        """
        Called with each new connection: run C{halt} if the queue is paused, else
        C{go_on}.  Then run one of them whenever this has changed, as long as C{wire}
        lasts.  Returns after the first step.  After L{end}, neither is run.

        @raise BrokerError: the connection was lost, or the step failed.
        """

    def end(self) -> None:
        """
        The watch ends: begin no more steps.
        """
