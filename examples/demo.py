"""
quebert in a minute: ``make demo``.

Starts a broker of its own, an executor and a mediator; adds 300 tasks, of
which some fail twice before they succeed and some expire; shows them being
done, and ends with a summary that adds up, or with exit status 1.

The broker is the embedded one. On a RabbitMQ::

    $ python examples/demo.py --rabbitmq
    broker    a RabbitMQ at amqp://guest:guest@127.0.0.1:…/
    …
    It adds up. …
"""

import argparse
import random
import sys
from collections import Counter
from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react

from quebert.amqp import TxAMQPClient
from quebert.errors import QuebertError
from quebert.executor import ExecutorService
from quebert.mediator import DelayOnErrorMediator
from quebert.producer import Producer
from quebert.testing import EmbeddedBroker, RabbitMQNode

TASKS = 300
AT_ONCE = 20
#: Of ten tasks, how many go which way; the rest succeeds at once.
FAILS_TWICE, EXPIRES = 2, 1
TTL = 1  # second, of those that expire

console = Console()


class Work:
    """
    What the executor does: it works a little, or fails, as the task says.
    """

    def __init__(self, reactor):
        self.reactor = reactor
        self.answers = Counter()

    async def __call__(self, task):
        await deferLater(self.reactor, random.uniform(0.02, 0.2))
        failures = task.get("failures", 0)
        if failures < task["params"]["fails"]:
            self.answers["500"] += 1
            raise RuntimeError("not today")
        self.answers["200"] += 1
        return {"greeting": f"hello from task {task['params']['n']}"}


def plan(n):
    """
    How often task n fails, and the time it has.
    """
    kind = n % 10
    if kind < FAILS_TWICE:
        return {"fails": 2, "ttl": 0}
    if kind < FAILS_TWICE + EXPIRES:
        return {"fails": 1000, "ttl": TTL}
    return {"fails": 0, "ttl": 0}


async def add_tasks(client):
    """
    Add them all; each call returns when the broker has confirmed the task.
    """
    producer = Producer(client)
    adding = []
    for n in range(TASKS):
        fails, ttl = plan(n).values()
        adding.append(producer.add_task("/work", {"n": n, "fails": fails}, ttl=ttl))
    return await gatherResults(adding)


async def demo(reactor, broker):
    """
    Run it, and give what became of the tasks.
    """
    work = Work(reactor)
    executor = ExecutorService(work, port=0, reactor=reactor)
    executor.startService()
    url = f"http://127.0.0.1:{executor.port_number}/"
    console.print(f"[bold]executor[/]  an HTTP server at {url}")

    client = TxAMQPClient.from_url(broker.url)
    mediator = DelayOnErrorMediator(defaulturl=url, constant=1.2, maxDelay=2)
    watcher = await client.watch(
        "flow", "tasks", "tasks.#", mediator.messageReceived, maxEvents=AT_ONCE
    )
    console.print(f"[bold]mediator[/]  takes up to {AT_ONCE} tasks at once\n")

    uuids = await add_tasks(client)
    await until_done(reactor, watcher)
    await client.stop()
    await executor.stopService()
    return len(set(uuids)), watcher.counts, work.answers


async def until_done(reactor, watcher):
    """
    Show the progress until every task has come to its end.
    """
    done = Deferred()
    with Progress(
        TextColumn("[bold]tasks[/]    "),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[green]{task.fields[done]} done[/]"),
        TextColumn("[yellow]{task.fields[retried]} retries[/]"),
        TextColumn("[red]{task.fields[discarded]} expired[/]"),
        console=console,
    ) as progress:
        bar = progress.add_task("", total=TASKS, done=0, retried=0, discarded=0)

        def show():
            c = watcher.counts
            ended = c.done + c.discarded
            progress.update(
                bar,
                completed=ended,
                done=c.done,
                retried=c.retried,
                discarded=c.discarded,
            )
            if ended >= TASKS and not done.called:
                done.callback(None)

        showing = LoopingCall(show)
        showing.start(0.05)
        await done.addTimeout(60, reactor)
        showing.stop()


def summary(broker, added, counts, answers):
    """
    Print it, and tell whether it adds up.
    """
    plans = [plan(n) for n in range(TASKS)]
    expiring = sum(1 for each in plans if each["ttl"])
    requests = sum(answers.values())
    rows = [
        ("tasks added, each confirmed by the broker", added, TASKS),
        ("done", counts.done, TASKS - expiring),
        (f"expired after {TTL} s, discarded", counts.discarded, expiring),
        ("retries, one for each answer 500", counts.retried, answers["500"]),
        ("requests made", requests, counts.done + counts.retried),
        ("deliveries", counts.received, counts.done + counts.retried + expiring),
        ("left in the queue", sum(broker.depths().values()), 0),
    ]
    table = Table("", "seen", "expected", "", show_edge=False)
    for what, seen, expected in rows:
        right = seen == expected
        table.add_row(what, str(seen), str(expected), "✓" if right else "✗")
    console.print()
    console.print(table)
    return all(seen == expected for _, seen, expected in rows)


def run(broker):
    """
    All of it, on a broker that runs.
    """
    results = []

    async def noting(reactor):
        results.extend(await demo(reactor, broker))

    try:
        react(lambda reactor: Deferred.fromCoroutine(noting(reactor)))
    except SystemExit as e:
        if e.code:
            raise
    if not summary(broker, *results):
        sys.exit("\nIt does not add up: that is a bug.")
    console.print(
        "\n[green]It adds up.[/] Next: README.rst, or examples/med.py and"
        " examples/executor.py."
    )


def main():
    """
    The whole demonstration.
    """
    parser = argparse.ArgumentParser(description="quebert in a minute")
    parser.add_argument(
        "--rabbitmq", action="store_true", help="on a RabbitMQ, which must be installed"
    )
    try:
        if parser.parse_args().rabbitmq:
            kind, broker = "a RabbitMQ", RabbitMQNode()
        else:
            kind, broker = "the embedded one,", EmbeddedBroker()
        with ExitStack() as stack:
            with console.status("starting a broker of our own"):
                stack.enter_context(broker)
            console.print(f"[bold]broker[/]    {kind} at {broker.url}")
            run(broker)
    except QuebertError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
