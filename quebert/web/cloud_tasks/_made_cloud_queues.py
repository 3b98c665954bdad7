"""
The queues of the Cloud Tasks API are those that were made over the API
(L{make_queue<quebert.operations.make_queue>}), by whichever face or program.

Theory of operation.  A queue is asked for with each task that is created, so that the
definitions are kept in memory, as a L{MadeQueueReader
<quebert.operations.MadeQueueReader>} reads them.  A change of our own counts at once,
although what is read may be older: that with the higher version counts.

RabbitMQ tells whether a queue is paused, at the cost of a question for each queue.  So
what it told is believed for L{_FRESH} seconds: a pause by others is seen as late, here,
and by mediators at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred

from quebert import operations
from quebert._waiters import another_waiter
from quebert.amqp.coordination import KnownQueues, is_paused
from quebert.config import QueueDefinition
from quebert.errors import BrokerError, BrokerUnreachable
from quebert.operations import BrokerAccess, MadeQueueReader, QueueChange
from quebert.web.cloud_tasks._boundaries import (
    CloudQueue,
    CloudQueueChanged,
    CloudQueueExists,
    CloudQueueUnknown,
    NameTooRecent,
)

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient

__all__ = ["MadeCloudQueues"]

# Seconds for which it is believed that a queue is paused, or not.
_FRESH = 10.0
# Seconds in which there must be a connection to ask.
_PATIENCE = 5.0
# How often a purge is tried while others change the same queue.
_TRIES = 5


class MadeCloudQueues:
    """
    A L{CloudQueues<quebert.web.cloud_tasks.CloudQueues>}.

    @param access: the broker; each change makes connections of its own.
    @param client: a client of the same broker, for what is read.  Its owner ends it.
    @param queue_type: of new queues: C{"classic"}, C{"quorum"}, or C{None} for what
        RabbitMQ makes.
    """

    def __init__(
        self,
        access: BrokerAccess,
        client: TxAMQPClient,
        queue_type: str | None = None,
    ) -> None:
        self._access = access
        self._client = client
        self._queue_type = queue_type
        self._known: KnownQueues | None = None
        self._own: dict[str, QueueDefinition] = {}  # changed here, and not read yet
        self._paused: dict[str, tuple[bool, float]] = {}
        self._asking: dict[str, Deferred[None]] = {}
        # Mediators look after what was deleted, and tell what they cannot read.
        self._reader = MadeQueueReader(
            lambda: client.reactor, lambda name: False, self._found
        )

    def start(self) -> None:
        """
        Read which queues there are, from now on.
        """
        self._reader.follow(self._client)

    def stop(self) -> None:
        """
        Read nothing any more.
        """
        self._reader.follow(None)

    async def get(self, name: str) -> CloudQueue | None:
        """
        See L{CloudQueues.get<quebert.web.cloud_tasks.CloudQueues.get>}.

        @raise BrokerError: it is not known yet which queues there are.
        """
        definition = self._definition(name)
        if definition is None or definition.is_deleted:
            return None
        return _cloud_queue(definition, await self._is_paused(name))

    async def list(self) -> list[CloudQueue]:
        """
        See L{CloudQueues.list<quebert.web.cloud_tasks.CloudQueues.list>}.

        @raise BrokerError: it is not known yet which queues there are.
        """
        names = {*self._all().definitions, *self._own}
        found = [await self.get(name) for name in sorted(names)]
        return [each for each in found if each is not None]

    async def create(self, queue: CloudQueue) -> CloudQueue:
        """
        See L{CloudQueues.create<quebert.web.cloud_tasks.CloudQueues.create>}.
        """
        new = QueueDefinition(name=queue.name, queue_type=self._queue_type)
        made = await operations.make_queue(self._access, _changed(new, queue))
        if made.result == operations.QUEUE_EXISTS:
            raise CloudQueueExists(f"there is a queue {queue.name!r}")
        if made.result == operations.QUEUE_EXISTED:
            raise NameTooRecent(f"there was a queue {queue.name!r}")
        self._paused.pop(queue.name, None)
        return await self._after(made)

    async def update(self, queue: CloudQueue) -> CloudQueue:
        """
        See L{CloudQueues.update<quebert.web.cloud_tasks.CloudQueues.update>}.
        """
        before = self._living(queue.name)
        changed = await operations.change_queue(
            self._access, _changed(before, queue), expected=queue.version
        )
        if changed.result == operations.QUEUE_OUTDATED:
            self._note(changed)
            raise CloudQueueChanged(f"somebody has changed queue {queue.name!r}")
        return await self._after(changed)

    async def delete(self, name: str) -> None:
        """
        See L{CloudQueues.delete<quebert.web.cloud_tasks.CloudQueues.delete>}.
        """
        deleted = await operations.delete_queue(self._access, name)
        self._note(deleted)
        if not deleted.is_done:
            raise CloudQueueUnknown(f"there is no queue {name!r}")

    async def pause(self, name: str, by: str) -> CloudQueue:
        """
        See L{CloudQueues.pause<quebert.web.cloud_tasks.CloudQueues.pause>}.
        """
        self._living(name)
        await operations.pause(self._access, name, by=by)
        return self._set_paused(name, True)

    async def resume(self, name: str) -> CloudQueue:
        """
        See L{CloudQueues.resume<quebert.web.cloud_tasks.CloudQueues.resume>}.
        """
        self._living(name)
        await operations.resume(self._access, name)
        return self._set_paused(name, False)

    async def purge(self, name: str) -> CloudQueue:
        """
        See L{CloudQueues.purge<quebert.web.cloud_tasks.CloudQueues.purge>}.
        """
        for _ in range(_TRIES):
            before = self._living(name)
            purged = attrs.evolve(before, purge_time=self._client.now())
            changed = await operations.change_queue(
                self._access, purged, expected=before.version
            )
            if changed.result != operations.QUEUE_OUTDATED:
                return await self._after(changed)
            self._note(changed)
        raise BrokerError(f"queue {name!r} is being changed by others all the time")

    # -- What is known

    def _found(self, known: KnownQueues) -> None:
        self._known = known
        for name, own in list(self._own.items()):
            read = known.definitions.get(name)
            if read is not None and read.version >= own.version:
                del self._own[name]
        gone = self._paused.keys() - known.definitions.keys() - self._own.keys()
        for name in gone:
            del self._paused[name]

    def _all(self) -> KnownQueues:
        if self._known is None:
            raise BrokerUnreachable("RabbitMQ has not told yet which queues there are")
        return self._known

    def _definition(self, name: str) -> QueueDefinition | None:
        known = self._all()
        return self._own.get(name) or known.definitions.get(name)

    def _living(self, name: str) -> QueueDefinition:
        definition = self._definition(name)
        if definition is None or definition.is_deleted:
            raise CloudQueueUnknown(f"there is no queue {name!r}")
        return definition

    def _note(self, changed: QueueChange) -> None:
        if changed.queue is not None:
            self._own[changed.queue.name] = changed.queue
            self._reader.look()

    async def _after(self, changed: QueueChange) -> CloudQueue:
        """
        The queue after a change.
        """
        self._note(changed)
        if changed.queue is None or changed.queue.is_deleted:
            raise CloudQueueUnknown("there is no such queue")
        name = changed.queue.name
        return _cloud_queue(changed.queue, await self._is_paused(name))

    # -- Whether a queue is paused

    def _set_paused(self, name: str, paused: bool) -> CloudQueue:
        self._paused[name] = paused, self._client.reactor.seconds()
        return _cloud_queue(self._living(name), paused)

    async def _is_paused(self, name: str) -> bool:
        paused, at = self._paused.get(name, (False, -_FRESH))
        if self._client.reactor.seconds() - at >= _FRESH:
            asking = self._asking.get(name)
            if asking is None:
                asking = Deferred.fromCoroutine(self._ask(name))
                if not asking.called:
                    self._asking[name] = asking
            if name not in self._paused:
                await another_waiter(asking)
        return self._paused.get(name, (paused, at))[0]

    async def _ask(self, name: str) -> None:
        try:
            wire = await self._client.connected(_PATIENCE)
            paused = await is_paused(wire, name)
        except BrokerError:  # also where the user may not see it
            paused = self._paused.get(name, (False, 0.0))[0]
        finally:
            self._asking.pop(name, None)
        self._paused[name] = paused, self._client.reactor.seconds()


def _changed(before: QueueDefinition, queue: CloudQueue) -> QueueDefinition:
    """
    A definition that says what C{queue} does.
    """
    return attrs.evolve(
        before,
        rate=queue.rate,
        burst=queue.burst,
        concurrency=queue.concurrency,
        retry=queue.retry,
        http_target=queue.http_target,
        purge_time=max(before.purge_time, queue.purge_time),
    )


def _cloud_queue(definition: QueueDefinition, paused: bool) -> CloudQueue:
    return CloudQueue(
        name=definition.name,
        rate=definition.rate,
        burst=definition.burst,
        concurrency=definition.concurrency,
        retry=definition.retry,
        http_target=definition.http_target,
        paused=paused,
        purge_time=definition.purge_time,
        version=definition.version,
    )
