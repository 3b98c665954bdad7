"""
Adding many tasks from Twisted: a window of them is unconfirmed at any time.

An item is read when there is room for it in the window.  So memory is bounded, however
many items there are, and a broker that is slow, or blocks, slows down their source.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, Union

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from quebert.errors import BadTask, BrokerError, BrokerUnreachable, MessageRefused
from quebert.producer._items import (
    OnResult,
    ResultTeller,
    TaskResult,
    check_window,
    item_letter,
)
from quebert.producer._letter import Letter

__all__ = ["Items", "WindowOfTasks"]

#: Items of C{add_tasks}.
Items = Union[Iterable[Mapping[str, Any]], AsyncIterable[Mapping[str, Any]]]

#: Bytes that all bodies of a window may have, unless it is a single one.
WINDOW_BYTES = 64 * 2**20


class WindowOfTasks:
    """
    The tasks of one C{add_tasks} that the broker has not confirmed.

    @param publish: publishes one.
    @param now: the time of day, in seconds since the epoch.
    @param size: how many there may be.
    @raise ConfigError: that is no number from 1 on.
    """

    def __init__(
        self,
        publish: Callable[[Letter], Deferred[None]],
        on_result: OnResult,
        now: Callable[[], float],
        size: int,
    ) -> None:
        check_window(size)
        self._publish = publish
        self._teller = ResultTeller(on_result)
        self._now = now
        self._size = size
        self._unconfirmed: dict[Deferred[None], None] = {}
        self._bytes = 0
        self._read_so_far = 0
        self._changed: Deferred[None] | None = None

    async def add_all(self, items: Items) -> int:
        """
        Add the tasks; return how many the broker has confirmed, once the result of each
        is told.

        @raise BrokerError: no more can be added.
        @raise Exception: what C{items} or C{on_result} raised first.
        """
        try:
            await self._read(items)
            while self._unconfirmed:
                await self._change()
        except CancelledError:
            for each in list(self._unconfirmed):
                each.cancel()
            raise
        if self._teller.error is not None:
            raise self._teller.error
        return self._teller.added

    async def _read(self, items: Items) -> None:
        try:
            if isinstance(items, AsyncIterable):
                async for item in items:
                    await self._take(item)
                    if self._teller.error is not None:
                        return
            else:
                for item in items:
                    await self._take(item)
                    if self._teller.error is not None:
                        return
        except CancelledError:
            raise
        except Exception as e:  # of the source of the items
            self._teller.end_with(e)

    async def _take(self, item: Mapping[str, Any]) -> None:
        """
        Begin with an item; return when there is room for another one.
        """
        self._begin(self._read_so_far, item)
        self._read_so_far += 1
        while self._is_full and self._teller.error is None:
            await self._change()

    @property
    def _is_full(self) -> bool:
        return len(self._unconfirmed) >= self._size or self._bytes > WINDOW_BYTES

    def _change(self) -> Deferred[None]:
        """
        Fires when the broker has answered one.
        """
        self._changed = Deferred()
        return self._changed

    def _begin(self, index: int, item: Mapping[str, Any]) -> None:
        try:
            uuid, letter = item_letter(item, self._now())
        except BadTask as e:
            self._teller.tell(TaskResult.without_task(index, item, e))
            return
        size = len(letter.body)
        confirmed = self._publish(letter)
        self._unconfirmed[confirmed] = None
        self._bytes += size

        def answered(result: object) -> None:
            del self._unconfirmed[confirmed]
            self._bytes -= size
            error = result.value if isinstance(result, Failure) else None
            assert error is None or isinstance(error, Exception)
            self._answered(TaskResult(index, item, uuid, error))

        confirmed.addBoth(answered)

    def _answered(self, result: TaskResult) -> None:
        if result.error is not None and _ends_all(result.error):
            self._teller.end_with(result.error)
        self._teller.tell(result)
        changed, self._changed = self._changed, None
        if changed is not None and not changed.called:  # else it was cancelled
            changed.callback(None)


def _ends_all(error: Exception) -> bool:
    """
    Whether no other task would be taken, either.
    """
    if isinstance(error, MessageRefused):
        return False
    return isinstance(error, BrokerUnreachable) or (
        isinstance(error, BrokerError) and error.final
    )
