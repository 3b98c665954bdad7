"""
Publishes events of cancelled tasks that were taken out of the broker, as a mediator
publishes events of cancelled tasks that it drops (L{quebert.events}).
"""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from quebert._protocol.properties import encode_properties
from quebert._text import one_line, one_line_url
from quebert.amqp.coordination import Cancellation
from quebert.amqp.watch import identity_of
from quebert.amqp.wire import NOT_BEFORE
from quebert.errors import BrokerError
from quebert.events import (
    ATTEMPTS,
    EXCHANGE,
    AttemptBatch,
    AttemptRecord,
    encode_batch,
)
from quebert.policy import ATTEMPTS as ATTEMPTS_HEADER

if TYPE_CHECKING:
    from quebert.amqp import Message, TxAMQPClient
    from quebert.amqp.wire import Wire

__all__ = ["CancelEvents"]

# Records in one batch; more are published as they come.
_MOST = 1_000
# Characters of a uuid and a URL.
_LONGEST = 400
# Seconds in which RabbitMQ must take a batch.
_PATIENCE = 2.0


@attrs.define(eq=False)
class CancelEvents:
    """
    The events of one operation.  The operation does not fail if they are lost.

    @ivar by: the name of the user.
    """

    _client: TxAMQPClient
    _wire: Wire
    _queue: str
    by: str
    _name: str = attrs.field(init=False)
    _records: list[AttemptRecord] = attrs.field(factory=list, init=False)
    _batches: int = attrs.field(default=0, init=False)
    _total: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        host, own = socket.gethostname(), secrets.token_hex(4)
        self._name = f"cancel-{host}-{os.getpid()}-{own}"

    async def taken(self, message: Message) -> None:
        """
        A task was taken out of the broker.
        """
        uuid, url = identity_of(message.body)
        now = self._client.now()
        record = AttemptRecord(
            uuid=one_line(uuid, _LONGEST),
            queue=self._queue,
            url=one_line_url(url, _LONGEST),
            number=int(message.number_in(ATTEMPTS_HEADER)) + 1,
            started=now,
            ended=now,
            outcome="cancelled",
            due=message.number_in(NOT_BEFORE) or None,
            reason=Cancellation(uuid, now, self.by).reason,
        )
        self._records.append(record)
        if len(self._records) >= _MOST:
            await self.publish()

    async def publish(self) -> None:
        """
        Publish the events.
        """
        records, self._records = tuple(self._records), []
        if not records:
            return
        self._batches += 1
        self._total += len(records)
        batch = AttemptBatch(
            mediator=self._name,
            sequence=self._batches,
            at=self._client.now(),
            records=records,
            total=self._total,
        )
        with suppress(BrokerError, TimeoutError):  # nobody listens
            await self._publish(encode_batch(batch))

    async def _publish(self, body: bytes) -> None:
        channel = await self._wire.open_channel()
        try:
            persistent = encode_properties({"delivery-mode": 2})
            published = channel.publish(EXCHANGE, ATTEMPTS, body, persistent)
            await published.addTimeout(_PATIENCE, self._wire.clock)
        finally:
            Deferred.fromCoroutine(channel.shut())
