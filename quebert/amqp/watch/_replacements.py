"""
Publishes what replaces a message: its retry or copy, which comes at once or later; a
message in another queue; or a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.delays import Ladder
from quebert.amqp.link import Publisher, Send
from quebert.amqp.queues import DeadLetters, dead_letters_of
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._properties import AT_ONCE
from quebert.amqp.watch._side_queue import SideQueue
from quebert.amqp.watch._until_confirmed import UntilConfirmed
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["Replacements"]


class Replacements:
    """
    Publishes the replacements of one queue's messages.

    @param queue: the queue.
    @param publisher: tells when RabbitMQ takes publications.
    @param clock: gives the clock that all waits go by.
    @param ladder: where replacements wait that are to come later.
    @param dead_letters: the queue for dead letters.
    @param until_confirmed: publishes.
    @param leave: called with each message that begins to wait, and needs no place.
    """

    log = Logger()

    def __init__(
        self,
        queue: str,
        publisher: Publisher,
        clock: Callable[[], IReactorTime],
        ladder: Ladder,
        dead_letters: DeadLetters,
        until_confirmed: UntilConfirmed,
        leave: Callable[[DeliveredMessage], None],
    ) -> None:
        self._queue = queue
        self._publisher = publisher
        self._clock = clock
        self._ladder = ladder
        self._dead_letters = dead_letters
        self._until_confirmed = until_confirmed
        self._leave = leave
        self._side_queues: dict[str, SideQueue] = {}
        self._dead_refused = RepeatedWarning(
            self.log,
            clock,
            "Queue {dead!r} refuses dead letters for now",
            "Queue {dead!r} takes dead letters again",
            dead=dead_letters_of(queue),
        )

    async def publish(
        self,
        message: DeliveredMessage,
        wire: Wire,
        body: bytes,
        properties: bytes,
        due: float,
        *refusals: type[BrokerError],
        stays: bool = False,
    ) -> bool:
        """
        Publish what replaces C{message} in its queue.

        @param wire: the connection of the message.
        @param due: when it is to be delivered, in seconds of the clock.
        @param refusals: after which it is not tried again.
        @param stays: as for L{UntilConfirmed.publish}.
        @return: as L{UntilConfirmed.publish}.
        @raise BrokerError: one of C{refusals}.
        """

        def publish(send: Send) -> Coroutine[Any, Any, None]:
            return self._publish(wire, send, body, properties, due)

        return await self._until_confirmed.publish(
            message, publish, *refusals, stays=stays
        )

    async def _publish(
        self, wire: Wire, send: Send, body: bytes, properties: bytes, due: float
    ) -> None:
        clock, rung = self._clock(), ""
        if due - clock.seconds() > AT_ONCE:
            await self._publisher.unblocked()
        if due - clock.seconds() > AT_ONCE:
            rung = await self._ladder.rung_for(
                wire, self._queue, lambda: due - clock.seconds()
            )
        if rung and due - clock.seconds() > AT_ONCE:
            await send(rung, self._queue, body, properties)
            await self._ladder.kept(wire, rung, self._queue)
        else:  # the original is in the same queue: RabbitMQ loses both, or none
            await send("", self._queue, body, properties)

    async def hand_over(
        self,
        message: DeliveredMessage,
        wire: Wire,
        properties: bytes,
        queue: str,
    ) -> bool:
        """
        Publish a message to another queue, which is declared if it is not there.

        @param wire: its connection.
        @return: as L{UntilConfirmed.publish}.
        """
        side = self._side_queues.get(queue)
        if side is None:
            side = self._side_queues[queue] = SideQueue(queue)

        def publish(send: Send) -> Coroutine[Any, Any, None]:
            return side.publish(wire, send, message.body, properties)

        return await self._until_confirmed.publish(message, publish)

    async def bury(
        self, message: DeliveredMessage, wire: Wire, properties: bytes
    ) -> bool:
        """
        Publish a message to C{<queue>.dead}.

        @param wire: its connection.
        @return: as L{UntilConfirmed.publish}.
        """

        def publish(send: Send) -> Coroutine[Any, Any, None]:
            return self._dead_letters.publish(
                wire, send, message.body, properties, lambda: self._leave(message)
            )

        return await self._until_confirmed.publish(
            message, publish, warning=self._dead_refused
        )

    def end(self) -> None:
        """
        No more messages will come: log nothing more.
        """
        self._dead_refused.end()
        self._dead_letters.end()
