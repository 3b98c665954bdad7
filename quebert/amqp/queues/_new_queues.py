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

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall

from quebert._waiters import Waiters
from quebert.amqp.queues._existing import find_queue
from quebert.amqp.wire import version_of
from quebert.errors import ChannelLost, MayNotLook

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["NEW", "NewQueues"]

#: Seconds for which a quorum queue is new.
NEW = 3.5


class NewQueues:
    """
    What a client knows of the age of quorum queues.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # when each was declared or first seen
        self._waiting: dict[str, Waiters[None]] = {}  # until a queue is new no more

    def found(self, wire: Wire, queue: str, kind: str | None) -> None:
        """
        Note that a queue exists.  It counts as new if this client sees it for the first
        time.

        @param kind: its type; C{None} if that is not known.
        """
        if queue not in self._since:
            self.declared(wire, queue, kind)

    def declared(self, wire: Wire, queue: str, kind: str | None) -> None:
        """
        Note that a queue was declared.  It counts as new from now on.

        @param kind: its type; C{None} if that is not known.
        """
        self._since.pop(queue, None)
        may_lose = kind in (None, "quorum") and version_of(wire) is not None
        if may_lose:  # the embedded broker does not
            self._since[queue] = wire.clock.seconds()

    @contextmanager
    def declaring(
        self, wire: Wire, queue: str, kind: str | None, *, exists: bool
    ) -> Iterator[None]:
        """
        In this block a queue is declared.

        @param kind: its type; C{None} if that is not known.
        @param exists: whether it is there already.
        """
        note = self.found if exists else self.declared
        note(wire, queue, kind)  # others may publish to it at once
        yield
        if not exists:  # RabbitMQ may have taken its time
            self.declared(wire, queue, kind)

    async def is_there(self, wire: Wire, queue: str) -> bool:
        """
        Whether a queue that was seen before is still there.

        @raise BrokerError: the connection was lost.
        """
        if queue not in self._since:
            return False
        with suppress(MayNotLook):
            return await find_queue(wire, queue) is not None
        return False

    def forget(self, *queues: str) -> None:
        """
        Forget the age of these queues.
        """
        for each in queues:
            self._since.pop(each, None)

    def has(self, wire: Wire, *queues: str) -> bool:
        """
        Whether one of these queues is new.
        """
        return self.left(wire, *queues) > 0

    def left(self, wire: Wire, *queues: str) -> float:
        """
        Seconds until none of these queues is new; 0 if none is.
        """
        since = [self._since[each] for each in queues if each in self._since]
        if not since:
            return 0.0
        now: float = wire.clock.seconds()
        return max(0.0, max(since) + NEW - now)  # one may become old at this moment

    async def old(self, wire: Wire, *queues: str) -> None:
        """
        Wait until none of these queues is new.  From then on, messages survive there
        that RabbitMQ has confirmed.

        @raise ChannelLost: the connection was lost meanwhile.
        """
        while self.has(wire, *queues):
            await self._wait(wire, max(queues, key=partial(self.left, wire)))
            if wire.closed:
                raise ChannelLost("the connection to the broker was lost")

    async def _wait(self, wire: Wire, queue: str) -> None:
        """
        Those who wait for a queue go on in the order in which they came.
        """
        if queue not in self._waiting:
            timer = wire.clock.callLater(self.left(wire, queue), self._wake, queue)
            abandoned = partial(self._abandoned, queue, timer)
            self._waiting[queue] = Waiters(abandoned)
        await self._waiting[queue].wait()

    def _abandoned(self, queue: str, timer: IDelayedCall) -> None:
        if timer.active():
            timer.cancel()
            del self._waiting[queue]

    def _wake(self, queue: str) -> None:
        self._waiting.pop(queue).fire(None)

    async def publish(
        self, wire: Wire, queue: str, publish: Callable[[], Awaitable[None]]
    ) -> None:
        """
        Publish a message to a queue as soon as it survives there; returns when it does.
        """
        await self.old(wire, queue)
        await publish()
        await self.old(wire, queue)  # it may have been declared anew meanwhile
