"""
Dramatiq: one worker process of its command, and a thread for each task.
"""

from __future__ import annotations

import os
from typing import Any

from _common import Settings, become, main


def work(settings: Settings) -> None:
    """
    Become Dramatiq's command.
    """
    size = str(settings.concurrency)
    os.environ.update(dramatiq_queue_prefetch=size)
    become("dramatiq", "_dramatiq_app", "--processes", "1", "--threads", size)


def publish(settings: Settings, task: dict[str, Any]) -> None:
    """
    Put one task into the queue.
    """
    from _dramatiq_app import post

    post.send(task["url"], task["params"])


if __name__ == "__main__":
    main(work, publish)
