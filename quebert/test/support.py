"""
Doubles and helpers for the tests that cross real sockets.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pika
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from twisted.protocols.portforward import ProxyFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from quebert.amqp import WatchOptions
from quebert.test.contract import patience
from quebert.test.forking import fork
from quebert.testing import EmbeddedBroker, RabbitMQNode, free_port

#: Seconds: far more than anything takes, for what is waited for.
PATIENCE = 60.0
# Seconds between two turns of the reactor, at most, while L{Stalls} is entered.
_BEAT = 0.02
#: The exit code of twistd after a usage error: before Twisted 26.4 it was 0.
USAGE_ERROR = int([*map(int, version("Twisted").split(".")[:2])] >= [26, 4])


def options_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """
    The arguments of C{TxAMQPClient.watch} for the fields of C{WatchOptions}, and for
    C{maxEvents} and C{onDisconnect}.
    """
    fields = dict(options)
    names = "maxEvents", "onDisconnect"
    own = {name: fields.pop(name) for name in names if name in fields}
    return {**own, "options": WatchOptions(**fields)}


async def until(
    condition: Callable[[], Any],
    patience: float = PATIENCE,
    shown: Callable[[], object] | None = None,
) -> Any:
    """
    Wait until C{condition()} is true, and give what it returned.

    @param shown: gives the state that a failure shows.
    """
    from twisted.internet import reactor

    deadline = reactor.seconds() + patience
    while not (value := condition()):
        if reactor.seconds() > deadline:
            state = "" if shown is None else f": {shown()}"
            raise AssertionError(f"did not come true in {patience} s{state}")
        await deferLater(reactor, 0.01)
    return value


@contextmanager
def logged(at_least: Any = LogLevel.debug) -> Iterator[list[str]]:
    """
    The lines that are logged in the block, from a level on.
    """
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] >= at_least:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


class Stalls:
    """
    When the machine did not let this process run, while this is entered: the reactor
    was to turn, and the process has used less of the processor than the time that it
    took.
    """

    def __init__(self) -> None:
        self._beats: list[tuple[float, float]] = []
        self._beating = LoopingCall(self._beat)

    def __enter__(self) -> Stalls:
        self._beating.start(_BEAT)
        return self

    def __exit__(self, *error: object) -> None:
        self._beating.stop()
        self._beat()

    def _beat(self) -> None:
        from twisted.internet import reactor

        self._beats.append((reactor.seconds(), time.process_time()))

    def between(self, begin: float, end: float) -> float:
        """
        How many seconds in all, of the stalls that were at least in part between two
        times of the reactor.
        """
        return sum(
            max(0.0, until - since - (used_until - used_since) - 2 * _BEAT)
            for (since, used_since), (until, used_until) in pairwise(self._beats)
            if since < end and until > begin
        )


async def until_empty(broker: EmbeddedBroker | RabbitMQNode, queue: str) -> None:
    """
    Wait until a queue holds nothing, neither ready nor delivered.  The broker is asked
    in a thread, so that an L{Executor} answers meanwhile.  What RabbitMQ says of quorum
    queues may be five seconds old.
    """
    from twisted.internet import reactor

    while (await deferToThread(broker.depths))[queue]:
        await deferLater(reactor, 0.1)


class _QuietSite(Site):
    noisy = False

    def log(self, request: object) -> None:
        """
        No access log.
        """


class Executor(Resource):
    """
    Answers every request as C{answer(task)} says: with a status, or with a
    Deferred of one.

    @ivar tasks: the bodies that came, decoded.
    @ivar bodies: as they came.
    @ivar headers: of each request, their names in lower case.
    @ivar most: how many requests were there at the same time at most.
    """

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.answer: Callable[[Any], Any] = lambda task: 200
        self.tasks: list[Any] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.now = 0
        self.most = 0
        # Linux tries again after a second where a connection finds no room.
        self._port = reactor.listenTCP(
            0, _QuietSite(self), backlog=1024, interface="127.0.0.1"
        )

    @property
    def url(self) -> str:
        """
        Where it is, without a slash at the end.
        """
        return f"http://127.0.0.1:{self._port.getHost().port}"

    def render(self, request: Request) -> int:
        """
        Ask C{answer}, and answer.
        """
        assert request.content is not None
        body = request.content.read()
        task = json.loads(body) if body else None
        self.bodies.append(body)
        headers = request.requestHeaders.getAllRawHeaders()
        self.headers.append({k.decode().lower(): v[-1].decode() for k, v in headers})
        self.tasks.append(task)
        self.now += 1
        self.most = max(self.most, self.now)
        request.notifyFinish().addBoth(self._over)
        answered: Deferred[int] = maybeDeferred(self.answer, task)
        answered.addCallback(self._write, request)
        return NOT_DONE_YET

    def _over(self, ignored: object) -> None:
        self.now -= 1

    def _write(self, status: int, request: Request) -> None:
        if not request._disconnected:
            request.setResponseCode(status)
            request.finish()

    async def close(self) -> None:
        """
        Listen no more.
        """
        await maybeDeferred(self._port.stopListening)


class Proxy(ProxyFactory):
    """
    Forwards connections to a port of this machine, as long as it is let.

    @ivar url: the AMQP URL of what is behind it.
    """

    noisy = False

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self._servers: list[Any] = []
        self._number = free_port()
        self._listening: Any = None
        self.listen()
        self.url = f"amqp://127.0.0.1:{self._number}/"

    def listen(self) -> None:
        """
        Accept connections.
        """
        from twisted.internet import reactor

        tcp: Any = reactor
        self._listening = tcp.listenTCP(self._number, self, interface="127.0.0.1")

    def buildProtocol(self, address: Any) -> Any:
        """
        Another connection.
        """
        self._servers.append(super().buildProtocol(address))
        return self._servers[-1]

    def hang(self) -> None:
        """
        Forward nothing any more over the connections that there are, as if
        the cable were out: neither side is told.
        """
        for each in self._ends():
            each.transport.pauseProducing()

    async def cut(self) -> None:
        """
        End all connections, and accept no others.
        """
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        for each in self._ends():
            each.transport.abortConnection()

    def _ends(self) -> list[Any]:
        peers = [server.peer for server in self._servers]
        return [each for each in self._servers + peers if each is not None]


def heed_sigint() -> None:
    """
    Have a new process end by SIGINT: a shell has what it runs in the background
    ignore it, the tests, too, and what they start.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Program:
    """
    A Python program of its own, with its output in a file.

    @param arguments: of the interpreter.
    @param environment: what differs from ours.
    """

    def __init__(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self._output = folder / "output"
        self._output.touch()
        self._process = fork(folder, arguments, {**os.environ, **environment})

    @property
    def output(self) -> str:
        """
        What it has said so far.
        """
        return self._output.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """
        Whether it has not ended.
        """
        return self._process.is_alive()

    @property
    def most_memory(self) -> int:
        """
        How many bytes of memory it has held at most (C{VmHWM}).
        """
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        [line] = (each for each in status.splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def signal(self, number: int) -> None:
        """
        Send it a signal.
        """
        pid = self._process.pid
        if self.running and pid is not None:
            os.kill(pid, number)

    def kill(self) -> None:
        """
        End it at once.
        """
        self._process.kill()
        self._process.join()

    async def said(self, text: str) -> None:
        """
        Wait until it has said C{text}.
        """

        def ended_or_said() -> bool:
            return text in self.output or not self.running

        try:
            await until(ended_or_said)
        finally:
            assert text in self.output, self.output

    async def ended(self) -> int:
        """
        Wait until it has ended, and give its exit status.
        """
        await until(lambda: self._process.exitcode is not None)
        return self._process.exitcode or 0


#: The function that says when RabbitMQ is short of something, with a limit that it
#: has passed, and one that it has not.
_ALARMS = {
    "memory": ("vm_memory_monitor:set_vm_memory_high_watermark", "0", "0.8"),
    "disk": ("rabbit_disk_monitor:set_disk_free_limit", '"1000000GB"', '"50MB"'),
}


@contextmanager
def short_of(resource: str, node: RabbitMQNode) -> Iterator[None]:
    """
    Have a RabbitMQ be short of C{memory} or C{disk} meanwhile.
    """
    function, passed, far = _ALARMS[resource]

    def set_limit(limit: str, alarmed: bool) -> None:
        node.eval(f"{function}({limit})")
        alarm, alarms = f"resource_limit,{resource}", "rabbit_alarm:get_alarms()"
        patience.until(lambda: (alarm in node.eval(alarms)) is alarmed)

    set_limit(passed, True)
    try:
        yield
    finally:
        set_limit(far, False)


def depth(channel: Any, queue: str) -> int:
    """
    How many messages are ready in a queue, as pika is told.
    """
    count: int = channel.queue_declare(queue, passive=True).method.message_count
    return count


def consumers(channel: Any, *queues: str) -> int:
    """
    How many consumers watched queues have, which are made if they are not there.
    """
    declared = (channel.queue_declare(queue, durable=True) for queue in queues)
    return sum(each.method.consumer_count for each in declared)


def publish(
    channel: Any, exchange: str, key: str, *bodies: bytes, **properties: Any
) -> None:
    """
    Publish, persistent and confirmed, with pika.
    """
    basic = pika.BasicProperties(**{"delivery_mode": 2, **properties})
    for body in bodies:
        channel.basic_publish(exchange, key, body, basic, mandatory=True)
