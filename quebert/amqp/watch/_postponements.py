"""
Messages that are to begin again in some seconds, as they are: their times have not
come.  (Those whose hosts take no more requests for now wait in lines, see
L{_hanging_hosts<quebert.amqp.watch._hanging_hosts>}.)

Nothing was attempted, so nothing is to be written down, and no copy has to take the
place of such a message.  It waits here, holds no place, and then begins again.  It is
put back instead, if it has been here for C{hold_up_to}, or if no place is free by then.
So is a message that would have to wait for more than a place: where the queue has a
rate or a priority, or where its task takes much memory.  So each message is held for
some seconds only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IReactorTime

from quebert.amqp.watch._delivery import Event
from quebert.amqp.watch._parts import WatchParts
from quebert.amqp.watch._throttle import Throttles
from quebert.outcome import Retry

if TYPE_CHECKING:
    from quebert.amqp.watch._delivered_message import DeliveredMessage

__all__ = ["PostponementOwner", "Postponements"]

# What is to wait for less is put back: else it might do nothing but begin.
_SHORTEST = 0.02


class PostponementOwner(Protocol):
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
        Free the place of a message.
        """

    def begin_again(self, message: DeliveredMessage) -> None:
        """
        Give a message to its callback again, as soon as there is a place.
        """

    def put_off_for(self, message: DeliveredMessage, seconds: float) -> None:
        """
        Have a message wait in the broker.
        """


class Postponements:
    """
    @param throttles: of rates and priorities.  If there are any, no message waits here:
        it would count again.
    @param hold_up_to: seconds that a message waits here, at most, from when it came.
    @ivar number: how many messages wait.
    """

    def __init__(
        self,
        watch: PostponementOwner,
        parts: WatchParts,
        throttles: Throttles,
        hold_up_to: float,
        clock: Callable[[], IReactorTime],
    ) -> None:
        self._watch = watch
        self._ledger = parts.ledger
        self._waits = parts.settlement.waits  # ended with the watch, or its channel
        self._places = parts.places
        self._throttles = throttles
        self._hold_up_to = hold_up_to
        self._clock = clock
        self.number = 0

    def may_wait(self, message: DeliveredMessage, retry: Retry) -> bool:
        """
        Whether a message waits here for its retry.  A suspect does not: it begins when
        no other message is at work.  Nor does one whose task takes much memory.
        """
        if retry.attempted or retry.headers or retry.body is not None:
            return False
        if message.request_places is None or message.memory or self._throttles.all:
            return False
        if self._waits.hurried:
            return False
        left = self._hold_up_to - (self._clock().seconds() - message.came)
        return _SHORTEST <= retry.after <= left

    def wait(self, message: DeliveredMessage, seconds: float) -> None:
        """
        Have a message that is with its callback begin again after C{seconds}.
        """
        if self._ledger.move(message, Event.POSTPONE):
            due = self._clock().seconds() + seconds
            self.number += 1
            wait = self._waits.wait_with(message, seconds)
            wait.addCallback(self._over, message, due)
        self._watch.leave(message)

    def _over(self, _ended: None, message: DeliveredMessage, due: float) -> None:
        self.number -= 1
        if not self._ledger.move(message, Event.PASS):
            return  # its channel is lost
        has_room = message.hastened or self._places.has_room()
        if self._watch.is_wanted and self._places.is_open and has_room:
            self._watch.begin_again(message)
        else:  # or the queue was paused meanwhile, or the watch is being stopped
            left = max(0.0, due - self._clock().seconds())
            self._watch.put_off_for(message, left)
