"""
A mediator with a rate, in a process of its own, to be killed: with the broker's URL,
the queue, the rate, how many tasks it has at once, and how many seconds pass between
two looks at who else shares the rate.  It writes when each task begins.
"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react

from quebert.amqp import Message, TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.coordination import _sharing as _share
from quebert.mediator import DelayOnErrorMediator
from quebert.outcome import Outcome


async def main(
    reactor: IReactorTime, url: str, queue: str, rate: str, most: str, period: str
) -> None:
    """
    Mediate until killed.
    """
    _share.PERIOD = float(period)
    client = TxAMQPClient.from_url(url)
    mediator = DelayOnErrorMediator()

    def received(message: Message) -> Deferred[Outcome]:
        sys.stdout.write(f"began {reactor.seconds()!r}\n")
        return mediator.messageReceived(message)

    watcher: Watcher = await client.watch(
        "",
        queue,
        "",
        received,
        maxEvents=int(most),
        options=WatchOptions(rate=rate),
    )
    sys.stdout.write("ready\n")
    while True:
        await watcher._deliveries.waits.wait(0.1)
        sys.stdout.write(f"{watcher.pace}\n")


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])
