"""
The broker and task that Taskiq's command runs.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson
from _common import JSON, TIMEOUT, Settings
from taskiq import SimpleRetryMiddleware, TaskiqEvents, TaskiqState
from taskiq.serializers import ORJSONSerializer
from taskiq_aio_pika import AioPikaBroker, Queue, QueueType

settings = Settings.of_this_process()
# Its own default is a quorum queue; all peers have classic ones here.
queue = Queue(name=settings.queue, type=QueueType.CLASSIC)
broker = (
    AioPikaBroker(settings.amqp, qos=settings.concurrency, task_queues=[queue])
    .with_serializer(ORJSONSerializer())
    .with_middlewares(SimpleRetryMiddleware(default_retry_count=10))
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(state: TaskiqState) -> None:
    """
    Make the one session, on the worker's loop.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    state.session = aiohttp.ClientSession(timeout=timeout)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_session(state: TaskiqState) -> None:
    """
    Close it.
    """
    await state.session.close()


@broker.task(retry_on_error=True)
async def post(url: str, params: Any) -> None:
    """
    POST a task to its URL; anything but a 2xx is tried again.
    """
    body = orjson.dumps({"url": url, "params": params})
    session: aiohttp.ClientSession = broker.state.session
    async with session.post(url, data=body, headers=JSON) as response:
        await response.read()
        response.raise_for_status()
