"""
quebert: C{twistd quebert} as in the README, all else by default.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from _common import Settings, main


def work(settings: Settings) -> None:
    """
    Watch the queue, as the README does it.
    """
    become_twistd(settings, watch_option(settings))


def watch_option(settings: Settings) -> str:
    """
    The option that watches the queue.
    """
    return f"--watch={settings.queue}:{settings.queue}:#:{settings.concurrency}"


def watching(options: dict[str, Any], mediator: Any) -> Any:
    """
    For a function of C{--config}: watch the queue with a mediator of one's own.
    """
    from quebert.amqp import TxAMQPClient

    settings = Settings.of_this_process()
    client = TxAMQPClient.from_url(options["amqp-url"])
    queue, most = settings.queue, settings.concurrency
    begun = client.watch(queue, queue, "#", mediator.messageReceived, maxEvents=most)
    return begun.addCallback(lambda watcher: client.stop)


def become_twistd(settings: Settings, *options: str) -> None:
    """
    Become C{twistd quebert} with these options, and further ones that the
    environment may have.  The log has no line for each task: no other peer has such a
    log, and C{bench/log_lines.py} measures what it costs.
    """
    twistd = str(Path(sys.executable).with_name("twistd"))
    further = os.environ.get("QUEBERT_BENCH_OPTIONS", "").split()
    os.environ["QUEBERT_AMQP_URL"] = settings.amqp
    command = [twistd, "--nodaemon", "--pidfile=", "quebert", "--log-tasks=no"]
    os.execv(twistd, [*command, *options, *further])


def publish(settings: Settings, task: dict[str, Any]) -> None:
    """
    Declare what a watch would have declared, an exchange for this queue alone,
    and add a task.
    """
    from pika import BlockingConnection, URLParameters

    from quebert.producer import add_task

    queue = settings.queue
    connection = BlockingConnection(URLParameters(settings.amqp))
    channel = connection.channel()
    channel.exchange_declare(queue, "topic", durable=True)
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, queue, "#")
    url, params = task.pop("url"), task.pop("params")
    add_task(url, params, amqp_url=settings.amqp, exchange=queue, **task)
    connection.close()


if __name__ == "__main__":
    main(work, publish)
