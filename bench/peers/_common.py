"""
What the peers share: one command line, and where they find its options.

::

    python bench/peers/NAME.py work --amqp URL --queue Q --concurrency 50
    python bench/peers/NAME.py publish --amqp URL --queue Q --task JSON

C{work} dispatches the tasks of the queue until it is told to end (SIGTERM).
C{publish} declares the queue and puts one task into it, each as the peer itself
does it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

#: What is POSTed, with it as the header.
JSON = {"Content-Type": "application/json"}
#: Seconds that one request may take: all peers have the same limit.
TIMEOUT = 600.0

# A framework's own command imports a peer's module anew, without our options.
_VARIABLE = "QUEBERT_BENCH_SETTINGS"


@attrs.frozen
class Settings:
    """
    @ivar amqp: where the broker is, as a URL with its virtual host.
    @ivar queue: where the tasks are.
    @ivar concurrency: how many of them may be with the peer at once.
    """

    amqp: str
    queue: str
    concurrency: int

    @classmethod
    def of_this_process(cls) -> Settings:
        """
        Those that the command line has left for the modules.
        """
        return cls(**json.loads(os.environ[_VARIABLE]))


Work = Callable[[Settings], None]
Publish = Callable[[Settings, dict[str, Any]], None]


def keep_settings() -> argparse.Namespace:
    """
    Read the command line, and keep it for L{Settings.of_this_process}.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["work", "publish"])
    parser.add_argument("--amqp", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--task", type=json.loads, help='{"url": …, "params": …}')
    options = parser.parse_args()
    settings = Settings(options.amqp, options.queue, options.concurrency)
    os.environ[_VARIABLE] = json.dumps(attrs.asdict(settings))
    return options


def main(work: Work, publish: Publish) -> None:
    """
    Do what the command line says.
    """
    options = keep_settings()
    if options.action == "work":
        work(Settings.of_this_process())
    else:
        publish(Settings.of_this_process(), options.task)


def become(*command: str) -> None:
    """
    Become a framework's own command, C{python -m} the first of C{command}; it
    finds the modules in this folder.
    """
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.execv(sys.executable, [sys.executable, "-m", *command])


def put(settings: Settings, task: dict[str, Any]) -> None:
    """
    Publish a task as plain JSON, persistent: for peers that have no format of
    their own.
    """
    from pika import BasicProperties, BlockingConnection, URLParameters

    connection = BlockingConnection(URLParameters(settings.amqp))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(settings.queue, durable=True)
    properties = BasicProperties(content_type="application/json", delivery_mode=2)
    body = json.dumps(task).encode()
    channel.basic_publish("", settings.queue, body, properties, mandatory=True)
    connection.close()
