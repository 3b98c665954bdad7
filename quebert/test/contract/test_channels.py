"""
Channels: opened, closed by either side, and apart from each other.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quebert.test.contract.client import Channel, Client, Close, Closed


def test_open_twice(channel: Channel) -> None:
    """
    504 is for opening a channel that is open.
    """
    assert channel.refusal("channel.open") == Close(
        "connection",
        504,
        "CHANNEL_ERROR - second 'channel.open' seen",
        "channel.open",
    )


def test_close_and_reuse(client: Client) -> None:
    """
    The number of a channel that was closed may be opened again.
    """
    client.channel(3).close()
    assert client.channel(3).queue()


def test_numbers_need_no_order(client: Client) -> None:
    """
    Channels may be opened in any order.
    """
    assert [client.channel(n).queue() for n in (9, 2, 2047, 1)]


def test_reuse_begins_anew(client: Client) -> None:
    """
    Delivery tags of a channel that is opened again begin with 1 again.
    """
    channel = client.channel(3)
    queue = channel.queue()
    channel.put(queue, b"1", b"2")
    assert [channel.get(queue, no_ack=True)["delivery_tag"] for _ in "12"] == [1, 2]
    channel.close()
    channel = client.channel(3)
    channel.put(queue, b"3")
    assert channel.get(queue)["delivery_tag"] == 1


def test_error_leaves_other_channels(client: Client, channel: Channel) -> None:
    """
    An error of one channel does not concern the others.
    """
    other = client.channel()
    assert channel.refusal("basic.get", queue="nowhere").what == "channel"
    assert other.queue()


def test_reuse_after_an_error(client: Client) -> None:
    """
    The number of a channel that the broker closed may be opened again.
    """
    assert client.channel(3).refusal("basic.get", queue="nowhere").code == 404
    assert client.channel(3).queue()


def test_nothing_counts_after_an_error(client: Client, channel: Channel) -> None:
    """
    What a client sends on a channel before it answers the close is not done.
    """
    queue = channel.queue()
    client.write(
        channel.method_frame("basic.get", queue="nowhere")
        + channel.method_frame("queue.delete", queue=queue)
    )
    with pytest.raises(Closed):
        channel.next()
    assert channel.exists(queue)


def test_messages_after_an_error(client: Client, channel: Channel) -> None:
    """
    What is published on a channel before its close is answered is dropped.
    """
    queue = channel.queue()
    get = channel.method_frame("basic.get", queue="nowhere")
    publish = channel.method_frame("basic.publish", routing_key=queue)
    client.write(get + publish + channel.content_frames(b"body"))
    with pytest.raises(Closed):
        channel.next()
    assert client.channel().count(queue) == (0, 0)


def test_both_close(client: Client, channel: Channel) -> None:
    """
    A client's close that crosses the broker's is answered.
    """
    client.write(
        channel.method_frame("basic.get", queue="nowhere")
        + channel.method_frame("channel.close", reply_code=200, class_id=0, method_id=0)
    )
    with pytest.raises(Closed):
        channel.next()
    assert client.channel().queue()


def test_channel_max(connect: Callable[..., Client]) -> None:
    """
    530 is for more channels than were agreed to.
    """
    client = connect(channel_max=2)
    channels = [client.channel(1), client.channel(2)]
    assert client.unopened_channel(3).refusal("channel.open") == Close(
        "connection",
        530,
        "NOT_ALLOWED - number of channels opened (2) has reached the negotiated"
        " channel_max (2)",
    )
    assert channels


def test_closed_channels_do_not_count(connect: Callable[..., Client]) -> None:
    """
    A channel that was closed makes room for another.
    """
    client = connect(channel_max=1)
    for _ in range(3):
        client.channel(1).close()


def test_flow(channel: Channel) -> None:
    """
    A client may ask for what is so anyway: that messages flow.
    """
    assert channel.call("channel.flow", active=True)["active"] is True


def test_flow_inactive(channel: Channel) -> None:
    """
    540 is for asking that no messages flow.
    """
    assert channel.refusal("channel.flow", active=False) == Close(
        "connection",
        540,
        "NOT_IMPLEMENTED - active=false",
        "channel.flow",
    )


def test_answers_keep_order(client: Client, channel: Channel) -> None:
    """
    Methods that are sent at once are answered in their order.
    """
    queues = [channel.queue() for _ in range(3)]
    client.write(
        b"".join(channel.method_frame("queue.declare", queue=q) for q in queues)
    )
    assert [channel.next()["queue"] for _ in queues] == queues


def test_close_after_publishing(client: Client, channel: Channel) -> None:
    """
    What was published before the channel is closed is kept.
    """
    queue = channel.queue()
    for body in (b"1", b"2", b"3"):
        channel.publish("", queue, body)
    channel.close()
    other = client.channel()
    assert [other.take(queue).body for _ in "123"] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("method", ["tx.commit", "tx.rollback"])
def test_no_transaction(channel: Channel, method: str) -> None:
    """
    406 is for the end of a transaction that was not begun.
    """
    text = "PRECONDITION_FAILED - channel is not transactional"
    assert channel.refusal(method) == Close("channel", 406, text, method)
