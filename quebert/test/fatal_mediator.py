"""
A mediator in a process of its own, which a task can end: with the broker's URL, the
queue, its type, and after how many seconds it looks how another mediator has ended.
"""

from __future__ import annotations

import os
import signal
import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.mediator import PolicyMediator
from quebert.task import Task


def obey(task: Task) -> None:
    """
    End as the kernel ends a process that has no memory left.
    """
    if task.get("fatal"):
        os.kill(os.getpid(), signal.SIGKILL)


async def main(reactor: object, url: str, queue: str, kind: str, patience: str) -> None:
    """
    Mediate until killed.
    """
    client = TxAMQPClient.from_url(url)
    client.suspects.patience = float(patience)
    mediator = PolicyMediator()
    mediator.add_prehook(obey)
    await client.watch(
        "",
        queue,
        "",
        mediator.messageReceived,
        maxEvents=20,
        options=WatchOptions(queue_type=kind),
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await Deferred()


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])
