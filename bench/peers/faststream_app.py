"""
FastStream: its command, with one process, on uvloop.
"""

from __future__ import annotations

import asyncio
from typing import Any

from _common import Settings, become, main


def work(settings: Settings) -> None:
    """
    Become FastStream's command.
    """
    become("faststream", "run", "_faststream_app:app", "--log-level=warning")


def publish(settings: Settings, task: dict[str, Any]) -> None:
    """
    Put one task into the queue.
    """
    from _faststream_app import broker, queue

    async def send() -> None:
        async with broker:
            await broker.declare_queue(queue)
            await broker.publish(task, queue, persist=True)

    asyncio.run(send())


if __name__ == "__main__":
    main(work, publish)
