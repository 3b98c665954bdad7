"""
A method is answered before anything that it leads to: clients read the answer to a
method as the next thing that comes.
"""

from __future__ import annotations

import pytest

from quebert.test.contract.client import Channel


def names(channel: Channel, count: int) -> list[str]:
    """
    The next methods that come.
    """
    return [channel.next().name for _ in range(count)]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_delete(channel: Channel, kind: str) -> None:
    """
    queue.delete-ok comes before the end of the channel's own consumers.
    """
    queue = channel.queue({"x-queue-type": kind}, durable=True)
    channel.consume(queue)
    channel.send("queue.delete", queue=queue)
    assert names(channel, 2) == ["queue.delete-ok", "basic.cancel"]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_recover(channel: Channel, kind: str) -> None:
    """
    basic.recover-ok comes before the deliveries.
    """
    queue = channel.queue({"x-queue-type": kind}, durable=True)
    channel.put(queue, b"1", b"2")
    channel.consume(queue)
    channel.deliveries(2)
    channel.send("basic.recover", requeue=True)
    assert names(channel, 3) == ["basic.recover-ok", *["basic.deliver"] * 2]


def test_larger_prefetch(channel: Channel) -> None:
    """
    basic.qos-ok comes before what there is room for now.  (RabbitMQ 4.3 has no limit
    for the whole channel: the consumer's remains.)
    """
    queue = channel.queue()
    channel.call("basic.qos", prefetch_count=1, global_=True)
    channel.consume(queue)
    channel.put(queue, b"1", b"2", b"3")
    channel.deliveries(1)
    channel.send("basic.qos", prefetch_count=3, global_=True)
    assert channel.next().name == "basic.qos-ok"


def test_cancel(channel: Channel) -> None:
    """
    basic.cancel-ok comes before what another consumer gets instead.
    """
    queue = channel.queue({"x-single-active-consumer": True})
    channel.call("basic.qos", prefetch_count=1)
    first = channel.consume(queue)
    channel.consume(queue)
    channel.put(queue, b"1", b"2")
    channel.deliveries(1)
    channel.send("basic.cancel", consumer_tag=first)
    assert channel.next().name == "basic.cancel-ok"
