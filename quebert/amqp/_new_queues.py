"""
Queues in which a message is not safe yet.

A RabbitMQ that is killed within three seconds after it made a quorum queue comes back
without the messages in it, although it has confirmed them.  So an original is
acknowledged only when the queue is older in which RabbitMQ has confirmed its copy.
AMQP does not tell the age of a queue: somebody else may have declared it just before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from quebert.amqp._broker_version import version_of

if TYPE_CHECKING:
    from quebert.amqp._wire import Wire

__all__ = ["NewQueues"]

# Seconds for which a quorum queue is new.
_NEW = 3.5


class NewQueues:
    """
    What a client knows of the age of quorum queues.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # they are there, as far as is known

    def __contains__(self, queue: str) -> bool:
        return queue in self._since

    def declared(self, wire: Wire, queue: str, kind: str | None) -> None:
        """
        A queue was declared, perhaps anew, or was seen for the first time.

        @param kind: its type; C{None} if that is not known.
        """
        may_lose = kind in (None, "quorum") and version_of(wire) is not None
        if may_lose:  # the embedded broker does not
            self._since[queue] = wire.clock.seconds()

    def forget(self, *queues: str) -> None:
        """
        Nobody puts messages into these queues any more.
        """
        for each in queues:
            self._since.pop(each, None)

    def has(self, wire: Wire, queue: str) -> bool:
        """
        Whether a queue is new.
        """
        return self._left(wire, queue) > 0

    async def safe(self, wire: Wire, *queues: str) -> None:
        """
        Returns once a message survives that was confirmed, and is or comes to be in one
        of these queues.
        """
        left = max(self._left(wire, each) for each in queues)
        if left > 0:
            await deferLater(wire.clock, left)

    def _left(self, wire: Wire, queue: str) -> float:
        """
        For how many seconds from now on a queue is new.
        """
        since = self._since.get(queue)
        if since is None:
            return 0.0
        now: float = wire.clock.seconds()
        return since + _NEW - now
