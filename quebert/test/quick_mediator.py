"""
A mediator with quick retries, for twistd to run in the tests.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from quebert.amqp import TxAMQPClient
from quebert.mediator import DelayOnErrorMediator


def config(options: Any) -> Deferred[Any]:
    """
    Watch the queue that the environment names; stop it at the end.
    """
    client = TxAMQPClient.from_url(options["amqp-url"])
    mediator = DelayOnErrorMediator(defaulturl=options["default-url"], maxDelay=0.05)
    watching = client.watch(
        os.environ["EXCHANGE"],
        os.environ["QUEUE"],
        "#",
        mediator.messageReceived,
        maxEvents=20,
    )
    watching.addCallback(lambda watcher: Logger().info("Watching"))
    return watching.addCallback(lambda _: lambda: client.stop(options["grace"]))
