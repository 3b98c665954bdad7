"""
The Celery application that both Celery peers run.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import requests
from _common import TIMEOUT, Settings
from celery import Celery
from requests.adapters import HTTPAdapter

settings = Settings.of_this_process()
app = Celery("bench", broker=settings.amqp)
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_default_queue=settings.queue,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)


@cache
def session() -> requests.Session:
    """
    That of the process, made after it was forked.
    """
    made = requests.Session()
    made.trust_env = False  # looking for proxies costs much of a request
    size = settings.concurrency
    made.mount("http://", HTTPAdapter(pool_maxsize=size, pool_block=True))
    return made


@app.task(bind=True, max_retries=None)
def post(self: Any, url: str, params: Any) -> None:
    """
    POST a task to its URL; anything but a 2xx is tried again.
    """
    task = {"url": url, "params": params}
    try:
        session().post(url, json=task, timeout=TIMEOUT).raise_for_status()
    except requests.RequestException as e:
        raise self.retry(exc=e) from None


def publish(settings: Settings, task: dict[str, Any]) -> None:
    """
    Put one task into the queue.
    """
    post.delay(task["url"], task["params"])
