"""
Whether hostile tasks and executors harm good tasks.

    python bench/soak.py [--minutes 10] [--rate 2] [--without hangs,drips]

One mediator watches one queue, at its defaults (prefetch 100), but for two settings: a
request may take 20 seconds, and a task is tried three times, so that the load becomes
steady soon.  Good tasks are published at times that are fixed before, and their latency
counts from those times.  First there are good tasks alone; then, for every 20 of them,
one task of each hostile kind: in a queue that nobody reads ("published"), and in a
queue with a mediator of their own ("apart"), which shows how much of the latency comes
from RabbitMQ and from the load of the machine; then in the same queue.  Producers and
executors run on other machines where this is no test.  To imitate that, the producer
and the executor of good tasks never wait for a processor (root may have that), and the
hostile ones get the time that nobody else wants.

The exit status is 1 if a bound is broken: the p99 of good tasks is at most twice what
it is alone, the mediator does not end, its memory (RSS) stays under 300 MiB, no good
task is lost or done twice, and hostile tasks write at most 4 KB of log for each
attempt, on average.

The status is 2 if no bound is known to be broken and the p99 was too high, but the
mediator is not known to be the cause: it was too high while nobody read the hostile
tasks, too; or it is not too high without the good tasks that were slow to publish.  A
machine that is shared is slow at times, for milliseconds or minutes, whoever works on
it.  To publish a good task is the same work each time, so the processor time of that
tells when: it is more than twice the usual one then.  It is also 2 if the hostile tasks
came late, since nobody had time for them, or if nothing could be measured.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pika
from brokers import embedded
from hostile import EXECUTORS, run_when_idle
from letters import channel_to, state
from race import console
from rich.table import Table
from web import Arrivals, StageError, running

from quebert.testing import RabbitMQNode, free_port

QUEUE, APART, UNREAD = "tasks", "hostile", "unread"
#: Messages of the queue that nobody reads; RabbitMQ drops older ones.
MOST_UNREAD = 10
ATTEMPTS, TIMEOUT = 3, 20
CONFIGURATION = f"""\
[broker]
url_env = "QUEBERT_SOAK_URL"

[queues.%s]
exchange = ""
timeout = {TIMEOUT}
retry = {{ max_attempts = {ATTEMPTS} }}
"""
#: The bounds.
TIMES_AS_LONG, MEMORY, LOG = 2.0, 300 * 2**20, 4_000
#: How many times as long as usual it may take to publish a good task.
SLOW = 2.0
#: Seconds that a hostile task may be published late.
MOST_LATE = 1.0
#: Seconds from the first task whose latency counts, and after the last one.
LEAD, PATIENCE = 3.0, 120.0
#: How many of the slowest good tasks are shown, and the seconds before them in which
#: hostile tasks are.
SLOWEST, BEFORE = 10, 0.2
#: Of the times at which hostile tasks are published.
SEED = 16
MIB = 2**20


# -- What is published

_RECORD = {"id": 123_456, "name": "Ünal & Söhne", "tags": ["a", "b"], "price": 12.5}
_LARGE = json.dumps([_RECORD] * (2 * MIB // len(json.dumps(_RECORD)))).encode()
_UNREQUESTABLE = ("{x}", "a|b", "a<b", "a\\b", "0x7f.1", "12345678901234567890", "a..b")
_INJECTIONS: Sequence[dict[str, Any]] = (
    {"headers": {"X-Name": "a\r\nHost: evil.example"}},
    {"headers": {"X-Na\x1b[2Jme": "a"}},
    {"headers": {"Host": "evil.example"}},
    {"headers": {"Transfer-Encoding": "chunked"}},
    {"method": "POST / HTTP/1.1\r\nX: "},
    {"uuid": "\x1b]0;title\x07" * 10},
    {"url": "http://localhost/\r\nX-Name: a"},
    {"url": "http://\u202elocalhost/\x9b2J"},
)

Body = Callable[[str, int], bytes]


def _task(url: str, number: int, **fields: Any) -> bytes:
    return json.dumps({"url": url, "uuid": str(uuid.uuid4()), **fields}).encode()


def _with(params: bytes) -> Body:
    """
    A task with these parameters, which are large.
    """

    def body(url: str, number: int) -> bytes:
        return b'%b,"params":%b}' % (_task(url, number)[:-1], params)

    return body


def _unrequestable(url: str, number: int) -> bytes:
    return _task(f"http://{_UNREQUESTABLE[number % len(_UNREQUESTABLE)]}/", number)


def _injection(url: str, number: int) -> bytes:
    return _task(**{"url": url, "number": number, **_INJECTIONS[number % 8]})


#: What hostile tasks say.  The URL that each is given leads to the executor of the
#: same name, or else nowhere.
BODIES: dict[str, Body] = {
    "long-url": lambda url, n: _task(url + "x" * 65_536, n),
    "depth": _with(b"[" * (3 * MIB // 2) + b"]" * (3 * MIB // 2)),
    "count": _with(b"[%b0]" % (b"[]," * MIB)),
    "commas": _with(b'[%b"",0]' % (b'"[,[,[,[,[,",' * (3 * MIB // 13))),
    "large": _with(_LARGE),
    "unrequestable": _unrequestable,
    "forbidden": lambda url, n: _task("http://169.254.169.254/latest/", n),
    "injection": _injection,
    "early": _with(b'"%b"' % (b"x" * MIB)),
}
KINDS = list(dict.fromkeys([*BODIES, *EXECUTORS]))
#: Those whose tasks are done, in one attempt, as good ones are.
DONE = ("large", "commas")


@attrs.frozen
class Load:
    """
    What is published, from the time C{begin} on, in nanoseconds since the epoch.

    @ivar rate: good tasks a second.
    @ivar share: hostile tasks of each kind for each of these.
    @ivar urls: where the tasks of each hostile kind lead.
    @ivar good: where the others lead.
    @ivar queue: where the hostile tasks are published to.
    @ivar costs: the file for what each of the good tasks has cost its producer, in
        nanoseconds.
    @ivar lateness: the file for how late a hostile task was published at most,
        likewise.
    """

    amqp: str
    begin: int
    seconds: float
    rate: float
    share: float
    good: str
    urls: dict[str, str]
    queue: str
    costs: Path
    lateness: Path

    @property
    def dues(self) -> list[int]:
        """
        When each of the good tasks is due.
        """
        times = range(round(self.rate * self.seconds))
        return [self.begin + round(n * 1e9 / self.rate) for n in times]

    @property
    def of_each(self) -> int:
        """
        How many tasks there are of each hostile kind.
        """
        return round(self.rate * self.share * self.seconds)

    @property
    def hostile_dues(self) -> list[tuple[int, str]]:
        """
        When each of the hostile tasks is due, and its kind: one kind after the other,
        each at a random time of its part of the interval.  With fixed times, some kinds
        and their retries would always come together with a good task, and others never.
        """
        step = self.seconds * 1e9 / max(self.of_each, 1)
        part = step / max(len(self.urls), 1)
        chance = random.Random(SEED)
        return [
            (self.begin + round(number * step + (place + chance.random()) * part), kind)
            for number in range(self.of_each)
            for place, kind in enumerate(self.urls)
        ]

    def publish_good(self) -> None:
        """
        Publish the good tasks, in a process of its own.
        """
        run_at_once(0)
        costs = []
        with _publishing(self.amqp, QUEUE) as publish:
            for due in self.dues:
                _sleep_until(due)
                began = time.thread_time_ns()
                publish(_task(self.good, 0, params={"sent": due}))
                costs.append(time.thread_time_ns() - began)
        self.costs.write_text(json.dumps(costs))

    def publish_hostile(self) -> None:
        """
        Publish the others.
        """
        run_when_idle()
        latest = 0
        with _publishing(self.amqp, self.queue) as publish:
            for n, (due, kind) in enumerate(self.hostile_dues):
                number = n // len(self.urls)
                body = BODIES.get(kind, _task)(self.urls[kind], number)
                _sleep_until(due)
                publish(body)
                latest = max(latest, time.time_ns() - due)
        self.lateness.write_text(str(latest))


@contextmanager
def _publishing(amqp: str, queue: str) -> Iterator[Callable[[bytes], None]]:
    properties = pika.BasicProperties(delivery_mode=2)
    with channel_to(amqp) as channel:
        yield lambda body: channel.basic_publish("", queue, body, properties)


def _sleep_until(due: int) -> None:
    time.sleep(max(0.0, (due - time.time_ns()) / 1e9))


def run_at_once(pid: int) -> bool:
    """
    Have a process never wait for a processor.

    @return: whether that is permitted.
    """
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


# -- The run


@attrs.frozen
class Found:
    """
    What became of one run.

    @ivar every: the good tasks: the latency of each, in ms, and what it has cost its
        producer, in nanoseconds; the quickest first.
    @ivar lost: how many of the good tasks were not done; C{again}: how often one was
        done again.
    @ivar rss: bytes that the mediator held, at most.
    @ivar cpu: seconds of CPU that the mediator has used, of each.
    @ivar log: bytes that it has logged.
    @ivar requests: how many there were to each hostile executor.
    @ivar dead: how many tasks were set aside.
    @ivar slowest: the slowest good tasks: the latency in ms, and how many ms before
        each hostile task was due, of the last ones.
    @ivar latest: seconds that a hostile task was published late, at most.
    """

    every: list[tuple[float, int]]
    lost: int
    again: int
    rss: int
    cpu: float
    log: int
    requests: dict[str, int]
    dead: int
    slowest: list[tuple[float, list[tuple[float, str]]]]
    latest: float

    @property
    def usual(self) -> float:
        """
        What a good task usually cost its producer, in nanoseconds.
        """
        return statistics.median([cost for _, cost in self.every] or [0])

    def steady(self, usual: float) -> list[float]:
        """
        The latencies of the good tasks that were not slow to publish.

        @param usual: what that usually costs.
        """
        return [ms for ms, cost in self.every if cost <= SLOW * usual]

    def part(self, part: float, usual: float = math.inf) -> float:
        """
        The latency that so great a part of the good tasks had at most.

        @param usual: leaves out those that were slow to publish.
        """
        took = self.steady(usual)
        return took[min(int(len(took) * part), len(took) - 1)] if took else 0.0


class Soak:
    """
    A broker, the executors, and where the mediator stores its files.
    """

    def __init__(self, amqp: str, kinds: Sequence[str], folder: Path) -> None:
        self.amqp = amqp
        self.ports = {kind: free_port() for kind in kinds}
        self._folder = folder
        for queue in (QUEUE, APART):
            self._configuration(queue).write_text(CONFIGURATION % queue)
        os.environ["QUEBERT_SOAK_URL"] = amqp

    def _configuration(self, queue: str) -> Path:
        return self._folder / f"{queue}.toml"

    def hostile(self) -> list[str]:
        """
        The command that starts the hostile executors.
        """
        pairs = [f"{k}={port}" for k, port in self.ports.items() if k in EXECUTORS]
        return [sys.executable, str(Path(__file__).with_name("hostile.py")), *pairs]

    def run(
        self, name: str, rate: float, share: float, seconds: float, queue: str = QUEUE
    ) -> Found:
        """
        Have good tasks published, and hostile ones for a C{share} of them.

        @param queue: where the hostile ones are published to.
        """
        with ExitStack() as stack:
            web = stack.enter_context(Arrivals())
            if not run_at_once(web.pid):
                console.print("Good tasks may wait for a processor, as others do.")
            stack.enter_context(running(self.hostile(), self._folder / "hostile.log"))
            log = self._folder / f"{name}.log"
            mediator = stack.enter_context(self._mediator(QUEUE, log))
            if queue == UNREAD:
                self._declare_unread()
            elif queue != QUEUE:
                aside = self._folder / f"{name}-{queue}.log"
                stack.enter_context(self._mediator(queue, aside))
            urls = {k: f"http://127.0.0.1:{p}/{k}" for k, p in self.ports.items()}
            load = Load(
                self.amqp,
                time.time_ns() + 3 * 10**9,
                LEAD + seconds,
                rate,
                share,
                web.url,
                urls if share else {},
                queue,
                self._folder / f"{name}.costs",
                self._folder / f"{name}.lateness",
            )
            self._publish(load, mediator, stack)
            done = web.count
            self._await_all(load, done, mediator)
            arrivals = web.arrivals()
            requests = self._requests() if share else {}
            return self._found(load, arrivals, requests, mediator.pid, log)

    def _declare_unread(self) -> None:
        most = {"x-max-length": MOST_UNREAD}
        with channel_to(self.amqp) as channel:
            channel.queue_declare(UNREAD, durable=True, arguments=most)

    @contextmanager
    def _mediator(self, queue: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """
        A mediator that watches a queue.
        """
        twistd = "from twisted.scripts.twistd import run; run()"
        command = [sys.executable, "-c", twistd, "-n", "--pidfile=", "quebert"]
        command.append(f"--config={self._configuration(queue)}")
        with running(command, log) as mediator:
            self._await_consumer(queue, mediator)
            yield mediator

    def _await_consumer(self, queue: str, mediator: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        with channel_to(self.amqp) as channel:
            channel.queue_declare(queue, durable=True)
            while not state(channel, queue)[1]:
                _check(mediator)
                if time.monotonic() > deadline:
                    raise MediatorFailed("The mediator does not consume.")
                time.sleep(0.05)

    def _publish(
        self, load: Load, mediator: subprocess.Popen[bytes], stack: ExitStack
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        targets = (load.publish_good, load.publish_hostile)
        publishers = [spawn.Process(target=each) for each in targets]
        for each in publishers:
            each.start()
            stack.callback(each.join)
            stack.callback(each.terminate)
        minute = 0
        while any(each.is_alive() for each in publishers):
            _check(mediator)
            time.sleep(1)
            passed = int((time.time_ns() - load.begin) / 60e9)
            if passed > minute:
                minute = passed
                held = _status(mediator.pid)["VmRSS"] / MIB
                with channel_to(self.amqp) as channel:
                    ready = state(channel, QUEUE)[0]
                console.print(f"minute {minute}: {held:.0f} MiB, {ready} tasks ready")
        if any(each.exitcode for each in publishers):
            raise StageError("a producer has failed")

    def _await_all(
        self, load: Load, done: Callable[[], int], mediator: subprocess.Popen[bytes]
    ) -> None:
        """
        Wait until as many requests for good tasks were made as there are, and the
        queue is empty; or for long.
        """
        deadline = time.monotonic() + PATIENCE
        with channel_to(self.amqp) as channel:
            while done() < len(load.dues) or any(
                state(channel, queue)[0] for queue in {QUEUE, load.queue} - {UNREAD}
            ):
                _check(mediator)
                if time.monotonic() > deadline:
                    break
                time.sleep(0.2)

    def _requests(self) -> dict[str, int]:
        return {k: _count(port) for k, port in self.ports.items() if k in EXECUTORS}

    def _found(
        self,
        load: Load,
        arrivals: list[tuple[int, int]],
        requests: dict[str, int],
        pid: int,
        log: Path,
    ) -> Found:
        dues = load.dues
        counted = Counter(due for due, _ in arrivals)
        first = dict(reversed(arrivals))
        measured = [due for due in dues if due >= load.begin + LEAD * 1e9]
        took = {d: (first[d] - d) / 1e6 for d in measured if d in first}
        costs = dict(zip(dues, json.loads(load.costs.read_text()), strict=True))
        return Found(
            sorted((ms, costs[due]) for due, ms in took.items()),
            sum(due not in counted for due in dues),
            sum(number - 1 for number in counted.values()),
            _status(pid)["VmHWM"],
            _cpu(pid) / load.seconds,
            log.stat().st_size,
            requests,
            self._dead(load.queue),
            _slowest(took, load.hostile_dues),
            int(load.lateness.read_text()) / 1e9,
        )

    def _dead(self, queue: str) -> int:
        with channel_to(self.amqp) as channel:
            try:
                return state(channel, f"{queue}.dead")[0]
            except pika.exceptions.ChannelClosed:
                return 0


def _slowest(
    took: dict[int, float], hostile: list[tuple[int, str]]
) -> list[tuple[float, list[tuple[float, str]]]]:
    """
    As L{Found} has them.

    @param took: the latencies of good tasks, in ms, by when these were due.
    """
    found = []
    for due in sorted(took, key=took.__getitem__, reverse=True)[:SLOWEST]:
        ages = (((due - at) / 1e6, kind) for at, kind in hostile)
        before = [(ms, kind) for ms, kind in ages if 0 <= ms < BEFORE * 1e3]
        found.append((took[due], before))
    return found


class MediatorFailed(Exception):
    """
    It has ended, or does not begin.
    """


def _check(mediator: subprocess.Popen[bytes]) -> None:
    if mediator.poll() is not None:
        raise MediatorFailed(f"The mediator has ended, with {mediator.returncode}.")


def _status(pid: int) -> dict[str, int]:
    """
    Bytes that a process holds now, and has held at most.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {field[0].rstrip(":"): int(field[1]) * 1024 for field in fields}


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _count(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/count")
        return int(connection.getresponse().read())
    finally:
        connection.close()


# -- What is told


def p99_of(before: dict[str, Found], soaked: Found) -> tuple[str, bool]:
    """
    What is wrong with the p99 of good tasks in the soak, if anything is, and whether
    the mediator is the cause.
    """
    usual = min(found.usual for found in (*before.values(), soaked))
    most = TIMES_AS_LONG * before["alone"].part(0.99, usual)
    slow = f"p99 is more than {TIMES_AS_LONG:g} times what it is alone"
    if soaked.latest > MOST_LATE:
        return f"hostile tasks came up to {soaked.latest:.0f} s late", False
    if soaked.part(0.99) <= most:
        return "", False
    if soaked.part(0.99, usual) <= most:
        return f"{slow}, while the machine was slow: try again", False
    if before["published"].part(0.99, usual) > most:
        text = "also while nobody reads the hostile tasks: try a lower --rate"
        return f"{slow}, {text}", False
    return slow, True


def bounds(alone: Found, soaked: Found, load: tuple[int, int]) -> list[str]:
    """
    Which bounds are broken, beside that on the p99.

    @param load: how many hostile tasks there were of each kind, and how many kinds.
    """
    of_each, kinds = load
    broken = []
    if soaked.rss >= MEMORY:
        broken.append(f"RSS is {MEMORY // MIB} MiB or more")
    if soaked.lost or soaked.again or alone.lost or alone.again:
        broken.append("good tasks were lost or done again")
    for kind in DONE:
        taken = soaked.requests.get(kind, of_each)
        if taken != of_each:
            broken.append(f"{taken} requests for {of_each} tasks of {kind}")
    if soaked.log > LOG * ATTEMPTS * of_each * kinds:
        broken.append(f"more than {LOG} bytes of log for each attempt")
    return broken


def shown(before: dict[str, Found], soaked: Found, load: tuple[int, int]) -> Table:
    """
    A table of the runs.

    @param before: those before the soak, by their names.
    """
    table = Table(box=None)
    table.add_column("good tasks")
    for heading in (*before, "in the soak"):
        table.add_column(heading, justify="right")
    runs = (*before.values(), soaked)
    usual = min(found.usual for found in runs)
    rows: list[tuple[str, Callable[[Found], str]]] = [
        ("number", lambda f: f"{len(f.every):,}"),
        ("p50 ms", lambda f: f"{f.part(0.5):.1f}"),
        ("p90 ms", lambda f: f"{f.part(0.9):.1f}"),
        ("p99 ms", lambda f: f"{f.part(0.99):.1f}"),
        ("most ms", lambda f: f"{f.part(1.0):.1f}"),
        ("slow to publish", lambda f: f"{len(f.every) - len(f.steady(usual)):,}"),
        ("p99 ms without", lambda f: f"{f.part(0.99, usual):.1f}"),
        ("lost", lambda f: str(f.lost)),
        ("done again", lambda f: str(f.again)),
        ("RSS MiB, most", lambda f: f"{f.rss / MIB:.0f}"),
        ("CPU %", lambda f: f"{f.cpu * 100:.0f}"),
        ("dead letters", lambda f: f"{f.dead:,}"),
    ]
    for name, told in rows:
        table.add_row(name, *map(told, runs))
    of_each, kinds = load
    if of_each * kinds:
        per_task = f"{soaked.log / (of_each * kinds):,.0f}"
        nothing = [""] * len(before)
        table.add_row("log bytes a hostile task", *nothing, per_task)
        table.add_row("hostile tasks of each kind", *nothing, f"{of_each:,}")
        for kind, number in soaked.requests.items():
            table.add_row(f"requests to {kind}", *nothing, f"{number:,}")
    return table


def shown_slowest(soaked: Found) -> Table:
    """
    A table of the slowest good tasks of the soak.
    """
    table = Table("ms", "hostile tasks that were due before it", box=None)
    for took, before in soaked.slowest:
        told = ", ".join(f"{kind} {ms:.0f} ms" for ms, kind in reversed(before))
        table.add_row(f"{took:.1f}", told or "none")
    return table


@contextmanager
def broker(name: str, folder: Path) -> Iterator[str]:
    """
    The AMQP URL of a broker.
    """
    if name == "rabbitmq":
        with RabbitMQNode() as node:
            yield f"{node.url}%2F"
    else:
        with embedded(folder, f"--data={folder / 'broker'}") as there:
            yield f"amqp://guest:guest@127.0.0.1:{there.port}/%2F"


def kinds(names: str) -> list[str]:
    """
    Those with these names, which are separated by commas.
    """
    chosen = names.split(",")
    if wrong := set(chosen) - set(KINDS):
        text = f"{', '.join(sorted(wrong))}: none of {', '.join(KINDS)}"
        raise argparse.ArgumentTypeError(text)
    return chosen


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """
    What the command line says.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=10.0, help="of the soak (10)")
    add(
        "--alone",
        type=float,
        help="minutes of each run before it (the same, 3 at most)",
    )
    add("--rate", type=float, default=2.0, help="good tasks a second (2)")
    add("--share", type=float, default=0.05, help="of each hostile kind (0.05)")
    add("--only", type=kinds, default=KINDS, metavar="KIND[,KIND]")
    add("--without", type=kinds, default=[], metavar="KIND[,KIND]")
    add("--broker", choices=("rabbitmq", "embedded"), default="rabbitmq")
    add("--keep", type=Path, help="a folder for the logs")
    return parser.parse_args(words)


def main() -> None:
    """
    Soak, and tell.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    said = options()
    chosen = [kind for kind in said.only if kind not in said.without]
    minutes = min(said.minutes, 3.0) if said.alone is None else said.alone
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="quebert-soak-")
        folder = said.keep or Path(stack.enter_context(temporary))
        folder.mkdir(exist_ok=True)
        try:
            amqp = stack.enter_context(broker(said.broker, folder))
            soak = Soak(amqp, chosen, folder)
            hostile = (said.rate, said.share)
            before = {
                "alone": soak.run("alone", said.rate, 0.0, minutes * 60),
                "published": soak.run("published", *hostile, minutes * 60, UNREAD),
                "apart": soak.run("apart", *hostile, minutes * 60, APART),
            }
            soaked = soak.run("soaked", *hostile, said.minutes * 60)
        except MediatorFailed as e:
            sys.exit(str(e))
        except StageError as e:
            console.print(f"Not measured: {e}")
            sys.exit(2)
    number = round(said.rate * said.share * (LEAD + said.minutes * 60))
    load = (number, len(chosen))
    console.print(shown(before, soaked, load))
    console.print(shown_slowest(soaked))
    broken = bounds(before["alone"], soaked, load)
    wrong, is_known = p99_of(before, soaked)
    if is_known:
        broken.insert(0, wrong)
    if broken:
        sys.exit("\n".join(broken))
    if wrong:
        console.print(wrong)
        sys.exit(2)


if __name__ == "__main__":
    main()
