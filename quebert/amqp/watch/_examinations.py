"""
Messages that have come before: each is examined before it waits for a place.

L{Redelivery<quebert.amqp.watch._redelivery.Redelivery>} decides what is done in an
examination, which may ask RabbitMQ, or have a copy take the place of the message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert.amqp.watch._delivery import Event
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._record import Record
from quebert.amqp.watch._redelivery import Redelivery, restore
from quebert.amqp.watch._returns import Returns
from quebert.amqp.watch._settlement import Settlement

if TYPE_CHECKING:
    from quebert.amqp.watch._delivered_message import DeliveredMessage
    from quebert.amqp.watch._one_suspect import OneSuspect, SuspectOwner

__all__ = ["Examinations"]


class Examinations:
    """
    Examines messages of one watch.

    @param watch: the watch, as C{one_suspect} knows it.
    @param is_wanted: tells whether the watch wants deliveries.
    @param leave: called with each message that does not wait for a place in the end.
    @ivar number: how many messages are being examined.
    """

    log = Logger()

    def __init__(
        self,
        watch: SuspectOwner,
        ledger: Ledger[DeliveredMessage],
        settlement: Settlement,
        redelivery: Redelivery,
        places: Places,
        returns: Returns,
        one_suspect: OneSuspect,
        *,
        is_wanted: Callable[[], bool],
        leave: Callable[[DeliveredMessage], None],
    ) -> None:
        self.number = 0
        self._watch = watch
        self._ledger = ledger
        self._settlement = settlement
        self._redelivery = redelivery
        self._places = places
        self._returns = returns
        self._one_suspect = one_suspect
        self._is_wanted = is_wanted
        self._leave = leave

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
            self.log.failure("looking at {message} failed", result, message=message)
        self.number -= 1
        self._ledger.move(message, Event.PASS)
        if self._settlement.wire_of(message) is None:
            self._leave(message)
        elif self._is_wanted():  # also what failed, which would fail again
            self._enter(message)
        else:  # the queue was paused meanwhile, or the watch is being stopped
            self._returns.return_message(message)
            self._leave(message)

    def _enter(self, message: DeliveredMessage) -> None:
        record = Record.of(message)
        if record.is_copy:
            restore(message)
        if record.suspect:
            message.gate = None  # it waits for nothing, once it is its turn
            self._one_suspect.add(self._watch, message)
        else:
            self._places.enter(message)
