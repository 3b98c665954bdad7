"""
What a consumed and acknowledged message costs: quebert.amqp beside its peers.

``make consume`` starts a RabbitMQ of its own and has each client consume the same
number of small persistent messages, prefetch 200, in a process of its own, in
turns; it prints the medians of CPU time per message, which other load on the
machine disturbs little, and of messages per second, which it does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

MESSAGES = 20_000
PREFETCH = 200
ROUNDS = 5
QUEUE = "bench"


class Meter:
    """
    Counts messages, and tells when all have come and what they cost.
    """

    def __init__(self, wanted: int) -> None:
        self.left = wanted
        self._wanted = wanted
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def one(self) -> bool:
        """
        Count one; tells whether it was the last.
        """
        self.left -= 1
        return not self.left

    def result(self) -> str:
        """
        Microseconds of CPU for each message, and messages for each second.
        """
        cpu = (time.process_time() - self._cpu) / self._wanted * 1e6
        rate = self._wanted / (time.perf_counter() - self._wall)
        return json.dumps({"cpu": cpu, "rate": rate})


# -- The clients: each consumes and acknowledges until the meter is full


def quebert(url: str, wanted: int) -> str:
    """
    quebert.amqp
    """
    from twisted.internet import reactor as global_reactor

    from quebert.amqp import TxAMQPClient

    reactor: Any = global_reactor

    meter = Meter(wanted)

    def callback(message: Any) -> None:
        if meter.one():
            reactor.callLater(0, reactor.stop)

    client = TxAMQPClient.from_url(url)
    client.watch("", QUEUE, "", callback, maxEvents=PREFETCH)
    reactor.run()
    return meter.result()


def txamqp(url: str, wanted: int) -> str:
    """
    txamqp, stock
    """
    from twisted.internet import reactor as global_reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
    from txamqp.client import TwistedDelegate
    from txamqp.protocol import AMQClient

    from quebert.amqp.wire import SPEC  # it brings none of its own
    from quebert.config import Broker

    class Delegate(TwistedDelegate):  # type: ignore[misc]
        def connection_start(self, channel: Any, message: Any) -> None:
            channel.connection_start_ok(
                mechanism="PLAIN", response=self.client.response, locale="en_US"
            )

    reactor: Any = global_reactor
    broker = Broker.from_url(url)

    async def consume() -> str:
        client = AMQClient(Delegate(), broker.vhost, SPEC, heartbeat=30)
        client.send_init_string = lambda: client.transport.write(b"AMQP\0\0\x09\x01")
        address = broker.addresses[0]
        endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
        await connectProtocol(endpoint, client)
        client.response = f"\0{broker.username}\0{broker.password}"
        await client.started.wait()
        zero = await client.channel(0)
        await zero.connection_open(virtual_host=broker.vhost)
        channel = await client.channel(1)
        await channel.channel_open()
        await channel.basic_qos(prefetch_count=PREFETCH)
        await channel.basic_consume(queue=QUEUE, consumer_tag="bench")
        messages = await client.queue("bench")
        meter = Meter(wanted)
        while True:
            message = await messages.get()
            channel.basic_ack(message.delivery_tag)
            if meter.one():
                return meter.result()

    results: list[str] = []

    def start() -> None:
        done = Deferred.fromCoroutine(consume()).addCallback(results.append)
        done.addErrback(lambda failure: failure.printTraceback())
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()
    return results[0]


def pika(url: str, wanted: int) -> str:
    """
    pika, blocking
    """
    from pika import BlockingConnection, URLParameters

    channel = BlockingConnection(URLParameters(url + "%2f")).channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    meter = Meter(wanted)
    for method, _, _ in channel.consume(QUEUE):
        channel.basic_ack(method.delivery_tag)
        if meter.one():
            break
    return meter.result()


def aio_pika(url: str, wanted: int) -> str:
    """
    aio-pika
    """
    import asyncio

    from aio_pika import connect

    async def consume() -> str:
        connection = await connect(url)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(QUEUE)
        done = asyncio.Event()
        meter = Meter(wanted)

        async def callback(message: Any) -> None:
            await message.ack()
            if meter.one():
                done.set()

        await queue.consume(callback)
        await done.wait()
        return meter.result()

    return asyncio.run(consume())


CLIENTS: dict[str, Callable[[str, int], str]] = {
    each.__name__: each for each in (quebert, pika, aio_pika, txamqp)
}


# -- The race


def fill(url: str, number: int) -> None:
    """
    Put that many small persistent tasks into an empty queue.
    """
    from pika import BasicProperties, BlockingConnection, URLParameters

    connection = BlockingConnection(URLParameters(url + "%2f"))
    channel = connection.channel()
    channel.queue_delete(QUEUE)
    channel.queue_declare(QUEUE, durable=True)
    properties = BasicProperties(delivery_mode=2, content_type="application/json")
    for n in range(number):
        body = b'{"url": "http://localhost:8000/", "params": {"n": %d}}' % n
        channel.basic_publish("", QUEUE, body, properties)
    channel.queue_declare(QUEUE, passive=True)
    connection.close()


def measure(url: str, name: str, number: int) -> dict[str, float]:
    """
    One round of one client, in a process of its own.
    """
    fill(url, number)
    command = [sys.executable, __file__, "--client", name, "--url", url]
    command += ["--messages", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"{name} failed: {done.stderr[-2000:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def race(rounds: int, number: int) -> None:
    """
    Let them all run in turns, and print the medians.
    """
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from quebert.testing import RabbitMQNode

    results: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
    with RabbitMQNode() as node:
        turns = [name for _ in range(rounds) for name in CLIENTS]
        for name in track(turns, f"{rounds} rounds of {number} messages"):
            results[name].append(measure(node.url, name, number))
    table = Table("", "CPU µs a message", "messages/s", "CPU, quebert = 1")
    own = statistics.median(each["cpu"] for each in results["quebert"])
    for name, rows in results.items():
        cpu = statistics.median(row["cpu"] for row in rows)
        rate = statistics.median(row["rate"] for row in rows)
        title = (CLIENTS[name].__doc__ or name).strip()
        table.add_row(title, f"{cpu:.1f}", f"{rate:,.0f}", f"{cpu / own:.1f}")
    Console().print(table)


def main() -> None:
    """
    The race, or, with C{--client}, one round.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--client", choices=CLIENTS)
    parser.add_argument("--url")
    options = parser.parse_args()
    if options.client:
        sys.stdout.write(CLIENTS[options.client](options.url, options.messages) + "\n")
    else:
        race(options.rounds, options.messages)


if __name__ == "__main__":
    main()
