"""
Adding tasks from asyncio: L{add_task} and L{add_tasks} as coroutines.

Threads call the functions that block, C{THREADS} of them at most, over the connections
that those functions keep.  A thread spends its time in waiting for the broker's
confirm, during which other threads and the event loop run.

A coroutine that is cancelled stops waiting at once.  If a thread has begun with its
task by then, the task may be added; else it is not.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Union

import attrs

from quebert import task as tasks
from quebert.producer import _blocking as blocking
from quebert.producer._intercept import taken
from quebert.producer._items import WINDOW, OnResult, TaskResult
from quebert.producer._letter import EXCHANGE, MEDIUM, task_letter
from quebert.producer._publishing import CONNECTIONS, PATIENCE, Limit

__all__ = ["THREADS", "add_task", "add_tasks"]

#: How many threads add tasks at most: as many as there are connections.
THREADS = CONNECTIONS

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
    now = time.time()
    task = tasks.make(now, url, params, **fields)
    letter = task_letter(task, kind, priority, now, max_body)
    if not taken(exchange, letter):
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(_executor(), producer.publish, letter, limit)
    uuid: str = task["uuid"]
    return uuid


async def add_tasks(
    items: Union[Iterable[Mapping[str, Any]], AsyncIterable[Mapping[str, Any]]],
    on_result: OnResult,
    *,
    amqp_url: str | None = None,
    exchange: str = EXCHANGE,
    patience: float = PATIENCE,
    window: int = WINDOW,
) -> int:
    """
    Add many tasks, and return how many were added: as
    L{quebert.producer.add_tasks}, which a thread calls with C{window} items at a time.

    Items are read, and results told, by the event loop's thread, which does other work
    in between.

    @param items: an iterable, or an asynchronous one.
    """
    loop = asyncio.get_running_loop()

    def add_some(some: list[Mapping[str, Any]]) -> tuple[list[TaskResult], Any]:
        results: list[TaskResult] = []
        options: dict[str, Any] = {"amqp_url": amqp_url, "exchange": exchange}
        try:
            blocking.add_tasks(
                some, results.append, patience=patience, window=window, **options
            )
        except Exception as e:
            return results, e
        return results, None

    added = first = 0
    async for some in _in_lists(items, window):
        results, error = await loop.run_in_executor(_executor(), add_some, some)
        for each in results:
            added += each.added
            on_result(attrs.evolve(each, index=first + each.index))
        if error is not None:
            raise error
        first += len(some)
    return added


async def _in_lists(
    items: Union[Iterable[Mapping[str, Any]], AsyncIterable[Mapping[str, Any]]],
    size: int,
) -> AsyncIterator[list[Mapping[str, Any]]]:
    some: list[Mapping[str, Any]] = []
    async for item in items if isinstance(items, AsyncIterable) else _each(items):
        some.append(item)
        if len(some) >= size:
            yield some
            some = []
    if some:
        yield some


async def _each(items: Iterable[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
    for item in items:
        yield item
