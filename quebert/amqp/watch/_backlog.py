"""
The deliveries of a watch that hold no place, and how many more may be fetched beside
them.
"""

from __future__ import annotations

from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._delivery import State
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.watch._origin_places import OriginPlaces
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._postponements import Postponements
from quebert.amqp.watch._throttle import Throttles

__all__ = ["MAX_HELD", "MAX_HELD_BYTES", "Backlog"]

#: How many waiting messages may be held beside those with places.
MAX_HELD = 10_000
#: And with how many bytes together with those in it.
MAX_HELD_BYTES = 64 * 2**20
# Python uses a member of an Enum slowly as an index.
_HELD, _OVERDUE = int(State.HELD), int(State.OVERDUE)


class Backlog:
    """
    The deliveries that wait before they go back, or for a host that hangs, and those
    whose callbacks take long.
    """

    def __init__(
        self,
        ledger: Ledger[DeliveredMessage],
        origins: OriginPlaces,
        places: Places,
        throttles: Throttles,
        postponements: Postponements,
    ) -> None:
        self._ledger = ledger
        self._origins = origins
        self._places = places
        self._throttles = throttles
        self._postponements = postponements

    def size(self) -> int:
        """
        How many there are.
        """
        numbers = self._ledger.numbers
        return numbers[_HELD] + numbers[_OVERDUE] + self._origins.waiting

    def may_widen(self) -> bool:
        """
        Whether another consumer may fetch more: these deliveries, or a throttle, keep
        RabbitMQ from delivering, they are not too many, and there is a place.
        """
        size = self.size()
        some = size > 0 or self._throttles.limit_fetching
        light = self._ledger.bytes < MAX_HELD_BYTES
        has_room = size < MAX_HELD and light and self._places.has_room()
        return some and has_room and self._postponements.let_fetch()
