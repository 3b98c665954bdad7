"""
Taskiq: one worker process of its command, with tasks on uvloop.
"""

from __future__ import annotations

import asyncio
from typing import Any

from _common import Settings, become, main


def work(settings: Settings) -> None:
    """
    Become Taskiq's command.
    """
    size = str(settings.concurrency)
    become(
        "taskiq",
        "worker",
        "_taskiq_app:broker",
        "--workers=1",
        f"--max-async-tasks={size}",
        "--log-level=WARNING",
    )


def publish(settings: Settings, task: dict[str, Any]) -> None:
    """
    Put one task into the queue.
    """
    from _taskiq_app import broker, post

    async def kick() -> None:
        await broker.startup()
        await post.kiq(task["url"], task["params"])
        await broker.shutdown()

    asyncio.run(kick())


if __name__ == "__main__":
    main(work, publish)
