"""
A Celery application as people write them, for a worker of its own: C{amqp://}
is all that it is told of the broker.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

app = Celery(
    "quebert-tests", broker=os.environ.get("BROKER", "amqp://"), backend="rpc://"
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_default_queue="celery-tests",
    task_default_queue_type=os.environ.get("QUEUE_TYPE", "classic"),
    task_default_exchange_type=os.environ.get("EXCHANGE_TYPE", "direct"),
    worker_prefetch_multiplier=4,
    worker_send_task_events=True,
)


@app.task(bind=True, ignore_result=True, max_retries=None)
def note(self: Any, path: str, number: int, failures: int = 0) -> None:
    """
    Write down that it was called; fail that often before.
    """
    retries = self.request.retries
    with open(path, "a") as notes:
        notes.write(f"{number} {retries} {time.time()}\n")
    if retries < failures:
        raise self.retry(countdown=1)


@app.task
def double(number: int) -> int:
    """
    What number has a result.
    """
    return 2 * number
