"""
Acknowledging and rejecting, and what becomes of what is not settled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quebert.test.contract.client import Channel, Client, Close

Connect = Callable[..., Client]

#: The ways to settle a delivery.
SETTLING: list[tuple[str, dict[str, Any]]] = [
    ("basic.ack", {}),
    ("basic.nack", {"requeue": True}),
    ("basic.nack", {"requeue": False}),
    ("basic.reject", {"requeue": True}),
    ("basic.reject", {"requeue": False}),
]


def fetched(channel: Channel, *bodies: bytes) -> str:
    """
    A queue whose messages were all fetched, not settled: tags 1, 2, and so on.
    """
    queue = channel.queue()
    channel.put(queue, *bodies)
    for body in bodies:
        assert channel.get(queue).body == body
    return queue


def left(channel: Channel, queue: str, count: int) -> list[bytes]:
    """
    What is in a queue when the channel is closed.

    @param count: how many messages.
    """
    channel.close()
    return put_back(channel.client.channel(), queue, count)


def put_back(channel: Channel, queue: str, count: int) -> list[bytes]:
    """
    What is in a queue once there are so many: RabbitMQ puts back the messages that a
    channel has fetched a little later than it closes the channel.
    """
    channel.until_ready(queue, count)
    return channel.bodies(queue)


def unknown(tag: int, method: str) -> Close:
    """
    How a tag is refused.
    """
    return Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - unknown delivery tag {tag}",
        method,
    )


# -- Acknowledging


def test_ack(channel: Channel) -> None:
    """
    A message that was acknowledged does not come again.
    """
    queue = fetched(channel, b"1", b"2", b"3")
    channel.ack(2)
    assert left(channel, queue, 2) == [b"1", b"3"]


def test_ack_multiple(channel: Channel) -> None:
    """
    All up to a tag may be acknowledged together.
    """
    queue = fetched(channel, b"1", b"2", b"3")
    channel.ack(2, multiple=True)
    assert left(channel, queue, 1) == [b"3"]


def test_ack_multiple_leaves_the_settled(channel: Channel) -> None:
    """
    Those that were settled before do not matter.
    """
    queue = fetched(channel, b"1", b"2", b"3")
    channel.reject(1, requeue=True)
    channel.ack(2, multiple=True)
    assert left(channel, queue, 2) == [b"1", b"3"]


def test_ack_all(channel: Channel) -> None:
    """
    Tag 0 with multiple means all.
    """
    queue = fetched(channel, b"1", b"2", b"3")
    channel.ack(0, multiple=True)
    assert left(channel, queue, 0) == []


def test_ack_all_of_several_queues(channel: Channel) -> None:
    """
    All is all that the channel was given.
    """
    queues = [channel.queue() for _ in range(2)]
    for queue in queues:
        channel.put(queue, b"body")
        channel.get(queue)
    channel.ack(2, multiple=True)
    channel.close()
    other = channel.client.channel()
    assert [other.count(queue) for queue in queues] == [(0, 0)] * 2


def test_ack_all_of_none(channel: Channel) -> None:
    """
    Where there is nothing to acknowledge, all of it may be.
    """
    channel.ack(0, multiple=True)
    channel.send("basic.nack", delivery_tag=0, multiple=True, requeue=True)
    channel.call("basic.qos")


@pytest.mark.parametrize(("method", "options"), SETTLING)
@pytest.mark.parametrize("tag", [0, 4, 2**63])
def test_unknown_tag(
    channel: Channel, method: str, options: dict[str, Any], tag: int
) -> None:
    """
    406 is for settling what was not delivered.
    """
    fetched(channel, b"1", b"2", b"3")
    refusal = channel.refusal(method, delivery_tag=tag, **options)
    assert refusal == unknown(tag, method)


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack"])
def test_unknown_tag_of_multiple(channel: Channel, method: str) -> None:
    """
    406 is for settling up to what was not delivered.
    """
    fetched(channel, b"1")
    refusal = channel.refusal(method, delivery_tag=2, multiple=True)
    assert refusal == unknown(2, method)


def test_unknown_tag_settles_nothing(channel: Channel) -> None:
    """
    What is settled up to a tag that was not delivered is not settled.
    """
    queue = fetched(channel, b"1", b"2")
    assert channel.refusal("basic.ack", delivery_tag=3, multiple=True).code == 406
    assert put_back(channel.client.channel(), queue, 2) == [b"1", b"2"]


@pytest.mark.parametrize(("method", "options"), SETTLING)
def test_settled_twice(channel: Channel, method: str, options: dict[str, Any]) -> None:
    """
    406 is for settling again.
    """
    fetched(channel, b"1", b"2")
    channel.ack(1)
    refusal = channel.refusal(method, delivery_tag=1, **options)
    assert refusal == unknown(1, method)


def test_settled_twice_multiple(channel: Channel) -> None:
    """
    406 is for settling again up to a tag when nothing is left.
    """
    fetched(channel, b"1")
    channel.ack(1)
    refusal = channel.refusal("basic.ack", delivery_tag=1, multiple=True)
    assert refusal == unknown(1, "basic.ack")


def test_tag_of_another_channel(client: Client, channel: Channel) -> None:
    """
    406 is for settling what another channel was given.
    """
    fetched(channel, b"1")
    refusal = client.channel().refusal("basic.ack", delivery_tag=1)
    assert refusal == unknown(1, "basic.ack")


def test_tag_without_ack(channel: Channel) -> None:
    """
    406 is for acknowledging what needs no acknowledging.
    """
    queue = channel.queue()
    channel.put(queue, b"body")
    channel.get(queue, no_ack=True)
    assert channel.refusal("basic.ack", delivery_tag=1) == unknown(1, "basic.ack")


# -- Rejecting


@pytest.mark.parametrize("method", ["basic.nack", "basic.reject"])
def test_requeue(channel: Channel, method: str) -> None:
    """
    A message that is put back comes again, which it says.
    """
    queue = fetched(channel, b"1")
    channel.send(method, delivery_tag=1, requeue=True)
    again = channel.get(queue)
    assert (again.body, again["redelivered"]) == (b"1", True)
    assert again["delivery_tag"] == 2


@pytest.mark.parametrize("method", ["basic.nack", "basic.reject"])
def test_discard(channel: Channel, method: str) -> None:
    """
    A message that is not put back is gone.
    """
    queue = fetched(channel, b"1", b"2")
    channel.send(method, delivery_tag=1, requeue=False)
    assert left(channel, queue, 1) == [b"2"]


@pytest.mark.parametrize("requeue", [True, False])
@pytest.mark.parametrize("tag", [0, 2])
def test_nack_multiple(channel: Channel, requeue: bool, tag: int) -> None:
    """
    Several may be put back, or not, together.
    """
    queue = fetched(channel, b"1", b"2")
    channel.send("basic.nack", delivery_tag=tag, multiple=True, requeue=requeue)
    assert channel.bodies(queue) == ([b"1", b"2"] if requeue else [])


def test_requeued_to_its_place(channel: Channel) -> None:
    """
    A message that is put back goes where it was.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3", b"4")
    for _ in range(3):
        channel.get(queue)
    channel.reject(2, requeue=True)
    channel.reject(3, requeue=True)
    channel.reject(1, requeue=True)
    assert channel.bodies(queue) == [b"1", b"2", b"3", b"4"]


def test_requeued_together_to_their_places(channel: Channel) -> None:
    """
    Messages that are put back together keep their order.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3", b"4")
    for _ in range(3):
        channel.get(queue)
    channel.send("basic.nack", delivery_tag=3, multiple=True, requeue=True)
    assert channel.bodies(queue) == [b"1", b"2", b"3", b"4"]


def test_requeued_before_the_new(channel: Channel) -> None:
    """
    A message that is put back comes before those that came later.
    """
    queue = fetched(channel, b"1")
    channel.put(queue, b"2")
    channel.reject(1, requeue=True)
    assert channel.bodies(queue) == [b"1", b"2"]


def test_requeued_to_a_consumer(channel: Channel) -> None:
    """
    A message that is put back goes to a consumer that waits, again.
    """
    queue = channel.queue()
    channel.put(queue, b"body")
    channel.consume(queue)
    for n in range(1, 4):
        delivery = channel.expect("basic.deliver")
        assert delivery["redelivered"] is (n > 1)
        channel.reject(delivery["delivery_tag"], requeue=True)


def test_requeued_to_another_consumer(client: Client, channel: Channel) -> None:
    """
    A message that is put back goes to whose turn it is.
    """
    queue, other = channel.queue(), client.channel()
    channel.consume(queue)
    other.consume(queue)
    channel.put(queue, b"body")
    channel.reject(channel.expect("basic.deliver")["delivery_tag"], requeue=True)
    again = other.expect("basic.deliver")
    assert (again.body, again["redelivered"]) == (b"body", True)


def test_not_redelivered(channel: Channel) -> None:
    """
    Messages that were not delivered before do not say so.
    """
    queue = fetched(channel, b"1")
    channel.put(queue, b"2")
    channel.reject(1, requeue=True)
    assert [channel.get(queue)["redelivered"] for _ in "12"] == [True, False]


def test_contents_stay(channel: Channel) -> None:
    """
    A message that is put back stays as it was.
    """
    queue = channel.queue()
    channel.put(queue, b"body", headers={"a": 1}, content_type="text/plain")
    first = channel.get(queue)
    channel.reject(1, requeue=True)
    again = channel.get(queue)
    assert (again.encoded, again.body) == (first.encoded, first.body)


# -- Recovering


@pytest.mark.parametrize("method", ["basic.recover", "basic.recover-async"])
def test_recover(channel: Channel, method: str) -> None:
    """
    A channel may put back all it has not settled.
    """
    queue = fetched(channel, b"1", b"2", b"3")
    channel.ack(2)
    channel.send(method, requeue=True)
    if method == "basic.recover":
        assert channel.next().name == "basic.recover-ok"
    again = [channel.get(queue) for _ in "13"]
    assert [each.body for each in again] == [b"1", b"3"]
    assert all(each["redelivered"] for each in again)


def test_recovered_tags(channel: Channel) -> None:
    """
    What was put back by recovering is not there to be settled.
    """
    fetched(channel, b"1")
    channel.call("basic.recover", requeue=True)
    assert channel.refusal("basic.ack", delivery_tag=1) == unknown(1, "basic.ack")


@pytest.mark.parametrize("method", ["basic.recover", "basic.recover-async"])
def test_recover_to_the_same(channel: Channel, method: str) -> None:
    """
    540 is for having the same consumers given it again.
    """
    assert channel.refusal(method, requeue=False) == Close(
        "connection", 540, "NOT_IMPLEMENTED - requeue=false", method
    )


# -- What is not settled


def test_unacked_are_not_ready(channel: Channel) -> None:
    """
    What is delivered and not settled does not count as ready.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3")
    assert channel.get(queue)["message_count"] == 2
    assert channel.count(queue) == (2, 0)
    channel.reject(1, requeue=True)
    channel.until_ready(queue, 3)


def test_back_when_the_channel_is_closed(client: Client, channel: Channel) -> None:
    """
    What is not settled when its channel is closed comes again.
    """
    queue = fetched(channel, b"1", b"2", b"3")
    channel.ack(2)
    channel.close()
    other = client.channel()
    other.until_ready(queue, 2)
    again = [other.get(queue) for _ in "13"]
    assert [(each.body, each["redelivered"]) for each in again] == [
        (b"1", True),
        (b"3", True),
    ]


def test_back_when_the_channel_fails(client: Client, channel: Channel) -> None:
    """
    What is not settled when its channel is closed for an error comes again.
    """
    queue = fetched(channel, b"1")
    channel.refusal("basic.get", queue="nowhere")
    assert client.channel().take(queue)["redelivered"] is True


@pytest.mark.parametrize("how", ["close", "drop"])
def test_back_when_the_connection_ends(
    connect: Connect, channel: Channel, how: str
) -> None:
    """
    What is not settled when its connection ends comes again.
    """
    other = connect()
    queue = fetched(other.channel(), b"1", b"2")
    if how == "close":
        other.close()
    else:
        other.drop()
    again = [channel.take(queue) for _ in "12"]
    assert [(each.body, each["redelivered"]) for each in again] == [
        (b"1", True),
        (b"2", True),
    ]


def test_back_to_another_consumer(connect: Connect, channel: Channel) -> None:
    """
    What a lost connection had goes to a consumer that waits.
    """
    other = connect()
    lost = other.channel()
    queue = lost.queue()
    lost.put(queue, b"1", b"2")
    lost.consume(queue)
    lost.deliveries(2)
    channel.consume(queue)
    other.drop()
    again = channel.deliveries(2)
    assert [(each.body, each["redelivered"]) for each in again] == [
        (b"1", True),
        (b"2", True),
    ]


def test_back_to_their_places(client: Client, channel: Channel) -> None:
    """
    What comes again when its channel is closed comes where it was.
    """
    queue = fetched(channel, b"1", b"2")
    channel.put(queue, b"3")
    channel.close()
    assert put_back(client.channel(), queue, 3) == [b"1", b"2", b"3"]
