"""
A mediator with a rate, in a process of its own, to be killed: with the broker's URL,
the queue, the rate, how many tasks it has at once, and how many seconds pass between
two looks at who else shares the rate.
"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.coordination import _shared_rate as _share
from quebert.mediator import DelayOnErrorMediator


async def main(
    reactor: object, url: str, queue: str, rate: str, most: str, period: str
) -> None:
    """
    Mediate until killed.
    """
    _share.PERIOD = float(period)
    client = TxAMQPClient.from_url(url)
    mediator = DelayOnErrorMediator()
    watcher: Watcher = await client.watch(
        "",
        queue,
        "",
        mediator.messageReceived,
        maxEvents=int(most),
        options=WatchOptions(rate=rate),
    )
    sys.stdout.write("ready\n")
    while True:
        await watcher._deliveries._settlement.wait(0.1)
        sys.stdout.write(f"{watcher.pace}\n")


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])
