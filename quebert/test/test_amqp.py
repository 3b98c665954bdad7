"""
Watching, settling and publishing on a broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert.amqp import Message, TxAMQPClient, Watcher, WatchOptions
from quebert.errors import BrokerRefused, BrokerUnreachable, ConfigError, Unroutable
from quebert.outcome import Discard, Done, Retry
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import depth, publish, until
from quebert.testing import free_port


def adds_up(watcher: Watcher) -> bool:
    """
    Whether every message received is accounted for.
    """
    c = watcher.counts
    settled = c.done + c.retried + c.discarded + c.buried + c.returned
    return c.received == settled + watcher.in_flight


# -- What a callback answers


@ensureDeferred
async def test_none_is_done(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A callback that returns None, or fires or returns Done, ends the task.
    """

    async def coroutine() -> None:
        return None

    deferred: Deferred[None] = Deferred()
    answers: dict[bytes, Callable[[], Any]] = {
        b"none": lambda: None,
        b"done": Done,
        b"deferred": lambda: deferred,
        b"coroutine": coroutine,
    }

    def callback(message: Message) -> Any:
        return answers[message.body]()

    watcher = await client.watch(names.exchange, names.queue, "#", callback)
    publish(pika_channel, names.exchange, "a", *answers)
    await until(lambda: watcher.counts.done == 3)
    assert watcher.in_flight == 1
    deferred.callback(None)
    await until(lambda: watcher.counts.done == 4)
    assert adds_up(watcher)
    await watcher.stop()
    assert depth(pika_channel, names.queue) == 0


@ensureDeferred
async def test_replaced_body_comes_back(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    Bytes, text and a Retry with a body replace the task; its properties stay.
    """
    seen: list[Message] = []
    answers: dict[bytes, Any] = {
        b"1": b"2",
        b"2": "drei \N{SNOWMAN}",
        "drei \N{SNOWMAN}".encode(): Retry(body=b"4"),
        b"4": Retry(),
    }

    def callback(message: Message) -> Any:
        seen.append(message)
        return answers.pop(message.body, None)

    watcher = await client.watch(names.exchange, names.queue, "#", callback)
    publish(
        pika_channel,
        names.exchange,
        "a.b",
        b"1",
        message_id="id",
        priority=3,
        headers={"n": 2**40},
    )
    # The broker may deliver a copy before it confirms it.
    await until(lambda: watcher.counts.done == 1 and not watcher.in_flight)
    bodies = [message.body for message in seen]
    assert bodies == [b"1", b"2", "drei \N{SNOWMAN}".encode(), b"4", b"4"]
    assert all(m.properties == seen[0].properties for m in seen)
    assert seen[-1].properties["message-id"] == "id"
    assert watcher.counts.retried == 4
    assert adds_up(watcher)


@ensureDeferred
async def test_put_back_to_its_own_queue(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    Other queues bound to the same key, or named by a CC header, do not see a
    retry as a new task.
    """
    other, copied = names.queue + ".other", names.queue + ".copied"
    answers = [Retry(), None]
    watcher = await client.watch(
        names.exchange, names.queue, "#", lambda message: answers.pop(0)
    )
    for queue in (other, copied):
        pika_channel.queue_declare(queue, durable=True)
    pika_channel.queue_bind(other, names.exchange, "#")
    pika_channel.queue_bind(copied, names.exchange, copied)
    publish(pika_channel, names.exchange, "a", b"x", headers={"CC": [copied]})
    await until(lambda: watcher.counts.done == 1)
    assert depth(pika_channel, other) == 1
    assert depth(pika_channel, copied) == 1


@ensureDeferred
async def test_discard(client: TxAMQPClient, names: Names, pika_channel: Any) -> None:
    """
    A discarded message is gone.
    """
    watcher = await client.watch(
        names.exchange, names.queue, "#", lambda message: Discard("not wanted")
    )
    publish(pika_channel, names.exchange, "a", b"x")
    await until(lambda: watcher.counts.discarded == 1)
    await watcher.stop()
    assert depth(pika_channel, names.queue) == 0


@ensureDeferred
async def test_failing_callback(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A callback that raises gets the message again, with the failures counted.
    """
    seen: list[Any] = []

    def callback(message: Message) -> None:
        seen.append(message.headers.get("quebert-errors"))
        if len(seen) < 4:
            raise RuntimeError("no")

    watcher = await client.watch(
        names.exchange,
        names.queue,
        "#",
        callback,
        options=WatchOptions(error_delay=0.01),
    )
    publish(pika_channel, names.exchange, "a", b"x")
    await until(lambda: watcher.counts.done == 1)
    assert seen == [None, 1, 2, 3]
    assert adds_up(watcher)


# -- Contents


@ensureDeferred
async def test_txamqp_spelling(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A message has its fields, under txamqp's names as well.
    """
    seen: list[Message] = []
    await client.watch(names.exchange, names.queue, "#", seen.append)
    publish(pika_channel, names.exchange, "a.b", b"\xff", content_type="x/y")
    (message,) = await until(lambda: seen)
    assert message.content.body is message.body
    assert message.content.properties["content-type"] == "x/y"
    assert (message.exchange, message.routing_key) == (names.exchange, "a.b")
    assert message.redelivered is False


# -- Publishing


@ensureDeferred
async def test_unroutable_is_an_error(client: TxAMQPClient, names: Names) -> None:
    """
    A message that no queue takes is an error, and no harm to the others.
    """
    watcher = await client.watch(
        names.exchange, names.queue, "known", lambda message: None
    )
    published = [
        client.publish(names.exchange, key, b"same body")
        for key in ("known", "unknown", "known")
    ]
    await published[0]
    with pytest.raises(Unroutable, match="unknown"):
        await published[1]
    await published[2]
    with pytest.raises(Unroutable, match="no exchange 'no-such'"):
        await client.publish("no-such", "key", b"")
    await client.publish(names.exchange, "known", b"")
    await until(lambda: watcher.counts.done == 3)


# -- The places


@ensureDeferred
async def test_at_most_max_events(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    No more than maxEvents messages are with the callback at once.
    """
    waiting: list[Deferred[None]] = []

    def callback(message: Message) -> Deferred[None]:
        waiting.append(Deferred())
        return waiting[-1]

    watcher = await client.watch(
        names.exchange, names.queue, "#", callback, maxEvents=3
    )
    publish(pika_channel, names.exchange, "a", *[b"x"] * 10)
    for done in range(10):
        await until(lambda: len(waiting) == min(done + 3, 10))  # noqa: B023
        assert watcher.in_flight <= 3
        waiting[done].callback(None)
    await until(lambda: watcher.counts.done == 10)


@ensureDeferred
async def test_waiting_does_not_starve(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    Messages that wait for their retry leave their places to those behind.
    """
    done: list[bytes] = []

    def callback(message: Message) -> Any:
        if message.body.startswith(b"wait"):
            return Retry(after=800)
        done.append(message.body)
        return None

    watcher = await client.watch(
        names.exchange,
        names.queue,
        "#",
        callback,
        maxEvents=2,
        options=WatchOptions(hold_up_to=900),
    )
    bodies = [b"wait%d" % n for n in range(7)] + [b"go%d" % n for n in range(7)]
    publish(pika_channel, names.exchange, "a", *bodies)
    await until(lambda: len(done) == 7)
    assert watcher.in_flight == 7
    await watcher.stop()
    assert adds_up(watcher)
    assert watcher.counts.retried == 7  # they are on the ladder
    assert depth(pika_channel, names.queue) == 0


@ensureDeferred
async def test_slow_does_not_starve(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    Callbacks that take longer than timeout keep nobody waiting.
    """
    slow: list[Deferred[None]] = []

    def callback(message: Message) -> Any:
        if message.body == b"slow":
            slow.append(Deferred())
            return slow[-1]
        return None

    watcher = await client.watch(
        names.exchange,
        names.queue,
        "#",
        callback,
        maxEvents=2,
        options=WatchOptions(slow_after=0.05),
    )
    publish(pika_channel, names.exchange, "a", *[b"slow"] * 5, *[b"quick"] * 5)
    await until(lambda: watcher.counts.done == 5)
    assert len(slow) == 5
    for each in slow:
        each.callback(None)
    await until(lambda: watcher.counts.done == 10)
    assert adds_up(watcher)


# -- What cannot be watched


@ensureDeferred
async def test_refusals_are_told_at_once(
    broker: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    A wrong password, a missing virtual host, an exchange or a queue declared
    otherwise: the broker's sentence, at once.
    """
    pika_channel.exchange_declare(names.exchange, "direct", durable=True)
    pika_channel.queue_declare(names.queue, durable=False)
    client = make_client()
    wrong = make_client(broker.url.replace(":guest", ":wrong"))
    nowhere = make_client(broker.url + "nowhere")
    for watching, sentence in (
        (wrong.watch("", "q", "", print), "ACCESS_REFUSED"),
        (nowhere.watch("", "q", "", print), "vhost nowhere not found"),
        (client.watch(names.exchange, "q", "#", print), "'topic' but current is"),
        (client.watch("", names.queue, "", print), "'true' but current is 'false'"),
    ):
        with pytest.raises(BrokerRefused, match=sentence):
            await watching


@ensureDeferred
async def test_unreachable_is_told_in_time(
    make_client: Callable[..., TxAMQPClient],
) -> None:
    """
    Where there is no broker, the last reason is told after connectTimeout.
    """
    url = f"amqp://127.0.0.1:{free_port()}"
    with pytest.raises(BrokerUnreachable, match="refused"):
        await make_client(url, connectTimeout=2.0).watch("", "q", "", print)


@ensureDeferred
async def test_nonsense_is_refused(client: TxAMQPClient) -> None:
    """
    Arguments that make no sense are named.
    """
    for arguments, sentence in (
        (("e", "", "k", print), "the name of the queue must not be empty"),
        (("e", "q", "k", None), "callback=None must be callable"),
        (("e", "q", "k", print, None, -1), "maxEvents=-1"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            await client.watch(*arguments)


# -- When things break


@ensureDeferred
async def test_deleted_queue_is_declared_anew(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A queue that is deleted is there again, and what was in flight is put back.
    """
    lost: list[Failure] = []
    again: Deferred[Retry] = Deferred()
    answers: list[Any] = [again, None, None]
    watcher = await client.watch(
        names.exchange, names.queue, "#", lambda m: answers.pop(0), lost.append
    )
    publish(pika_channel, names.exchange, "a", b"x")
    await until(lambda: watcher.in_flight == 1)
    pika_channel.queue_delete(names.queue)
    again.callback(Retry())
    await until(lambda: watcher.counts.done == 1)
    publish(pika_channel, names.exchange, "a", b"y")
    await until(lambda: watcher.counts.done == 2)
    assert watcher.consuming
    assert lost == []
    assert adds_up(watcher)


# -- The end


@ensureDeferred
async def test_stop_drains(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A watch that is stopped lets running callbacks finish, and gives back what
    has not begun.
    """
    running: list[Deferred[None]] = []

    def callback(message: Message) -> Deferred[None]:
        running.append(Deferred())
        return running[-1]

    watcher = await client.watch(
        names.exchange, names.queue, "#", callback, maxEvents=2
    )
    publish(pika_channel, names.exchange, "a", *[b"x"] * 5)
    await until(lambda: len(running) == 2)
    stopped = watcher.stop()
    await until(lambda: not watcher.consuming)
    assert not stopped.called
    for each in running:
        each.callback(None)
    await stopped
    assert (watcher.counts.done, len(running)) == (2, 2)
    assert depth(pika_channel, names.queue) == 3


@ensureDeferred
async def test_stop_gives_back_after_the_grace(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    What has not finished after the grace goes back to the queue.
    """
    cancelled: list[object] = []
    running: Deferred[None] = Deferred(cancelled.append)
    watcher = await client.watch(names.exchange, names.queue, "#", lambda m: running)
    publish(pika_channel, names.exchange, "a", b"x")
    await until(lambda: watcher.in_flight == 1)
    await watcher.stop(grace=0.05)
    assert len(cancelled) == 1
    assert watcher.counts.returned == 1
    assert adds_up(watcher)
    assert depth(pika_channel, names.queue) == 1
