"""
Queues in which a message is not safe yet.

A RabbitMQ that is killed within three seconds after it made a quorum queue comes back
without the messages in it, although it has confirmed them.  So a copy is published to
such a queue only when the queue is older.  Until then the original stays where it is.
AMQP does not tell the age of a queue: somebody else may have declared it just before.
So a queue counts as new when it is seen for the first time, too.

The original is acknowledged right after the confirm.  If it were acknowledged seconds
later, a mediator that is killed meanwhile, again and again, would have a copy more
each time.  Only where the queue was declared anew between the publication and the
confirm, the acknowledgement waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall

from quebert.amqp._broker_version import version_of
from quebert.amqp._existing import find_queue
from quebert.errors import MayNotLook

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
        self._waiters: dict[str, list[Deferred[None]]] = {}
        self._timers: dict[str, IDelayedCall] = {}

    def found(self, wire: Wire, queue: str, kind: str | None) -> None:
        """
        A queue is there.  It counts as new if nobody has seen it here before.

        @param kind: its type; C{None} if that is not known.
        """
        if queue not in self._since:
            self.declared(wire, queue, kind)

    def declared(self, wire: Wire, queue: str, kind: str | None) -> None:
        """
        A queue was not there, and was declared.

        @param kind: its type; C{None} if that is not known.
        """
        self._since.pop(queue, None)
        may_lose = kind in (None, "quorum") and version_of(wire) is not None
        if may_lose:  # the embedded broker does not
            self._since[queue] = wire.clock.seconds()

    @asynccontextmanager
    async def declaring(self, wire: Wire, queue: str) -> AsyncIterator[None]:
        """
        In this block a queue of any type is declared, perhaps anew.

        @raise BrokerError: the connection was lost.
        """
        if await self._is_there(wire, queue):
            yield
            return
        self.declared(wire, queue, None)  # others may publish to it at once
        yield
        self.declared(wire, queue, None)

    async def _is_there(self, wire: Wire, queue: str) -> bool:
        """
        Whether a queue that was seen before is still there.
        """
        if queue not in self._since:
            return False
        with suppress(MayNotLook):
            return await find_queue(wire, queue) is not None
        return False

    def forget(self, *queues: str) -> None:
        """
        Nobody puts messages into these queues any more.
        """
        for each in queues:
            self._since.pop(each, None)

    def has(self, wire: Wire, *queues: str) -> bool:
        """
        Whether one of these queues is new.
        """
        return any(self._left(wire, each) > 0 for each in queues)

    async def old(self, wire: Wire, *queues: str) -> None:
        """
        Returns once none of these queues is new: a message survives that is confirmed
        there.
        """
        while self.has(wire, *queues):
            newest = max(queues, key=partial(self._left, wire))
            await self._wait(wire, newest)

    async def _wait(self, wire: Wire, queue: str) -> None:
        """
        Those who wait for a queue go on in the order in which they came.
        """
        waiting: Deferred[None] = Deferred()
        waiters = self._waiters.setdefault(queue, [])
        waiters.append(waiting)
        if len(waiters) == 1:
            timer = wire.clock.callLater(self._left(wire, queue), self._wake, queue)
            self._timers[queue] = timer
        try:
            await waiting
        except CancelledError:
            if queue in self._waiters:
                waiters.remove(waiting)
                self._stop_timer(queue)
            raise

    def _stop_timer(self, queue: str) -> None:
        if not self._waiters[queue]:
            del self._waiters[queue]
            self._timers.pop(queue).cancel()

    def _wake(self, queue: str) -> None:
        del self._timers[queue]
        for each in self._waiters.pop(queue):
            if not each.called:
                each.callback(None)

    async def publish(
        self, wire: Wire, queue: str, publish: Callable[[], Awaitable[None]]
    ) -> None:
        """
        Publish a message to a queue as soon as it survives there; returns when it does.
        """
        await self.old(wire, queue)
        await publish()
        await self.old(wire, queue)  # it may have been declared anew meanwhile

    def _left(self, wire: Wire, queue: str) -> float:
        """
        For how many seconds from now on a queue is new.
        """
        since = self._since.get(queue)
        if since is None:
            return 0.0
        now: float = wire.clock.seconds()
        return since + _NEW - now
