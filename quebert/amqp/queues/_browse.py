"""
Going through a queue, message by message: which messages are in it, and which of them
leave it.

Browsing holds the messages that stay, unacknowledged, until it is over, since the
broker would deliver them again at once; it does not keep their bodies.  Afterwards the
broker has them again, in their order if it can (see below).

Theory of operation.  A quorum queue counts how often each message came back, and drops
a message that came back more often than the queue's delivery limit (20 in RabbitMQ 4,
unless the queue or a policy says otherwise).  Measured, with 20 messages that were
looked at 26 times:

  - RabbitMQ 3.10 counts every way back, and drops nothing unless there is a limit.
  - RabbitMQ 4.0 to 4.2 counts every way back, C{basic.nack} with requeue included.
  - RabbitMQ 4.3 counts C{basic.reject} and messages whose channel or connection was
    closed, and does not count C{basic.nack} with requeue.
  - Messages whose channel was closed come back in another order; a few that
    C{basic.nack} returns keep theirs.
  - A quorum queue without a delivery limit, such as RabbitMQ 3.10 has by default and
    quebert declares on RabbitMQ 4, puts them at its end
    (C{rabbit_fifo:make_requeue/4}); other queues put them at their beginning.
  - Of the messages that C{basic.get} fetched from a quorum queue, RabbitMQ returns 33
    at once (C{quorum_commands_soft_limit}), and the others in any order (4.0.5, 4.3.6).

So browsing ends with C{basic.nack}.  It keeps the order of a quorum queue of up to a
thousand messages: it gives 32 messages back at a time, and waits until they are there.
It goes through all messages of such a queue, also where only the first one is looked
at: else this one would be the last afterwards.  With more messages, this would take
minutes, in which nobody else gets them.  What was fetched of these goes back at once,
and may be the last afterwards.

Where a message comes with a count of 3 or more, browsing at once replaces it by a copy,
whose count begins at 0: it publishes the copy, waits for the confirm, and acknowledges
the original.  A program that is killed in between leaves the message twice, never lost.
A copy goes to the end of the queue.  To keep the order, all messages behind the first
one that is replaced are replaced, too.

A quorum queue counts each message that was fetched with C{basic.get}, and is not
settled, as a consumer.  Before RabbitMQ 4.0, a quorum queue with more than 32 consumers
may lose messages when RabbitMQ was killed and starts again: it reads its log, goes
through its consumers in another order, and takes acknowledgements for those of other
messages.  Measured on 3.10.8, with 3,000 dead letters, of which a third was discarded
and a third redriven after three looks that were killed half-way: 259 of the last third
were lost.  So there, browsing more than L{_FEW} messages holds none, but replaces
all by copies.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from quebert._lanes import Lanes, all_of
from quebert._protocol.extensions import COPYING_HEADERS, COUNTS, DELIVERY_COUNT
from quebert._protocol.properties import amend_properties
from quebert._protocol.values import CodecError
from quebert.amqp.queues._existing import Depth, depth
from quebert.amqp.wire import (
    Channel,
    Message,
    version_of,
)
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = [
    "MAX_UNACKED",
    "Browsing",
    "Replace",
    "Visit",
    "browse",
    "fingerprint",
    "held_at_most",
]

#: How many messages may be unacknowledged; then browsing goes no further, unless it
#: replaces them by copies.  RabbitMQ needs some five kilobytes for each.
MAX_UNACKED = 50_000
# And how many on each of its channels: RabbitMQ looks through all of them to find
# one that is acknowledged.
_UNACKED_BY_ONE = 1_000
# Seconds that the broker may take for its next step in putting them back.
_PATIENCE = 2.0
# How many are asked for, or looked at, at the same time: fewer than RabbitMQ's
# quorum_commands_soft_limit, which is 32.  Where a channel waits for a quorum queue to
# settle as many, RabbitMQ keeps further acknowledgements back and forgets them when the
# channel is closed.  With 256, 42 of 300 messages that had left came back (3.10, 4.3).
_AT_ONCE = 24

# How many are asked for, or looked at, at the same time where a quorum queue bears only
# few consumers.  Others may do the same.
_FEW = 8
_MANY_SINCE = (4,)

# How often a message may have come back before it is replaced: few enough for all but
# the smallest delivery limits.
_MOST_RETURNS = 3
# How many messages a quorum queue takes back in their order.
_AT_ONCE_BACK = 32
# How many copies may be on their way: so many may be there twice after a kill.
_COPIES_AT_ONCE = 8
# Unlike what is put back, a copy keeps the headers that tell of a dead letter's past.
_NOT_COPIED = (*COUNTS, *COPYING_HEADERS)

#: Called with each message; tells whether it is to leave the queue.
Visit = Callable[[Message], Awaitable[bool]]
#: Called with a message and the encoded properties of its copy; publishes the copy to
#: the queue that is browsed, and returns when the broker has confirmed it.
Replace = Callable[[Message, bytes], Awaitable[None]]


def held_at_most(wire: Wire, most: int) -> int:
    """
    How many messages of a queue may be fetched and not settled: C{most}, and a few
    before RabbitMQ 4.0, where a quorum queue bears no more (see above).
    """
    version = version_of(wire) or _MANY_SINCE
    return min(most, _FEW) if version < _MANY_SINCE else most


class Browsing:
    """
    Goes through one queue, message by message.

    @param to_the_end: to replace the messages by copies, rather than to stop, if there
        are more than can be held.
    @ivar kept: how many messages are held.
    @ivar replaced: how many messages were replaced by copies.
    @ivar ahead: how many are to be asked for yet.
    """

    def __init__(
        self,
        wire: Wire,
        queue: str,
        most: int,
        replace: Replace,
        *,
        to_the_end: bool = False,
    ) -> None:
        self.kept = 0
        self.replaced = 0
        self.ahead = most
        self._wire = wire
        self._queue = queue
        self._replace = replace
        # All that come from now on.
        self._replacing = to_the_end and most > MAX_UNACKED
        self._visiting = True
        self._failed = False
        self._at_once = _AT_ONCE
        self._may_bear_few = held_at_most(wire, most) < most
        self._is_short = most <= _UNACKED_BY_ONE
        self._is_quorum: bool | None = None  # nobody knows yet
        self._copying = Lanes(_COPIES_AT_ONCE)
        self._channels: list[Channel] = []

    async def through(self, visit: Visit) -> None:
        """
        Call C{visit} with each message, in their order, several at a time.  A message
        stays in the queue unless C{visit} returned True for it.

        @raise BrokerError: the connection was lost, or the broker does not take a copy;
            or what C{visit} raises, once all that it was called with are settled.
        """
        while self.ahead > 0 and self.kept < MAX_UNACKED:
            channel = await self._wire.open_channel(confirms=False)
            self._channels.append(channel)
            if self._is_quorum is None:
                await self._begin(channel, visit)
            await self._through(channel, visit)

    async def _begin(self, channel: Channel, visit: Visit) -> None:
        """
        Look at one message, and find out with it whether this is a quorum queue.
        """
        self._is_quorum = False
        self.ahead -= 1
        before = await depth(self._wire, self._queue)
        await self._step(channel, visit, before)

    async def _counts_held(self, before: Depth) -> bool:
        """
        Whether it is a quorum queue, which counts a message that is held as a consumer.
        """
        now = await depth(self._wire, self._queue)
        return now is not None and now.consumers > before.consumers

    async def _through(self, channel: Channel, visit: Visit) -> None:
        full = min(MAX_UNACKED, self.kept + _UNACKED_BY_ONE)
        count = min(self._at_once, self.ahead)
        await all_of(self._lane(channel, visit, full) for _ in range(count))

    def stop(self) -> None:
        """
        Call C{visit} with no more messages.
        """
        self._visiting = False
        if not (self._replacing or self._keeps_order):
            self.ahead = 0

    @property
    def _keeps_order(self) -> bool:
        return bool(self._is_quorum) and self._is_short

    async def end(self) -> None:
        """
        Give back all that are held, one channel after the other; if it is cancelled,
        all at once.
        """
        try:
            for channel in self._channels:
                if self._keeps_order:
                    with suppress(BrokerError):  # then without their order
                        await self._give_back(channel)
                channel.give_all_back()
                await channel.shut()
        finally:
            for channel in self._channels:
                channel.give_all_back()

    async def _give_back(self, channel: Channel) -> None:
        """
        Give back what a channel holds, some at a time, as long as nobody takes them.
        """
        channel.flush()  # else RabbitMQ might be asked for one that it has no more
        tags = list(channel.acks.outstanding)
        for begin in range(0, len(tags), _AT_ONCE_BACK):
            some = tags[begin : begin + _AT_ONCE_BACK]
            found = await depth(self._wire, self._queue)
            channel.give_all_back(some[-1])
            if found is None or not await self._has_ready(found.ready + len(some)):
                return

    async def are_back(self) -> None:
        """
        Wait until those that stay are there for others, which a RabbitMQ takes its
        time for after the end.
        """
        await self._has_ready(self.kept + self.replaced)

    async def _has_ready(self, count: int) -> bool:
        """
        Wait until so many messages are there.

        @return: whether they are; they are not if somebody else takes them.
        """
        most, since, clock = -1, 0.0, self._wire.clock
        while True:
            found = await depth(self._wire, self._queue)
            if found is None or found.ready >= count:
                return True
            if found.ready > most:
                most, since = found.ready, clock.seconds()
            elif clock.seconds() > since + _PATIENCE:
                return False
            await deferLater(clock, 0.05)

    async def _lane(self, channel: Channel, visit: Visit, full: int) -> None:
        while self.ahead > 0 and self.kept < full:
            self.ahead -= 1
            try:
                await self._step(channel, visit)
            except BaseException:
                self.ahead, self._failed = 0, True
                raise

    async def _step(
        self, channel: Channel, visit: Visit, before: Depth | None = None
    ) -> None:
        message = await channel.get(self._queue)
        if message is None:
            self.ahead = 0  # somebody else was quicker
            return
        if before is not None and await self._counts_held(before):
            self._is_quorum = True
            if self._may_bear_few:
                self._replacing, self._at_once = True, _FEW
        self._replacing |= message.number_in(DELIVERY_COUNT) >= _MOST_RETURNS
        replacing = self._replacing
        if self._visiting and await visit(message):
            channel.ack(message.delivery_tag)
        elif replacing:
            await self._copying.run(self._copy, channel, message)
        else:
            self.kept += 1

    async def _copy(self, channel: Channel, message: Message) -> None:
        if self._failed:  # each might wait for a broker that takes no messages
            return
        await self._replace(message, _properties_of_copy(message))
        channel.ack(message.delivery_tag)
        channel.flush()
        self.replaced += 1


def _properties_of_copy(message: Message) -> bytes:
    """
    The encoded properties for a copy: byte for byte as they came, without the broker's
    bookkeeping, and without the sender's user id, which RabbitMQ takes from that user
    alone.
    """
    return amend_properties(
        message.encoded_properties,
        changes={"user-id": None},
        headers={},
        dropped=_NOT_COPIED,
    )


def fingerprint(message: Message) -> bytes:
    """
    What is the same each time that a message, or a copy of it, is looked at; another
    message has another one.
    """
    try:
        properties = amend_properties(
            message.encoded_properties,
            changes={"user-id": None},
            headers={"seen": True},  # so that an empty table is like none
            dropped=_NOT_COPIED,
        )
    except CodecError:  # of a type that nobody knows
        properties = message.encoded_properties
    return sha256(sha256(properties).digest() + message.body).digest()


@asynccontextmanager
async def browse(
    wire: Wire, queue: str, most: int, replace: Replace, *, to_the_end: bool = False
) -> AsyncIterator[Browsing]:
    """
    Go through the first C{most} messages of C{queue} with the L{Browsing}, after which
    those that stay are back.
    """
    browsing = Browsing(wire, queue, most, replace, to_the_end=to_the_end)
    try:
        yield browsing
    finally:
        await browsing.end()
    await browsing.are_back()
