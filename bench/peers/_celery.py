"""
How both Celery peers are started and fed.
"""

from __future__ import annotations

from typing import Any

from _common import Settings, become


def run(pool: str, concurrency: int, multiplier: int) -> None:
    """
    Become a worker that fetches C{concurrency * multiplier} tasks at once.
    """
    become(
        "celery",
        "--app=_celery_app",
        "worker",
        f"--pool={pool}",
        f"--concurrency={concurrency}",
        f"--prefetch-multiplier={multiplier}",
        "--loglevel=WARNING",
        "--without-gossip",
        "--without-heartbeat",
        "--without-mingle",
    )


def publish(settings: Settings, task: dict[str, Any]) -> None:
    """
    Put one task into the queue.
    """
    from _celery_app import publish

    publish(settings, task)
