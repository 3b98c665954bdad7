"""
Returns the messages that are not finished here: the queue is paused, a throttle allows
none soon, or the watch ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quebert.amqp.watch._handler import Handler
from quebert.amqp.watch._hanging_hosts import HangingHosts
from quebert.amqp.watch._parts import WatchParts
from quebert.amqp.watch._record import Record

if TYPE_CHECKING:
    from quebert.amqp.watch._delivered_message import DeliveredMessage
    from quebert.amqp.watch._one_suspect import SuspectOwner
    from quebert.amqp.watch._suspects import Suspects

__all__ = ["Returns"]


class Returns:
    """
    Returns messages of one watch.

    @param watch: the watch, as C{one_suspect} knows it.
    """

    def __init__(
        self,
        watch: SuspectOwner,
        parts: WatchParts,
        handler: Handler,
        hanging_hosts: HangingHosts,
        suspects: Suspects,
    ) -> None:
        self._watch = watch
        self._ledger = parts.ledger
        self._settlement = parts.settlement
        self._redelivery = parts.redelivery
        self._places = parts.places
        self._one_suspect = parts.one_suspect
        self._handler = handler
        self._hanging_hosts = hanging_hosts
        self._suspects = suspects

    async def tell_in_order(self) -> None:
        """
        Tell other mediators that what comes back was given back in good order.
        """
        channel = self._settlement.channel
        if channel is not None and self._ledger:
            queue = self._settlement.queue
            await self._suspects.end_in_order(channel.client, queue)

    def return_message(self, message: DeliveredMessage) -> None:
        """
        Have a message come again, itself or as a copy.
        """
        is_copy = Record.of(message).is_copy  # this is no end that counts
        if is_copy or self._redelivery.is_counted_out(message):
            self._return_copy(message)
        else:
            self._settlement.give_back(message)

    def return_waiting(self) -> None:
        """
        Return the messages that have not begun, when the queue is paused, or the watch
        is stopped.  Others, with smaller tags, may be at work.
        """
        for message in self._take_waiting():
            self.return_message(message)

    def rest(self) -> None:
        """
        A throttle allows no message soon: return the waiting ones.  RabbitMQ counts
        each return, and a large count looks like mediators that ended.  So a copy,
        whose count is 0, takes the place of a message that came back before.
        """
        for message in self._take_waiting():
            if message.redelivered:
                self._return_copy(message)
            else:
                self.return_message(message)

    def return_running(self) -> None:
        """
        Return the messages that are with the callback, and cancel what it does.
        """
        running = self._handler.give_up()
        for message in running:
            self.return_message(message)
        for message in running:
            self._handler.cancel(message)

    def _return_copy(self, message: DeliveredMessage) -> None:
        self._settlement.replace(message, self._redelivery.copy_or_give_back(message))

    def _take_waiting(self) -> list[DeliveredMessage]:
        """
        Take out the messages that have not begun.
        """
        return [
            *self._places.forget_waiting(),
            *self._hanging_hosts.forget_waiting(),
            *self._one_suspect.take_back(self._watch),
        ]
