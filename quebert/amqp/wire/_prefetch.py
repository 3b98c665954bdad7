"""
How many deliveries a broker may send on one channel before some are settled.

A consumer has the prefetch that held when it began (RabbitMQ's C{basic.qos} applies to
new consumers), and its unsettled deliveries outlive it.  Pure bookkeeping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Prefetch"]

#: Deliveries that are accepted: twice the prefetch and 100, since RabbitMQ may
#: redeliver after it lost a node.
TIMES, MORE = 2, 100


class Prefetch:
    """
    @ivar limit: deliveries that may be unsettled at once; infinity for no limit.
    """

    def __init__(self) -> None:
        self.limit = float(MORE)
        self._next = float("inf")
        self._consumers: dict[str, float] = {}
        self._left = 0.0  # of consumers that have ended, at most

    def calling(self, method: str, arguments: Mapping[str, Any]) -> None:
        """
        A method is about to be sent.
        """
        if method == "basic_qos":
            self._next = arguments["prefetch_count"] or float("inf")
        elif method == "basic_consume":
            # Without a tag the broker makes one, and no other call names it.
            tag = arguments.get("consumer_tag", f"unnamed {len(self._consumers)}")
            self._consumers[tag] = self._next
            self._count()

    def called(self, method: str, arguments: Mapping[str, Any], unsettled: int) -> None:
        """
        A method has been answered.

        @param unsettled: the number of deliveries that are not settled.
        """
        if method == "basic_cancel":
            self.cancelled(arguments["consumer_tag"], unsettled)

    def cancelled(self, tag: str, unsettled: int) -> None:
        """
        A consumer has ended, whoever has ended it.
        """
        self._left += self._consumers.pop(tag, 0.0)
        self._left = min(self._left, float(unsettled))
        self._count()

    def _count(self) -> None:
        self.limit = TIMES * (sum(self._consumers.values()) + self._left) + MORE
