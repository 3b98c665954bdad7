"""
A mediator that backs off exponentially, with hooks and three priorities.  It needs a
broker: a RabbitMQ, or quebert's own, to try it::

    $ quebert broker
    broker     amqp://guest:guest@127.0.0.1:5672/

Start it by hand::

    $ python examples/med.py
    … Watching 'high-priority-queue'.

or with twistd, which also stops it properly::

    $ twistd -n quebert --config=examples.med.config
    … Watching 'high-priority-queue'.

Tasks come from exchange ``flow``; see add_tasks.py.
"""

import sys

from twisted.internet import reactor
from twisted.logger import Logger
from twisted.python import log

from quebert import amqp, mediator
from quebert.config import default_amqp_url

logger = Logger()

EXCHANGE = "flow"
QUEUES = [
    # (routing key, queue, how many of its tasks are in flight at once)
    ("tasks.high", "high-priority-queue", 5),
    ("tasks.medium", "medium-priority-queue", 5),
    ("tasks.low", "low-priority-queue", 5),
]


def about_to_execute(task):
    """
    A pre-hook: it may change the task, or filter it with task["filter"] = True.
    """
    logger.info(
        "About to execute {uuid}: {url}", uuid=task.get("uuid"), url=task["url"]
    )


async def executed(task, result):
    """
    A post-hook: called after a success. Hooks may be plain functions, return a
    Deferred, or be ``async def``.
    """
    logger.info("Result of {uuid}: {result}", uuid=task.get("uuid"), result=result)


def watching(watcher):
    """
    Called once for each watch when the broker delivers to it.
    """
    logger.info("Watching {queue!r}.", queue=watcher.queue)


def disconnected(failure):
    """
    Called once for each watch when the broker goes away. There is nothing to
    do: the connection is made again.
    """
    logger.warn("Lost the broker: {why}", why=failure.getErrorMessage())


def watch_all(amqp_url, default_url="http://localhost:8000/"):
    """
    Watch the three queues, and return the client.
    """
    med = mediator.DelayOnErrorMediator(
        defaulturl=default_url, constant=1.5, maxDelay=120
    )
    med.add_prehook(about_to_execute)
    med.add_posthook(executed)

    client = amqp.TxAMQPClient.from_url(amqp_url)
    for key, queue, max_events in QUEUES:
        client.watch(
            EXCHANGE,
            queue,
            key,
            med.messageReceived,
            onDisconnect=disconnected,
            maxEvents=max_events,
        ).addCallbacks(watching, log.err)
    return client


def config(options):
    """
    For twistd: called with its options; what it returns is called at the end.
    """
    client = watch_all(options["amqp-url"], options["default-url"])
    return lambda: client.stop(options["grace"])


if __name__ == "__main__":
    log.startLogging(sys.stdout)
    reactor.callLater(0, watch_all, default_amqp_url())
    reactor.run()
