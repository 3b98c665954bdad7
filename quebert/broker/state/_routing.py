"""
The ways of messages: into queues, to consumers, out of queues, and on to where
the dead letters go.

Knows no sockets; what time it is, its timers say.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

import attrs

from quebert.broker.state._arguments import DROP_HEAD, REJECT_DEAD_LETTER
from quebert.broker.state._death_header import dead_properties, goes_in_circles
from quebert.broker.state._entry import DeliveryCounts, Entry, PublishedMessage
from quebert.broker.state._journal import Journal
from quebert.broker.state._message_properties import MessageProperties, read_properties
from quebert.broker.state._queue import Queue, Stranded
from quebert.broker.state._records import EntryRecord
from quebert.broker.state._timers import Timers

__all__ = ["Router"]

#: Bytes of messages in memory that the journal has too: beyond, they are read
#: from there when they are needed.
MOST_RESIDENT = 64 * 2**20
#: How many are read at once.
READ_AHEAD = 200
#: Dead letters that are gathered before they are sent on.
MOST_DEAD = 100
#: Seconds after which it is tried again to send on those that must not be lost.
RETRY = 2.0


@attrs.frozen(eq=False)
class _Death:
    """
    A dead letter that is to be sent on.

    @ivar entry: it is still there until that is done; C{None} if it is not.
    @ivar reached: the queues that have taken it already.
    """

    queue: Queue
    message: PublishedMessage
    reason: str
    entry: Entry | None = None
    reached: set[Queue] = attrs.field(factory=set)


class Router:
    """
    @param ids: of entries; each is greater than the one before.
    @ivar resident: bytes of the messages in memory that the journal has too.
    """

    def __init__(self, timers: Timers, journal: Journal, ids: Iterator[int]) -> None:
        self._timers = timers
        self._journal = journal
        self._ids = ids
        self._dead: deque[_Death] = deque()
        self._burying = False
        self.resident = 0

    # -- In

    def publish(
        self,
        queues: Iterable[Queue],
        message: PublishedMessage,
        properties: MessageProperties,
    ) -> bool:
        """
        Put a message into queues; whether each took it.
        """
        taken = True
        for queue in queues:
            taken = self._put(queue, message, properties) and taken
        self._bury()
        return taken

    def _put(
        self, queue: Queue, message: PublishedMessage, properties: MessageProperties
    ) -> bool:
        size, overflow = len(message.body), queue.settings.overflow
        if overflow != DROP_HEAD and queue.is_full(size):
            if overflow == REJECT_DEAD_LETTER:
                self._dead.append(_Death(queue, message, "maxlen"))
            return False
        settings = queue.settings
        durable = settings.quorum or (properties.persistent and queue.durable)
        stored = durable and self._journal.keeps_messages
        expires = self._expiry(queue, properties)
        priority = properties.priority
        if priority is None:
            priority = settings.usual_priority
        entry = Entry(next(self._ids), size, priority, expires, stored, message)
        if settings.quorum:
            entry.counts = DeliveryCounts()
        if stored:
            self.resident += message.weight
            ends = None if expires is None else expires + self._timers.ahead
            self._journal.put(queue, entry, message, ends)
        queue.may_expire |= expires is not None
        queue.ready.push(entry)
        self._deliver(queue)
        self._shrink(queue)
        if stored and self.resident > MOST_RESIDENT:
            self._page_out(entry)
        return True

    def _expiry(self, queue: Queue, properties: MessageProperties) -> float | None:
        ttl, most = properties.ttl, queue.settings.message_ttl
        if ttl is None or (most is not None and most < ttl):
            ttl = most
        return None if ttl is None else self._timers.now + ttl

    def _shrink(self, queue: Queue) -> None:
        if queue.drops_head():
            while queue.drops_head():
                self._die(queue, queue.ready.pop(), "maxlen")
            if queue.may_expire:  # for there is another head
                self._expire(queue)

    # -- In memory, or only in the journal

    def _page_out(self, entry: Entry) -> None:
        if entry.stored and entry.message is not None:
            self.resident -= entry.message.weight
            entry.message = None

    def _message(self, queue: Queue, entry: Entry) -> PublishedMessage:
        if entry.message is None:
            absent = [entry, *self._read_ahead(queue)]
            found = self._journal.read([each.id for each in absent])
            for each in absent:
                each.message = found[each.id]
                self.resident += each.message.weight
        assert entry.message is not None
        return entry.message

    def _read_ahead(self, queue: Queue) -> Iterator[Entry]:
        """
        What is read together with the next one, as far as there is room in memory.
        """
        room = MOST_RESIDENT - self.resident
        for entry in islice(queue.ready, READ_AHEAD):
            if entry.message is None:
                room -= entry.size
                if room < 0:
                    return
                yield entry

    # -- Out

    def deliver(self, queue: Queue) -> None:
        """
        Hand out what is ready to the consumers that have room, in turn.
        """
        self._deliver(queue)
        self._bury()

    def _deliver(self, queue: Queue) -> None:
        while queue.ready and queue.waiting:
            if queue.may_expire:
                self._drop_expired(queue)
            consumer = queue.next_consumer() if queue.ready else None
            if consumer is None:
                break
            consumer.receive(queue, entry := self._take(queue))
            if consumer.no_ack:
                self.settle(queue, entry)
        if queue.may_expire:
            self._expire(queue)

    def get(self, queue: Queue) -> Entry | None:
        """
        The next one, to be settled, or C{None}.
        """
        if queue.may_expire:
            self._drop_expired(queue)
        entry = self._take(queue) if queue.ready else None
        if queue.may_expire:
            self._expire(queue)
        self._bury()
        return entry

    def _take(self, queue: Queue) -> Entry:
        entry = queue.ready.pop()
        self._message(queue, entry)
        queue.unacked += 1
        if entry.counts is not None:
            entry.counts.out = True
            self._journal.counted(entry)
        elif entry.stored and entry.id > queue.delivered:
            queue.delivered = entry.id
            self._journal.delivered(queue)
        return entry

    # -- What became of it

    def settle(self, queue: Queue, entry: Entry) -> None:
        """
        It is done.
        """
        queue.unacked -= 1
        self._remove(entry)

    def requeue(self, queue: Queue, entries: Iterable[Entry], *, failed: bool) -> None:
        """
        They go back.

        @param failed: whether a quorum queue counts that as a failure.
        """
        for entry in entries:
            queue.unacked -= 1
            entry.redelivered = True
            if queue.deleted:
                self._remove(entry)
            elif self._came_back(queue, entry, failed=failed):
                queue.ready.put_back(entry)
        self._shrink(queue)
        self._deliver(queue)
        self._bury()

    def _came_back(self, queue: Queue, entry: Entry, *, failed: bool) -> bool:
        """
        Count that; whether the entry stays, since it did not fail too often.
        """
        if entry.counts is None:
            return True
        entry.counts.came_back(failed=failed)
        limit = queue.settings.delivery_limit
        if failed and limit is not None and entry.counts.failed > limit:
            self._die(queue, entry, "delivery_limit")
            return False
        self._journal.counted(entry)
        return True

    def reject(self, queue: Queue, entries: Iterable[Entry]) -> None:
        """
        Nobody wants them.
        """
        for entry in entries:
            queue.unacked -= 1
            self._die(queue, entry, "rejected")
        self._bury()

    def purge(self, queue: Queue) -> int:
        """
        Forget what is ready; how many they were.
        """
        count = len(queue.ready)
        while queue.ready:
            self._remove(queue.ready.pop())
        return count

    def abandon(self, queue: Queue) -> None:
        """
        The queue is gone; the journal knows.
        """
        while queue.ready:
            self._page_out(queue.ready.pop())
        queue.stranded.clear()

    def _remove(self, entry: Entry) -> None:
        if entry.stored:
            self._journal.removed(entry)
        self._page_out(entry)

    # -- After a restart

    def restore(self, queue: Queue, record: EntryRecord) -> None:
        """
        A message that was there before.  L{expire} is to follow.
        """
        expires = record.expires
        if expires is not None:
            expires -= self._timers.ahead
        place = record.id, record.size, record.priority, expires
        entry = Entry(*place, True, None)
        queue.may_expire |= expires is not None
        if not queue.settings.quorum:
            entry.redelivered = record.id <= queue.delivered
        else:
            entry.counts = DeliveryCounts(record.acquired, record.failed)
            if isinstance(record.out, str):
                entry.counts.died = record.out
                self._strand(queue, Stranded(entry, record.out, set()), 0.0)
                return
            entry.redelivered = bool(record.acquired or record.out)
            if record.out and not self._came_back(queue, entry, failed=True):
                return
        queue.ready.push(entry)

    # -- Expiry

    def expire(self, queue: Queue) -> None:
        """
        Let go what has expired by now, and look again when the next will have.
        """
        if not queue.deleted:
            self._expire(queue)
            self._bury()

    def _expire(self, queue: Queue) -> None:
        self._pop_expired(queue, self._timers.now)
        time = queue.ready.next_expiry()
        if time is not None and (queue.expiry is None or queue.expiry.time > time):
            if queue.expiry is not None:
                queue.expiry.cancel()
            queue.expiry = self._timers.at(time, lambda: self._expiry_due(queue))

    def _expiry_due(self, queue: Queue) -> None:
        queue.expiry = None
        self.expire(queue)

    def _drop_expired(self, queue: Queue) -> None:
        # What expires this very moment may still be delivered: a TTL of 0 asks
        # for just that.
        self._pop_expired(queue, math.nextafter(self._timers.now, -math.inf))

    def _pop_expired(self, queue: Queue, now: float) -> None:
        for entry in queue.ready.pop_expired(now):
            self._die(queue, entry, "expired")
            if len(self._dead) >= MOST_DEAD:
                self._bury()

    # -- Dead letters

    def _die(self, queue: Queue, entry: Entry, reason: str) -> None:
        if queue.settings.dead_letter_exchange is None or queue.deleted:
            self._remove(entry)
            return
        message = self._message(queue, entry)
        if queue.settings.at_least_once:
            self._dead.append(_Death(queue, message, reason, entry))
        else:
            self._dead.append(_Death(queue, message, reason))
            self._remove(entry)

    def _bury(self) -> None:
        # A list of work, not a recursion: dead letters may be dropped where they
        # go to, and so on.
        if self._burying:
            return
        self._burying = True
        try:
            while self._dead:
                death = self._dead.popleft()
                sent = self._send_on(death)
                if death.entry is not None and sent:
                    self._remove(death.entry)
                elif death.entry is not None:
                    waiting = Stranded(death.entry, death.reason, death.reached)
                    self._strand(death.queue, waiting, RETRY)
        finally:
            self._burying = False

    def _strand(self, queue: Queue, waiting: Stranded, wait: float) -> None:
        """
        Keep a dead letter, also over a restart, and try again to send it on after
        C{wait} seconds.
        """
        entry = waiting.entry
        if entry.counts is not None and not entry.counts.died:
            entry.counts.died = waiting.reason
            self._journal.counted(entry)
        self._page_out(entry)
        queue.stranded.append(waiting)
        if queue.retry is None:
            time = self._timers.now + wait
            queue.retry = self._timers.at(time, lambda: self._retry(queue))

    def _retry(self, queue: Queue) -> None:
        queue.retry = None
        stranded, queue.stranded = queue.stranded, []
        for each in stranded:
            message = self._message(queue, each.entry)
            death = _Death(queue, message, each.reason, each.entry, each.reached)
            self._dead.append(death)
            if len(self._dead) >= MOST_DEAD:
                self._bury()
        self._bury()

    def _send_on(self, death: _Death) -> bool:
        """
        Put a dead letter where it is to go to; whether it was taken there, by each
        queue.
        """
        queue, message = death.queue, death.message
        settings = queue.settings
        exchange = settings.dead_letter_exchange or ""
        if not queue.vhost.has_exchange(exchange):
            return False
        keys = [message.routing_key, *read_properties(message.properties).further_keys]
        key = settings.dead_letter_key
        encoded = dead_properties(
            message.properties,
            reason=death.reason,
            queue=queue.name,
            exchange=message.exchange,
            routing_keys=keys,
            now=self._timers.now + self._timers.ahead,
            keeps_copies=key is None,
        )
        keys = keys if key is None else [key]
        properties = read_properties(encoded)
        dead = PublishedMessage(exchange, keys[0], encoded, message.body)
        targets = queue.vhost.reached_from(exchange, keys, properties.headers)
        sent = bool(targets)
        for target in targets:
            if target in death.reached:
                continue
            if goes_in_circles(properties.headers, target.name):
                continue
            if self._put(target, dead, properties):
                death.reached.add(target)
            else:
                sent = False
        return sent
