"""
What a task of the largest size that fails does to the tasks beside it.

    python bench/largest.py [--rounds 5]

A queue holds 200 tasks that fail once: alone, and with a task of 16 MiB among them that
fails three times. The two take turns. The time runs from the first request until the
small tasks are done, and until the large one is. The medians are told. It starts the
RabbitMQ that C{quebert.testing} finds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from web import running

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.queues import depth
from quebert.test.support import until
from quebert.testing import RabbitMQNode

#: Bytes that RabbitMQ 4 takes by default; here 3.10 takes no more, either.
LARGEST = 16 * 2**20
_CONFIGURATION = f"max_message_size = {LARGEST}\n"
#: How many fail once, and how often the large one does.
SMALL, FAILURES = 200, 3
_TWISTD = "from twisted.scripts.twistd import run; run()"
_TYPES = ("classic", "quorum")
_MEDIATORS = ("policy", "delay-on-error")
_HEADINGS = ("queue", "mediator", "alone", "with it", "the large one", "ratio")
_numbers = itertools.count()


@attrs.frozen
class Times:
    """
    Seconds since the first request.

    @ivar small: until all small tasks were done.
    @ivar large: until the large one was, if there was any.
    """

    small: float
    large: float


class Executor(Resource):
    """
    Fails each task as often as it should, and does not look into the body.

    @ivar url: where it is; the number of a task is the path.
    """

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # So many connections come at once.
        self._port = reactor.listenTCP(
            0, Site(self), backlog=2 * SMALL, interface="127.0.0.1"
        )
        self.url = f"http://127.0.0.1:{self._port.getHost().port}/"
        self._attempts: Counter[int] = Counter()
        self._begun = 0.0
        self._done: dict[int, float] = {}

    def render(self, request: Request) -> bytes:
        """
        Answer a request.
        """
        now, n = time.perf_counter(), int(request.path[1:])
        self._begun = self._begun or now
        self._attempts[n] += 1
        if self._attempts[n] <= (1 if n else FAILURES):
            request.setResponseCode(500)
        else:
            self._done[n] = now
        return b""

    def done(self, number: int) -> bool:
        """
        Whether so many tasks are.
        """
        return len(self._done) == number

    def times(self) -> Times:
        """
        When all were done.
        """
        large = self._done.pop(0, self._begun)
        return Times(max(self._done.values()) - self._begun, large - self._begun)

    async def close(self) -> None:
        """
        Listen no more.
        """
        await self._port.stopListening()


def task(url: str, n: int) -> bytes:
    """
    A task; number 0 is the large one.
    """
    body = json.dumps({"url": f"{url}{n}", "padding": ""}).encode()
    size = 0 if n else LARGEST - len(body)
    return body.replace(b'""', b'"%b"' % (b"x" * size))


@attrs.frozen
class Race:
    """
    Rounds of the two on one RabbitMQ.

    @ivar reactor: Twisted's.
    """

    node: RabbitMQNode
    reactor: Any

    async def run(self, kind: str, mediator: str, *, large: bool) -> Times:
        """
        One round of one of them.

        @param kind: the queue's type.
        @param mediator: C{policy} or C{delay-on-error}.
        """
        queue = f"largest-{next(_numbers)}"
        client = TxAMQPClient.from_url(self.node.url)
        executor = Executor(self.reactor)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            try:
                await self._fill(client, queue, kind, executor.url, large=large)
                command = self._command(folder, queue, kind, mediator)
                stack.enter_context(running(command, folder / "output"))
                await until(lambda: executor.done(SMALL + large))
                if await depth(await client.connected(), f"{queue}.dead") is not None:
                    raise AssertionError("a task was set aside")
            finally:
                await client.stop(grace=0)
                await executor.close()
        return executor.times()

    async def _fill(
        self, client: TxAMQPClient, queue: str, kind: str, url: str, *, large: bool
    ) -> None:
        watcher = await client.watch(
            "", queue, "", lambda _: None, options=WatchOptions(queue_type=kind)
        )
        await watcher.stop()
        half = SMALL // 2
        for numbers in (range(1, half + 1), range(large), range(half + 1, SMALL + 1)):
            sent = [client.publish("", queue, task(url, each)) for each in numbers]
            await gatherResults(sent)

    def _command(self, folder: Path, queue: str, kind: str, mediator: str) -> list[str]:
        file = folder / "largest.toml"
        file.write_text(
            f'[broker]\nurl = "amqp://127.0.0.1:{self.node.port}/"\n'
            f'[queues."{queue}"]\nkey = "{queue}"\nqueue_type = "{kind}"\n'
            f'mediator = "{mediator}"\n'
        )
        return [
            sys.executable,
            "-c",
            _TWISTD,
            "-n",
            "--pidfile=",
            "quebert",
            "-c",
            f"{file}",
        ]


def row(kind: str, mediator: str, alone: list[Times], beside: list[Times]) -> list[str]:
    """
    What is told of one kind of queue and mediator.
    """
    small, both = (statistics.median(t.small for t in ts) for ts in (alone, beside))
    large = statistics.median(t.large for t in beside)
    seconds = (f"{each:.2f} s" for each in (small, both, large))
    return [kind, mediator, *seconds, f"{both / small:.2f}"]


def tell(*columns: str) -> None:
    """
    Print a line of the table.
    """
    sys.stdout.write("".join(f"{each:16}" for each in columns).rstrip() + "\n")
    sys.stdout.flush()


async def measure(reactor: Any, rounds: int) -> None:
    """
    Measure, and show.
    """
    with RabbitMQNode(_CONFIGURATION) as node:
        race = Race(node, reactor)
        version = node.ctl("version").strip()
        tell(f"RabbitMQ {version}, medians of {rounds} rounds")
        tell(*_HEADINGS)
        for kind, mediator in itertools.product(_TYPES, _MEDIATORS):
            found: dict[bool, list[Times]] = {False: [], True: []}
            for _ in range(rounds):
                for large, times in found.items():
                    times.append(await race.run(kind, mediator, large=large))
            tell(*row(kind, mediator, found[False], found[True]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    options = parser.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(measure(reactor, options.rounds)))
