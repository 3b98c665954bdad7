"""
Messages that RabbitMQ delivers anew, and those that are given back to it.

RabbitMQ counts how often a message came back to its quorum queue; since 4.3 it counts
how often the delivery failed (C{x-delivery-count}, the only count that is read here;
C{x-acquired-count} goes on to count all that came back).  It drops a message whose
count exceeds the delivery limit of the queue.  A copy begins with no count.

The copy stands at the end of the queue, so a message is attempted as it is while its
count is less than C{SUSPECT}.  From C{SUSPECT} on, a copy replaces it.  So RabbitMQ's
count only decides when a copy is made; C{Record.ends} sums up, and C{Record.alone}
decides what is buried as poison, for the reason that C{str(record)} tells.

A limit of deliveries would sum up RabbitMQ's counts, since each copy begins at 0.
L{Record} would keep the sum, as a header; C{_copy_unless_harmless} and
C{copy_or_give_back}, which make copies, would add to it; and the first would compare.
C{_count} gives at most C{highest_count}.

Before 4.3, RabbitMQ counts what is given back, too.  So the copy of a message with a
larger count counts no end, if a mediator has just ended in good order: it has given its
messages back, and told so.  A classic queue counts nothing: there a copy replaces what
comes C{redelivered}, unless a mediator has just ended in good order.  When it ends in
good order, a mediator replaces a copy by another one.

RabbitMQ may deliver a copy before the original is acknowledged.  A task that ended its
mediator then would be there twice, and twice as often with each end.  So a mediator
attempts a copy that it has made only once RabbitMQ has the acknowledgement.  The proof
is C{channel.flow-ok}, the answer to a C{channel.flow} that changes nothing.  RabbitMQ
carries out the methods of a channel in their order (C{rabbit_channel:handle_method/3}),
so it has handed the acknowledgement to the queue before it answers; the end of the
channel, with which unsettled messages go back, reaches the queue later.

There is one exception.  The channel of RabbitMQ keeps acknowledgements to itself while
32 commands of that channel wait for the quorum queue (C{rabbit_fifo_client},
C{quorum_commands_soft_limit}), answers C{channel.flow} all the same, and forgets them
if it is closed then.  A mediator that ends in that moment leaves the task twice.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from quebert._protocol.extensions import DELIVERY_COUNT
from quebert.amqp.watch._callback_tasks import CallbackIn
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._record import SUSPECT, Record
from quebert.amqp.watch._settlement import Settlement
from quebert.amqp.watch._suspects import Suspects
from quebert.amqp.wire import (
    ENDS,
    EXCHANGE,
    FLIGHT,
    ROUTING_KEY,
)
from quebert.errors import BrokerError
from quebert.outcome import POISON, Bury, Retry

__all__ = ["Redelivery", "restore"]

# Seconds after which the delay ladder brings a copy to its queue, or tries again and
# again as long as the queue is full.  In the first seconds after its start, a mediator
# has no queue in which a message can wait for the first of these times.
_UNTIL_ROOM, _UNTIL_ROOM_AT_FIRST = 1.0, 10.0


# Why a message is buried that RabbitMQ would drop.
_COUNTED_OUT = "it has reached the delivery limit of its queue, and no copy was taken"


class Redelivery:
    """
    Decides what becomes of the messages of one watch that RabbitMQ delivers anew.

    @param early_by: in how many seconds a message is due.
    @param callback_in: tells the callback task that the task in a body asks for.
    @ivar highest_count: the highest delivery count that a message of the queue can
        reach: RabbitMQ drops one that has come back (up to 4.2) or failed (since 4.3)
        more often; infinity where no limit is known; C{None} where RabbitMQ counts
        nothing.
    """

    def __init__(
        self,
        settlement: Settlement,
        suspects: Suspects,
        early_by: Callable[[DeliveredMessage], float],
        callback_in: CallbackIn,
    ) -> None:
        self._settlement = settlement
        self._suspects = suspects
        self._early_by = early_by
        self._callback_in = callback_in
        self.highest_count: float | None = None

    def _count(self, message: DeliveredMessage) -> int:
        """
        How often RabbitMQ has counted that a message came back.
        """
        if self.highest_count is None:
            return 0
        # Anybody can write headers, and a classic queue keeps this one as it is.
        return int(min(message.number_in(DELIVERY_COUNT), self.highest_count))

    def is_counted_out(self, message: DeliveredMessage) -> bool:
        """
        Whether a message has come back so often that it goes back as a copy only:
        C{SUSPECT} times, or as often as its queue allows.
        """
        highest = self.highest_count
        return highest is not None and self._count(message) >= min(SUSPECT, highest)

    def examination(
        self, message: DeliveredMessage
    ) -> Coroutine[Any, Any, None] | None:
        """
        What is to be done before a message that comes back is attempted; C{None} for
        nothing.  The message may be settled then, or go back.
        """
        if message.redelivered:
            return self._copy_unless_harmless(message)
        record = Record.of(message)
        if record.in_question and record.suspect:
            early = self._early_by(message)
            if early > 0:  # an attempt would take the sign of its mediator away
                retry = Retry(after=early, attempted=False)
                return self._settlement.put_back(message, retry)
            return self._judge(message)
        if self._suspects.is_copying(record.flight):
            return self._suspects.copied(record.flight)
        return None

    async def _copy_unless_harmless(self, message: DeliveredMessage) -> None:
        """
        Put a copy in the place of a message that may have been in flight when a
        mediator ended, unless it is to be attempted as it is.
        """
        record, suspects = Record.of(message), self._suspects
        if not record.is_copy:
            count = self._count(message)
            if count and not self.is_counted_out(message):
                return
            if await self._was_in_order():
                if count:
                    await self._copy(message, Record().copied())
                return
            record = Record(ends=max(0, count - 1))
        if suspects.had(record.flight) and not record.in_question:
            await self._copy(message, record.copied())
        elif not record.suspect:
            await self._copy(message, record.counted().copied())
        else:
            await self._question(message, record)

    async def _question(self, message: DeliveredMessage, record: Record) -> None:
        """
        Have a suspect wait in RabbitMQ.

        A mediator cannot put a message there in the first seconds after its start, and
        may end meanwhile.  RabbitMQ might drop a message for the number of such ends.
        So a message with a large count is replaced at once, and its copy waits when it
        comes.
        """
        if self.is_counted_out(message):
            await self._copy(message, record.questioned(waits=True))
        else:
            await self._copy(message, record.questioned(), self._suspects.patience)

    async def _judge(self, message: DeliveredMessage) -> None:
        """
        Find out whether the mediator that had a suspect has ended suddenly.  If so,
        count that, or bury the message as poison.  First wait until the message is
        acknowledged that this copy replaces, if it was this mediator that made it.
        """
        record, channel = Record.of(message), self._settlement.channel
        assert channel is not None
        await self._suspects.copied(record.flight)
        if record.waits:
            await self._question(message, record)
            return
        if not await self._suspects.ended(channel.client, record.flight):
            return
        flight, record = record.flight, record.counted(alone=True)
        if record.poisonous:
            bury = Bury(str(record), POISON, {ENDS: record.ends})
            is_counted = await self._bury(message, bury)
        else:
            is_counted = await self._copy(message, record.copied())
        if is_counted:  # else whoever gets the message has to know
            await self._suspects.counted(channel.client, flight)

    async def _bury(self, message: DeliveredMessage, bury: Bury) -> bool:
        """
        Bury a message that no mediator has read.
        """
        message.callback_task = self._callback_in(message.body)
        message.tells_end |= message.callback_task is not None
        return await self._settlement.bury(message, bury)

    async def _was_in_order(self) -> bool:
        """
        Whether a mediator has just given back messages in good order.
        """
        channel, queue = self._settlement.channel, self._settlement.queue
        assert channel is not None  # a message has just come over it
        once = self.highest_count is None
        return await self._suspects.in_order(channel.client, queue, once=once)

    async def copy_or_give_back(self, message: DeliveredMessage) -> None:
        """
        Put a copy in the place of a message that has come as a copy: RabbitMQ would
        mark it C{redelivered} otherwise, which would be counted as another end.  The
        same goes for a message that RabbitMQ might drop.  Where the queue is full, the
        copy waits in the broker until there is room.  Where RabbitMQ takes the copy in
        neither place, the message is given back; one that RabbitMQ would drop then goes
        to the dead letters, if these are taken.
        """
        record = Record.of(message)
        headers = (record if record.is_copy else Record()).copied()
        for after in (0.0, _UNTIL_ROOM, _UNTIL_ROOM_AT_FIRST):
            if await self._copy(message, headers, after):
                return
        highest = self.highest_count
        if highest is not None and self._count(message) >= highest:
            await self._bury(message, Bury(_COUNTED_OUT, POISON))
        self._settlement.give_back(message)  # unless it is there

    async def _copy(
        self, message: DeliveredMessage, headers: Mapping[str, Any], after: float = 0.0
    ) -> bool:
        with self._suspects.copying(headers[FLIGHT]):
            settled = await self._settlement.copy(message, headers, after)
            if settled:
                await self._acknowledged()
            return settled

    async def _acknowledged(self) -> None:
        """
        Wait until RabbitMQ has all that was acknowledged: it answers in order.
        """
        channel = self._settlement.channel
        if channel is not None:
            with suppress(BrokerError):  # the channel is closed
                await channel.call("channel_flow", active=True)  # nothing changes


def restore(message: DeliveredMessage) -> None:
    """
    Give a copy the exchange and the routing key of the message that it replaces, and
    have it count as C{redelivered}.
    """
    if exchange := message.text_in(EXCHANGE):
        message.exchange = exchange
        message.routing_key = message.text_in(ROUTING_KEY)
        message.was_restored = True
    message.redelivered = True
