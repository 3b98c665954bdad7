"""
The exchanges that watched queues get their tasks from, and the bindings between them.

The broker does not tell when somebody deletes an exchange: its bindings go with it, and
no queue gets what is published to it.  So a client looks every L{LOOK} seconds, and
declares anew what is missing.  Each look at a queue is a passive declaration, which
tells that the exchange was deleted, a declaration and a binding.  They come on channels
of their own, which the broker closes where it refuses one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.queues._existing import find_exchange
from quebert.amqp.wire import temporary_channel
from quebert.errors import BrokerError, BrokerRefused, MayNotLook

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Wire

__all__ = ["LOOK", "Bindings", "QueueBinding"]

#: Seconds between two looks.
LOOK = 5.0


@attrs.frozen(eq=False)
class QueueBinding:
    """
    How a queue gets its tasks.

    @ivar queue: its name.
    @ivar exchange: its name; empty for the default exchange, to which each queue is
        bound.
    @ivar kind: its type.
    @ivar routing_key: that of the binding.
    @ivar arguments: of the binding.
    """

    queue: str
    exchange: str
    kind: str
    routing_key: str
    arguments: Mapping[str, Any]

    async def declare(self, channel: Channel) -> None:
        """
        Declare the exchange, and bind the queue to it.

        @raise BrokerError: the broker refuses that, and has closed the channel.
        """
        if not self.exchange:
            return
        exchange, kind = self.exchange, self.kind
        given = {"arguments": dict(self.arguments)} if self.arguments else {}
        await channel.call(
            "exchange_declare", exchange=exchange, exchange_type=kind, durable=True
        )
        await channel.call(
            "queue_bind",
            queue=self.queue,
            exchange=exchange,
            routing_key=self.routing_key,
            **given,
        )


@attrs.define(eq=False)
class _KeptBinding:
    """
    A binding that is looked at over a connection.
    """

    wire: Wire
    refused: RepeatedWarning


class Bindings:
    """
    Keeps the bindings of all watches of one client.
    """

    log = Logger()

    def __init__(self, clock: Callable[[], IReactorTime]) -> None:
        self._clock = clock
        self._kept: dict[QueueBinding, _KeptBinding] = {}
        self._timer: IDelayedCall | None = None
        self._looking = False

    def keep(self, wire: Wire, binding: QueueBinding) -> None:
        """
        Look at a binding that was declared, until L{forget} is called.
        """
        if not binding.exchange:
            return
        kept = self._kept.get(binding)
        if kept is None:
            self._kept[binding] = _KeptBinding(wire, self._warning(binding))
        else:
            kept.wire = wire
        self._look_later()

    def forget(self, binding: QueueBinding) -> None:
        """
        Look at it no more.
        """
        kept = self._kept.pop(binding, None)
        if kept is not None:
            kept.refused.end()
        if not self._kept and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _warning(self, binding: QueueBinding) -> RepeatedWarning:
        return RepeatedWarning(
            self.log,
            self._clock,
            "Queue {queue!r} cannot be bound to exchange {exchange!r}, and may get no"
            " tasks",
            "Queue {queue!r} is bound to exchange {exchange!r} again",
            queue=binding.queue,
            exchange=binding.exchange,
        )

    def _look_later(self) -> None:
        if self._kept and self._timer is None and not self._looking:
            self._timer = self._clock().callLater(LOOK, self._look)

    def _look(self) -> None:
        self._timer, self._looking = None, True
        Deferred.fromCoroutine(self._look_at_all()).addErrback(
            lambda failure: self.log.failure(
                "Checking the bindings of watched queues failed.", failure
            )
        )

    async def _look_at_all(self) -> None:
        try:
            for binding, kept in list(self._kept.items()):
                await self._look_at(binding, kept)
        finally:
            self._looking = False
            self._look_later()

    async def _look_at(self, binding: QueueBinding, kept: _KeptBinding) -> None:
        if kept.wire.closed:
            return  # the watch declares it over the next one
        try:
            await self._declare(kept.wire, binding)
            kept.refused.succeeded()
        except BrokerRefused as e:
            if binding in self._kept:
                kept.refused.met(e)
        except BrokerError:
            pass  # the connection is lost

    async def _declare(self, wire: Wire, binding: QueueBinding) -> None:
        is_missing = await self._is_missing(wire, binding)
        async with temporary_channel(wire) as channel:
            await binding.declare(channel)
        if is_missing and binding in self._kept:
            self.log.warn(
                "Exchange {exchange!r} was deleted. It is declared anew, and queue"
                " {queue!r} is bound to it.",
                exchange=binding.exchange,
                queue=binding.queue,
            )

    async def _is_missing(self, wire: Wire, binding: QueueBinding) -> bool:
        try:
            return await find_exchange(wire, binding.exchange) is None
        except MayNotLook:
            return False  # the declaration tells
