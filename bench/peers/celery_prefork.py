"""
Celery with its default pool, of one process.
"""

from __future__ import annotations

from _celery import publish, run
from _common import Settings, main


def work(settings: Settings) -> None:
    """
    One task at once, the others fetched.
    """
    run("prefork", 1, settings.concurrency)


if __name__ == "__main__":
    main(work, publish)
