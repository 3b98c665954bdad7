"""
What a person does to queues, on real brokers: pause, resume and purge them, and deal
with what is dead.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pika
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from quebert import operations
from quebert.amqp import TxAMQPClient, Watcher
from quebert.amqp.queues import CLASSIC, KIND, declare_queue, depth
from quebert.amqp.queues import _browse as _browse
from quebert.amqp.wire import temporary_channel, version_of
from quebert.cli._dead import Listing
from quebert.errors import ConfigError, Unroutable
from quebert.operations import BrokerAccess, DeadLetter, Match, Progress
from quebert.outcome import EXHAUSTED, POISON, Bury, Outcome
from quebert.task_ends import ENDED, EndNote
from quebert.test.conftest import AnyBroker, Names
from quebert.test.notes import end_note_in
from quebert.test.support import Program, options_of, until
from quebert.testing import RabbitMQNode, free_port

PERSISTENT = {"delivery-mode": 2}
WITH_CALLBACK = b'{"url": "/a", "callback_url": "/b"}'
MakeClient = Callable[..., TxAMQPClient]


class Mediator:
    """
    A watch whose callbacks run until they are let finish.

    @ivar began: the bodies that came.
    """

    watcher: Watcher

    def __init__(self, client: TxAMQPClient) -> None:
        self.client = client
        self.began: list[bytes] = []
        self.open = False
        self._running: list[Deferred[None]] = []

    async def watch(self, names: Names, **options: Any) -> Mediator:
        """
        Begin.
        """
        self.watcher = await self.client.watch(
            names.exchange, names.queue, names.key, self._called, **options_of(options)
        )
        return self

    def _called(self, message: Any) -> Deferred[None] | None:
        self.began.append(message.body)
        if self.open:
            return None
        self._running.append(Deferred())
        return self._running[-1]

    def finish(self) -> None:
        """
        Let finish what runs, and at once what comes.
        """
        self.open = True
        running, self._running = self._running, []
        for each in running:
            each.callback(None)


@pytest.fixture
def asked(either: AnyBroker) -> BrokerAccess:
    """
    The broker, for what is asked of it.
    """
    return BrokerAccess(reactor, either.url)


async def add(client: TxAMQPClient, queue: str, *bodies: bytes) -> None:
    """
    Add messages to a queue.
    """
    for body in bodies:
        await client.publish("", queue, body, PERSISTENT)


async def a_moment() -> None:
    """
    Time enough for what must not happen.
    """
    await deferLater(reactor, 0.3)


# -- Pausing


@ensureDeferred
async def test_paused_while_running(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    Two mediators finish what runs, begin nothing more, and give back the rest;
    when it is resumed, they go on at once.
    """
    clients = [make_client(asked.url) for _ in range(2)]
    one, two = [await Mediator(each).watch(names, maxEvents=2) for each in clients]
    await add(clients[0], names.queue, *(b"%d" % n for n in range(10)))
    await until(lambda: len(one.began) == len(two.began) == 2)
    now = await operations.pause(asked, names.queue)
    assert (now.ready, now.consumers, now.paused) == (6, 0, True)
    assert [each.watcher.paused for each in (one, two)] == [True, True]
    one.finish()
    two.finish()
    await until(lambda: one.watcher.counts.done == two.watcher.counts.done == 2)
    await a_moment()
    assert len(one.began) == len(two.began) == 2
    assert not one.watcher.consuming
    before = await operations.resume(asked, names.queue)
    assert before.paused
    await until(lambda: len(one.began) + len(two.began) == 10)
    await until(lambda: one.watcher.consuming and two.watcher.consuming)
    assert not one.watcher.paused
    now = await operations.status(asked, names.queue)
    assert (now.consumers, now.paused) == (2, False)
    assert {*one.began, *two.began} == {b"%d" % n for n in range(10)}


@ensureDeferred
async def test_started_while_paused(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    A mediator that is started while its queue is paused does not begin; another
    queue's does.
    """
    now = await operations.pause(asked, names.queue)
    assert now.ready is None
    client = make_client(asked.url)
    mediator = await Mediator(client).watch(names)
    other = Names(names.exchange, f"{names.queue}.other", "other")
    another = await Mediator(client).watch(other)
    await add(client, other.queue, b"other")
    await add(client, names.queue, b"task")
    await until(lambda: another.began)
    await a_moment()
    assert mediator.began == []
    await operations.resume(asked, names.queue)
    await until(lambda: mediator.began)
    another.finish()
    mediator.finish()


@ensureDeferred
async def test_again_and_again(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    Paused and resumed as quickly as can be under load, no task is lost or done
    twice, and in the end it is as it was said last.
    """
    client = make_client(asked.url)
    mediator = Mediator(client)
    mediator.open = True
    await mediator.watch(names, maxEvents=5)
    bodies = [b"%d" % n for n in range(500)]
    adding = Deferred.fromCoroutine(add(client, names.queue, *bodies))
    for _ in range(10):
        await operations.pause(asked, names.queue)
        await operations.resume(asked, names.queue)
    await adding
    await until(lambda: mediator.watcher.counts.done == 500)
    assert Counter(mediator.began) == Counter(bodies)
    await operations.pause(asked, names.queue)
    await add(client, names.queue, b"late")
    await a_moment()
    assert b"late" not in mediator.began
    await operations.resume(asked, names.queue)
    await until(lambda: b"late" in mediator.began)


@ensureDeferred
async def test_twice(asked: BrokerAccess, names: Names) -> None:
    """
    What is paused can be paused, and what is not resumed: nothing comes of it.
    """
    for _ in range(2):
        assert (await operations.pause(asked, names.queue)).paused
    assert (await operations.resume(asked, names.queue)).paused
    assert not (await operations.resume(asked, names.queue)).paused


async def survives(
    client: TxAMQPClient, broker: BrokerAccess, names: Names, restart: Callable[[], Any]
) -> None:
    """
    Pause, restart the broker, and find it paused.
    """
    mediator = await Mediator(client).watch(names)
    mediator.finish()
    await operations.pause(broker, names.queue)
    await add(client, names.queue, b"task")
    await restart()
    newer = make_another(client)
    try:
        started_since = await Mediator(newer).watch(names)
        await add(newer, names.queue, b"another")
        await a_moment()
        assert mediator.began == started_since.began == []
        await operations.resume(broker, names.queue)
        await until(lambda: len(mediator.began) + len(started_since.began) == 2)
        started_since.finish()
    finally:
        await newer.stop(0)


def make_another(client: TxAMQPClient) -> TxAMQPClient:
    """
    A client of the same broker.
    """
    address = client.broker.addresses[0]
    return TxAMQPClient.from_url(f"amqp://{address}/", connectTimeout=None)


@pytest.mark.long
@ensureDeferred
async def test_rabbitmq_restarts(
    own_rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    A pause survives a RabbitMQ that is killed.
    """

    async def restart() -> None:
        # It may forget any exchange that was declared a moment before.
        await deferToThread(own_rabbitmq.eval, "mnesia:sync_log()")
        await deferToThread(own_rabbitmq.kill)
        await deferToThread(own_rabbitmq.start)

    client = make_client(own_rabbitmq.url, connectTimeout=None)
    await survives(client, BrokerAccess(reactor, own_rabbitmq.url), names, restart)


@ensureDeferred
async def test_embedded_restarts(
    start: Callable[..., Program],
    make_client: MakeClient,
    names: Names,
    tmp_path: Path,
) -> None:
    """
    So it does an embedded broker.
    """
    port = free_port()
    data = tmp_path / "kept"
    command = ("-m", "quebert", "broker", f"--port={port}", f"--data={data}")
    program = start(*command)
    await program.said("amqp://")

    async def restart() -> None:
        program.kill()
        await start(*command).said("amqp://")

    url = f"amqp://127.0.0.1:{port}/"
    client = make_client(url, connectTimeout=None)
    await survives(client, BrokerAccess(reactor, url), names, restart)


# -- Purging


@ensureDeferred
async def test_purge(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    What waits is dropped, and counted; what runs is not; and nothing is, where
    nobody is sure.
    """
    client = make_client(asked.url)
    mediator = await Mediator(client).watch(names, maxEvents=1)
    await add(client, names.queue, b"runs", *[b"waits"] * 7)
    await until(lambda: mediator.began)
    shown: list[int | None] = []

    def unsure(now: operations.Status) -> bool:
        shown.append(now.ready)
        return False

    progress = Progress()
    assert not await operations.purge(asked, names.queue, progress, unsure)
    assert (shown, progress.done) == ([7], 0)
    assert await operations.purge(asked, names.queue, progress, lambda _: True)
    assert progress.done == 7
    mediator.finish()
    await until(lambda: mediator.watcher.counts.done == 1)
    await a_moment()
    assert mediator.began == [b"runs"]
    with pytest.raises(ConfigError, match="no queue"):
        await operations.purge(asked, f"{names.queue}.no", progress, None)


@ensureDeferred
async def test_locked(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    A queue that another connection has for itself is paused and resumed all the same,
    and what cannot be seen is told.
    """
    client = make_client(asked.url)
    async with temporary_channel(await client.connected()) as channel:
        await channel.call("queue_declare", queue=names.queue, exclusive=True)
        now = await operations.pause(asked, names.queue)
        assert now.paused
        assert "RESOURCE_LOCKED" in "; ".join(now.problems)
        before = await operations.resume(asked, names.queue)
        assert before.paused
        after = await operations.status(asked, names.queue)
    assert after.paused is False
    assert after.ready is None
    assert "RESOURCE_LOCKED" in "; ".join(after.problems)


def publish_all(url: str, queue: str, bodies: Iterable[bytes]) -> None:
    """
    Add messages to a queue, with another client, while the reactor stands still.
    """
    with pika.BlockingConnection(pika.URLParameters(url + "%2f")) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for body in bodies:
            channel.basic_publish("", queue, body)


@ensureDeferred
async def test_purge_what_was_shown(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    Where a thousand tasks are added while a person thinks about ten, ten are dropped;
    where nobody is asked, all that wait are.
    """
    client = make_client(asked.url)
    await fill(client, names.queue, 0)
    bodies = [b"%d" % n for n in range(1_010)]
    await add(client, names.queue, *bodies[:10])

    def sure(now: operations.Status) -> bool:
        assert now.ready == 10
        publish_all(asked.url, names.queue, bodies[10:])
        return True

    progress = Progress()
    assert await operations.purge(asked, names.queue, progress, sure)
    assert progress.done == 10
    assert await lying(asked, names.queue) == bodies[10:]
    assert await operations.purge(asked, names.queue, progress, None)
    assert progress.done == 1_000


@ensureDeferred
async def test_ends_are_told(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    Of tasks whose ends are told, as of those that are created over HTTP, it is told
    that they are purged; and that they are discarded, if no mediator has given them up.
    No callback tasks of theirs are in the queue then.  Where the time is over before
    all are purged, the rest is there.  Before RabbitMQ 4.0 few are fetched at a time:
    it might lose others.
    """
    client, queue = make_client(asked.url), names.queue
    dead = f"{queue}.dead"
    wire = await client.connected()
    for each in (queue, dead, ENDED):
        await declare_queue(wire, each, CLASSIC)
    for n in range(450):
        properties = {"message-id": f"{queue}-{n}"} if n % 3 else {}
        telling = {"reply-to": ENDED, **properties}
        await client.publish("", queue, WITH_CALLBACK, {**PERSISTENT, **telling})
    told = {"message-id": "given-up", "reply-to": ENDED, "headers": {KIND: POISON}}
    await client.publish("", dead, b"", {**PERSISTENT, **told})
    told = {"message-id": "dropped", "reply-to": ENDED}
    await client.publish("", dead, WITH_CALLBACK, {**PERSISTENT, **told})
    progress, rest = Progress(), Progress()
    assert await operations.purge(asked, queue, progress, limit=0.0)
    few = 8 if (version_of(wire) or (4,)) < (4,) else 200
    assert (progress.done, progress.total, progress.ended) == (few, 450, False)
    assert await operations.purge(asked, queue, rest)
    assert (rest.done, rest.total, rest.ended) == (450 - few, 450 - few, True)
    assert await operations.discard(asked, queue, [])
    left = await depth(wire, queue)
    assert left is not None
    assert left.ready == 0
    ends: dict[str, EndNote] = {}
    async with temporary_channel(wire) as channel:
        while (message := await channel.get(ENDED)) is not None:
            channel.ack(message.delivery_tag)
            notes = map(end_note_in, message.body.split(b"\n"))
            ends.update((each.uuid, each) for each in notes if each.queue == queue)
    dropped = ends.pop("dropped")
    assert (dropped.outcome, dropped.attempts) == ("discarded", 0)
    assert ends.keys() == {f"{queue}-{n}" for n in range(450) if n % 3}
    reasons = {(each.outcome, each.reason) for each in ends.values()}
    assert reasons == {("cancelled", "its queue was purged")}


# -- The dead

REASONS = {
    b"poison": Bury("it is not JSON", POISON),
    b"slow": Bury("a timeout", EXHAUSTED, {"quebert-attempts": 9}),
    b"failed": Bury("503", EXHAUSTED, {"quebert-last-status": 503}),
}


def task(n: int, kind: bytes) -> bytes:
    """
    A task that is buried for this.
    """
    url = f"https://example.com/{n}"
    return json.dumps({"uuid": f"u{n}", "url": url, "kind": kind.decode()}).encode()


async def bury(client: TxAMQPClient, names: Names, count: int = 9) -> list[bytes]:
    """
    Have so many tasks die, for the three reasons in turn; gives their bodies.
    """

    def give_up(message: Any) -> Outcome:
        return REASONS[json.loads(message.body)["kind"].encode()]

    # One after the other, so that they lie as they came.
    watcher = await client.watch(
        names.exchange, names.queue, names.key, give_up, maxEvents=1
    )
    bodies = [task(n, [*REASONS][n % 3]) for n in range(count)]
    await add(client, names.queue, *bodies)
    await until(lambda: watcher.counts.buried == count)
    await watcher.stop()
    return bodies


def matches(*texts: str) -> list[Match]:
    """
    What is on the command line.
    """
    return [Match.parse(text) for text in texts]


def lie(url: str, queue: str) -> list[tuple[bytes, dict[str, Any]]]:
    """
    Body and headers of each message in a queue, which stay there.
    """
    with pika.BlockingConnection(pika.URLParameters(url + "%2f")) as connection:
        channel = connection.channel()
        found: list[tuple[bytes, dict[str, Any]]] = []
        while True:
            method, properties, body = channel.basic_get(queue)
            if method is None:
                return found
            found.append((body, properties.headers or {}))


async def lying(asked: BrokerAccess, queue: str) -> list[bytes]:
    """
    Their bodies.
    """
    found = await deferToThread(lie, asked.url, queue)
    return [body for body, _ in found]


@ensureDeferred
async def test_list_and_show(
    asked: BrokerAccess,
    make_client: MakeClient,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    The dead are counted and shown, and lie there afterwards as they did.
    """
    monkeypatch.setattr(_browse, "_UNACKED_BY_ONE", 2)
    monkeypatch.setattr(_browse, "_AT_ONCE", 2)
    bodies = await bury(make_client(asked.url), names)
    listing = Listing(2)
    progress = await operations.browse(asked, names.queue, [], listing.add)
    assert listing.kinds == {"exhausted": 6, "poison": 3}
    assert listing.reasons["exhausted", "a timeout"] == 3
    assert [row[:3] for row in listing.first] == [
        ("u0", "https://example.com/0", "-"),
        ("u1", "https://example.com/1", "9"),
    ]
    assert (progress.total, progress.seen, progress.ended) == (9, 9, True)
    letter = await operations.find(
        asked, names.queue, matches("status=503"), Progress()
    )
    assert letter is not None
    assert letter.body == bodies[2]
    assert letter.buried_at is not None
    assert 0 <= time.time() - letter.buried_at < 600
    assert (
        await operations.find(asked, names.queue, matches("url~nix"), Progress())
        is None
    )
    assert await lying(asked, f"{names.queue}.dead") == bodies


@ensureDeferred
async def test_redrive(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    Those that match go to their queue and begin anew, the others stay where they
    are.
    """
    bodies = await bury(make_client(asked.url), names)
    progress = Progress()
    meant = matches("reason~TIMEOUT", "kind=exhausted")
    await operations.redrive(asked, names.queue, meant, progress)
    assert (progress.total, progress.seen, progress.done) == (9, 9, 3)
    back = await deferToThread(lie, asked.url, names.queue)
    assert back == [(body, {}) for body in bodies[1::3]]
    stay = [body for n, body in enumerate(bodies) if n % 3 != 1]
    assert await lying(asked, f"{names.queue}.dead") == stay


@ensureDeferred
async def test_redriven_is_done(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    What dies again while it is redriven is not taken again.
    """
    client = make_client(asked.url)
    await bury(client, names, 600)
    watcher = await client.watch(
        names.exchange, names.queue, names.key, lambda _: REASONS[b"poison"]
    )
    progress = Progress()
    await operations.redrive(asked, names.queue, [], progress)
    assert (progress.total, progress.done) == (600, 600)
    await until(lambda: watcher.counts.buried == 600)
    now = await operations.status(asked, names.queue)
    assert (now.ready, now.dead) == (0, 600)


@ensureDeferred
async def test_nowhere_to_go(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    What has no queue to go back to stays among the dead.
    """
    client = make_client(asked.url)
    bodies = await bury(client, names)
    wire = await client.connected()
    channel = await wire.open_channel(confirms=False)
    await channel.call("queue_delete", queue=names.queue)
    progress = Progress()
    with pytest.raises(Unroutable):
        await operations.redrive(asked, names.queue, [], progress)
    assert (progress.done, progress.ended) == (0, False)
    assert await lying(asked, f"{names.queue}.dead") == bodies


@ensureDeferred
async def test_nothing_dead(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    Where nothing has ever died, nothing is done; where there is no queue at all,
    that is told.
    """
    progress = Progress()
    with pytest.raises(ConfigError, match="no queue"):
        await operations.redrive(asked, names.queue, [], progress)
    await Mediator(make_client(asked.url)).watch(names)
    await operations.redrive(asked, names.queue, [], progress)
    assert (progress.total, progress.ended) == (0, True)
    assert not await operations.discard(
        asked, names.queue, [], Progress(), lambda count: True
    )


@ensureDeferred
async def test_too_many(
    asked: BrokerAccess,
    make_client: MakeClient,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Browsing holds so many and no more; how many it has not seen can be told.
    """
    monkeypatch.setattr(_browse, "MAX_UNACKED", 4)
    monkeypatch.setattr(_browse, "_AT_ONCE", 1)
    bodies = await bury(make_client(asked.url), names)
    progress = Progress()
    await operations.redrive(asked, names.queue, matches("kind=poison"), progress)
    assert (progress.total, progress.seen, progress.done) == (9, 6, 2)
    stay = [bodies[1], bodies[2], *bodies[4:]]
    assert await lying(asked, f"{names.queue}.dead") == stay


@ensureDeferred
async def test_discard(
    asked: BrokerAccess, make_client: MakeClient, names: Names
) -> None:
    """
    Those that match are dropped, once somebody is sure, who is told how many.
    """
    bodies = await bury(make_client(asked.url), names)
    counts: list[int] = []

    def sure(count: int) -> bool:
        counts.append(count)
        return len(counts) > 1

    for expected in (0, 3):
        progress = Progress()
        meant = matches("kind=poison")
        await operations.discard(asked, names.queue, meant, progress, sure)
        assert progress.done == expected
    assert counts == [3, 3]
    stay = [body for n, body in enumerate(bodies) if n % 3]
    assert await lying(asked, f"{names.queue}.dead") == stay
    progress = Progress()
    assert await operations.discard(asked, names.queue, [], progress, None)
    assert progress.done == 6
    assert (await operations.status(asked, names.queue)).dead == 0


async def fill(client: TxAMQPClient, queue: str, number: int) -> list[bytes]:
    """
    Have so many messages be dead, without more ado.
    """
    bodies = [b"%d" % n for n in range(number)]
    dead = f"{queue}.dead"
    wire = await client.connected()
    channel = await wire.open_channel(confirms=False)
    for each in (queue, dead):
        await channel.call("queue_declare", queue=each, durable=True)
    await gatherResults(client.publish("", dead, body, PERSISTENT) for body in bodies)
    return bodies


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@ensureDeferred
async def test_discard_what_was_shown(
    asked: BrokerAccess, make_client: MakeClient, names: Names, kind: str
) -> None:
    """
    Where a hundred others die while a person thinks about 300, and somebody takes fifty
    of these, the other 250 are dropped; that fifty are missing is told.
    """
    client, dead = make_client(asked.url), f"{names.queue}.dead"
    channel = await (await client.connected()).open_channel(confirms=False)
    await channel.call(
        "queue_declare", queue=dead, durable=True, arguments={"x-queue-type": kind}
    )
    # Some are alike, and some have headers.
    shown = [b"%d" % (n % 200) for n in range(300)]
    headers: list[dict[str, Any]] = [{}, {"headers": {}}, {"headers": {"n": 1}}]
    for n, body in enumerate(shown):
        await client.publish("", dead, body, {**PERSISTENT, **headers[n % 3]})
    others = [b"%d" % n for n in range(150, 250)]

    def sure(count: int) -> bool:
        assert count == 300
        take_all(asked.url, dead, 50)
        publish_all(asked.url, dead, others)
        return True

    progress = Progress()
    assert await operations.discard(asked, names.queue, [], progress, sure)
    assert (progress.done, progress.missing, progress.total) == (250, 50, 350)
    assert sorted(await lying(asked, dead)) == sorted(others)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
@ensureDeferred
async def test_held_by_another(
    asked: BrokerAccess,
    start: Callable[..., Program],
    make_client: MakeClient,
    names: Names,
    kind: str,
    end: signal.Signals,
) -> None:
    """
    While a redrive that moves nothing holds dead letters, others say that some do;
    once it has ended, or was killed, all of them are seen.
    """
    client, dead = make_client(asked.url), f"{names.queue}.dead"
    wire = await client.connected()
    channel = await wire.open_channel(confirms=False)
    queue = {"queue": dead, "durable": True, "arguments": {"x-queue-type": kind}}
    await channel.call("queue_declare", **queue)
    # Where a queue bears few consumers, copies take the places of dead letters: slowly.
    bears_few = kind == "quorum" and (version_of(wire) or (4,)) < (4,)
    copies = _browse._COPIES_AT_ONCE if bears_few else 0
    number = 1_200 if bears_few else 2_000
    await gatherResults(
        client.publish("", dead, b"%d" % n, PERSISTENT) for n in range(number)
    )

    async def ready() -> int:
        await deferLater(reactor, 0.01)
        found = await channel.call("queue_declare", queue=dead, passive=True)
        return int(found.message_count)

    program = start(
        *("-m", "quebert", "dead", "redrive", names.queue, "--match=url=nowhere"),
        f"--amqp-url={asked.url}",
    )
    while await ready() > number - (1 if bears_few else 200):
        assert program.running, program.output
    program.signal(signal.SIGSTOP)
    seen: list[DeadLetter] = []
    progress = await operations.browse(asked, names.queue, [], seen.append)
    assert progress.others >= 1
    assert len(seen) < number + copies
    progress = Progress()
    await operations.redrive(asked, names.queue, matches("url=nowhere"), progress)
    assert progress.others >= 1
    now = await operations.status(asked, names.queue)
    assert (now.dead, len(now.problems)) == (None, 1)
    program.signal(end)
    await program.ended()
    while await ready() < number:
        pass
    seen.clear()
    progress = await operations.browse(asked, names.queue, [], seen.append)
    count = len(seen)
    assert number <= count <= number + copies
    assert progress.others == 0
    now = await operations.status(asked, names.queue)
    assert (now.dead, now.problems) == (count, ())


def take_all(url: str, queue: str, number: int) -> None:
    """
    Take so many messages out of a queue, with another client.
    """
    with pika.BlockingConnection(pika.URLParameters(url + "%2f")) as connection:
        channel = connection.channel()
        for _ in range(number):
            method, _, _ = channel.basic_get(queue, auto_ack=True)
            assert method is not None


@ensureDeferred
async def test_killed(
    either: AnyBroker,
    start: Callable[..., Program],
    make_client: MakeClient,
    names: Names,
) -> None:
    """
    A redrive that is killed at any moment, and run again, loses nothing.
    """
    client = make_client(either.url)
    asked = BrokerAccess(reactor, either.url)
    bodies = await fill(client, names.queue, 5_000)
    command = ("-m", "quebert", "dead", "redrive", names.queue)
    for wanted in (500, 3000):
        program = start(*command, f"--amqp-url={either.url}")
        while program.running:  # it may also end between two looks
            now = await operations.status(asked, names.queue)
            if now.ready is not None and now.ready >= wanted:
                break
        program.signal(signal.SIGKILL)
        await program.ended()
    program = start(*command, f"--amqp-url={either.url}")
    assert await program.ended() == 0, program.output
    assert "redriven" in program.output
    now = await operations.status(asked, names.queue)
    assert now.dead == 0
    back = await lying(asked, names.queue)
    assert set(back) == set(bodies)
    assert len(back) < len(bodies) + 1000  # those that were not acknowledged


@ensureDeferred
async def test_interrupted(
    either: AnyBroker,
    start: Callable[..., Program],
    make_client: MakeClient,
    names: Names,
) -> None:
    """
    One that is interrupted says how far it came, and nothing is lost.
    """
    bodies = await fill(make_client(either.url), names.queue, 10_000)
    command = ("-m", "quebert", "dead", "redrive", names.queue)
    program = start(*command, f"--amqp-url={either.url}")
    asked = BrokerAccess(reactor, either.url)
    # Some of them must have been confirmed to the program, too.
    while ((await operations.status(asked, names.queue)).ready or 0) < 500:
        assert program.running
    program.signal(signal.SIGINT)
    assert await program.ended() == 1
    assert "run it again" in program.output
    now = await operations.status(asked, names.queue)
    assert now.ready is not None
    assert now.dead is not None
    assert now.ready + now.dead >= len(bodies)
