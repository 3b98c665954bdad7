"""
Where the race takes place: a broker and web servers of one's own, and what
watches a dispatcher from outside.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

import attrs
from letters import MARK, Letter, channel_to, fill, pace, state, take
from roster import Peer
from tree import Memory, cpu, memory
from web import Arrivals, StageError, Web, running, web_server

from quebert.testing import RabbitMQNode

#: Tasks that may be with a dispatcher at once.
CONCURRENCY = 50
#: Seconds in which a dispatcher must start, and in which its queue must be empty.
PATIENCE = 30.0
# Slower than this, tasks a second, is nothing to wait for.
_SLOWEST = 150.0
# Seconds after the last request for its acknowledgement to reach the broker.
_SETTLE = 0.5


@attrs.frozen
class Clock:
    """
    What had been used at one moment.

    @ivar requests: that the web server had seen.
    @ivar wall: a time, in nanoseconds.
    @ivar dispatcher: nanoseconds of CPU, as are the other two.
    """

    requests: int
    wall: int
    dispatcher: int
    broker: int
    web: int


@attrs.frozen
class Measurement:
    """
    One interval of one dispatcher at work.

    @ivar tasks: requests that the web server saw in it.
    @ivar seconds: how long it was.
    @ivar cpu: seconds of CPU, user and kernel, of the dispatcher's processes.
    @ivar broker: the same of the broker's, and C{web} of the web server's.
    @ivar rss: bytes that the dispatcher's processes held at its end.
    @ivar pss: the same, each shared page divided among those who share it.
    """

    tasks: int
    seconds: float
    cpu: float
    broker: float
    web: float
    rss: int
    pss: int

    @classmethod
    def between(cls, begin: Clock, end: Clock, held: Memory) -> Measurement:
        """
        What passed between two moments.

        @raise StageError: no request did.
        """
        requests = end.requests - begin.requests
        if not requests:
            raise StageError(
                "too few tasks in a round to measure any: give more --tasks"
            )
        return cls(
            requests,
            (end.wall - begin.wall) / 1e9,
            (end.dispatcher - begin.dispatcher) / 1e9,
            (end.broker - begin.broker) / 1e9,
            (end.web - begin.web) / 1e9,
            held.rss,
            held.pss,
        )


@attrs.frozen
class Latency:
    """
    How long tasks took from their publication until their request was seen.

    @ivar tasks: how many were counted, those of the warm-up were not.
    @ivar p50: milliseconds that half of them took at most; C{p99} likewise.
    """

    tasks: int
    p50: float
    p99: float

    @classmethod
    def of(cls, arrivals: list[tuple[int, int]], warmup: int) -> Latency:
        """
        From the times, in nanoseconds, when tasks were sent and when they came.
        """
        steady = sorted(arrivals)[warmup:]
        took = sorted((came - sent) / 1e6 for sent, came in steady)
        return cls(len(took), took[len(took) // 2], took[len(took) * 99 // 100])

    @classmethod
    def median_of(cls, measured: list[Latency]) -> Latency:
        """
        The medians of several.
        """
        return cls(
            sum(each.tasks for each in measured),
            statistics.median(each.p50 for each in measured),
            statistics.median(each.p99 for each in measured),
        )


class Stage:
    """
    A broker and a web server, for as long as it is entered.

    @param web: the server; L{web_server} by default.
    """

    def __init__(self, web: Web | None = None) -> None:
        self._given = web
        self._exit = ExitStack()

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.node = stack.enter_context(RabbitMQNode())
            self.amqp = f"{self.node.url}%2F"
            self.broker = int(self.node.eval("list_to_integer(os:getpid())"))
            self.web = stack.enter_context(self._given or web_server())
            made = tempfile.TemporaryDirectory(prefix="quebert-stage-")
            self._folder = Path(stack.enter_context(made))
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit.close()

    def version(self) -> str:
        """
        The broker's version.
        """
        return self.node.ctl("version").strip()

    # -- What a dispatcher gets to do

    def _options(self, peer: Peer) -> list[str]:
        return ["--amqp", self.amqp, "--queue", _queue(peer)]

    def letter(self, peer: Peer, url: str) -> Letter:
        """
        What the peer's own producer makes of a task for this URL.
        """
        task = json.dumps({"url": url, "params": {"sent": MARK}})
        command = peer.command("publish", *self._options(peer), "--task", task)
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
        if done.returncode:
            said = done.stderr.decode(errors="replace")[-2000:]
            raise StageError(f"{peer.name} cannot publish: {said}")
        return take(self.amqp, _queue(peer))

    @contextmanager
    def worker(self, peer: Peer) -> Iterator[Worker]:
        """
        A dispatcher at work.
        """
        concurrency = ["--concurrency", str(CONCURRENCY)]
        command = peer.command("work", *self._options(peer), *concurrency)
        output = self._folder / peer.name
        with running(command, output) as process:
            worker = Worker(peer, process, output)
            try:
                yield worker
            except StageError as e:
                raise StageError(f"{peer.name}: {e}{worker.said()}") from e

    # -- CPU

    def measure(
        self, peer: Peer, letter: Letter, warmup: int, tasks: int
    ) -> Measurement:
        """
        Let a dispatcher work off a queue of C{warmup + tasks}, and measure what
        the C{tasks} cost.
        """
        total = warmup + tasks
        return self.measure_all(peer, letter, [(warmup, total)], total)[0]

    def measure_all(
        self, peer: Peer, letter: Letter, intervals: list[tuple[int, int]], total: int
    ) -> list[Measurement]:
        """
        The same with several intervals among C{total} tasks, in their order, each
        given by the numbers of its first task and the one after its last.
        """
        before = self.web.count()
        fill(self.amqp, _queue(peer), letter, total)
        with self.worker(peer) as worker:
            measured = [
                self.watched(worker, before + begin, before + end)
                for begin, end in intervals
            ]
            self._finished(worker, before + total)
            self._settled(peer)
        self._emptied(peer)
        _same(f"requests by {peer.name}", self.web.count() - before, total)
        return measured

    def _finished(self, worker: Worker, requests: int) -> None:
        seconds = PATIENCE + (requests - self.web.count()) / _SLOWEST
        self.web.wait(requests, worker.check, seconds)

    def watched(self, worker: Worker, first: int, last: int) -> Measurement:
        """
        What passes between two counts of requests.
        """
        begin = self._clock_at(worker, first)
        end = self._clock_at(worker, last)
        return Measurement.between(begin, end, memory(worker.pid))

    def _clock_at(self, worker: Worker, requests: int) -> Clock:
        self._finished(worker, requests)
        return self._clock(worker)

    def _clock(self, worker: Worker) -> Clock:
        count = self.web.count()
        return Clock(
            count,
            time.perf_counter_ns(),
            cpu(worker.pid),
            cpu(self.broker),
            cpu(self.web.pid),
        )

    def _settled(self, peer: Peer) -> None:
        """
        Give the last acknowledgements time to arrive.
        """
        time.sleep(_SETTLE)
        with channel_to(self.amqp) as channel:
            _same("tasks left in the queue", state(channel, _queue(peer))[0], 0)

    def _emptied(self, peer: Peer) -> None:
        """
        Make sure that all was acknowledged: what was not is back in the queue
        when it has no consumer any more.
        """
        deadline = time.monotonic() + PATIENCE
        with channel_to(self.amqp) as channel:
            while (now := state(channel, _queue(peer)))[1]:
                if time.monotonic() > deadline:
                    raise StageError(f"{peer.name} has ended, but still consumes")
                time.sleep(0.05)
        _same(f"tasks that {peer.name} has not acknowledged", now[0], 0)

    # -- Latency

    def latency(
        self, peer: Peer, rate: float, warmup: float, seconds: float
    ) -> Latency:
        """
        Publish C{rate} tasks a second while a dispatcher waits for them.

        @param warmup: seconds whose tasks are not counted; C{seconds} follow.
        """
        total = round(rate * (warmup + seconds))
        with Arrivals() as web:
            letter = self.letter(peer, web.url)
            with self.worker(peer) as worker:
                self.await_consumer(worker)
                with pacing(self.amqp, letter, rate, total) as pacer:
                    checks = _all_of(worker.check, pacer)
                    web.wait(total, checks, warmup + seconds + PATIENCE)
                self._settled(peer)
            self._emptied(peer)
            arrivals = web.arrivals()
        _same(f"requests by {peer.name}", len(arrivals), total)
        _same(f"different tasks requested by {peer.name}", len(dict(arrivals)), total)
        return Latency.of(arrivals, round(rate * warmup))

    def await_consumer(self, worker: Worker) -> None:
        """
        Wait until the dispatcher consumes.
        """
        deadline = time.monotonic() + PATIENCE
        with channel_to(self.amqp) as channel:
            while not state(channel, _queue(worker.peer))[1]:
                worker.check()
                if time.monotonic() > deadline:
                    raise StageError("it does not consume")
                time.sleep(0.05)


@attrs.frozen
class Worker:
    """
    A dispatcher at work.
    """

    peer: Peer
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def pid(self) -> int:
        """
        The process whose tree it is.
        """
        return self.process.pid

    def check(self) -> None:
        """
        @raise StageError: it has ended.
        """
        if self.process.poll() is not None:
            raise StageError(f"it has ended, with {self.process.returncode}")

    def said(self) -> str:
        """
        The end of its output, for a message.
        """
        said = self.output.read_text(errors="replace")[-2000:]
        return f"; it said: {said}" if said else ""


def _queue(peer: Peer) -> str:
    return f"bench-{peer.name}"


def _same(what: str, there: int, wanted: int) -> None:
    if there != wanted:
        raise StageError(f"{what}: {there}, not {wanted}")


def _all_of(check: Callable[[], None], pacer: BaseProcess) -> Callable[[], None]:
    """
    That check, and one that the producer has not failed.
    """

    def checks() -> None:
        check()
        if pacer.exitcode:
            raise StageError(f"the producer has ended, with {pacer.exitcode}")

    return checks


@contextmanager
def pacing(
    amqp: str, letter: Letter, rate: float, number: int
) -> Iterator[BaseProcess]:
    """
    A process of its own that publishes at steady times.
    """
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=pace, args=(amqp, letter, rate, number))
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join()
