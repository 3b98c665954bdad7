"""
What becomes of what is published: confirms, contents, limits and priorities.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from quebert._protocol.content import CONTENT_HEADER
from quebert._protocol.frames import FRAME_BODY, FRAME_HEADER, frame
from quebert._protocol.values import encode_longstr, encode_table, encode_value
from quebert.test.contract.client import Channel, Client, Close, fresh, typed_table
from quebert.test.contract.conftest import Broker
from quebert.test.contract.differences import (
    ANY_DELIVERY_MODE,
    EXPIRATION_STAYS,
    HEADERS_STAY,
    SMALLEST_FRAME,
)

# -- Confirms


def test_confirm(channel: Channel) -> None:
    """
    The first message that is published after asking for confirms is number 1.
    """
    queue = channel.queue()
    channel.publish("", queue)
    channel.confirm()
    channel.publish("", queue)
    ack = channel.next()
    assert ack.name == "basic.ack"
    assert ack["delivery_tag"] == 1


@pytest.mark.parametrize("durable", [False, True])
def test_confirm_all(channel: Channel, durable: bool) -> None:
    """
    Each message is confirmed, alone or together with those before it.
    """
    queue = channel.queue(durable=durable)
    channel.confirm()
    for n in range(100):
        channel.publish("", queue, b"%d" % n, {"delivery-mode": 1 + n % 2})
    assert channel.settled() == dict.fromkeys(range(1, 101), "ack")
    assert channel.count(queue) == (100, 0)


def test_confirm_twice(channel: Channel) -> None:
    """
    Asking for confirms again changes nothing.
    """
    channel.confirm()
    channel.publish("", channel.queue())
    channel.settled()
    channel.call("confirm.select")
    channel.publish("", channel.queue())
    assert channel.next()["delivery_tag"] == 2


def test_confirm_without_an_answer(channel: Channel) -> None:
    """
    No answer to asking for confirms comes where none is wanted.
    """
    channel.send("confirm.select", nowait=True)
    channel.publish("", channel.queue())
    assert channel.next().name == "basic.ack"


def test_confirm_on_one_channel(client: Client, channel: Channel) -> None:
    """
    Confirms are asked for on each channel.
    """
    other = client.channel()
    channel.confirm()
    other.publish("", channel.queue())
    other.call("basic.qos")
    assert (channel.waiting, other.waiting) == ([], [])


def test_confirmed_where_consumed(channel: Channel) -> None:
    """
    A message that goes to a consumer at once is confirmed, too.
    """
    queue = channel.queue(durable=True)
    channel.consume(queue)
    channel.confirm()
    channel.publish("", queue, b"body", {"delivery-mode": 2})
    assert channel.expect("basic.deliver").body == b"body"
    channel.ack(1)
    assert channel.settled() == {1: "ack"}


# -- Refused messages


def test_unknown_exchange(channel: Channel) -> None:
    """
    404 is for publishing to an exchange that is not there.
    """
    exchange = fresh("exchange")
    refusal = channel.refused(lambda: channel.publish(exchange, ""), "basic.publish")
    assert refusal == Close(
        "channel",
        404,
        f"NOT_FOUND - no exchange '{exchange}' in vhost '/'",
        "basic.publish",
    )


def test_unknown_exchange_is_no_confirm(channel: Channel) -> None:
    """
    A message to an exchange that is not there is neither confirmed nor refused.
    """
    channel.confirm()
    refusal = channel.refused(
        lambda: channel.publish(fresh("exchange"), ""), "basic.publish"
    )
    assert refusal.code == 404
    assert channel.waiting == []


def test_immediate(channel: Channel) -> None:
    """
    540 is for asking that a message be delivered at once.
    """
    refusal = channel.refused(
        lambda: channel.publish("", "key", immediate=True), "basic.publish"
    )
    assert refusal == Close(
        "connection", 540, "NOT_IMPLEMENTED - immediate=true", "basic.publish"
    )


def test_another_user(channel: Channel) -> None:
    """
    406 is for a message in another user's name.
    """
    properties = {"user-id": "somebody"}
    refusal = channel.refused(
        lambda: channel.publish("", "key", b"", properties), "basic.publish"
    )
    assert refusal == Close(
        "channel",
        406,
        "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated"
        " user was 'guest'",
        "basic.publish",
    )


@pytest.mark.parametrize(
    "expiration",
    ["soon", "", "-1", "10s", "1.5", "10 ", " 10", "1_0", "315360000001"],
)
def test_wrong_expiration(channel: Channel, expiration: str) -> None:
    """
    406 is for an expiration that is no number of milliseconds.
    """
    properties = {"expiration": expiration}
    refusal = channel.refused(
        lambda: channel.publish("", "key", b"", properties), "basic.publish"
    )
    assert refusal.begins(
        "channel",
        406,
        f"PRECONDITION_FAILED - invalid expiration '{expiration}': ",
        "basic.publish",
    ), refusal


def test_strange_expiration(broker: Broker, channel: Channel) -> None:
    """
    An expiration may have a sign, and zeros before it.
    """
    queue = channel.queue()
    for expiration in ("+60000", "0060000", "315360000000"):
        channel.put(queue, b"body", expiration=expiration)
        stays = EXPIRATION_STAYS.on(broker)
        expected = expiration if stays else str(int(expiration))
        assert channel.get(queue).properties["expiration"] == expected


def test_wrong_delivery_mode(broker: Broker, channel: Channel) -> None:
    """
    406 is for a delivery mode that is neither 1 nor 2, or it is taken.
    """
    queue, properties = channel.queue(), {"delivery-mode": 3}
    if ANY_DELIVERY_MODE.on(broker):
        channel.publish("", queue, b"", properties)
        assert channel.take(queue).properties == properties
        return
    refusal = channel.refused(
        lambda: channel.publish("", queue, b"", properties), "basic.publish"
    )
    assert refusal.begins(
        "channel", 406, "PRECONDITION_FAILED - invalid message: ", "basic.publish"
    ), refusal


# -- Contents


@pytest.mark.parametrize(
    "size", [0, 1, 4088, 4089, 8184, 8185, 131064, 131065, 1_000_000]
)
@pytest.mark.parametrize("frame_max", ["smallest", 131072])
def test_bodies(
    broker: Broker, connect: Callable[..., Client], size: int, frame_max: int | str
) -> None:
    """
    A body of any size comes back as it was, in frames no larger than agreed.
    """
    agreed = SMALLEST_FRAME.on(broker) if frame_max == "smallest" else frame_max
    channel = connect(frame_max=agreed).channel()
    queue = channel.queue()
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    channel.put(queue, body)
    channel.consume(queue)
    assert channel.expect("basic.deliver").body == body


def test_body_in_small_frames(client: Client, channel: Channel) -> None:
    """
    A client may send a body in frames as small as it likes, even empty ones.
    """
    queue, number = channel.queue(), channel.number
    channel.send("basic.publish", routing_key=queue)
    pieces = [b"a", b"", b"bc", b"", b"d"]
    client.write(
        frame(FRAME_HEADER, number, CONTENT_HEADER.pack(60, 0, 4) + b"\0\0")
        + b"".join(frame(FRAME_BODY, number, piece) for piece in pieces)
    )
    assert channel.take(queue).body == b"abcd"


def test_properties(channel: Channel) -> None:
    """
    All properties come back as they were.
    """
    queue = channel.queue()
    properties = {
        "content-type": "text/plain",
        "content-encoding": "utf-8",
        "headers": {"a": 1},
        "delivery-mode": 2,
        "priority": 7,
        "correlation-id": "\N{SNOWMAN}",
        "reply-to": "answers",
        "expiration": "3600000",
        "message-id": "x" * 255,
        "timestamp": 1_700_000_000,
        "type": "type",
        "user-id": "guest",
        "app-id": "tests",
        "cluster-id": "cluster",
    }
    channel.publish("", queue, b"body", properties)
    assert channel.take(queue).properties == properties


@pytest.mark.parametrize(
    "encoded",
    [b"\0\0", b"\x20\0\0\0\0\0", b"\x80\0\0", b"\x10\0\x01"],
    ids=["none", "empty headers", "empty text", "delivery mode"],
)
def test_properties_as_they_came(channel: Channel, encoded: bytes) -> None:
    """
    Properties that are absent, and those that are empty, stay so.
    """
    queue = channel.queue()
    channel.publish("", queue, b"body", encoded)
    assert channel.take(queue).encoded == encoded


def as_kept(broker: Broker, *fields: tuple[str, bytes, bytes]) -> bytes:
    """
    Encoded headers as a broker has them that was given these.
    """
    if HEADERS_STAY.on(broker):
        return typed_table(*fields)
    firsts = {field[0]: field for field in reversed(fields)}
    return typed_table(*(firsts[name] for name in sorted(firsts)))


def test_headers_as_they_came(broker: Broker, channel: Channel) -> None:
    """
    Headers of all types come back byte for byte.
    """
    queue = channel.queue()
    fields = (
        ("z", b"t", b"\x01"),
        ("int8", b"b", b"\xff"),
        ("uint8", b"B", b"\xff"),
        ("int16", b"s", b"\xff\xfe"),
        ("uint16", b"u", b"\xff\xfe"),
        ("int32", b"I", b"\xff\xff\xff\xfe"),
        ("uint32", b"i", b"\xff\xff\xff\xfe"),
        ("int64", b"l", b"\xff" * 8),
        ("float", b"f", b"\x3f\x80\0\0"),
        ("double", b"d", b"\x3f\xf0\0\0\0\0\0\0"),
        ("decimal", b"D", b"\x02\0\0\0\x7b"),
        ("text", b"S", encode_longstr("\N{SNOWMAN}")),
        ("no text", b"S", encode_longstr(b"\xff\xfe")),
        ("bytes", b"x", encode_longstr(b"\x00\xff")),
        ("array", b"A", encode_longstr(b"t\x00I\0\0\0\x01V")),
        ("time", b"T", b"\0\0\0\0\x65\0\0\0"),
        ("table", b"F", encode_table({"a": {"b": [None]}})),
        ("void", b"V", b""),
        ("", b"S", encode_longstr("no name")),
        ("z", b"S", encode_longstr("again")),
    )
    encoded = b"\x20\0" + encode_longstr(typed_table(*fields))
    channel.publish("", queue, b"body", encoded)
    expected = b"\x20\0" + encode_longstr(as_kept(broker, *fields))
    assert channel.take(queue).encoded == expected


def test_headers_as_they_came_from_disk(broker: Broker, channel: Channel) -> None:
    """
    The properties of persistent messages in a durable queue stay as they were.
    """
    queue = channel.queue(durable=True)
    fields = ("b", b"s", b"\0\x01"), ("a", b"f", b"\x3f\x80\0\0")

    def encoded(table: bytes) -> bytes:
        return b"\x30\0" + encode_longstr(table) + encode_value("octet", 2)

    channel.publish("", queue, b"body", encoded(typed_table(*fields)))
    assert channel.take(queue).encoded == encoded(as_kept(broker, *fields))


def test_order(channel: Channel) -> None:
    """
    Messages come out of a queue in the order they were published in.
    """
    queue = channel.queue()
    bodies = [b"%d" % n for n in range(200)]
    channel.put(queue, *bodies)
    channel.consume(queue, no_ack=True)
    assert [each.body for each in channel.deliveries(200)] == bodies


# -- Queues that are full


@pytest.mark.parametrize("table", [{}, {"x-overflow": "drop-head"}])
def test_max_length(channel: Channel, table: dict[str, Any]) -> None:
    """
    A full queue drops its oldest messages, and confirms the new ones.
    """
    queue = channel.queue({"x-max-length": 2, **table})
    channel.confirm()
    for body in (b"1", b"2", b"3", b"4"):
        channel.publish("", queue, body)
    assert set(channel.settled().values()) == {"ack"}
    assert channel.bodies(queue) == [b"3", b"4"]


def test_max_length_0(channel: Channel) -> None:
    """
    A queue for no messages holds none.
    """
    queue = channel.queue({"x-max-length": 0})
    channel.put(queue, b"1", b"2")
    assert channel.count(queue) == (0, 0)


def test_max_length_0_delivers(channel: Channel) -> None:
    """
    A queue for no messages hands them to a consumer that waits.
    """
    queue = channel.queue({"x-max-length": 0})
    channel.consume(queue)
    channel.put(queue, b"1", b"2")
    assert [each.body for each in channel.deliveries(2)] == [b"1", b"2"]


def test_max_length_counts_the_ready(channel: Channel) -> None:
    """
    Messages that are delivered do not fill a queue.
    """
    queue = channel.queue({"x-max-length": 2})
    channel.put(queue, b"1", b"2")
    channel.get(queue)
    channel.put(queue, b"3")
    assert channel.bodies(queue) == [b"2", b"3"]


def test_max_length_and_requeue(channel: Channel) -> None:
    """
    A message put back into a full queue drops the oldest, which may be itself.
    """
    queue = channel.queue({"x-max-length": 2})
    channel.put(queue, b"1", b"2")
    tag = channel.get(queue)["delivery_tag"]
    channel.put(queue, b"3")
    channel.reject(tag, requeue=True)
    assert channel.bodies(queue) == [b"2", b"3"]


def test_max_length_bytes(channel: Channel) -> None:
    """
    A queue may be full of bytes: those of the bodies count.
    """
    queue = channel.queue({"x-max-length-bytes": 10})
    channel.put(queue, b"1" * 4, b"2" * 4, b"3" * 4, headers={"a": "x" * 100})
    assert channel.bodies(queue) == [b"2" * 4, b"3" * 4]


def test_max_length_bytes_of_one(channel: Channel) -> None:
    """
    A message that alone is too large for a queue empties it.
    """
    queue = channel.queue({"x-max-length-bytes": 10})
    channel.put(queue, b"1", b"x" * 11)
    assert channel.count(queue) == (0, 0)


def test_both_limits(channel: Channel) -> None:
    """
    A queue is full when either of its limits is reached.
    """
    queue = channel.queue({"x-max-length-bytes": 10, "x-max-length": 3})
    channel.put(queue, b"1" * 6, b"2" * 6)
    assert channel.bodies(queue) == [b"2" * 6]
    channel.put(queue, b"1", b"2", b"3", b"4")
    assert channel.bodies(queue) == [b"2", b"3", b"4"]


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_reject_publish(channel: Channel, overflow: str) -> None:
    """
    A full queue may refuse new messages instead.
    """
    queue = channel.queue({"x-max-length": 2, "x-overflow": overflow})
    channel.confirm()
    for body in (b"1", b"2", b"3", b"4"):
        channel.publish("", queue, body)
    assert channel.settled() == {1: "ack", 2: "ack", 3: "nack", 4: "nack"}
    assert channel.bodies(queue) == [b"1", b"2"]


def test_reject_publish_counts_the_ready(channel: Channel) -> None:
    """
    A message that is delivered makes room for another.
    """
    queue = channel.queue({"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.put(queue, b"1")
    channel.get(queue)
    channel.confirm()
    channel.publish("", queue, b"2")
    assert channel.settled() == {1: "ack"}


@pytest.mark.parametrize(
    "table",
    [
        {"x-overflow": "reject-publish"},
        {"x-overflow": "reject-publish-dlx"},
        {"x-overflow": "reject-publish", "x-queue-type": "quorum"},
    ],
    ids=["reject-publish", "reject-publish-dlx", "quorum"],
)
@pytest.mark.parametrize("how", ["rejected", "channel closed"])
def test_reject_publish_and_requeue(
    client: Client, channel: Channel, table: dict[str, Any], how: str
) -> None:
    """
    What is put back into a full queue that refuses messages stays, and so does all that
    it has confirmed.
    """
    queue = channel.queue({"x-max-length": 2, **table}, durable=True)
    channel.put(queue, b"1", b"2")
    consumer = client.channel()
    tag = consumer.consume(queue)
    delivered = consumer.deliveries(2)
    consumer.call("basic.cancel", consumer_tag=tag)
    channel.put(queue, b"3", b"4")
    channel.until_ready(queue, 2)
    if how == "rejected":
        for each in delivered:
            consumer.reject(each["delivery_tag"], requeue=True)
    else:
        consumer.close()
    channel.until_ready(queue, 4)
    assert sorted(channel.bodies(queue)) == [b"1", b"2", b"3", b"4"]


def test_reject_publish_by_bytes(channel: Channel) -> None:
    """
    A message is refused that makes the bytes too many.
    """
    queue = channel.queue({"x-max-length-bytes": 10, "x-overflow": "reject-publish"})
    channel.confirm()
    for body in (b"1" * 6, b"2" * 6, b"3" * 4):
        channel.publish("", queue, body)
    assert channel.settled() == {1: "ack", 2: "nack", 3: "ack"}


def test_reject_publish_without_confirms(channel: Channel) -> None:
    """
    A message is refused without a word where no confirms were asked for.
    """
    queue = channel.queue({"x-max-length": 0, "x-overflow": "reject-publish"})
    channel.publish("", queue, b"1")
    channel.call("basic.qos")
    assert channel.count(queue) == (0, 0)
    assert channel.waiting == []


def test_one_queue_refuses(channel: Channel) -> None:
    """
    A message is refused if one of its queues does; others keep it.
    """
    exchange, queue = channel.exchange("fanout"), channel.queue()
    full = channel.queue({"x-max-length": 0, "x-overflow": "reject-publish"})
    for each in (queue, full):
        channel.bind(each, exchange)
    channel.confirm()
    channel.publish(exchange, "", b"body")
    assert channel.settled() == {1: "nack"}
    assert channel.take(queue).body == b"body"


# -- Priorities


def prioritised(channel: Channel, queue: str, *priorities: int | None) -> None:
    """
    Publish messages of these priorities, which are also their bodies.
    """
    channel.confirm()
    for n, priority in enumerate(priorities):
        properties = {} if priority is None else {"priority": priority}
        channel.publish("", queue, f"{priority}-{n}".encode(), properties)
    channel.settled()


def test_priorities(channel: Channel) -> None:
    """
    Messages of higher priority come first, equal ones in their order; without
    one it is 0.
    """
    queue = channel.queue({"x-max-priority": 5})
    prioritised(channel, queue, 1, None, 5, 3, 0, 5, 1)
    bodies = [b"5-2", b"5-5", b"3-3", b"1-0", b"1-6", b"None-1", b"0-4"]
    assert channel.bodies(queue) == bodies


def test_priority_above_max(channel: Channel) -> None:
    """
    A priority above the queue's maximum is the maximum.
    """
    queue = channel.queue({"x-max-priority": 5})
    prioritised(channel, queue, 4, 5, 255, 5, 6)
    assert channel.bodies(queue) == [b"5-1", b"255-2", b"5-3", b"6-4", b"4-0"]


def test_priority_is_kept(channel: Channel) -> None:
    """
    The priority of a message stays what it was, also above the maximum.
    """
    queue = channel.queue({"x-max-priority": 5})
    prioritised(channel, queue, 255)
    assert channel.get(queue).properties["priority"] == 255


def test_priority_of_other_queues(channel: Channel) -> None:
    """
    A queue without a maximum does not heed priorities.
    """
    queue = channel.queue()
    prioritised(channel, queue, 1, 5, 3)
    assert channel.bodies(queue) == [b"1-0", b"5-1", b"3-2"]


def test_priority_of_the_requeued(channel: Channel) -> None:
    """
    A message that is put back is the first of its priority again.
    """
    queue = channel.queue({"x-max-priority": 5})
    prioritised(channel, queue, 3, 3)
    tag = channel.get(queue)["delivery_tag"]
    prioritised(channel, queue, 5)
    channel.reject(tag, requeue=True)
    assert channel.bodies(queue) == [b"5-0", b"3-0", b"3-1"]


def test_priority_counts(channel: Channel) -> None:
    """
    A queue's count is of messages of all priorities.
    """
    queue = channel.queue({"x-max-priority": 5})
    prioritised(channel, queue, 3, 1, 2)
    assert channel.get(queue)["message_count"] == 2
    assert channel.count(queue) == (2, 0)
    assert channel.call("queue.purge", queue=queue)["message_count"] == 2


def test_priority_and_max_length(channel: Channel) -> None:
    """
    A full queue drops from its head: messages of the highest priority.
    """
    queue = channel.queue({"x-max-priority": 5, "x-max-length": 2})
    prioritised(channel, queue, 1, 5, 3)
    assert channel.bodies(queue) == [b"3-2", b"1-0"]


def test_timestamp(channel: Channel) -> None:
    """
    A timestamp among the headers is a time.
    """
    queue, time = channel.queue(), datetime(2026, 11, 23, 12, tzinfo=UTC)
    channel.put(queue, b"body", headers={"time": time})
    assert channel.get(queue).headers == {"time": time}
