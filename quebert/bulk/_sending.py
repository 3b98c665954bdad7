"""
How batches reach the broker, and how one knows after a kill which did.

Theory of operation.  Confirms tell a program that lives what the broker has; after
C{kill -9} nobody has heard them.  What RabbitMQ had got by then may have been taken by
mediators, so that to look into the queue tells nothing.  So a batch is a transaction
(C{tx.commit}), and the last message of it is a I{token} with the batch's number, for a
queue of this run alone, C{quebert.add.<id>}.  RabbitMQ carries out all of a transaction
or, where the connection is lost before the commit has come, nothing of it.  So whoever
goes on looks at the token: it tells the last batch that was carried out.

The channel that sends is also the only consumer of the token (C{exclusive}), and
acknowledges the old token in the transaction that brings the new one.  RabbitMQ lets
another consumer in when that channel has ended, which is after all that came on it was
carried out.  So nothing of an old run can come after a new one has read the token.

Four things are not covered.  Each of them may have a batch, which is C{BATCH}
records, sent twice, with the same uuids, or not as a whole:

  - RabbitMQ itself is killed while it carries out a commit
    (U{https://www.rabbitmq.com/docs/semantics}).
  - The queue is full and refuses messages (C{reject-publish}): RabbitMQ carries out the
    rest, and closes the channel.  The batch is sent again.  If the program was killed
    in just this moment, what was refused is taken for added.
  - No queue takes a task, and the program is killed when the commit is carried out,
    before it has read that: the task is taken for added.
  - A broker without transactions, as the embedded one, or a user who may not make the
    queue of the token: then the last batch before a kill is sent again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from quebert._protocol.extensions import EXPIRES
from quebert._protocol.properties import encode_properties
from quebert.amqp.queues import CLASSIC
from quebert.bulk._batches import Batch, TaskEntry
from quebert.errors import BrokerError, BrokerRefused, ChannelLost, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Message, Wire

__all__ = ["Problem", "Sending", "token_queue"]

#: Seconds after which RabbitMQ deletes the queue of a token that nobody uses.
TOKEN_LIFE = 30 * 86_400
#: Seconds in which an earlier run must have ended.  A RabbitMQ that is short of memory
#: notices that only when it sends the next heartbeat.
PATIENCE = 45.0
_TOKEN = encode_properties({"delivery-mode": 2})

#: What the broker did not take, and why.
Problem = tuple[TaskEntry, BrokerError]


def token_queue(id: str) -> str:
    """
    The name of the queue with the token.
    """
    return f"quebert.add.{id}"


class Sending:
    """
    A channel that sends batches.

    @ivar last: the number of the last batch that is known from its token; C{None} if
        there is none.
    @ivar has_token: whether batches are transactions with a token.
    """

    def __init__(self, wire: Wire, exchange: str, key: str | None) -> None:
        self.last: int | None = None
        self.has_token = False
        self._wire = wire
        self._exchange = exchange
        self._key = key
        self._queue = ""
        self._is_deleted = False
        self._tags: list[int] = []  # of the tokens that were delivered

    async def open(self, id: str | None) -> None:
        """
        Open the channel, and look at the token of an earlier run.

        @param id: of the run; C{None} for no token.
        @raise BrokerError: that cannot be done.
        """
        if id is not None:
            self._queue = token_queue(id)
            end = self._wire.clock.seconds() + PATIENCE
            while not await self._open_with_token():
                if self._wire.clock.seconds() > end:
                    raise BrokerError(
                        f"another quebert add has {self._queue}, or the broker has not"
                        " noticed yet that it has ended"
                    )
                await deferLater(self._wire.clock, 0.2)
            if self.has_token:
                return
        self._channel = await self._wire.open_channel()

    async def _open_with_token(self) -> bool:
        """
        Whether an earlier run does not hinder it.
        """
        channel = await self._wire.open_channel(confirms=False)
        channel.on_message = self._token_delivered
        channel.on_cancel = self._token_deleted
        self.last, self._tags = None, []
        about: dict[str, Any] = {**CLASSIC, EXPIRES: TOKEN_LIFE * 1000}
        try:
            await channel.call("tx_select")
            await channel.call(
                "queue_declare", queue=self._queue, durable=True, arguments=about
            )
            await channel.call(
                "basic_consume",
                queue=self._queue,
                consumer_tag=self._queue,
                exclusive=True,
            )
            # The queue delivers what it has before it answers this.
            await channel.call("queue_declare", queue=self._queue, passive=True)
            # The user may not be allowed to publish it.
            self._publish_token(channel, self.last)
            await channel.commit()
        except BrokerRefused as e:
            return _has_none(e)
        self._channel, self.has_token = channel, True
        return True

    def _token_delivered(self, message: Message) -> None:
        self._tags.append(message.delivery_tag)
        number = json.loads(message.body)["batch"]
        if number is not None:
            self.last = number if self.last is None else max(self.last, number)

    def _token_deleted(self, consumer_tag: str) -> None:
        self._is_deleted = True

    def send(self, batch: Batch, number: int) -> Deferred[list[Problem]]:
        """
        Send a batch, while the broker does not block.

        @return: fires with what the broker did not take.  Fails with L{BrokerError}
            where nobody knows.
        """
        return Deferred.fromCoroutine(self._send(batch, number))

    async def _send(self, batch: Batch, number: int) -> list[Problem]:
        if self._is_deleted:
            raise BrokerError(f"somebody has deleted the queue {self._queue}")
        problems: list[Problem] = []
        missing = len(batch.entries)
        lost: list[BrokerError] = []
        all_answered: Deferred[None] = Deferred()

        def answered(result: Any, entry: TaskEntry) -> None:
            nonlocal missing
            missing -= 1
            if isinstance(result, Failure):
                error = _error(result)
                problems.append((entry, error))
                if isinstance(error, ChannelLost):
                    lost.append(error)
            if not missing and not all_answered.called:
                all_answered.callback(None)

        channel, exchange = self._channel, self._exchange
        for entry in batch.entries:
            letter = entry.letter
            key = letter.routing_key if self._key is None else self._key
            published = channel.publish(exchange, key, letter.body, entry.properties)
            published.addBoth(answered, entry)
        if self.has_token:
            self._publish_token(channel, number)
            await channel.commit()
        await all_answered
        if lost:
            raise lost[0]
        return problems

    def _publish_token(self, channel: Channel, number: int | None) -> None:
        """
        Replace the token in the transaction that has begun.
        """
        body = json.dumps({"batch": number}).encode()
        published = channel.publish("", self._queue, body, _TOKEN)
        published.addErrback(lambda _: None)  # the commit tells
        for tag in self._tags:
            channel.ack(tag)
        self._tags = []

    async def forget(self) -> None:
        """
        Delete the queue of the token: all is done.
        """
        if self.has_token:
            await self._channel.call("basic_cancel", consumer_tag=self._queue)
            await self._channel.call("queue_delete", queue=self._queue)


def _has_none(why: BrokerRefused) -> bool:
    """
    Whether there is no token to be had, rather than one that another run has.
    """
    if "exclusive" in str(why):
        return False
    if why.code in (ReplyCode.NOT_IMPLEMENTED, ReplyCode.ACCESS_REFUSED):
        return True
    raise why


def _error(failure: Failure) -> BrokerError:
    error = failure.value
    assert isinstance(error, BrokerError)
    return error
