"""
Celery with a pool of greenlets, in one process.
"""

from __future__ import annotations

from _celery import publish, run
from _common import Settings, main


def work(settings: Settings) -> None:
    """
    As many greenlets as tasks may be there.
    """
    run("gevent", settings.concurrency, 1)


if __name__ == "__main__":
    main(work, publish)
