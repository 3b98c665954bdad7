"""
The application that FastStream's command runs.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson
from _common import JSON, TIMEOUT, Settings
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

settings = Settings.of_this_process()
# Neither its log nor its casting of types is wanted here, and both cost much.
broker = RabbitBroker(
    settings.amqp,
    default_channel=Channel(prefetch_count=settings.concurrency),
    logger=None,
    apply_types=False,
)
app = FastStream(broker)
queue = RabbitQueue(settings.queue, durable=True)
http: dict[str, aiohttp.ClientSession] = {}


@app.on_startup
async def open_session() -> None:
    """
    Make the one session, on the worker's loop.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    http["session"] = aiohttp.ClientSession(timeout=timeout)


@app.after_shutdown
async def close_session() -> None:
    """
    Close it.
    """
    await http["session"].close()


@broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR, no_reply=True)
async def post(task: dict[str, Any]) -> None:
    """
    POST a task to its URL; anything but a 2xx goes back to the queue.
    """
    body = orjson.dumps(task)
    async with http["session"].post(task["url"], data=body, headers=JSON) as response:
        await response.read()
        response.raise_for_status()
