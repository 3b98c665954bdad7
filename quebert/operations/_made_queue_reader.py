"""
Reads which queues were made over the API, at once and whenever that changes.

Theory of operation.  The reader hears of changes as watches hear of pauses
(L{Pauses<quebert.amqp.coordination.Pauses>}).  A message can be lost, and whoever
changed the register may have been killed before it told anybody.  So the register is
also read with each connection, every L{LOOK} seconds, and before a paused queue is
resumed: it may have been purged or deleted before.

A queue that was deleted is watched for another seven days, and its tasks are dropped:
those that wait for their time come meanwhile.  Then the watch ends, and the queue is
deleted in RabbitMQ by the first mediator that finds it empty, and without a consumer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    FirstError,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._waiters import Waiters
from quebert.amqp.coordination import (
    PERSISTENT,
    QUEUES,
    KnownQueues,
    read_queues,
    remove_gone_queue,
)
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient
    from quebert.amqp.link import Publisher
    from quebert.amqp.wire import Wire

__all__ = ["LOOK", "MadeQueueReader"]

#: Seconds between two looks at most, whether anybody has told of a change or not.
LOOK = 60.0
# Seconds until the next look after one that failed.
_AGAIN = 5.0
# Seconds in which RabbitMQ must take what replaces the register.
_PATIENCE = 5.0


class MadeQueueReader:
    """
    @param clock: gives the reactor.
    @param serves: whether a queue of this name is served here.
    @param found: called with the queues whenever they were read.
    @ivar client: reaches the broker from which they are read; C{None} for none.
    """

    log = Logger()

    def __init__(
        self,
        clock: Callable[[], IReactorTime],
        serves: Callable[[str], bool],
        found: Callable[[KnownQueues], None],
    ) -> None:
        self._clock = clock
        self._serves = serves
        self._found = found
        self.client: TxAMQPClient | None = None
        self._publisher: Publisher | None = None
        self._running: Deferred[None] | None = None
        self._told: Waiters[None] = Waiters()
        self._changes = 0  # that were told of
        self._seen = 0  # the same, when a read began that has ended
        self._read: Waiters[None] = Waiters()
        self._names: Container[str] = ()
        self._removed: dict[str, int] = {}  # versions
        self._unreadable: dict[str, str] = {}
        self._unread = RepeatedWarning(
            self.log,
            clock,
            "The queues that were made over the API cannot be read; this mediator goes"
            " on with those that it knows",
            "The queues that were made over the API can be read again",
        )

    def follow(self, client: TxAMQPClient | None) -> None:
        """
        Read them from the broker of C{client} from now on; C{None} for no more.
        """
        if client is self.client:
            return
        self._end()
        self.client = client
        if client is not None:
            self._publisher = client.make_publisher()
            client.pauses.before_resuming = self._read_before
            self._running = Deferred.fromCoroutine(self._run(client))
            self._running.addErrback(self._failed, self._running)

    def _end(self) -> None:
        running, self._running = self._running, None
        client, self.client = self.client, None
        if running is not None:
            running.cancel()
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.shut()
        if client is not None:
            client.pauses.forget(QUEUES, self.look)
            client.pauses.before_resuming = None
        self._seen = self._changes
        self._read.fire(None)
        self._unread.end()

    def _failed(self, failure: Failure, running: Deferred[None]) -> None:
        if self._running is running:  # else this was cancelled
            self._running = None
            self._read.fire(None)
        if not failure.check(CancelledError):
            self.log.failure("Queues that were made over the API are not read", failure)

    def look(self) -> None:
        """
        Read them now.
        """
        self._changes += 1
        self._told.fire(None)

    async def _read_before(self, queue: str) -> None:
        """
        Read them now, or try to, before a queue goes on.
        """
        if queue in self._names:
            self.look()
            changes = self._changes
            while self._running is not None and self._seen < changes:
                await self._read.wait()

    async def _run(self, client: TxAMQPClient) -> None:
        while True:
            changes, wait = self._changes, LOOK
            wire: Wire | None = None
            try:
                wire = await client.connected(None)
                await client.pauses.hear(wire, QUEUES, self.look)
                known = await read_queues(wire, self._publish)
                self._unread.succeeded()
                self._tell_unreadable(known)
                self._names = known.definitions.keys()
                self._found(known)
                await self._remove_gone(wire, client.now(), known)
            except BrokerError as e:
                self._unread.met(e)
                wait = _AGAIN
            except Exception:  # a fault of ours
                if self.client is not client:  # this was cancelled
                    raise
                self.log.failure("Queues that were made over the API are not served")
                wait = _AGAIN
            self._seen = changes
            self._read.fire(None)
            if self._changes == changes:  # else they are read again
                await self._until(wire, wait * random.uniform(0.8, 1.2))  # nosec B311

    async def _until(self, wire: Wire | None, seconds: float) -> None:
        """
        Wait until somebody tells of a change, a connection is lost, or the time is up.
        """
        waiting = [self._told.wait(), deferLater(self._clock(), seconds)]
        if wire is not None and not wire.closed:
            waiting.append(wire.disconnected.wait())
        try:
            await DeferredList(waiting, fireOnOneCallback=True, fireOnOneErrback=True)
        except FirstError as e:  # this is cancelled, and so is each of them
            raise CancelledError from e
        finally:
            for each in waiting:
                each.addErrback(lambda failure: None)
                each.cancel()

    async def _publish(self, queue: str, body: bytes) -> None:
        if self._publisher is not None:
            await self._publisher.publish("", queue, body, PERSISTENT, _PATIENCE)

    def _tell_unreadable(self, known: KnownQueues) -> None:
        some = {n: why for n, why in known.unreadable.items() if self._serves(n)}
        for name in some.keys() - self._unreadable.keys():
            self.log.warn(
                "Queue {queue!r} was made over the API, and is not served, since this"
                " mediator cannot read its definition: {why}",
                queue=name,
                why=some[name],
            )
        self._unreadable = some

    async def _remove_gone(self, wire: Wire, now: float, known: KnownQueues) -> None:
        for name, each in known.definitions.items():
            is_ours = self._serves(name) and self._removed.get(name) != each.version
            if (
                each.is_gone(now)
                and is_ours
                and await remove_gone_queue(wire, name, now)
            ):
                self._removed[name] = each.version
