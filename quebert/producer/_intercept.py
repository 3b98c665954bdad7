"""
Where a test takes tasks before a broker gets them (L{quebert.testing}).  Pure.

Each way to publish asks L{taken} just before a message would go to the broker: the
task has been made and checked by then.  Nothing else is asked of a producer, so that
another way to publish needs one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from quebert.errors import BadTask
from quebert.producer._items import OnResult, TaskResult, item_letter
from quebert.producer._letter import Letter

__all__ = ["add_each", "intercept", "is_intercepted", "taken"]

#: Called with an exchange and what would be published there.  What it raises, the
#: producer raises.
Take = Callable[[str, Letter], object]

# Of the whole process: the code under test may add tasks in threads of its own.
_takers: list[Take] = []


@contextmanager
def intercept(take: Take) -> Iterator[None]:
    """
    Have C{take} called with each message that a producer of this process would publish;
    none goes to a broker.  Of several the last one is called.

    @param take: called with the exchange, and with the message as a L{Letter}.
    """
    _takers.append(take)
    try:
        yield
    finally:
        last = len(_takers) - 1 - _takers[::-1].index(take)
        del _takers[last]


def is_intercepted() -> bool:
    """
    Whether messages are taken.
    """
    return bool(_takers)


def taken(exchange: str, letter: Letter) -> bool:
    """
    Whether a message was taken, and is not to be published.
    """
    for take in _takers[-1:]:  # another thread may remove it meanwhile
        take(exchange, letter)
        return True
    return False


def add_each(
    items: Iterable[Mapping[str, Any]],
    on_result: OnResult,
    now: Callable[[], float],
    publish: Callable[[Letter], object],
) -> int:
    """
    C{add_tasks}, where messages are taken: there are no confirms to wait for.

    @return: how many were added.
    """
    added = 0
    for index, item in enumerate(items):
        try:
            uuid, letter = item_letter(item, now())
        except BadTask as e:
            on_result(TaskResult.without_task(index, item, e))
            continue
        publish(letter)
        added += 1
        on_result(TaskResult(index, item, uuid))
    return added
