"""
Faults that many tasks meet at once, on a real RabbitMQ: each is told in a few lines.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from quebert import _repeated
from quebert._waiters import another_waiter
from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.queues import dead_letters_of
from quebert.amqp.watch._record import SUSPECT
from quebert.amqp.wire import ENDS, FLIGHT
from quebert.outcome import Bury, Outcome, Retry
from quebert.test.conftest import Names
from quebert.test.operating import add_user, set_permissions, set_policy
from quebert.test.support import Proxy, until
from quebert.testing import RabbitMQNode

TASKS = 200
PERIOD = 2.0
QUIET = 1.0
DURABLE = {"delivery-mode": 2}
_MORE = re.compile(r", ([\d,]+) times? more: ")
_OVER = re.compile(r", after ([\d,]+) failures? in \d+ s\.$")


class Lines:
    """
    What is logged of the broker and its queues, but not of single tasks.
    """

    def __init__(self) -> None:
        self._events = EventLoggingObserver()
        globalLogPublisher.addObserver(self._events)

    def end(self) -> None:
        """
        Listen no more.
        """
        globalLogPublisher.removeObserver(self._events)

    def __call__(self) -> list[tuple[float, str]]:
        """
        The lines, each with its time in seconds.
        """
        lines = [
            (event["log_time"], formatEvent(event), event["log_level"])
            for event in self._events
            if str(event["log_namespace"]).startswith("quebert.amqp.")
        ]
        return [
            (at, line)
            for at, line, level in lines
            if (level > LogLevel.info or _OVER.search(line))
            and not line.startswith("Task ")
        ]

    @property
    def faults(self) -> dict[str, list[tuple[float, int]]]:
        """
        For each fault and cause, when there was a line, and how many it has counted.
        """
        found: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for at, line in self():
            more = _MORE.search(line)
            count = int(more[1].replace(",", "")) if more else 1
            if not _OVER.search(line):
                found[_MORE.sub(": ", line)].append((at, count))
        return found

    @property
    def over(self) -> dict[str, int]:
        """
        The faults that are over, with the number of failures.
        """
        found = ((line, _OVER.search(line)) for _, line in self())
        return {
            line[: over.start()]: int(over[1].replace(",", ""))
            for line, over in found
            if over
        }

    def check(self, *expected: str) -> None:
        """
        There were these faults and no others, each told once a period with its number
        of failures, and once when it was over.

        @param expected: how the lines of each fault begin.
        """
        begun = {e: [f for f in self.faults if f.startswith(e)] for e in expected}
        assert all(begun.values()), (expected, self())
        assert sum(map(len, begun.values())) == len(self.faults), self()
        for told in self.faults.values():
            # The log reads the time some time after the warning did.
            assert all(b[0] - a[0] >= PERIOD / 2 for a, b in pairwise(told)), self()
        counted = sum(n for told in self.faults.values() for _, n in told)
        assert counted <= sum(self.over.values())
        assert len(self.over) == len([1 for _, line in self() if _OVER.search(line)])
        assert len(self.over) == len(expected), self()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """
    What is logged; faults are told in short periods.
    """
    monkeypatch.setattr(_repeated, "PERIOD", PERIOD)
    monkeypatch.setattr(_repeated, "QUIET", QUIET)
    lines = Lines()
    yield lines
    lines.end()


class Watched:
    """
    A queue of tasks that wait for the fault, get an outcome each, and come again or
    not.
    """

    def __init__(self, client: TxAMQPClient, queue: str, outcome: Outcome) -> None:
        self.client = client
        self.queue = queue
        self.seen: Counter[bytes] = Counter()
        self._outcome = outcome
        self._gate: Deferred[None] = Deferred()

    async def begin(self) -> None:
        """
        Have all tasks wait.
        """
        self.watcher = await self.client.watch(
            "", self.queue, "", self._called, maxEvents=TASKS
        )
        bodies = [b"%d" % n for n in range(TASKS)]
        await gatherResults(
            [self.client.publish("", self.queue, body, DURABLE) for body in bodies]
        )
        await until(lambda: self.watcher.in_flight == TASKS)

    async def _called(self, message: Message) -> Outcome | None:
        await another_waiter(self._gate)
        self.seen[message.body] += 1
        return self._outcome if self.seen[message.body] == 1 else None

    async def meet(self) -> None:
        """
        Let all tasks go, and wait until none is at work.
        """
        self._gate.callback(None)
        await until(lambda: self.watcher.held == TASKS)


Mend = Callable[[], object]


def full(node: RabbitMQNode, user: str, queue: str) -> Mend:
    """
    A queue refuses what is published to it.
    """
    rule = {"max-length": 0, "overflow": "reject-publish"}
    return set_policy(node, f"^{re.escape(queue)}$", rule)


def revoked(node: RabbitMQNode, user: str, queue: str) -> Mend:
    """
    The mediator may not publish any more.
    """
    set_permissions(node, user, (".*", "^quebert", ".*"))
    return lambda: set_permissions(node, user)


@pytest.mark.long
@pytest.mark.parametrize("outcome", [Retry(), Bury("no more")], ids=["back", "dead"])
@pytest.mark.parametrize("fault", [full, revoked])
@ensureDeferred
async def test_refused(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    lines: Lines,
    fault: Callable[[RabbitMQNode, str, str], Mend],
    outcome: Outcome,
) -> None:
    """
    What RabbitMQ refuses of many tasks is one line a minute, with their number, and one
    when it is over; all go their way then.
    """
    user = f"flooded-{uuid.uuid4()}"
    url = add_user(rabbitmq, user)
    watched = Watched(make_client(url), names.queue, outcome)
    await watched.begin()
    dead = dead_letters_of(names.queue)
    target, begins = names.queue, f"Queue '{names.queue}' does not take a task back"
    if isinstance(outcome, Bury):
        target, begins = dead, f"Queue '{dead}' refuses dead letters"
        wire = await watched.client.connected()
        channel = await wire.open_channel(confirms=False)
        await channel.call("queue_declare", queue=dead, durable=True)
    mend = fault(rabbitmq, user, target)
    try:
        await watched.meet()
        await until(lambda: max(map(len, lines.faults.values()), default=0) >= 3)
    finally:
        mend()
    counts = watched.watcher.counts
    gone = "buried" if isinstance(outcome, Bury) else "done"
    await until(lambda: getattr(counts, gone) == TASKS)
    await until(lambda: lines.over)
    lines.check(begins)
    assert len(watched.seen) == TASKS


@ensureDeferred
async def test_no_connection(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    lines: Lines,
) -> None:
    """
    Attempts to connect that fail are one line a minute for each connection, and a queue
    that is not consumed meanwhile one line.
    """
    proxy = Proxy(rabbitmq.port)
    watched = Watched(make_client(proxy.url), names.queue, Retry())
    await watched.begin()
    await proxy.cut()
    try:
        await until(lambda: max(map(len, lines.faults.values()), default=0) >= 3)
    finally:
        proxy.listen()
    watched._gate.callback(None)
    await until(lambda: watched.watcher.counts.done == TASKS)
    await until(lambda: len(lines.over) == 3)
    no_connection = "There is no connection to the broker (quebert, "
    lines.check(
        f"{no_connection}consuming)",
        f"{no_connection}publishing)",
        f"Queue '{names.queue}' is not consumed for now",
    )
    await watched.watcher.stop(0)
    await proxy.cut()


@pytest.mark.long
@ensureDeferred
async def test_suspects(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    lines: Lines,
) -> None:
    """
    A permission that each suspect needs is named in one line.
    """
    user = f"flooded-{uuid.uuid4()}"
    url = add_user(rabbitmq, user, (r"^(?!quebert\.flight)", ".*", ".*"))
    client, seen = make_client(url), set[bytes]()
    headers = [{ENDS: SUSPECT, FLIGHT: uuid.uuid4().hex} for _ in range(TASKS)]
    watcher = await client.watch(
        "", names.queue, "", lambda message: seen.add(message.body)
    )
    await gatherResults(
        [
            client.publish("", names.queue, b"%d" % n, {**DURABLE, "headers": told})
            for n, told in enumerate(headers)
        ]
    )
    await until(lambda: watcher.counts.done == TASKS)
    assert len(seen) == TASKS
    (fault,) = lines.faults
    assert fault.startswith("RabbitMQ does not let this mediator tell that it attempts")
    assert "'quebert.flight.…'" in fault
