"""
The actor that Dramatiq's command runs.
"""

from __future__ import annotations

import threading
from typing import Any

import dramatiq
import requests
from _common import TIMEOUT, Settings
from dramatiq.brokers.rabbitmq import RabbitmqBroker

settings = Settings.of_this_process()
dramatiq.set_broker(RabbitmqBroker(url=settings.amqp))


class _Local(threading.local):
    """
    What each thread has of its own: sessions are not made to be shared.
    """

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False  # looking for proxies costs much of a request


_local = _Local()


@dramatiq.actor(queue_name=settings.queue)
def post(url: str, params: Any) -> None:
    """
    POST a task to its URL; anything but a 2xx is tried again, as is the default.
    """
    task = {"url": url, "params": params}
    _local.session.post(url, json=task, timeout=TIMEOUT).raise_for_status()
