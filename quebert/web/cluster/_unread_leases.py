"""
Sees leased tasks that nobody takes: mediators put them into the queue C{quebert.leases}
as soon as they have C{[leases]}.  A C{quebert web} without it, or whose database cannot
be used, does not read them.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.queues import depth
from quebert.errors import QuebertError
from quebert.operations import BrokerAccess
from quebert.policy import LEASES
from quebert.web.cluster._keep_going import KeepGoing

__all__ = ["UnreadLeases"]

#: Seconds between two looks, each of which is a connection.
PACE = 300.0
_UNREAD = (
    f"leased tasks wait in {LEASES}, and no quebert web reads them: they are not"
    " attempted again, and their executors cannot complete them; give quebert web the"
    " [leases] of the mediators, and a database of created tasks that it can use"
)


class UnreadLeases:
    """
    Warns of leased tasks that wait, as long as nobody reads them.

    @param broker: where the queue is.
    @ivar problems: the same, in a sentence.
    """

    log = Logger()

    def __init__(self, broker: BrokerAccess) -> None:
        self.problems: Sequence[str] = ()
        self._broker = broker
        self._unread = RepeatedWarning(
            self.log,
            lambda: broker.reactor,
            "Leases do not go on",
            "Leases go on",
        )
        self._going = KeepGoing(
            self._look, broker.reactor, self.log, "Leases cannot be looked at", "", ""
        )

    def start(self) -> None:
        """
        Begin.
        """
        self._going.start()

    async def stop(self) -> None:
        """
        End.
        """
        await self._going.stop()
        self._unread.end()

    async def _look(self) -> None:
        while not self._going.is_stopped:
            try:
                async with self._broker.client() as (_, wire):
                    found = await depth(wire, LEASES)
            except QuebertError:
                pass  # others tell that RabbitMQ is away
            else:
                self._tell(found is not None and found.ready and not found.consumers)
            await self._going.wait(deferLater(self._broker.reactor, PACE))

    def _tell(self, is_unread: object) -> None:
        if is_unread:
            self.problems = (_UNREAD,)
            self._unread.met(_UNREAD)
        elif self.problems:
            self.problems = ()
            self._unread.succeeded()
