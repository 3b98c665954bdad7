"""
How batches reach the broker, and how one knows after a kill which did.

With a state file each batch is a transaction with a token (L{TokenChannel}).  Four
things are not covered.  Each of them may have a batch, which is C{BATCH} records, sent
twice, with the same uuids, or not as a whole:

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

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert.bulk._batches import Batch, TaskEntry
from quebert.bulk._token_channel import TokenChannel
from quebert.errors import BrokerError, ChannelLost

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Wire

__all__ = ["Problem", "Sending", "token_queues"]

#: What the broker did not take, and why.
Problem = tuple[TaskEntry, BrokerError]


def token_queues(id: str) -> tuple[str, str]:
    """
    The names of the queues with the tokens.
    """
    return f"quebert.add.{id}", f"quebert.add.{id}.2"


class Sending:
    """
    Sends batches over a connection.

    @ivar last: the number of the last batch that is known from a token; C{None} if
        there is none.
    """

    def __init__(self, wire: Wire, exchange: str, key: str | None) -> None:
        self.last: int | None = None
        self._wire = wire
        self._exchange = exchange
        self._key = key
        # The next batch goes to the first of them.
        self._tokens: deque[TokenChannel] = deque()
        self._channel: Channel | None = None  # where there is no token
        self._ahead: _SentBatch | None = None

    @property
    def has_token(self) -> bool:
        """
        Whether batches are transactions with a token.
        """
        return bool(self._tokens)

    async def open(self, id: str | None) -> None:
        """
        Open the channels, and look at the tokens of an earlier run.

        @param id: of the run; C{None} for no token.
        @raise BrokerError: that cannot be done.
        """
        if id is not None and await self._open_tokens(id):
            return
        self._channel = await self._wire.open_channel()

    async def _open_tokens(self, id: str) -> bool:
        tokens = [TokenChannel(self._wire, queue) for queue in token_queues(id)]
        for each in tokens:
            if not await each.open():
                return False
        self._tokens = deque(tokens)
        known = [each.last for each in tokens if each.last is not None]
        self.last = max(known, default=None)
        return True

    def prepare(self, batch: Batch) -> None:
        """
        Send the messages of the next batch while the broker carries out the one before,
        whose transaction is another one; nothing where it blocks, or has none.
        """
        if self._tokens and batch.entries and self._wire.blocked is None:
            self._ahead = self._publish(batch)

    def send(self, batch: Batch, number: int) -> Deferred[list[Problem]]:
        """
        Send a batch, while the broker does not block.

        @return: fires with what the broker did not take.  Fails with L{BrokerError}
            where nobody knows.
        """
        return Deferred.fromCoroutine(self._send(batch, number))

    async def _send(self, batch: Batch, number: int) -> list[Problem]:
        sent, self._ahead = self._ahead, None
        if sent is None or sent.batch is not batch:
            sent = self._publish(batch)
        if sent.token is not None:
            sent.token.check()
            await sent.token.commit(number)
        await sent.answered
        if sent.lost is not None:
            raise sent.lost
        return sent.problems

    def _publish(self, batch: Batch) -> _SentBatch:
        channel, token = self._channel, None
        if self._tokens:
            token = self._tokens[0]
            channel = token.channel
            self._tokens.rotate()
        assert channel is not None  # it is open
        sent = _SentBatch(batch, token)
        for entry in batch.entries:
            letter = entry.letter
            key = letter.routing_key if self._key is None else self._key
            published = channel.publish(
                self._exchange, key, letter.body, entry.properties
            )
            published.addBoth(sent.settled, entry)
        return sent

    async def forget(self) -> None:
        """
        Delete the queues of the tokens: all is done.
        """
        for each in self._tokens:
            await each.forget()


class _SentBatch:
    """
    A batch whose messages are sent.

    @ivar token: the channel whose transaction they are in; C{None} without one.
    @ivar problems: what the broker did not take.
    @ivar lost: why nobody knows what it took, or C{None}.
    @ivar answered: fires once each message is settled.
    """

    def __init__(self, batch: Batch, token: TokenChannel | None) -> None:
        self.batch = batch
        self.token = token
        self.problems: list[Problem] = []
        self.lost: ChannelLost | None = None
        self.answered: Deferred[None] = Deferred()
        self._missing = len(batch.entries)

    def settled(self, result: Any, entry: TaskEntry) -> None:
        """
        The broker has taken a message or not, or the channel is lost.
        """
        self._missing -= 1
        if isinstance(result, Failure):
            error = result.value
            assert isinstance(error, BrokerError)
            self.problems.append((entry, error))
            if isinstance(error, ChannelLost):
                self.lost = self.lost or error
        if not self._missing:
            self.answered.callback(None)
