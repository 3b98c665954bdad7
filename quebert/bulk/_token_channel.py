"""
A channel whose batches are transactions, and the queue with its token.

Theory of operation.  Confirms tell a program that lives which messages the broker has;
after C{kill -9} nobody has heard them.  Mediators may have taken the messages that
RabbitMQ had got by then, so that to look into the queue tells nothing.  So a batch is a
transaction (C{tx.commit}), and the last message of it is a I{token} with the batch's
number, for a queue of this run and this channel alone: C{quebert.add.<id>} and
C{quebert.add.<id>.2}.  RabbitMQ carries out all of a transaction or, where the
connection is lost before the commit has come, nothing of it.  So the tokens tell the
next run the last batch that was carried out.

The channel that sends is also the only consumer of its token (C{exclusive}), and
acknowledges the old token in the transaction that brings the new one.  RabbitMQ lets
another consumer in when that channel has ended, which is after all that came on it was
carried out.  So nothing of an old run can come after a new one has read the token.

There are two channels, since RabbitMQ takes no message on a channel while it carries
out the commit of that channel: the messages of the next batch go to the other one
meanwhile.  Their own commit is sent once the batch before is known to be carried out,
so the highest number of the tokens is that of the last batch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.task import deferLater

from quebert._protocol.extensions import EXPIRES
from quebert._protocol.properties import encode_properties
from quebert.amqp.queues import CLASSIC
from quebert.errors import BrokerError, BrokerRefused, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Message, Wire

__all__ = ["TokenChannel"]

#: Seconds after which RabbitMQ deletes the queue of a token that nobody uses.
TOKEN_LIFE = 30 * 86_400
#: Seconds in which an earlier run must have ended.  A RabbitMQ that is short of memory
#: notices that only when it sends the next heartbeat.
PATIENCE = 45.0
_TOKEN = encode_properties({"delivery-mode": 2})


class TokenChannel:
    """
    A channel in transactional mode, with the token of its queue.

    @ivar queue: the queue.
    @ivar last: the number of the last batch that is known from the token; C{None} if
        there is none.
    @ivar channel: the channel, once it is open.
    """

    channel: Channel

    def __init__(self, wire: Wire, queue: str) -> None:
        self.queue = queue
        self.last: int | None = None
        self._wire = wire
        self._is_deleted = False
        self._tags: list[int] = []  # of the tokens that were delivered

    async def open(self) -> bool:
        """
        Open the channel once an earlier run has ended, and look at its token.

        @return: whether the broker has transactions, and the user may have the queue.
        @raise BrokerError: that cannot be done.
        """
        end = self._wire.clock.seconds() + PATIENCE
        while True:
            try:
                await self._open()
                return True
            except BrokerRefused as e:
                if _has_none(e):
                    return False
            if self._wire.clock.seconds() > end:
                raise BrokerError(
                    f"another quebert add has {self.queue}, or the broker has not"
                    " noticed yet that it has ended"
                )
            await deferLater(self._wire.clock, 0.2)

    async def _open(self) -> None:
        channel = await self._wire.open_channel(confirms=False)
        channel.on_message = self._delivered
        channel.on_cancel = self._deleted
        self.channel, self.last, self._tags = channel, None, []
        about: dict[str, Any] = {**CLASSIC, EXPIRES: TOKEN_LIFE * 1000}
        await channel.call("tx_select")
        await channel.call(
            "queue_declare", queue=self.queue, durable=True, arguments=about
        )
        await channel.call(
            "basic_consume",
            queue=self.queue,
            consumer_tag=self.queue,
            exclusive=True,
        )
        # The queue delivers what it has before it answers this.
        await channel.call("queue_declare", queue=self.queue, passive=True)
        # The user may not be allowed to publish it.
        await self.commit(self.last)

    def _delivered(self, message: Message) -> None:
        self._tags.append(message.delivery_tag)
        number = json.loads(message.body)["batch"]
        if number is not None:
            self.last = number if self.last is None else max(self.last, number)

    def _deleted(self, consumer_tag: str) -> None:
        self._is_deleted = True

    def check(self) -> None:
        """
        @raise BrokerError: the queue is not there any more.
        """
        if self._is_deleted:
            raise BrokerError(f"somebody has deleted the queue {self.queue}")

    async def commit(self, number: int | None) -> None:
        """
        Replace the token, and end the transaction.

        @param number: that of the batch in it.
        @raise BrokerError: nobody knows whether it was carried out.
        """
        body = json.dumps({"batch": number}).encode()
        published = self.channel.publish("", self.queue, body, _TOKEN)
        published.addErrback(lambda _: None)  # the commit tells
        for tag in self._tags:
            self.channel.ack(tag)
        self._tags = []
        await self.channel.commit()

    async def forget(self) -> None:
        """
        Delete the queue.
        """
        await self.channel.call("basic_cancel", consumer_tag=self.queue)
        await self.channel.call("queue_delete", queue=self.queue)


def _has_none(why: BrokerRefused) -> bool:
    """
    Whether there is no token to be had, rather than one that another run has.
    """
    if "exclusive" in str(why):
        return False
    if why.code in (ReplyCode.NOT_IMPLEMENTED, ReplyCode.ACCESS_REFUSED):
        return True
    raise why
