"""
Consumers, how much they are sent, and the fetching of single messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quebert.test.contract.client import Channel, Client, Close, until
from quebert.test.contract.conftest import Broker
from quebert.test.contract.differences import CHANNEL_PREFETCH

Connect = Callable[..., Client]


def bodies(channel: Channel, count: int) -> list[bytes]:
    """
    The bodies of as many deliveries.
    """
    return [each.body for each in channel.deliveries(count)]


# -- Consumers


def test_consume(channel: Channel) -> None:
    """
    A delivery says where the message came from, and by which consumer.
    """
    queue, exchange = channel.queue(), channel.exchange()
    channel.bind(queue, exchange, "key")
    assert channel.consume(queue, consumer_tag="me") == "me"
    channel.publish(exchange, "key", b"body")
    delivery = channel.next()
    assert delivery.name == "basic.deliver"
    assert delivery.body == b"body"
    assert delivery.arguments == {
        "consumer_tag": "me",
        "delivery_tag": 1,
        "redelivered": False,
        "exchange": exchange,
        "routing_key": "key",
    }


def test_server_named(channel: Channel) -> None:
    """
    The broker makes a tag for a consumer that has none.
    """
    queue = channel.queue()
    tags = [channel.consume(queue) for _ in range(2)]
    assert len(set(tags)) == 2
    assert all(tag.startswith("amq.ctag-") for tag in tags)


def test_answered_first(channel: Channel) -> None:
    """
    What was in the queue is delivered after the answer, in its order.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3")
    channel.send("basic.consume", queue=queue)
    assert channel.next().name == "basic.consume-ok"
    assert [channel.next().body for _ in range(3)] == [b"1", b"2", b"3"]


def test_without_an_answer(channel: Channel) -> None:
    """
    No answer comes where none is wanted.
    """
    queue = channel.queue()
    channel.put(queue, b"1")
    channel.send("basic.consume", queue=queue, consumer_tag="me", nowait=True)
    assert channel.next()["consumer_tag"] == "me"
    channel.send("basic.cancel", consumer_tag="me", nowait=True)
    channel.send("basic.qos")
    assert channel.next().name == "basic.qos-ok"
    assert channel.count(queue) == (0, 0)


def test_tags_count_per_channel(channel: Channel) -> None:
    """
    All that a channel is given is numbered together.
    """
    first, second, third = (channel.queue() for _ in range(3))
    channel.consume(first)
    channel.consume(second)
    channel.put(first, b"1")
    assert channel.next()["delivery_tag"] == 1
    channel.put(second, b"2")
    assert channel.next()["delivery_tag"] == 2
    channel.put(third, b"3")
    assert channel.get(third)["delivery_tag"] == 3


def test_round_robin(client: Client, channel: Channel) -> None:
    """
    Consumers of a queue are served in turn.
    """
    queue, other = channel.queue(), client.channel()
    channel.consume(queue)
    other.consume(queue)
    channel.put(queue, *(b"%d" % n for n in range(6)))
    assert bodies(channel, 3) == [b"0", b"2", b"4"]
    assert bodies(other, 3) == [b"1", b"3", b"5"]


def test_round_robin_on_one_channel(channel: Channel) -> None:
    """
    Consumers of a queue on the same channel are served in turn, too.
    """
    queue = channel.queue()
    for tag in ("a", "b", "c"):
        channel.consume(queue, consumer_tag=tag)
    channel.put(queue, *(b"%d" % n for n in range(6)))
    tags = [channel.next()["consumer_tag"] for _ in range(6)]
    assert tags == ["a", "b", "c"] * 2


def test_reused_tag(channel: Channel) -> None:
    """
    530 is for a second consumer of the same tag on a channel.
    """
    queue = channel.queue()
    channel.consume(queue, consumer_tag="me")
    assert channel.refusal("basic.consume", queue=queue, consumer_tag="me") == Close(
        "connection",
        530,
        "NOT_ALLOWED - attempt to reuse consumer tag 'me'",
        "basic.consume",
    )


def test_tag_is_the_channels(client: Client, channel: Channel) -> None:
    """
    Consumers on different channels may have the same tag.
    """
    queue = channel.queue()
    for each in (channel, client.channel()):
        each.consume(queue, consumer_tag="me")
    assert channel.count(queue) == (0, 2)


def test_tag_of_a_cancelled(channel: Channel) -> None:
    """
    The tag of a consumer that was cancelled may be used again.
    """
    queue = channel.queue()
    for _ in range(2):
        channel.consume(queue, consumer_tag="me")
        channel.call("basic.cancel", consumer_tag="me")


def test_consumer_of_several_queues(channel: Channel) -> None:
    """
    A channel may consume from many queues.
    """
    queues = [channel.queue() for _ in range(20)]
    for queue in queues:
        channel.consume(queue, consumer_tag=queue)
        channel.put(queue, queue.encode())
    events = channel.deliveries(20)
    assert {each["consumer_tag"]: each.body.decode() for each in events} == {
        queue: queue for queue in queues
    }


def test_no_local(channel: Channel) -> None:
    """
    A consumer is given what its own connection published, even if it would
    rather not.
    """
    queue = channel.queue()
    channel.consume(queue, no_local=True)
    channel.publish("", queue, b"body")
    assert channel.next().body == b"body"


def test_no_ack(client: Client, channel: Channel) -> None:
    """
    What is consumed without acknowledging is settled.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2")
    channel.consume(queue, no_ack=True)
    assert bodies(channel, 2) == [b"1", b"2"]
    channel.close()
    assert client.channel().get(queue).name == "basic.get-empty"


# -- Cancelling


def test_cancel(channel: Channel) -> None:
    """
    A consumer that was cancelled is given nothing more.
    """
    queue = channel.queue()
    tag = channel.consume(queue)
    assert channel.call("basic.cancel", consumer_tag=tag)["consumer_tag"] == tag
    channel.put(queue, b"body")
    assert channel.count(queue) == (1, 0)
    assert channel.waiting == []


def test_cancel_leaves_the_unacked(channel: Channel) -> None:
    """
    What a consumer was given before it was cancelled can still be settled.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2")
    tag = channel.consume(queue)
    channel.deliveries(2)
    channel.call("basic.cancel", consumer_tag=tag)
    assert channel.count(queue) == (0, 0)
    channel.ack(1)
    channel.reject(2, requeue=True)
    assert channel.take(queue).body == b"2"


def test_cancel_unknown(channel: Channel) -> None:
    """
    A consumer that is not there may be cancelled.
    """
    reply = channel.call("basic.cancel", consumer_tag="nobody")
    assert reply["consumer_tag"] == "nobody"


def test_cancelled_by_the_broker(client: Client, channel: Channel) -> None:
    """
    A consumer is told when its queue is deleted.
    """
    queue = channel.queue()
    channel.consume(queue, consumer_tag="me")
    client.channel().call("queue.delete", queue=queue)
    cancelled = channel.next()
    assert cancelled.name == "basic.cancel"
    assert cancelled.arguments == {"consumer_tag": "me", "nowait": True}


def test_cancelled_without_a_word(dial: Callable[[], Client]) -> None:
    """
    A consumer is not told if its client does not have the capability.
    """
    client = dial()
    client.start()
    client.authenticate(capabilities={})
    client.tune()
    client.control.call("connection.open")
    channel = client.channel()
    queue = channel.queue()
    channel.consume(queue)
    channel.call("queue.delete", queue=queue)
    channel.call("basic.qos")
    assert channel.waiting == []


def test_cancelled_by_the_broker_frees_the_tag(channel: Channel) -> None:
    """
    The tag of a consumer whose queue was deleted may be used again.
    """
    queue = channel.queue()
    channel.consume(queue, consumer_tag="me")
    channel.call("queue.delete", queue=queue)
    channel.expect("basic.cancel")
    channel.consume(channel.queue(), consumer_tag="me")


def test_settling_after_the_queue_is_gone(channel: Channel) -> None:
    """
    What was delivered from a queue may be settled once the queue is deleted.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3")
    channel.consume(queue)
    channel.deliveries(3)
    channel.call("queue.delete", queue=queue)
    channel.ack(1)
    channel.reject(2, requeue=True)
    channel.reject(3, requeue=False)
    channel.call("basic.qos")


# -- Exclusive consumers


def in_exclusive_use(queue: str) -> Close:
    """
    How another consumer is refused.
    """
    return Close(
        "channel",
        403,
        f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use",
        "basic.consume",
    )


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_exclusive(client: Client, channel: Channel, first: bool, second: bool) -> None:
    """
    403 is for a consumer where either wants to be the only one.
    """
    queue = channel.queue()
    channel.consume(queue, exclusive=first)
    refusal = client.channel().refusal("basic.consume", queue=queue, exclusive=second)
    assert refusal == in_exclusive_use(queue)


def test_exclusive_until_cancelled(channel: Channel) -> None:
    """
    Others may consume once the exclusive consumer was cancelled.
    """
    queue = channel.queue()
    tag = channel.consume(queue, exclusive=True)
    channel.call("basic.cancel", consumer_tag=tag)
    channel.consume(queue)


def test_exclusive_until_closed(client: Client, channel: Channel) -> None:
    """
    Others may consume once the exclusive consumer's channel was closed.
    """
    queue = channel.queue()
    channel.consume(queue, exclusive=True)
    channel.close()
    client.channel().consume(queue)


# -- One active consumer


def test_single_active(client: Client, channel: Channel) -> None:
    """
    In a queue with a single active consumer, the first is given all.
    """
    queue = channel.queue({"x-single-active-consumer": True})
    channel.consume(queue)
    other = client.channel()
    other.consume(queue)
    channel.put(queue, *(b"%d" % n for n in range(4)))
    assert bodies(channel, 4) == [b"0", b"1", b"2", b"3"]
    assert channel.count(queue) == (0, 2)
    assert other.waiting == []


def test_single_active_and_prefetch(client: Client, channel: Channel) -> None:
    """
    What the active consumer cannot take waits for it.
    """
    queue = channel.queue({"x-single-active-consumer": True})
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue)
    other = client.channel()
    other.consume(queue)
    channel.put(queue, b"1", b"2")
    assert bodies(channel, 1) == [b"1"]
    assert channel.count(queue) == (1, 2)
    channel.ack(1)
    assert bodies(channel, 1) == [b"2"]


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_single_active_hands_over(client: Client, channel: Channel, how: str) -> None:
    """
    When the active consumer goes, the one that waited longest is active.
    """
    queue = channel.queue({"x-single-active-consumer": True})
    tag = channel.consume(queue)
    second, third = client.channel(), client.channel()
    second.consume(queue)
    third.consume(queue)
    if how == "cancel":
        channel.call("basic.cancel", consumer_tag=tag)
    else:
        channel.close()
    second.put(queue, b"1", b"2")
    assert bodies(second, 2) == [b"1", b"2"]
    assert third.waiting == []


def test_single_active_refuses_exclusive(channel: Channel) -> None:
    """
    403 is for an exclusive consumer in a queue with a single active one.
    """
    queue = channel.queue({"x-single-active-consumer": True})
    refusal = channel.refusal("basic.consume", queue=queue, exclusive=True)
    assert refusal == in_exclusive_use(queue)


# -- Prefetch


def test_prefetch(channel: Channel) -> None:
    """
    A consumer is given as many unacknowledged messages as it may have.
    """
    queue = channel.queue()
    channel.put(queue, *(b"%d" % n for n in range(5)))
    channel.call("basic.qos", prefetch_count=2)
    channel.consume(queue)
    assert bodies(channel, 2) == [b"0", b"1"]
    assert channel.count(queue) == (3, 1)
    channel.ack(1)
    assert bodies(channel, 1) == [b"2"]
    assert channel.count(queue) == (2, 1)
    channel.ack(3, multiple=True)
    assert bodies(channel, 2) == [b"3", b"4"]


@pytest.mark.parametrize("requeue", [True, False])
def test_prefetch_and_reject(channel: Channel, requeue: bool) -> None:
    """
    A rejected message makes room for another, which may be itself.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2")
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue)
    channel.deliveries(1)
    channel.reject(1, requeue=requeue)
    assert bodies(channel, 1) == [b"1" if requeue else b"2"]


def test_prefetch_is_each_consumers(channel: Channel) -> None:
    """
    Each consumer may have as many as the channel's prefetch says.
    """
    queue = channel.queue()
    channel.put(queue, *(b"%d" % n for n in range(5)))
    channel.call("basic.qos", prefetch_count=2)
    channel.consume(queue)
    channel.consume(queue)
    assert bodies(channel, 4) == [b"0", b"1", b"2", b"3"]
    assert channel.count(queue) == (1, 2)


def test_prefetch_is_of_new_consumers(channel: Channel) -> None:
    """
    Prefetch that is set later does not concern consumers that there are.
    """
    queue = channel.queue()
    channel.consume(queue, consumer_tag="old")
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue, consumer_tag="new")
    channel.put(queue, *(b"%d" % n for n in range(6)))
    tags = [each["consumer_tag"] for each in channel.deliveries(6)]
    assert tags == ["old", "new", "old", "old", "old", "old"]


@pytest.fixture
def has_channel_prefetch(broker: Broker) -> None:
    """
    Skips a test of prefetch for a whole channel where there is none.
    """
    if not CHANNEL_PREFETCH.on(broker):
        pytest.skip("this RabbitMQ has no prefetch for a whole channel")


of_channel_prefetch = pytest.mark.usefixtures("has_channel_prefetch")


def test_global_prefetch(broker: Broker, channel: Channel) -> None:
    """
    Global prefetch is the channel's, or each consumer's as without C{global}.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3")
    channel.call("basic.qos", prefetch_count=1, global_=True)
    for _ in range(2):
        channel.consume(queue)
    expected = [b"1"] if CHANNEL_PREFETCH.on(broker) else [b"1", b"2"]
    assert bodies(channel, len(expected)) == expected
    assert channel.count(queue) == (3 - len(expected), 2)


@of_channel_prefetch
def test_prefetch_of_the_channel(channel: Channel) -> None:
    """
    The consumers of a channel share its global prefetch.
    """
    queues = [channel.queue() for _ in range(2)]
    for queue in queues:
        channel.put(queue, b"1", b"2")
    channel.call("basic.qos", prefetch_count=3, global_=True)
    for queue in queues:
        channel.consume(queue)
    assert sorted(bodies(channel, 3)) == [b"1", b"1", b"2"]
    assert sum(channel.count(queue)[0] for queue in queues) == 1
    channel.ack(2)
    assert bodies(channel, 1) == [b"2"]


@of_channel_prefetch
def test_prefetch_of_the_channel_later(channel: Channel) -> None:
    """
    Global prefetch concerns consumers that there are, too.
    """
    queue = channel.queue()
    channel.consume(queue)
    channel.call("basic.qos", prefetch_count=1, global_=True)
    channel.put(queue, b"1", b"2")
    assert bodies(channel, 1) == [b"1"]
    assert channel.count(queue) == (1, 1)
    channel.ack(1)
    assert bodies(channel, 1) == [b"2"]


@of_channel_prefetch
def test_both_prefetches(channel: Channel) -> None:
    """
    A consumer's own prefetch holds within the global one.
    """
    queue = channel.queue()
    channel.put(queue, *(b"%d" % n for n in range(6)))
    channel.call("basic.qos", prefetch_count=2)
    channel.call("basic.qos", prefetch_count=3, global_=True)
    for tag in ("a", "b"):
        channel.consume(queue, consumer_tag=tag)
    tags = [each["consumer_tag"] for each in channel.deliveries(3)]
    assert tags == ["a", "a", "b"]
    assert channel.count(queue) == (3, 2)


@of_channel_prefetch
def test_global_prefetch_raised(channel: Channel) -> None:
    """
    More is delivered once the global prefetch is raised, or done away with.
    """
    queue = channel.queue()
    channel.put(queue, *(b"%d" % n for n in range(5)))
    channel.call("basic.qos", prefetch_count=1, global_=True)
    channel.consume(queue)
    assert bodies(channel, 1) == [b"0"]
    channel.call("basic.qos", prefetch_count=3, global_=True)
    assert bodies(channel, 2) == [b"1", b"2"]
    channel.call("basic.qos", prefetch_count=0, global_=True)
    assert bodies(channel, 2) == [b"3", b"4"]


def test_no_ack_has_no_prefetch(channel: Channel) -> None:
    """
    A consumer that does not acknowledge is given everything.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3")
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue, no_ack=True)
    assert bodies(channel, 3) == [b"1", b"2", b"3"]


def test_get_has_no_prefetch(channel: Channel) -> None:
    """
    Fetching does not heed prefetch, nor take its room.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3")
    channel.call("basic.qos", prefetch_count=1)
    assert channel.get(queue).body == b"1"
    assert channel.get(queue).body == b"2"
    channel.consume(queue)
    assert bodies(channel, 1) == [b"3"]


def test_prefetch_elsewhere(client: Client, channel: Channel) -> None:
    """
    What a consumer with no room left is not given goes to another.
    """
    queue, other = channel.queue(), client.channel()
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue)
    other.consume(queue)
    channel.put(queue, *(b"%d" % n for n in range(4)))
    assert bodies(channel, 1) == [b"0"]
    assert bodies(other, 3) == [b"1", b"2", b"3"]


def test_prefetch_size(channel: Channel) -> None:
    """
    540 is for prefetch in bytes.
    """
    assert channel.refusal("basic.qos", prefetch_size=1) == Close(
        "connection", 540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)", "basic.qos"
    )


# -- Fetching


def test_get(channel: Channel) -> None:
    """
    A message that is fetched says how many are left.
    """
    queue, exchange = channel.queue(), channel.exchange()
    channel.bind(queue, exchange, "key")
    channel.confirm()
    for body in (b"1", b"2", b"3"):
        channel.publish(exchange, "key", body)
    channel.settled()
    fetched = channel.get(queue)
    assert fetched.body == b"1"
    assert fetched.arguments == {
        "delivery_tag": 1,
        "redelivered": False,
        "exchange": exchange,
        "routing_key": "key",
        "message_count": 2,
    }


def test_get_empty(channel: Channel) -> None:
    """
    There is an answer where there is no message.
    """
    assert channel.get(channel.queue()).name == "basic.get-empty"


def test_get_what_consumers_wait_for(channel: Channel) -> None:
    """
    Nothing is left to fetch where consumers take everything.
    """
    queue = channel.queue()
    channel.consume(queue)
    channel.put(queue, b"body")
    assert channel.get(queue).name == "basic.get-empty"


@pytest.mark.parametrize("no_ack", [True, False])
def test_get_no_ack(client: Client, channel: Channel, no_ack: bool) -> None:
    """
    What is fetched without acknowledging is settled, anything else is not.
    """
    queue = channel.queue()
    channel.put(queue, b"body")
    channel.get(queue, no_ack=no_ack)
    channel.close()
    other = client.channel()
    other.until_ready(queue, int(not no_ack))
    assert other.count(queue) == (int(not no_ack), 0)


def test_consumer_counts(connect: Connect, channel: Channel) -> None:
    """
    The consumers of a connection that is lost count no more.
    """
    queue, other = channel.queue(), connect()
    consumer: dict[str, Any] = {"queue": queue}
    other.channel().consume(**consumer)
    assert channel.count(queue) == (0, 1)
    other.drop()
    until(lambda: channel.count(queue) == (0, 0))
