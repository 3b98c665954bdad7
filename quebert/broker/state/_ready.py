"""
In which order the messages of a queue are delivered, and expire.  Pure.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator

from quebert.broker.state._entry import Entry

__all__ = ["Ready"]


class _Lane:
    """
    What is ready of one priority.  What was given back has a place: that of its id, or
    one before all ids.
    """

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh: deque[Entry] = deque()
        self.returned: list[tuple[int, Entry]] = []  # a heap

    def __bool__(self) -> bool:
        return bool(self.fresh or self.returned)

    def _returned_first(self) -> bool:
        return bool(self.returned) and (
            not self.fresh or self.returned[0][0] < self.fresh[0].id
        )

    def head(self) -> Entry:
        return self.returned[0][1] if self._returned_first() else self.fresh[0]

    def pop(self) -> Entry:
        if self._returned_first():
            return heapq.heappop(self.returned)[1]
        return self.fresh.popleft()

    def __iter__(self) -> Iterator[Entry]:
        yield from (entry for _, entry in self.returned)
        yield from self.fresh


class Ready:
    """
    What waits to be delivered, the most urgent and then the oldest first.

    @ivar bytes: those of all bodies together.
    @param max_priority: above it, priorities make no difference.
    @param returned_first: what was given back goes before all that was not, in the
        order in which it came back, as in RabbitMQ's quorum queues; else it gets the
        place that it had, as in classic queues.
    """

    def __init__(self, max_priority: int = 0, *, returned_first: bool = False) -> None:
        self._most = max_priority
        self._places = itertools.count(-(2**62)) if returned_first else None
        self._lanes = [_Lane() for _ in range(max_priority + 1)]
        self._length = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._length

    def _lane(self, entry: Entry) -> _Lane:
        return self._lanes[self._most - min(entry.priority, self._most)]

    def push(self, entry: Entry) -> None:
        """
        A new one.
        """
        self._lane(entry).fresh.append(entry)
        self._length += 1
        self.bytes += entry.size

    def put_back(self, entry: Entry) -> None:
        """
        One that was popped before.
        """
        place = entry.id if self._places is None else next(self._places)
        heapq.heappush(self._lane(entry).returned, (place, entry))
        self._length += 1
        self.bytes += entry.size

    def head(self) -> Entry:
        """
        The one that L{pop} would give.
        """
        return next(lane for lane in self._lanes if lane).head()

    def pop(self) -> Entry:
        """
        Take out the next one.

        @raise StopIteration: there is none.
        """
        return self._taken(next(lane for lane in self._lanes if lane))

    def _taken(self, lane: _Lane) -> Entry:
        entry = lane.pop()
        self._length -= 1
        self.bytes -= entry.size
        return entry

    def next_expiry(self) -> float | None:
        """
        When the first one expires that is the head of its priority.
        """
        heads = [lane.head().expires for lane in self._lanes if lane]
        return min((time for time in heads if time is not None), default=None)

    def pop_expired(self, now: float) -> Iterator[Entry]:
        """
        Take out those that have expired, as far as none before them has not.
        """
        for lane in self._lanes:
            while lane and (time := lane.head().expires) is not None and time <= now:
                yield self._taken(lane)

    def __iter__(self) -> Iterator[Entry]:
        """
        About in their order.
        """
        for lane in self._lanes:
            yield from lane
