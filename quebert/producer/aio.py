"""
Adding tasks from asyncio: L{add_task} and L{add_tasks} as coroutines.

Threads call the functions that block, C{THREADS} of them at most, over the connections
that those functions keep.  A thread spends its time in waiting for the broker's
confirm, during which other threads and the event loop run.  It sees the context
variables of the coroutine.

A coroutine that is cancelled stops waiting at once.  If a thread has begun with its
task by then, the task may be added; else it is not.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Union

import attrs

from quebert import task as tasks
from quebert.errors import BrokerError, ChannelLost
from quebert.producer import _blocking as blocking
from quebert.producer._intercept import taken
from quebert.producer._items import (
    WINDOW,
    OnResult,
    ResultTeller,
    TaskResult,
    check_window,
)
from quebert.producer._letter import EXCHANGE, MEDIUM, new_letter
from quebert.producer._publishing import CONNECTIONS, PATIENCE, Limit

__all__ = ["THREADS", "add_task", "add_tasks"]

#: How many threads add tasks at most: as many as there are connections.
THREADS = CONNECTIONS

#: Items of L{add_tasks}.
Items = Union[Iterable[Mapping[str, Any]], AsyncIterable[Mapping[str, Any]]]

_executors: dict[int, ThreadPoolExecutor] = {}


def _executor() -> ThreadPoolExecutor:
    """
    The threads of this process: a fork leaves those of the parent there.
    """
    pid = os.getpid()
    found = _executors.get(pid)
    if found is None:
        named = ThreadPoolExecutor(THREADS, thread_name_prefix="quebert.producer")
        found = _executors.setdefault(pid, named)
    return found


async def add_task(
    url: str,
    params: Any = None,
    *,
    amqp_url: str | None = None,
    exchange: str = EXCHANGE,
    patience: float = PATIENCE,
    kind: str = "tasks",
    priority: str = MEDIUM,
    max_body: int = tasks.BOUNDS.body,
    **fields: Any,
) -> str:
    """
    Add a task, and return its uuid once the broker has confirmed it.  The arguments are
    those of L{quebert.producer.add_task}.

    @param patience: seconds that the call may take in all, the time included in which
        all threads have other tasks.
    @raise BadTask: an argument is wrong.
    @raise BrokerError: the broker has not confirmed it; C{added} tells whether it may
        have the task.
    @raise ConfigError: C{amqp_url} is wrong.
    @raise TypeError: there is no such argument.
    """
    limit = Limit.of(patience)
    producer = blocking.kept_producer(amqp_url, exchange)
    fields |= {"kind": kind, "priority": priority, "max_body": max_body}
    uuid, letter = new_letter(time.time(), url, params, **fields)
    if not taken(exchange, letter):
        loop = asyncio.get_running_loop()
        publish = partial(copy_context().run, producer.publish, letter, limit)
        await loop.run_in_executor(_executor(), publish)
    return uuid


async def add_tasks(
    items: Items,
    on_result: OnResult,
    *,
    amqp_url: str | None = None,
    exchange: str = EXCHANGE,
    patience: float = PATIENCE,
    window: int = WINDOW,
) -> int:
    """
    Add many tasks, and return how many were added: as L{quebert.producer.add_tasks},
    which a thread calls with the items that are there, C{window} of them at most.

    Items are read, and results told, by the event loop's thread, which does other work
    in between.  While a thread adds some items, up to C{window} others are read.

    @param items: an iterable, or an asynchronous one, which a task of its own reads.
    """
    check_window(window)
    loop = asyncio.get_running_loop()

    def add_some(
        some: list[Mapping[str, Any]],
    ) -> tuple[list[TaskResult], Exception | None]:
        results: list[TaskResult] = []
        options: dict[str, Any] = {"amqp_url": amqp_url, "exchange": exchange}
        try:
            blocking.add_tasks(
                some, results.append, patience=patience, window=window, **options
            )
        except Exception as e:
            return results, e
        return results, None

    teller, ahead = _PartwiseTeller(on_result), _ItemsAhead(items, window)
    reading = asyncio.create_task(ahead.read())
    try:
        while teller.error is None and (some := await ahead.take()):
            adding = partial(copy_context().run, add_some, some)
            teller.tell_some(some, *await loop.run_in_executor(_executor(), adding))
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    if teller.error is not None:
        teller.tell_some(list(ahead.ready), [], teller.error)
        raise teller.error
    await reading  # raises what the items have raised
    return teller.added


class _ItemsAhead:
    """
    Reads items while a thread adds others.

    @param most: how many are read at most, and not taken.
    @ivar ready: these.
    """

    def __init__(self, items: Items, most: int) -> None:
        self.ready: deque[Mapping[str, Any]] = deque()
        self._items = items
        self._most = most
        self._changed = asyncio.Event()
        self._has_ended = False

    async def read(self) -> None:
        """
        Read to the end.
        """
        try:
            if isinstance(self._items, AsyncIterable):
                async for item in self._items:
                    await self._add(item)
            else:
                for item in self._items:
                    await self._add(item)
        finally:
            self._has_ended = True
            self._changed.set()

    async def _add(self, item: Mapping[str, Any]) -> None:
        self.ready.append(item)
        self._changed.set()
        while len(self.ready) >= self._most:
            await self._change()

    async def take(self) -> list[Mapping[str, Any]]:
        """
        Wait for items; there are none at the end.
        """
        while not (self.ready or self._has_ended):
            await self._change()
        some = list(self.ready)
        self.ready.clear()
        self._changed.set()
        return some

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class _PartwiseTeller(ResultTeller):
    """
    Tells the results of some items after the others, with their places among all.
    """

    def __init__(self, on_result: OnResult) -> None:
        super().__init__(on_result)
        self._first = 0

    def tell_some(
        self,
        some: list[Mapping[str, Any]],
        results: list[TaskResult],
        error: Exception | None,
    ) -> None:
        """
        Tell the results of the next items, and why there are not more of them.
        """
        known = {each.index for each in results}
        if error is not None:
            self.end_with(error)
            why = _not_sent(error)
            for index, item in enumerate(some):
                if index not in known:
                    results.append(TaskResult.without_task(index, item, why))
        for each in results:
            self.tell(attrs.evolve(each, index=self._first + each.index))
        self._first += len(some)


def _not_sent(error: Exception) -> Exception:
    """
    What is told of a task that was read, and not sent, since no more can be added.
    """
    if not isinstance(error, BrokerError):
        return error
    told = ChannelLost(f"the task was not sent: {error}")
    told.added = False
    return told
