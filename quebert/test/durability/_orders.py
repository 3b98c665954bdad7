"""
What clients ask for: each order is a request, or two that are the same on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import attrs

__all__ = ["DELETE", "QUEUES", "RUN", "Order", "Orders"]

#: The queues: the second one is a quorum queue.
QUEUES = ("tasks", "quorum")
#: What is done with a task that was created.
NOTHING, DELETE, RUN = "", "delete", "run"
# Tasks of a batch.
_BATCH = 10


@attrs.frozen
class Order:
    """
    A request that a client makes until it is answered.

    @ivar numbers: of its tasks; several for a batch.
    @ivar copy: 0, or 1 for one that is made again on purpose.
    @ivar name: of the task; the copy has the same, and other parameters.
    @ivar key: its Idempotency-Key; the copy has the same.
    @ivar delay: seconds.
    @ivar then: what is done with it: L{DELETE}, L{RUN} or nothing.
    """

    numbers: Sequence[int]
    queue: str
    copy: int = 0
    name: str | None = None
    key: str | None = None
    delay: float = 0.0
    then: str = NOTHING


class Orders:
    """
    All orders, in a random order; copies come soon after the first ones.

    @param count: of tasks, without copies.
    @param seed: gives the same orders again.
    @param delay: seconds for which half of the tasks wait that are to be deleted.
    @ivar delay: the same.
    @ivar named: the numbers of the tasks that have names.
    """

    def __init__(self, count: int, seed: int, delay: float = 20.0) -> None:
        self.count = count
        self.delay = delay
        self._random = random.Random(seed)
        self._all = list(self._made())
        self.named = {e.numbers[0] for e in self._all if e.name is not None}

    def __iter__(self) -> Iterator[Order]:
        return iter(self._all)

    def _made(self) -> Iterator[Order]:
        number = 0
        while number < self.count:
            kind = self._random.random()
            size = min(_BATCH, self.count - number) if kind < 0.05 else 1
            numbers = range(number, number + size)
            number += size
            order = self._order(numbers, kind)
            yield order
            has_copy = self._random.random() < 0.2
            if has_copy and (order.name or order.key):
                yield attrs.evolve(order, copy=1, then=NOTHING)

    def _order(self, numbers: range, kind: float) -> Order:
        chance = self._random.random()
        queue = self._random.choice(QUEUES)
        if kind < 0.05:  # a third of the tasks are in batches
            return Order(numbers, queue, key=f"k{numbers[0]}")
        name = f"n{numbers[0]}" if kind < 0.55 else None
        key = f"k{numbers[0]}" if 0.45 <= kind < 0.75 else None
        if chance < 0.08:
            delay = self._random.choice((0.0, self.delay))
            return Order(numbers, queue, 0, name, key, delay, DELETE)
        if chance < 0.11:
            return Order(numbers, queue, 0, name, key, 3_600.0, RUN)
        return Order(numbers, queue, 0, name, key)
