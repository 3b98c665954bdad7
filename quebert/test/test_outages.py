"""
What a watch and its publisher live through, on a real RabbitMQ.

After each outage the watch consumes again and says so, and no task is lost.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sized
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    globalLogPublisher,
)
from zope.interface import implementer

from quebert.amqp import Message, TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.delays import arrivals_of
from quebert.amqp.queues import QUORUM, declare_queue
from quebert.errors import BrokerError, ChannelLost, PublishRefused
from quebert.outcome import Retry
from quebert.test.conftest import Names
from quebert.test.contract.client import version_of
from quebert.test.contract.differences import CLASSIC_TIMEOUT
from quebert.test.operating import add_user
from quebert.test.support import Proxy, logged, options_of, short_of, until
from quebert.test.test_amqp import adds_up
from quebert.testing import RabbitMQNode

DISCONNECTS = 100
PREFETCH = 20
PER_SECOND = 2000
#: Messages that wait at once.
HELD = 2000
#: Tasks that are offered before others are done, at most.
BACKLOG = 1000
PERSISTENT = {"delivery-mode": 2}


@pytest.fixture(scope="module")
def broker(rabbitmq: RabbitMQNode) -> RabbitMQNode:
    """
    What clients and channels are connected to.
    """
    return rabbitmq


class Watched:
    """
    A queue that is watched; its callback answers at once with what is in
    C{answers} for a body, and with C{None} for others.

    @ivar seen: how often the callback was called with each body.
    @ivar lost: what C{onDisconnect} was told.
    """

    watcher: Watcher

    def __init__(self, client: TxAMQPClient, exchange: str = "flow") -> None:
        self.client = client
        self.exchange = exchange
        self.answers: dict[bytes, Any] = {}
        self.seen: Counter[bytes] = Counter()
        self.lost: list[str] = []

    async def begin(self, queue: str = "queue", **options: Any) -> Watcher:
        """
        Watch it.
        """
        self.watcher = await self.client.watch(
            self.exchange,
            queue,
            "#",
            self._called,
            # Not the failures themselves, which keep what they tell of alive.
            onDisconnect=lambda failure: self.lost.append(failure.getErrorMessage()),
            **options_of(options),
        )
        return self.watcher

    def _called(self, message: Message) -> Any:
        self.seen[message.body] += 1
        return self.answers.pop(message.body, None)

    async def add(self, body: bytes) -> None:
        """
        Publish a task, again until it is confirmed.
        """
        while True:
            try:
                return await self.client.publish(self.exchange, "a", body, PERSISTENT)
            except BrokerError:
                await deferLater(reactor, 0.1)

    async def lives_on(self, *bodies: bytes) -> None:
        """
        It consumes, these have been done, and one more is.
        """
        await until(lambda: self.watcher.consuming)
        await self.add(b"one more")
        wanted = {*bodies, b"one more"}
        watcher = self.watcher
        await until(
            lambda: (
                wanted <= self.seen.keys()
                and not watcher.in_flight
                and watcher.consuming
            )
        )
        assert adds_up(self.watcher)


@pytest_twisted.async_yield_fixture
async def proxy(rabbitmq: RabbitMQNode) -> AsyncIterator[Proxy]:
    """
    A way to the shared broker that can be interrupted.
    """
    proxy = Proxy(rabbitmq.port)
    yield proxy
    await proxy.cut()


# -- The network


@ensureDeferred
async def test_dead_peer(
    proxy: Proxy, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    A peer that is gone without a word is found out by its missing heartbeats;
    what was in flight comes again, and what was published is published again.
    """
    watched = Watched(make_client(proxy.url + "?heartbeat=3"), names.exchange)
    late: Deferred[None] = Deferred()
    watched.answers[b"in flight"] = late
    watcher = await watched.begin(names.queue)
    await watched.add(b"in flight")
    await until(lambda: watched.seen[b"in flight"])
    proxy.hang()
    publishing = Deferred.fromCoroutine(watched.add(b"not confirmed"))
    await until(lambda: not watcher.consuming)
    await until(lambda: watched.seen[b"in flight"] == 2)
    late.callback(None)
    await publishing
    await watched.lives_on(b"in flight", b"not confirmed")
    assert len(watched.lost) == 1
    assert "two heartbeat intervals" in watched.lost[0]


@ensureDeferred
async def test_unreachable_for_a_while(
    proxy: Proxy, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    While there is no way to the broker it is said so, and a publication waits
    until there is.
    """
    watched = Watched(make_client(proxy.url), names.exchange)
    watcher = await watched.begin(names.queue)
    await watched.add(b"before")
    await watched.lives_on(b"before")
    await proxy.cut()
    await until(lambda: len(watched.lost) == 1)
    assert not watcher.consuming
    published = watched.client.publish(names.exchange, "a", b"meanwhile")
    assert not published.called
    proxy.listen()
    await published
    await watched.lives_on(b"meanwhile")
    assert len(watched.lost) == 1


# -- The channel


@pytest.fixture
def impatient(rabbitmq: RabbitMQNode) -> Iterator[RabbitMQNode]:
    """
    The shared broker, which lets consumers hold deliveries for a second only.
    """

    def change(settings: str) -> str:
        """
        Change settings, a list in Erlang, and give what they were.
        """
        change = "{ok, Before} = application:get_env(rabbit, Name),"
        change += "application:set_env(rabbit, Name, Value), {Name, Before}"
        return rabbitmq.eval(f"[begin {change} end || {{Name, Value}} <- {settings}]")

    before = change("[{channel_tick_interval, 200}, {consumer_timeout, 1000}]")
    yield rabbitmq
    change(before)


@pytest.mark.parametrize("type", [None, "quorum"])
@ensureDeferred
async def test_consumer_timeout(
    impatient: RabbitMQNode, client: TxAMQPClient, names: Names, type: str | None
) -> None:
    """
    A delivery that is held longer than the broker allows costs the channel or the
    consumer, not the connection, nor the task.
    """
    if type is None and not CLASSIC_TIMEOUT.of(version_of(impatient.port)):
        pytest.skip("classic queues of this RabbitMQ have no consumer timeout")
    watched = Watched(client, names.exchange)
    late: Deferred[None] = Deferred()
    watched.answers[b"slow"] = late
    watcher = await watched.begin(names.queue, queue_type=type)
    wire = await watched.client.connected()
    channel = watcher._intake.keeper.channel
    await watched.add(b"slow")
    await until(lambda: watched.seen[b"slow"] == 2)
    late.callback(None)
    await watched.lives_on(b"slow")
    # RabbitMQ 4.3 ends only the consumer: the first delivery is done, too.
    lost_channel = watcher._intake.keeper.channel is not channel
    # A copy takes the place of a message whose deliveries RabbitMQ does not count, as
    # in a classic queue, and in a quorum queue after the end of only the consumer.
    copied = type is None or not lost_channel
    assert watcher.counts.returned == lost_channel + copied
    assert watched.lost == []
    assert await watched.client.connected() is wire


@ensureDeferred
async def test_precondition_failed(client: TxAMQPClient, names: Names) -> None:
    """
    A channel that the broker closes for another reason is replaced, too.
    """
    watched = Watched(client, names.exchange)
    late: Deferred[None] = Deferred()
    watched.answers[b"in flight"] = late
    watcher = await watched.begin(names.queue)
    await watched.add(b"in flight")
    await until(lambda: watched.seen[b"in flight"])
    assert watcher._intake.keeper.channel is not None
    watcher._intake.keeper.channel.ack(999)  # which was never delivered
    await until(lambda: watched.seen[b"in flight"] == 2)
    late.callback(None)
    await watched.lives_on(b"in flight")
    assert watcher.counts.returned == 2  # by the loss, and with its copy
    assert watched.lost == []


@ensureDeferred
async def test_declared_otherwise_meanwhile(
    proxy: Proxy,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    A queue that somebody has made anew with other arguments is not consumed,
    which the log says with the broker's words and C{consuming} does, until it
    is as it should be.
    """
    watched = Watched(make_client(proxy.url), names.exchange)
    watcher = await watched.begin(names.queue)
    await watched.lives_on()
    await proxy.cut()
    await until(lambda: watched.lost)
    pika_channel.queue_delete(names.queue)
    pika_channel.queue_declare(names.queue, durable=True, arguments={"x-max-length": 5})
    told: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        told.append(str(event.get("why")))

    globalLogPublisher.addObserver(observe)
    proxy.listen()
    both = "'x-max-length' .* received none but current is the value '5'"
    await until(lambda: any(re.search(both, each) for each in told))
    globalLogPublisher.removeObserver(observe)
    assert not watcher.consuming
    pika_channel.queue_delete(names.queue)
    await watched.lives_on()


# -- The broker


def leader(node: RabbitMQNode, what: str, queue: str) -> None:
    """
    Stop the process in RabbitMQ that a quorum queue consists of, or start it again.
    Without the process, RabbitMQ fails at C{basic.consume} and C{basic.get} of the
    queue, and closes the connection with C{INTERNAL_ERROR}.
    """
    node.eval(f"ra:{what}_server(quorum_queues, {{'%2F_{queue}', node()}})")


@ensureDeferred
async def test_rabbitmq_fails_at_the_start(
    rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    Where RabbitMQ fails at a queue, and closes the connection of all, that is told
    once, and the queue is tried again; the others start meanwhile.
    """
    client = make_client(rabbitmq.url, connectTimeout=None)
    wire = await client.connected()
    await declare_queue(wire, names.queue, QUORUM)
    await deferToThread(leader, rabbitmq, "stop", names.queue)
    with logged() as lines:
        starting = Watched(client, names.exchange).begin(
            names.queue, queue_type="quorum"
        )
        begun = Deferred.fromCoroutine(starting)
        others = [Watched(client, f"{names.exchange}-{n}") for n in range(3)]
        beginning = [each.begin(f"{names.queue}-{n}") for n, each in enumerate(others)]
        await gatherResults([Deferred.fromCoroutine(each) for each in beginning])
        for each in others:
            await each.lives_on()
        told = f"Queue {names.queue!r} is not consumed for now: INTERNAL_ERROR"
        await until(lambda: any(each.startswith(told) for each in lines))
        await deferToThread(leader, rabbitmq, "restart", names.queue)
        watcher = await begun
    assert sum(each.startswith(told) for each in lines) == 1
    await until(lambda: watcher.consuming)


@pytest.mark.long
@ensureDeferred
@pytest.mark.parametrize("which", ["tasks", "arrivals"])
async def test_rabbitmq_fails_later(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    which: str,
) -> None:
    """
    Where RabbitMQ fails again and again at a queue of tasks, or in which delayed tasks
    arrive, attempts become so rare that slow tasks of another queue are done.
    """
    client = make_client(rabbitmq.url)
    watched = Watched(client, names.exchange)
    watched.answers[b"later"] = Retry(after=3_600)
    watcher = await watched.begin(names.queue, queue_type="quorum", hold_up_to=0)
    lost: list[object] = []
    other, done = f"slow-{names.queue}", partial(deferLater, reactor, 4.0)
    slow = await client.watch("", other, "", lambda _: done(lambda: None), lost.append)
    await watched.add(b"later")
    await until(lambda: watcher.counts.retried == 1)
    wire = await client.connected()
    queue = names.queue if which == "tasks" else arrivals_of(names.queue)
    await deferToThread(leader, rabbitmq, "stop", queue)
    wire.transport.abortConnection()
    await until(lambda: len(lost) > 1)  # RabbitMQ has failed
    await client.publish("", other, b"slow", PERSISTENT)
    await until(lambda: slow.counts.done == 1)
    await deferToThread(leader, rabbitmq, "restart", queue)
    await until(lambda: watcher.consuming)
    assert slow.consuming


@ensureDeferred
async def test_rabbitmq_fails_at_a_rung(
    rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    Where RabbitMQ fails at a queue in which tasks wait, as when its node was lost, that
    disturbs no watch.
    """
    client = make_client(rabbitmq.url)
    watched = Watched(client, names.exchange)
    watched.answers[b"later"] = Retry(after=3_600)
    never: Deferred[None] = Deferred()
    watched.answers[b"in flight"] = never
    watcher = await watched.begin(names.queue, queue_type="quorum", hold_up_to=0)
    await watched.add(b"later")
    await until(lambda: watcher.counts.retried == 1)
    await watched.add(b"in flight")
    await until(lambda: watched.seen[b"in flight"])
    wait = max(client.ladder._in_use._used)
    rung = client.ladder.rungs_of(await client.connected()).name(wait)
    await deferToThread(leader, rabbitmq, "stop", rung)
    await until(lambda: rung in client.ladder._in_use._failing)
    assert watched.lost == []
    await deferToThread(leader, rabbitmq, "restart", rung)
    await until(lambda: rung not in client.ladder._in_use._failing)
    never.callback(None)
    await until(lambda: watcher.counts.done == 1)
    assert watched.lost == []
    assert watched.seen[b"in flight"] == 1


@ensureDeferred
async def test_no_third_connection(
    rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    Where RabbitMQ lets a user have two connections, delayed tasks are looked after over
    the one that consumes.
    """
    user = f"two-{names.queue}"
    url = add_user(rabbitmq, user)
    rabbitmq.ctl("set_user_limits", user, '{"max-connections": 2}')
    client = make_client(url)
    watched = Watched(client, names.exchange)
    watched.answers[b"later"] = Retry(after=6)
    watcher = await watched.begin(names.queue, queue_type="quorum", hold_up_to=0)
    with logged(LogLevel.warn) as lines:
        await watched.add(b"later")
        await until(lambda: watcher.counts.retried == 1)
        used = client.ladder._in_use._last_use
        last = max(used.values())
        await until(lambda: max(used.values()) > last)
        await until(lambda: watched.seen[b"later"] == 2)
    assert lines == []


@ensureDeferred
async def test_restarted_broker(
    restartable_rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
) -> None:
    """
    A broker that is stopped in an orderly way, and started again, finds its
    watch, and each watch is told once.
    """
    client = make_client(restartable_rabbitmq.url, connectTimeout=None)
    watched = Watched(client, names.exchange)
    never: Deferred[None] = Deferred()
    watched.answers[b"in flight"] = never
    watcher = await watched.begin(names.queue)
    await watched.add(b"in flight")
    await until(lambda: watched.seen[b"in flight"])
    stopped = deferToThread(restartable_rabbitmq.stop)
    await until(lambda: not watcher.consuming)
    await stopped  # or RabbitMQ may close the connection before it confirms
    published = client.publish(names.exchange, "a", b"meanwhile", PERSISTENT)
    assert not watcher.consuming
    await deferToThread(restartable_rabbitmq.start)
    await published
    await watched.lives_on(b"in flight", b"meanwhile")
    assert watched.seen[b"in flight"] == 2
    assert len(watched.lost) == 1


@ensureDeferred
async def test_restarted_with_many_held(
    restartable_rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
) -> None:
    """
    Of thousands of messages that were held when a connection was lost, a quorum queue
    has those that were not settled when RabbitMQ starts again, and no others.
    """
    client = make_client(restartable_rabbitmq.url, connectTimeout=None)
    seen: Counter[bytes] = Counter()
    kept = {b"%d" % n for n in range(0, HELD, 50)}

    def callback(message: Message) -> Retry | None:
        seen[message.body] += 1
        waits = 2 if message.body in kept else 1
        return Retry(after=600) if seen[message.body] <= waits else None

    watcher = await client.watch(
        names.exchange,
        names.queue,
        "#",
        callback,
        maxEvents=PREFETCH,
        options=WatchOptions(queue_type="quorum", hold_up_to=600),
    )
    for n in range(HELD):
        await client.publish(names.exchange, "a", b"%d" % n, PERSISTENT)
    await until(lambda: watcher.in_flight == HELD)
    (await client.connected()).transport.abortConnection()
    await until(lambda: watcher.counts.done == HELD - len(kept))
    await until(lambda: restartable_rabbitmq.depths()[names.queue] == len(kept))
    await deferToThread(restartable_rabbitmq.stop)
    await deferToThread(restartable_rabbitmq.start)
    await until(lambda: watcher.counts.done == HELD)
    assert {body for body, times in seen.items() if times == 3} == kept


@ensureDeferred
async def test_alarms(
    rabbitmq: RabbitMQNode, client: TxAMQPClient, names: Names
) -> None:
    """
    While the broker is short of memory or of disk, publishing waits, as does
    a task that must go back, and consuming goes on.
    """
    watched = Watched(client, names.exchange)
    watcher = await watched.begin(names.queue, maxEvents=10)
    for resource in ("memory", "disk"):
        reason = f"low on {resource}"
        seen, done = watched.seen, watcher.counts.done
        seen.clear()
        release: Deferred[None] = Deferred()
        watched.answers = {b"%d" % n: release for n in range(10)}
        for n in range(200):
            await client.publish(names.exchange, "a", b"%d" % n, PERSISTENT)
        watched.answers[b"150"] = Retry()
        with short_of(resource, rabbitmq):
            publish = partial(client.publish, names.exchange, "a", b"new")
            publishing = [publish() for _ in range(50)]
            await until(lambda: client.blocked == reason)  # noqa: B023
            release.callback(None)
            await until(lambda: watcher.counts.done == done + 199)  # noqa: B023
            assert watcher.consuming
            assert (seen[b"150"], seen[b"new"], watcher.in_flight) == (1, 0, 1)
            assert not any(each.called for each in publishing[10:])
        for each in publishing:
            await each
        await until(lambda: seen[b"150"] == 2 and seen[b"new"] == 50)  # noqa: B023
        assert client.blocked is None
        await watched.lives_on()
    assert watched.lost == []


@ensureDeferred
async def test_stopped_during_an_alarm(
    rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    A client can be stopped while the broker takes nothing: a task that should
    have gone back is delivered again, to whoever comes next.
    """
    watched = Watched(make_client(), names.exchange)
    wait: Deferred[Retry] = Deferred()
    watched.answers[b"again"] = wait
    watcher = await watched.begin(names.queue)
    await watched.add(b"again")
    await until(lambda: watched.seen[b"again"])
    with short_of("memory", rabbitmq):
        publish = partial(watched.client.publish, names.exchange, "a", b"new")
        publishing = [publish() for _ in range(9)]
        await until(lambda: watched.client.blocked)
        wait.callback(Retry(b"once more"))
        await watched.client.stop(grace=0.1)
        for each in publishing:
            each.addErrback(lambda failure: failure.trap(ChannelLost))
        assert all(each.called for each in publishing)
        assert (watcher.in_flight, watcher.counts.returned) == (0, 1)
    other = Watched(make_client(), names.exchange)
    await other.begin(names.queue)
    await other.lives_on(b"again")


@ensureDeferred
async def test_refused_publication(
    rabbitmq: RabbitMQNode, client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A publication that the broker does not take (C{basic.nack}) is an error,
    and the next one is not.
    """
    pika_channel.queue_declare(
        names.queue,
        durable=True,
        arguments={"x-max-length": 1, "x-overflow": "reject-publish"},
    )
    refused = 0
    while not refused:
        try:
            await client.publish("", names.queue, b"x")
        except PublishRefused:
            refused += 1
    pika_channel.queue_purge(names.queue)
    await client.publish("", names.queue, b"x")


# -- Again and again


class Offer:
    """
    Publishes numbered tasks at a steady rate, until told to stop, each until
    it is confirmed.  A slow machine is offered fewer.

    @param seen: the bodies that were consumed.
    """

    def __init__(self, client: TxAMQPClient, exchange: str, seen: Sized) -> None:
        self._client = client
        self._exchange = exchange
        self._seen = seen
        self.offered = 0
        self.confirmed: set[bytes] = set()
        self._publishing = LoopingCall.withCount(self._publish)

    def start(self) -> None:
        self._publishing.start(1 / PER_SECOND)

    async def stop(self) -> None:
        self._publishing.stop()
        await until(lambda: len(self.confirmed) == self.offered)

    def _publish(self, count: int) -> None:
        for _ in range(min(count, BACKLOG - self.offered + len(self._seen))):
            body = b"%d" % self.offered
            self.offered += 1
            published = Deferred.fromCoroutine(self._published(body))
            published.addErrback(lambda failure: failure.printTraceback())

    async def _published(self, body: bytes) -> None:
        while body not in self.confirmed:
            try:
                await self._client.publish(self._exchange, "a", body)
                self.confirmed.add(body)
            except BrokerError:
                await deferLater(reactor, 0.1)


def alive() -> Counter[str]:
    """
    What there is of ours, of txamqp's, and of Deferreds that have not fired.
    """
    gc.collect()
    found: Counter[str] = Counter()
    for each in gc.get_objects():
        kind = type(each)
        ours = str(kind.__module__).startswith(("quebert.", "txamqp."))
        waiting = kind is Deferred and not each.called
        # A logger remembers the fields of formats, which are tuples; Twisted remembers
        # the last events, each with its logger.
        logged = issubclass(kind, (BaseException, tuple, Logger))
        if waiting or (ours and not logged):
            found[kind.__qualname__] += 1
    return found


@ensureDeferred
async def test_disconnects_under_load(
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A client whose connections are cut a hundred times under load loses no
    task, repeats no more than were in flight, and leaves nothing behind.
    """
    # Else a third of a second passes after each of them.
    monkeypatch.setattr("quebert.amqp.link._hosts.retry_delay", lambda *args: 0.01)
    watched = Watched(make_client(), names.exchange)
    seen, lost = watched.seen, watched.lost
    in_flight = 0

    def is_retried(body: bytes) -> bool:
        return body.endswith(b"7")

    def callback(message: Message) -> Any:
        seen[message.body] += 1
        if seen[message.body] == 1 and is_retried(message.body):
            return Retry(after=0.01)
        return deferLater(reactor, 0.001, lambda: None)

    watched._called = callback  # type: ignore[method-assign]
    watcher = await watched.begin(names.queue, maxEvents=PREFETCH)
    offer = Offer(make_client(), names.exchange, seen)

    async def disconnect(times: int) -> None:
        offer.start()
        nonlocal in_flight
        for _ in range(times):
            received, before = watcher.counts.received, len(lost)
            await until(lambda: watcher.counts.received > received + PREFETCH)  # noqa: B023
            client = watched.client
            wire = await client.connected()
            in_flight += watcher.in_flight
            wire.transport.abortConnection()
            if before % 2:
                (await client._publishing.connected()).transport.abortConnection()
            await until(lambda: len(lost) > before and watcher.consuming)  # noqa: B023
        await offer.stop()
        await until(lambda: offer.confirmed <= seen.keys() and watcher.in_flight == 0)
        await until(lambda: all(seen[body] > 1 for body in seen if is_retried(body)))

    await disconnect(10)
    # Some parts are made when they are first needed, and then stay.
    client = watched.client
    client.ladder.rungs_of(await client.spare.instead_of(await client.connected()))
    before = alive()
    await disconnect(DISCONNECTS - 10)
    await until(lambda: not alive() - before, shown=lambda: alive() - before)
    assert len(lost) == DISCONNECTS
    assert adds_up(watcher)
    repeated = sum(seen.values()) - len(seen) - sum(map(is_retried, seen))
    # RabbitMQ may not have read the acks of as many as it delivers at once.
    assert repeated <= in_flight + DISCONNECTS * PREFETCH


@ensureDeferred
async def test_many_publications_outstanding(
    client: TxAMQPClient, names: Names
) -> None:
    """
    Thousands of publications may wait for their confirms at once.
    """
    watcher = await client.watch(names.exchange, names.queue, "#", lambda message: None)
    published = [
        client.publish(names.exchange, "a", b"%d" % n, PERSISTENT)
        for n in range(20_000)
    ]
    for each in published:
        await each
    await until(lambda: watcher.counts.done == 20_000)
