"""
Queues of dead letters on real brokers: they keep all, or a warning tells that they drop
some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import (
    CLASSIC,
    QUORUM,
    NewQueues,
    _keeping,
    dead_letters_of,
    declare_queue,
    find_queue,
)
from quebert.config import QueueSettings, Settings
from quebert.doctor import Level
from quebert.doctor._queues import check_queue
from quebert.doctor._subject import Subject
from quebert.errors import BrokerError
from quebert.operations import (
    BrokerAccess,
    Progress,
    Status,
    browse,
    purge,
    redrive,
)
from quebert.outcome import Bury
from quebert.task_ends import ENDED
from quebert.test.conftest import AnyBroker, Names
from quebert.test.operating import set_policy
from quebert.test.support import options_of, until
from quebert.testing import RabbitMQNode

pytestmark = pytest.mark.new_queues

TASKS = 200
LIMIT = 10


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """
    What was logged about queues of dead letters as a whole.  A test calls L{look} for
    each look at them: one that came in the middle would count a part of the tasks.
    """
    monkeypatch.setattr(_keeping, "LOOK", 600.0)
    events = EventLoggingObserver()
    globalLogPublisher.addObserver(events)
    yield lambda: [formatEvent(each) for each in events if is_about_the_dead(each)]
    globalLogPublisher.removeObserver(events)


def is_about_the_dead(event: LogEvent) -> bool:
    """
    Whether a line is about a queue of dead letters, and not about one task.
    """
    about = ("._keeping.Keeping", "._dead_letters.DeadLetters")
    return str(event["log_namespace"]).endswith(about)


async def bury(client: TxAMQPClient, queue: str) -> None:
    """
    Have a mediator give up some tasks more.
    """
    (watcher,) = client.watchers
    before = watcher.counts.buried
    sending = [
        client.publish("", queue, b"{}", {"delivery-mode": 2}) for _ in range(TASKS)
    ]
    await gatherResults(sending)
    await until(lambda: watcher.counts.buried == before + TASKS)


def keeping_of(client: TxAMQPClient) -> _keeping.Keeping:
    """
    What looks at the queue of dead letters.
    """
    (watcher,) = client.watchers
    return watcher._deliveries._settlement._replacements._dead_letters._keeping


async def look(client: TxAMQPClient, times: int = 1) -> None:
    """
    Look at the queue of dead letters now.  Tasks are missing if two looks miss them.
    """
    keeping = keeping_of(client)
    for _ in range(times):
        timer = keeping._timer
        assert timer is not None
        timer.reset(0)
        await until(partial(has_looked, keeping, timer))


def has_looked(keeping: _keeping.Keeping, timer: IDelayedCall) -> bool:
    """
    Whether the look is over that C{timer} was for: the next one is due, or none is,
    since no task was moved.
    """
    return keeping._timer not in (None, timer) or not keeping._first._made


async def watching(client: TxAMQPClient, names: Names, **options: Any) -> None:
    """
    Give up whatever comes.
    """
    await client.watch(
        names.exchange,
        names.queue,
        names.key,
        lambda m: Bury("no more"),
        **options_of(options),
    )


async def declare(client: TxAMQPClient, queue: str, **arguments: Any) -> None:
    """
    Declare a queue as an operator might.
    """
    wire = await client.connected()
    channel = await wire.open_channel(confirms=False)
    given = {name.replace("_", "-"): value for name, value in arguments.items()}
    await channel.call("queue_declare", queue=queue, durable=True, arguments=given)
    await channel.shut()


@pytest_twisted.ensureDeferred
async def test_limit_by_argument(
    either: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    warnings: Callable[[], list[str]],
) -> None:
    """
    A limit that was declared is told before the first task is given up, and then how
    many tasks are missing.
    """
    client, dead = make_client(either.url), dead_letters_of(names.queue)
    await declare(client, dead, x_max_length=LIMIT)
    await watching(client, names)
    await bury(client, names.queue)
    first = (
        f"Queue '{dead}' may lose the tasks that are given up: RabbitMQ drops the"
        f" oldest tasks beyond {LIMIT} (x-max-length)"
    )
    assert warnings()[0] == first
    await look(client, times=2)
    second = warnings()[1]
    text = f"Queue '{dead}' loses tasks that were given up, {TASKS - LIMIT}"
    assert second.startswith(f"{text} times: it has fewer tasks than were moved there")
    await bury(client, names.queue)
    await look(client, times=2)
    assert len(warnings()) == 2


@pytest_twisted.ensureDeferred
async def test_limit_by_policy(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    warnings: Callable[[], list[str]],
) -> None:
    """
    A limit of a policy is told once, with the number of missing tasks, and its end.
    """
    client, dead = make_client(rabbitmq.url), dead_letters_of(names.queue)
    await declare(client, dead)
    clear = set_policy(rabbitmq, f"^{dead}$", {"max-length": LIMIT})
    await watching(client, names)
    try:
        await bury(client, names.queue)
        await look(client, times=2)
        (told,) = warnings()
        text = f"loses tasks that were given up, {TASKS - LIMIT} times"
        assert text in told
    finally:
        clear()
    await bury(client, names.queue)
    await look(client)
    over = (await until(lambda: warnings()[1:]))[0]
    assert over.startswith(f"Queue '{dead}' keeps the tasks that are given up again")
    assert f"after {TASKS - LIMIT} failures" in over
    found: Any = await find_queue(await client.connected(), dead)
    assert found.message_count == LIMIT + TASKS


@pytest_twisted.ensureDeferred
async def test_sound(
    either: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    warnings: Callable[[], list[str]],
) -> None:
    """
    Where all are kept, nothing is told; nor where somebody takes dead letters out
    between two times that tasks are given up.
    """
    client, dead = make_client(either.url), dead_letters_of(names.queue)
    await watching(client, names)
    for _ in range(2):
        await bury(client, names.queue)
        await look(client, times=2)  # behind the second one, nobody counts any more
        wire = await client.connected()
        channel = await wire.open_channel(confirms=False)
        purged: Any = await channel.call("queue_purge", queue=dead)
        assert purged.message_count == TASKS
        await channel.shut()
    assert warnings() == []


@pytest.mark.long
@pytest_twisted.ensureDeferred
async def test_killed_with_a_new_queue(
    own_rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    Tasks that are given up survive when RabbitMQ is killed soon after it made the
    quorum queue for them: RabbitMQ loses what is in there.
    """
    client = make_client(own_rabbitmq.url)
    await watching(client, names, queue_type="quorum")
    wire, (watcher,) = await client.connected(), client.watchers
    while client.ladder.new_queues.has(wire, names.queue):  # it loses messages, too
        await deferLater(reactor, 0.05)
    properties = {"delivery-mode": 2}
    sending = [client.publish("", names.queue, b"{}", properties) for _ in range(TASKS)]
    await gatherResults(sending)
    await until(lambda: watcher.held + watcher.counts.buried == TASKS)
    await deferLater(reactor, 0.5)  # time enough for what must not happen
    buried = watcher.counts.buried
    own_rabbitmq.kill()
    own_rabbitmq.start()
    dead = dead_letters_of(names.queue)

    def are_there() -> bool:
        depths = own_rabbitmq.depths()
        originals, moved = (depths.get(each, 0) for each in (names.queue, dead))
        return moved >= buried and originals + moved >= TASKS

    await until(are_there)


@pytest.mark.long
@pytest_twisted.ensureDeferred
async def test_redriven_into_a_new_queue(
    own_rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    Tasks that are redriven survive when RabbitMQ is killed soon after somebody declared
    their quorum queue: RabbitMQ loses what is in there.
    """
    client, dead = make_client(own_rabbitmq.url), dead_letters_of(names.queue)
    wire = await client.connected()
    await declare_queue(wire, dead, QUORUM)
    new_queues = NewQueues()
    new_queues.declared(wire, dead, "quorum")
    await new_queues.old(wire, dead)
    properties = {"delivery-mode": 2}
    sending = [client.publish("", dead, b"{}", properties) for _ in range(TASKS)]
    await gatherResults(sending)
    await declare_queue(wire, names.queue, QUORUM)
    asked = BrokerAccess(reactor, own_rabbitmq.url)
    redriving = Deferred.fromCoroutine(redrive(asked, names.queue, [], Progress()))
    redriving.addErrback(lambda failure: failure.trap(BrokerError))  # it is killed
    while not (await find_queue(wire, names.queue)).message_count:
        await deferLater(reactor, 0.01)
    await deferLater(reactor, 0.5)  # time enough for what must not happen
    own_rabbitmq.kill()
    own_rabbitmq.start()
    await redriving

    def are_there() -> bool:
        depths = own_rabbitmq.depths()
        return depths.get(names.queue, 0) + depths.get(dead, 0) >= TASKS

    await until(are_there)


@pytest_twisted.ensureDeferred
async def test_other_type(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    warnings: Callable[[], list[str]],
) -> None:
    """
    A classic queue of dead letters beside a quorum queue is told, with what else may
    lose some.
    """
    client, dead = make_client(rabbitmq.url), dead_letters_of(names.queue)
    limits = {"x_message_ttl": 600_000, "x_expires": 700_000}
    await declare(client, dead, **limits)
    await watching(client, names, queue_type="quorum")
    await bury(client, names.queue)
    (told,) = warnings()
    for text in ("600000 ms (x-message-ttl)", "700000 ms", "classic queue"):
        assert text in told
    found = await findings(client, QueueSettings(name=names.queue, queue_type="quorum"))
    told_by_doctor = " ".join(found)
    for text in ("x-message-ttl", "x-expires", "classic queue beside a quorum queue"):
        assert text in told_by_doctor


@pytest_twisted.ensureDeferred
async def test_stream(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    warnings: Callable[[], list[str]],
) -> None:
    """
    A stream keeps all tasks that are given up.  The mediator and the doctor tell once
    that it is one, and C{quebert dead} and C{quebert purge} that they can take none
    from there.
    """
    client, dead = make_client(rabbitmq.url), dead_letters_of(names.queue)
    await declare(client, dead, x_queue_type="stream")
    await declare_queue(await client.connected(), ENDED, CLASSIC)  # so a purge reads
    asked = BrokerAccess(reactor, rabbitmq.url)
    text = f"{dead} is a stream"
    with pytest.raises(BrokerError, match=text):
        await browse(asked, names.queue, [], lambda _: None)
    await watching(client, names)
    await bury(client, names.queue)
    await bury(client, names.queue)
    with pytest.raises(BrokerError, match=text):
        await browse(asked, names.queue, [], lambda _: None)
    with pytest.raises(BrokerError, match=text):
        await redrive(asked, names.queue, [], Progress())
    with pytest.raises(BrokerError, match=text):
        await purge(asked, dead, Progress(), None)
    (told,) = await findings(client, QueueSettings(name=names.queue))
    assert "it is a stream" in told
    (told,) = warnings()
    assert "it is a stream" in told
    assert keeping_of(client)._timer is None  # RabbitMQ tells the number too late
    await holds(client, dead, 2 * TASKS)
    with pytest.raises(BrokerError, match=text):
        await purge(asked, dead, Progress(), agreeing)


def agreeing(found: Status) -> bool:
    """
    Say yes to a purge of what can be counted.
    """
    assert found.ready is not None
    return True


async def holds(client: TxAMQPClient, stream: str, count: int) -> None:
    """
    Wait until RabbitMQ says that a stream holds so many messages.
    """
    wire, found = await client.connected(), 0
    end = wire.clock.seconds() + 60
    while found != count:
        assert wire.clock.seconds() < end, found
        await deferLater(wire.clock, 0.1)
        found = (await find_queue(wire, stream)).message_count


async def findings(client: TxAMQPClient, queue: QueueSettings) -> list[str]:
    """
    What the doctor says of a queue of dead letters.
    """
    settings = Settings(broker=client.broker)
    subject = Subject(client, await client.connected(), settings)
    found = await check_queue(subject, queue)
    about = f"queue {dead_letters_of(queue.name)}"
    bad = (Level.WARN, Level.FAIL)
    return [each.text for each in found if each.about == about and each.level in bad]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"max-length": LIMIT}, f"drops the oldest dead letters beyond {LIMIT}"),
        (
            {"max-length": LIMIT, "overflow": "reject-publish"},
            "has RabbitMQ refuse dead letters beyond",
        ),
        ({"message-ttl": 500}, "drops dead letters within 2 s (message-ttl)"),
        ({"expires": 500}, "deletes it within 2 s without a consumer"),
    ],
    ids=["max-length", "reject-publish", "message-ttl", "expires"],
)
@pytest_twisted.ensureDeferred
async def test_policies_by_probes(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    queue_type: str,
    rule: dict[str, object],
    told: str,
) -> None:
    """
    The doctor finds a policy for dead letters, before there are any.
    """
    client = make_client(rabbitmq.url)
    queue = QueueSettings(name=names.queue, queue_type=queue_type)
    assert await findings(client, queue) == []
    pattern = rf"^{names.queue}.*\.dead$"
    witness = f"{names.queue}.witness.dead"
    await declare(client, witness)
    channel = await (await client.connected()).open_channel(confirms=False)
    # One that nobody consumes might be gone before anybody sees that it has the policy.
    await channel.call("basic_consume", queue=witness, consumer_tag="witness")
    clear = set_policy(rabbitmq, pattern, rule)
    try:
        (found,) = await findings(client, queue)
        assert told in found
    finally:
        clear()
