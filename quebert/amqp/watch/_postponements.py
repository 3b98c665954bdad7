"""
Messages that are to begin again in some seconds, as they are: their hosts take no more
requests for now, or their times have not come.

Nothing was attempted, so nothing is to be written down, and no copy has to take the
place of such a message.  It waits here, holds no place, and then begins again.  It is
put back instead, if it has been here for C{hold_up_to}, if no place is free by then, or
if it would have to wait for more than a place: each message is held for some seconds.

Other messages are fetched meanwhile: they may be for hosts that take requests.  Each
time that the prefetch is used up, it is doubled, but only once in C{PAUSE} seconds.  So
a watch gets past thousands of messages for one host within a second; and a limit that
is just growing, as adaptive limits are when a mediator starts, has not refused the
whole queue before it is large enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IReactorTime

from quebert.amqp.watch._delivery import Event
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._throttle import Throttles
from quebert.amqp.watch._waits import Waits
from quebert.outcome import Retry

if TYPE_CHECKING:
    from quebert.amqp.watch._delivered_message import DeliveredMessage

__all__ = ["PAUSE", "PostponementOwner", "Postponements"]

#: Seconds between two times that more messages are fetched since some wait here.
PAUSE = 0.1
# What is to wait for less is put back: else it might do nothing but begin.
_SHORTEST = 0.02


class PostponementOwner(Protocol):
    """
    The watch.
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

    def adapt(self) -> None:
        """
        More messages may be fetched by now.
        """


class Postponements:
    """
    @param waits: cut short when the watch is stopped, or its channel is lost.
    @param places: of the watch.
    @param throttles: if there are any, no message waits here: it would count again.
    @param hold_up_to: seconds that a message waits here, at most, from when it came.
    @param is_wanted: tells whether the watch wants deliveries.
    """

    def __init__(
        self,
        watch: PostponementOwner,
        ledger: Ledger[DeliveredMessage],
        waits: Waits,
        places: Places,
        throttles: Throttles,
        hold_up_to: float,
        clock: Callable[[], IReactorTime],
        is_wanted: Callable[[], bool],
    ) -> None:
        self._watch = watch
        self._ledger = ledger
        self._waits = waits
        self._places = places
        self._throttles = throttles
        self._hold_up_to = hold_up_to
        self._clock = clock
        self._number = 0  # of the messages that wait
        self._next = 0.0  # when more may be fetched
        self._will_tell = False
        self._is_wanted = is_wanted

    def may_wait(self, message: DeliveredMessage, retry: Retry) -> bool:
        """
        Whether a message waits here for its retry.  A suspect does not: it begins when
        no other message is at work.  Nor does one whose task takes much memory.
        """
        if retry.attempted or retry.headers or retry.body is not None:
            return False
        if message.gate is None or message.memory or self._throttles.all:
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
            self._number += 1
            self._waits.wait(seconds).addCallback(self._over, message, due)
        self._watch.leave(message)

    def _over(self, _ended: None, message: DeliveredMessage, due: float) -> None:
        self._number -= 1
        if not self._ledger.move(message, Event.PASS):
            return  # its channel is lost
        if self._is_wanted() and self._places.is_open and self._places.has_room():
            self._watch.begin_again(message)
        else:  # or the queue was paused meanwhile, or the watch is being stopped
            left = max(0.0, due - self._clock().seconds())
            self._watch.put_off_for(message, left)

    def let_fetch(self) -> bool:
        """
        Whether more messages may be fetched now, which is done then.  If not, the watch
        is told when they may.
        """
        if not self._number:
            return True
        now = self._clock().seconds()
        left = self._next - now
        if left <= 0:
            self._next = now + PAUSE
            return True
        if not self._will_tell:
            self._will_tell = True
            self._waits.wait(min(left, PAUSE)).addCallback(self._tell)
        return False

    def _tell(self, _ended: None) -> None:
        self._will_tell = False
        self._watch.adapt()
