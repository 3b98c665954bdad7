"""
Messages that have come before: each is examined before it waits for a place.

L{Redelivery<quebert.amqp.watch._redelivery.Redelivery>} decides what is done in an
examination, which may ask RabbitMQ, or have a copy take the place of the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert.amqp.watch._delivery import Event
from quebert.amqp.watch._one_suspect import SuspectOwner
from quebert.amqp.watch._parts import WatchParts
from quebert.amqp.watch._record import Record
from quebert.amqp.watch._redelivery import restore
from quebert.amqp.watch._returns import Returns

if TYPE_CHECKING:
    from quebert.amqp.watch._delivered_message import DeliveredMessage

__all__ = ["ExaminationOwner", "Examinations"]


class ExaminationOwner(SuspectOwner, Protocol):
    """
    The watch.
    """

    @property
    def is_wanted(self) -> bool:
        """
        Whether the watch wants deliveries.
        """

    def leave(self, message: DeliveredMessage) -> None:
        """
        Free the place of a message, if it has one.
        """


class Examinations:
    """
    Examines messages of one watch.

    @ivar number: how many messages are being examined.
    """

    log = Logger()

    def __init__(
        self,
        watch: ExaminationOwner,
        parts: WatchParts,
        returns: Returns,
    ) -> None:
        self.number = 0
        self._watch = watch
        self._ledger = parts.ledger
        self._settlement = parts.settlement
        self._redelivery = parts.redelivery
        self._places = parts.places
        self._one_suspect = parts.one_suspect
        self._returns = returns

    def received(self, message: DeliveredMessage) -> None:
        """
        A message that RabbitMQ delivers anew, or what was put back.
        """
        examining = self._redelivery.examination(message)
        if examining is None:
            self._enter(message)
            return
        self._ledger.move(message, Event.EXAMINE)
        self.number += 1
        Deferred.fromCoroutine(examining).addBoth(self._examined, message)

    def _examined(self, result: Failure | None, message: DeliveredMessage) -> None:
        if isinstance(result, Failure):
            self.log.failure(
                "Looking up how often mediators ended at {message} failed",
                result,
                message=message,
            )
        self.number -= 1
        self._ledger.move(message, Event.PASS)
        if self._settlement.wire_of(message) is None:
            self._watch.leave(message)
        elif self._watch.is_wanted:  # also what failed, which would fail again
            self._enter(message)
        else:  # the queue was paused meanwhile, or the watch is being stopped
            self._returns.return_message(message)
            self._watch.leave(message)

    def _enter(self, message: DeliveredMessage) -> None:
        record = Record.of(message)
        if record.is_copy:
            restore(message)
        if record.suspect:
            message.request_places = None  # it waits for nothing, once it is its turn
            self._one_suspect.add(self._watch, message)
        else:
            self._places.enter(message)
