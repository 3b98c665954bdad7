"""
aio-pika and aiohttp on uvloop: what one writes by hand, for just this.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import aiohttp
import orjson
import uvloop
from _common import JSON, TIMEOUT, Settings, main, put
from aio_pika.abc import AbstractIncomingMessage


async def posted(session: aiohttp.ClientSession, body: bytes) -> bool:
    """
    POST a task to its URL; whether the whole answer is a 2xx.
    """
    try:
        url = orjson.loads(body)["url"]
        async with session.post(url, data=body, headers=JSON) as response:
            await response.read()
            return 200 <= response.status < 300
    except (aiohttp.ClientError, TimeoutError):
        return False


async def consume(settings: Settings) -> None:
    """
    Dispatch for ever.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    connection = await aio_pika.connect_robust(settings.amqp)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=settings.concurrency)
    queue = await channel.declare_queue(settings.queue, durable=True)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def dispatch(message: AbstractIncomingMessage) -> None:
            if await posted(session, message.body):
                await message.ack()
            else:
                await message.nack(requeue=True)

        await queue.consume(dispatch)
        await asyncio.Future()


def work(settings: Settings) -> None:
    """
    Dispatch on uvloop.
    """
    uvloop.run(consume(settings))


def publish(settings: Settings, task: dict[str, Any]) -> None:
    """
    Put one task into the queue, as it is.
    """
    put(settings, task)


if __name__ == "__main__":
    main(work, publish)
