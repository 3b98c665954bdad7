"""
The deliveries of a watch that have no place, and how many more may be fetched beside
them.

Where some wait since their hosts take no more requests, or their times have not come,
others are fetched, which may be for other hosts.  Each time that the prefetch is used
up, it is doubled then, but only once in C{PAUSE} seconds.  So a watch gets past
thousands of messages for one host within a second; and a limit that is just growing, as
adaptive limits are when a mediator starts, has not refused the whole queue before it is
large enough.

Once it is, those that it has refused wait for places alone, and too many are fetched:
each further task would be turned away, too, as long as there are others before it,
which costs half as much again as the task.  So no more are fetched than there are
places.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._delivery import State
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.watch._origin_places import OriginPlaces
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._postponements import Postponements
from quebert.amqp.watch._throttle import Throttles
from quebert.amqp.watch._waits import Waits

__all__ = ["MAX_BACKLOG", "MAX_BACKLOG_BYTES", "PAUSE", "Backlog"]

#: How many deliveries may wait beside those with places.
MAX_BACKLOG = 10_000
#: How many bytes all deliveries may have together, those with places included.
MAX_BACKLOG_BYTES = 64 * 2**20
#: Seconds between two times that more messages are fetched, while some wait for hosts
#: that take no more requests.
PAUSE = 0.1
# Python uses a member of an Enum slowly as an index.
_HELD, _OVERDUE = int(State.HELD), int(State.OVERDUE)


class Backlog:
    """
    The deliveries that wait before they go back, or for a host that hangs, and those
    whose callbacks take long.

    @param waits: of the watch.
    @param adapt: called when more messages may be fetched by now.
    """

    def __init__(
        self,
        ledger: Ledger[DeliveredMessage],
        origins: OriginPlaces,
        places: Places,
        throttles: Throttles,
        postponements: Postponements,
        waits: Waits,
        clock: Callable[[], IReactorTime],
        adapt: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._origins = origins
        self._places = places
        self._throttles = throttles
        self._postponements = postponements
        self._waits = waits
        self._clock = clock
        self._adapt = adapt
        self._next = 0.0  # when more may be fetched
        self._will_tell = False

    def size(self) -> int:
        """
        How many there are, without those that wait for places alone.
        """
        numbers, origins = self._ledger.numbers, self._origins
        waiting = 0 if self.is_crowded() else origins.waiting
        return numbers[_HELD] + numbers[_OVERDUE] + waiting

    def is_crowded(self) -> bool:
        """
        Whether hosts would take those that wait for them, and all places are taken.
        """
        return self._origins.is_crowded

    def may_widen(self) -> bool:
        """
        Whether another consumer may fetch more: there are such deliveries, or throttles
        that limit what is fetched; the deliveries are not too many; and there is a
        place.
        """
        size = self.size()
        some = size > 0 or self._throttles.limit_fetching
        light = self._ledger.bytes < MAX_BACKLOG_BYTES
        has_room = size < MAX_BACKLOG and light and self._places.has_room()
        if not (some and has_room):
            return False
        is_paced = self._postponements.number or self._origins.some_refuse
        return not is_paced or self._is_time()

    def _is_time(self) -> bool:
        """
        Whether more messages may be fetched now, which is done then.  If not, the watch
        is told when they may.
        """
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
        self._adapt()
