"""
Which queues a message goes to, and what becomes of one that goes nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from quebert.test.contract.client import (
    Channel,
    Client,
    Close,
    fresh,
    typed_table,
)
from quebert.test.contract.conftest import Broker
from quebert.test.contract.differences import (
    FLOATS_MATCH,
    THREE_HASHES,
    TIMES_MATCH,
    Varies,
)


def is_routed(
    channel: Channel,
    exchange: str,
    key: str = "",
    properties: Mapping[str, Any] | bytes = b"\0\0",
) -> bool:
    """
    Whether a message goes anywhere.
    """
    channel.confirm()
    channel.publish(exchange, key, b"", properties, mandatory=True)
    returned = channel.next().name == "basic.return"
    if returned:
        assert channel.next().name == "basic.ack"
    return not returned


# -- By key


def test_default_exchange(channel: Channel) -> None:
    """
    The default exchange routes to the queue that the key names.
    """
    queue = channel.queue()
    channel.put(queue, b"body")
    delivered = channel.get(queue)
    assert (delivered["exchange"], delivered["routing_key"]) == ("", queue)


def test_direct(channel: Channel) -> None:
    """
    A direct exchange routes by the whole key, letter for letter.
    """
    exchange = channel.exchange("direct")
    channel.bind(channel.queue(), exchange, "a.b")
    keys = ["a.b", "a", "a.b.c", "A.B", "", "*.*", "#"]
    assert [key for key in keys if is_routed(channel, exchange, key)] == ["a.b"]


def test_direct_to_several(channel: Channel) -> None:
    """
    A message goes to all queues that are bound with its key.
    """
    exchange, queues = channel.exchange("direct"), [channel.queue() for _ in "123"]
    for queue in queues:
        channel.bind(queue, exchange, "key")
    channel.publish(exchange, "key", b"body")
    assert [channel.take(queue).body for queue in queues] == [b"body"] * 3


def test_fanout(channel: Channel) -> None:
    """
    A fanout exchange routes whatever the key.
    """
    exchange, queues = channel.exchange("fanout"), [channel.queue() for _ in "12"]
    channel.bind(queues[0], exchange, "one")
    channel.bind(queues[1], exchange, "two")
    channel.publish(exchange, "three", b"body")
    assert [channel.take(queue).body for queue in queues] == [b"body"] * 2


KEYS = [
    *("", ".", "a", "b", "ab", "a.", ".a", "a.a", "a.b", "b.a", "..", "a.b.c"),
    *("a.a.a", "a..b", "b.a.c", "a.x.y.b", "x.y.a.b", "A.B", "*", "#", "a*"),
]

TOPICS: list[tuple[str, list[str]]] = [
    ("", [""]),
    ("a", ["a"]),
    ("a.b", ["a.b"]),
    ("#", KEYS),
    ("*", ["a", "b", "ab", "*", "#", "a*"]),
    ("*.*", [".", "a.", ".a", "a.a", "a.b", "b.a", "A.B"]),
    ("*.*.*", ["..", "a.b.c", "a.a.a", "a..b", "b.a.c"]),
    ("a.*", ["a.", "a.a", "a.b"]),
    ("*.a", [".a", "a.a", "b.a"]),
    ("a.#", ["a", "a.", "a.a", "a.b", "a.b.c", "a.a.a", "a..b", "a.x.y.b"]),
    ("#.a", ["a", ".a", "a.a", "b.a", "a.a.a"]),
    ("a.#.b", ["a.b", "a..b", "a.x.y.b"]),
    ("a.*.b", ["a..b"]),
    ("a.*.#.b", ["a..b", "a.x.y.b"]),
    ("a.#.*.b", ["a..b", "a.x.y.b"]),
    ("#.a.#", [key for key in KEYS if "a" in key.split(".")]),
    ("#.a.*", ["a.", "a.a", "a.b", "a.a.a", "b.a.c", "x.y.a.b"]),
    ("*.#", [key for key in KEYS if key]),
    ("#.*", [key for key in KEYS if key]),
    ("#.#", KEYS),
    ("#.*.*.#", [key for key in KEYS if "." in key]),
    ("a*", ["a*"]),
    ("a.b*", []),
]


@pytest.mark.parametrize(
    ("pattern", "matched"), TOPICS, ids=[pattern for pattern, _ in TOPICS]
)
def test_topic(channel: Channel, pattern: str, matched: Sequence[str]) -> None:
    """
    In a topic exchange C{*} stands for a word, and C{#} for any number of them;
    an empty key has no words.
    """
    exchange = channel.exchange("topic")
    channel.bind(channel.queue(), exchange, pattern)
    assert [key for key in KEYS if is_routed(channel, exchange, key)] == list(matched)


def test_topic_with_many_hashes(broker: Broker, channel: Channel) -> None:
    """
    C{#} may be in a pattern more than twice, or is refused.
    """
    exchange, queue, pattern = channel.exchange("topic"), channel.queue(), "#.*.#.*.#"
    if THREE_HASHES.on(broker):
        channel.bind(queue, exchange, pattern)
        routed = [key for key in KEYS if is_routed(channel, exchange, key)]
        assert routed == [key for key in KEYS if "." in key]
    else:
        refusal = channel.refusal(
            "queue.bind", queue=queue, exchange=exchange, routing_key=pattern
        )
        assert (refusal.what, refusal.code) == ("channel", 406)


def test_once_per_queue(channel: Channel) -> None:
    """
    A message goes to a queue once, by however many bindings.
    """
    exchange, queue = channel.exchange("topic"), channel.queue()
    for pattern in ("#", "a.*", "a.b", "*.b"):
        channel.bind(queue, exchange, pattern)
    assert is_routed(channel, exchange, "a.b")
    assert channel.count(queue) == (1, 0)


# -- By headers

TIME = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("binding", "headers", "matches"),
    [
        # All, which is the default.
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 3}, True),
        ({"a": 1, "b": "x"}, {"a": 1}, False),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "y"}, False),
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1, "b": "x"}, True),
        ({"x-match": "all", "a": 1, "b": "x"}, {"b": "x"}, False),
        ({"x-match": "all"}, {}, True),
        ({}, {"a": 1}, True),
        # Any.
        ({"x-match": "any", "a": 1, "b": "x"}, {"b": "x"}, True),
        ({"x-match": "any", "a": 1, "b": "x"}, {"a": 2, "b": "x"}, True),
        ({"x-match": "any", "a": 1, "b": "x"}, {"a": 2, "c": 1}, False),
        ({"x-match": "any", "a": 1}, {}, False),
        ({"x-match": "any"}, {"a": 1}, False),
        # Nothing asks for a header of whatever value.
        ({"a": None}, {"a": "whatever"}, True),
        ({"a": None}, {"a": None}, True),
        ({"a": None}, {"b": 1}, False),
        ({"a": 1}, {"a": None}, False),
        ({"x-match": "any", "a": None}, {"a": False}, True),
        # Names that begin with x- count only where it is said.
        ({"x-a": 1, "b": 2}, {"b": 2}, True),
        ({"x-match": "any", "x-a": 1}, {"x-a": 1}, False),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"b": 2}, False),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"x-a": 1, "b": 2}, True),
        ({"x-match": "any-with-x", "x-a": 1}, {"x-a": 1}, True),
        # Values.
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": 1}, {"a": 1.0}, FLOATS_MATCH),
        ({"a": 1.5}, {"a": 1.5}, True),
        ({"a": "A"}, {"a": "a"}, False),
        ({"A": 1}, {"a": 1}, False),
        ({"a": ""}, {"a": ""}, True),
        ({"a": Decimal("1.5")}, {"a": Decimal("1.5")}, True),
        ({"a": TIME}, {"a": TIME}, TIMES_MATCH),
        ({"a": [1, "x"]}, {"a": [1, "x"]}, True),
        ({"a": [1, "x"]}, {"a": [1]}, False),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, True),
        ({"a": b"\xff"}, {"a": b"\xff"}, True),
    ],
)
def test_headers(
    broker: Broker,
    channel: Channel,
    binding: dict[str, Any],
    headers: dict[str, Any],
    matches: bool | Varies[bool],
) -> None:
    """
    A headers exchange routes by headers, all or any.
    """
    exchange = channel.exchange("headers")
    channel.bind(channel.queue(), exchange, "key", binding)
    expected = matches.on(broker) if isinstance(matches, Varies) else matches
    assert is_routed(channel, exchange, "other", {"headers": headers}) is expected


@pytest.mark.parametrize(
    ("type", "raw"),
    [
        (b"b", b"\x07"),
        (b"B", b"\x07"),
        (b"s", b"\0\x07"),
        (b"u", b"\0\x07"),
        (b"I", b"\0\0\0\x07"),
        (b"i", b"\0\0\0\x07"),
        (b"l", b"\0\0\0\0\0\0\0\x07"),
    ],
)
def test_headers_of_other_sizes(channel: Channel, type: bytes, raw: bytes) -> None:
    """
    Integers of different types are the same header.
    """
    exchange = channel.exchange("headers")
    table = typed_table(("a", type, raw))
    channel.call(
        "queue.bind", queue=channel.queue(), exchange=exchange, arguments=table
    )
    assert is_routed(channel, exchange, "", {"headers": {"a": 7}})


def test_no_headers(channel: Channel) -> None:
    """
    A message without headers matches what asks for none.
    """
    exchange = channel.exchange("headers")
    channel.bind(channel.queue(), exchange, "", {"a": 1})
    assert not is_routed(channel, exchange)
    channel.bind(channel.queue(), exchange, "", {"x-match": "all"})
    assert is_routed(channel, exchange)


@pytest.mark.parametrize(
    ("match", "why"), [("most", "value"), (1, "type"), (True, "type")]
)
def test_wrong_match(channel: Channel, match: Any, why: str) -> None:
    """
    406 is for asking for anything but all or any.
    """
    exchange, queue = channel.exchange("headers"), channel.queue()
    refusal = channel.refusal(
        "queue.bind", queue=queue, exchange=exchange, arguments={"x-match": match}
    )
    text = f"PRECONDITION_FAILED - Invalid x-match field {why} "
    assert refusal.begins("channel", 406, text, "queue.bind"), refusal


# -- Binding and unbinding


def test_bound_twice(channel: Channel) -> None:
    """
    Binding twice is binding once.
    """
    exchange, queue = channel.exchange(), channel.queue()
    for _ in range(2):
        channel.bind(queue, exchange, "key")
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="key")
    assert not is_routed(channel, exchange, "key")


def test_unbind_one(channel: Channel) -> None:
    """
    Undoing a binding leaves those with another key or other arguments.
    """
    exchange, queue = channel.exchange(), channel.queue()
    channel.bind(queue, exchange, "one")
    channel.bind(queue, exchange, "two")
    channel.bind(queue, exchange, "two", {"note": 1})
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="one")
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="two")
    assert not is_routed(channel, exchange, "one")
    assert is_routed(channel, exchange, "two")


def test_order_of_arguments(channel: Channel) -> None:
    """
    The order of its arguments does not tell a binding from another.
    """
    exchange, queue = channel.exchange("headers"), channel.queue()
    one, other = {"x-match": "all", "a": 1}, {"a": 1, "x-match": "all"}
    channel.bind(queue, exchange, "", one)
    channel.bind(queue, exchange, "", other)
    assert is_routed(channel, exchange, "", {"headers": {"a": 1}})
    channel.call("queue.unbind", queue=queue, exchange=exchange, arguments=other)
    assert not is_routed(channel, exchange, "", {"headers": {"a": 1}})


@pytest.mark.parametrize("missing", ["binding", "queue", "exchange"])
def test_unbind_unknown(channel: Channel, missing: str) -> None:
    """
    A binding that is not there may be undone.
    """
    queue = fresh("queue") if missing == "queue" else channel.queue()
    exchange = fresh("exchange") if missing == "exchange" else channel.exchange()
    channel.call("queue.unbind", queue=queue, exchange=exchange)


def test_bind_to_unknown_exchange(channel: Channel) -> None:
    """
    404 is for binding to an exchange that is not there.
    """
    exchange = fresh("exchange")
    assert channel.refusal(
        "queue.bind", queue=channel.queue(), exchange=exchange
    ) == Close(
        "channel",
        404,
        f"NOT_FOUND - no exchange '{exchange}' in vhost '/'",
        "queue.bind",
    )


def test_bind_unknown_queue(channel: Channel) -> None:
    """
    404 is for binding a queue that is not there.
    """
    queue = fresh("queue")
    assert channel.refusal("queue.bind", queue=queue, exchange="amq.direct") == Close(
        "channel",
        404,
        f"NOT_FOUND - no queue '{queue}' in vhost '/'",
        "queue.bind",
    )


@pytest.mark.parametrize("method", ["queue.bind", "queue.unbind"])
def test_bind_to_default_exchange(channel: Channel, method: str) -> None:
    """
    403 is for binding to the default exchange.
    """
    assert channel.refusal(method, queue=channel.queue(), exchange="") == Close(
        "channel",
        403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
        method,
    )


def test_bind_last_queue_by_its_name(channel: Channel) -> None:
    """
    Neither a queue nor a key means the last queue, and its name for the key.
    """
    exchange, queue = channel.exchange(), channel.queue()
    channel.bind("", exchange, "")
    assert is_routed(channel, exchange, queue)
    assert not is_routed(channel, exchange, "")


def test_bind_named_queue_without_a_key(channel: Channel) -> None:
    """
    The key is empty where only the queue is named.
    """
    exchange, queue = channel.exchange(), channel.queue()
    channel.bind(queue, exchange, "")
    assert is_routed(channel, exchange, "")


# -- Further keys


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_copies(channel: Channel, header: str) -> None:
    """
    A message goes by the keys of its headers CC and BCC as well, which
    receivers see of CC.
    """
    queues = [channel.queue() for _ in "123"]
    headers = {header: queues[1:], "other": 1}
    channel.publish("", queues[0], b"body", {"headers": headers})
    seen = headers if header == "CC" else {"other": 1}
    for queue in queues:
        delivered = channel.take(queue)
        assert delivered["routing_key"] == queues[0]
        assert delivered.headers == seen


def test_copy_to_the_same(channel: Channel) -> None:
    """
    A copy does not go where the message goes anyway.
    """
    queue = channel.queue()
    channel.put(queue, b"body", headers={"CC": [queue, queue], "BCC": [queue]})
    assert channel.count(queue) == (1, 0)


def test_copy_is_enough(channel: Channel) -> None:
    """
    A message is routed if but a copy is.
    """
    headers = {"CC": [channel.queue()]}
    assert is_routed(channel, "", fresh("nowhere"), {"headers": headers})


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_copies_are_a_list(channel: Channel, header: str) -> None:
    """
    406 is for keys of copies that are no list.
    """
    queue = channel.queue()
    properties = {"headers": {header: queue}}
    refusal = channel.refused(
        lambda: channel.publish("", queue, b"", properties), "basic.publish"
    )
    assert refusal.begins(
        "channel", 406, "PRECONDITION_FAILED - invalid message: ", "basic.publish"
    ), refusal


# -- Messages that go nowhere


def test_returned(channel: Channel) -> None:
    """
    A mandatory message that goes nowhere comes back whole.
    """
    exchange, key = channel.exchange(), fresh("key")
    properties = {"content-type": "text/plain", "headers": {"a": [1, None]}}
    channel.publish(exchange, key, b"body" * 50_000, properties, mandatory=True)
    returned = channel.next()
    assert returned.name == "basic.return"
    assert returned.arguments == {
        "reply_code": 312,
        "reply_text": "NO_ROUTE",
        "exchange": exchange,
        "routing_key": key,
    }
    assert returned.properties == properties
    assert returned.body == b"body" * 50_000


def test_returned_before_confirmed(channel: Channel) -> None:
    """
    A message is returned first, and then confirmed.
    """
    channel.confirm()
    for _ in range(3):
        channel.publish("", fresh("nowhere"), mandatory=True)
    names = [channel.next().name for _ in range(4)]
    assert names[:3].count("basic.return") >= 1
    assert names[0] == "basic.return"


def test_dropped(channel: Channel) -> None:
    """
    Any other message that goes nowhere is confirmed, and nothing else.
    """
    channel.confirm()
    channel.publish("", fresh("nowhere"))
    assert channel.settled() == {1: "ack"}
    assert channel.waiting == []


def test_mandatory_and_routed(client: Client, channel: Channel) -> None:
    """
    A mandatory message that goes somewhere is not returned.
    """
    assert is_routed(channel, "", channel.queue())
    assert channel.waiting == []
