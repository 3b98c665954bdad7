"""
Queues: declared, counted, emptied and deleted, by clients and by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quebert.test.contract.client import (
    Channel,
    Client,
    Close,
    fresh,
    typed_table,
    until,
)
from quebert.test.contract.conftest import Broker
from quebert.test.contract.differences import QUEUE_VERSION_1

Connect = Callable[..., Client]


def locked(queue: str, method: str) -> Close:
    """
    How a queue of another connection is refused.
    """
    return Close(
        "channel",
        405,
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}'"
        " in vhost '/'. It could be originally declared on another connection or the"
        " exclusive property value does not match that of the original declaration.",
        method,
    )


def is_routable(channel: Channel, queue: str) -> bool:
    """
    Whether a queue is there, asked without using it.
    """
    channel.confirm()
    channel.publish("", queue, mandatory=True)
    returned = channel.next().name == "basic.return"
    if returned:
        channel.next()
    return not returned


# -- Names


def test_server_named(channel: Channel) -> None:
    """
    The broker makes a name for a queue that is declared without.
    """
    names = [channel.queue(queue="") for _ in range(2)]
    assert len(set(names)) == 2
    assert all(name.startswith("amq.gen-") for name in names)


def test_last_name(channel: Channel) -> None:
    """
    No name means the queue that was declared last on the channel.
    """
    queue = channel.queue(queue="")
    channel.bind("", "amq.fanout")
    channel.put(queue, b"1", b"2")
    assert channel.get("", no_ack=True).body == b"1"
    tag = channel.consume("", no_ack=True)
    assert channel.next().body == b"2"
    channel.call("basic.cancel", consumer_tag=tag)
    channel.call("queue.purge", queue="")
    channel.call("queue.unbind", queue="", exchange="amq.fanout")
    channel.call("queue.delete", queue="")
    assert not channel.exists(queue)


def test_last_name_is_passive_too(channel: Channel) -> None:
    """
    A queue that was asked for passively is the last one, too.
    """
    queue = channel.queue()
    channel.queue()
    channel.call("queue.declare", queue=queue, passive=True)
    channel.call("queue.delete", queue="")
    assert not channel.exists(queue)


@pytest.mark.parametrize(
    "method", ["basic.get", "basic.consume", "queue.purge", "queue.delete"]
)
def test_no_last_name(channel: Channel, method: str) -> None:
    """
    404 is for no name where no queue was declared.
    """
    assert channel.refusal(method, queue="") == Close(
        "channel", 404, "NOT_FOUND - no previously declared queue", method
    )


def test_reserved_name(channel: Channel) -> None:
    """
    403 is for a queue whose name begins as the broker's own do.
    """
    assert channel.refusal("queue.declare", queue="amq.mine") == Close(
        "channel",
        403,
        "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
        "queue.declare",
    )


def test_strange_names(channel: Channel) -> None:
    """
    A name may be in any script, and have 255 bytes.
    """
    for name in (fresh("\N{SNOWMAN}"), fresh("long").ljust(255, "x")):
        channel.put(channel.queue(queue=name), b"body")
        assert channel.get(name)["routing_key"] == name


def test_long_names_are_cut(channel: Channel) -> None:
    """
    A reply text that would be too long is cut.
    """
    queue = fresh("long").ljust(255, "x")
    refusal = channel.refusal("queue.declare", queue=queue, passive=True)
    text = f"NOT_FOUND - no queue '{queue}"
    assert refusal == Close("channel", 404, text[:252] + "...", "queue.declare")


# -- Declaring


def test_declared(channel: Channel) -> None:
    """
    A queue is empty at first.
    """
    queue = fresh("queue")
    assert channel.call("queue.declare", queue=queue).arguments == {
        "queue": queue,
        "message_count": 0,
        "consumer_count": 0,
    }


def test_declared_again(channel: Channel) -> None:
    """
    A queue may be declared again as it is, which tells what is in it.
    """
    options: dict[str, Any] = {
        "queue": fresh("queue"),
        "durable": True,
        "auto_delete": True,
        "arguments": {"x-message-ttl": 60000, "x-max-length": 10},
    }
    queue = channel.queue(**options)
    channel.put(queue, b"1", b"2")
    reply = channel.call("queue.declare", **options)
    assert (reply["message_count"], reply["consumer_count"]) == (2, 0)


def test_passive_counts(channel: Channel) -> None:
    """
    A queue's counts are of its ready messages and its consumers.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3")
    channel.get(queue)
    assert channel.count(queue) == (2, 0)
    channel.consume(queue)
    channel.deliveries(2)
    assert channel.count(queue) == (0, 1)


def test_passive_unknown(channel: Channel) -> None:
    """
    404 is for asking for a queue that is not there.
    """
    queue = fresh("queue")
    assert channel.refusal("queue.declare", queue=queue, passive=True) == Close(
        "channel",
        404,
        f"NOT_FOUND - no queue '{queue}' in vhost '/'",
        "queue.declare",
    )


def test_passive_does_not_compare(channel: Channel) -> None:
    """
    Asking whether a queue is there does not ask how it is.
    """
    queue = channel.queue({"x-max-length": 1})
    channel.call("queue.declare", queue=queue, passive=True, durable=True)


def test_without_an_answer(channel: Channel) -> None:
    """
    No answer comes where none is wanted.
    """
    queue = fresh("queue")
    channel.send("queue.declare", queue=queue, nowait=True)
    channel.send("queue.bind", queue=queue, exchange="amq.fanout", nowait=True)
    channel.send("queue.purge", queue=queue, nowait=True)
    channel.send("queue.delete", queue=queue, nowait=True)
    channel.send("basic.qos")
    assert channel.next().name == "basic.qos-ok"
    assert not channel.exists(queue)


@pytest.mark.parametrize("option", ["durable", "auto_delete"])
def test_declared_otherwise(channel: Channel, option: str) -> None:
    """
    406 is for declaring a queue otherwise than it is.
    """
    queue = channel.queue()
    assert channel.refusal("queue.declare", queue=queue, **{option: True}) == Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - inequivalent arg '{option}' for queue '{queue}' in"
        " vhost '/': received 'true' but current is 'false'",
        "queue.declare",
    )


# -- Arguments

ARGUMENTS: list[tuple[str, Any, Any, str]] = [
    ("x-message-ttl", 60000, 70000, "signedint"),
    ("x-expires", 60000, 70000, "signedint"),
    ("x-max-length", 10, 20, "signedint"),
    ("x-max-length-bytes", 2**40, 2**41, "long"),
    ("x-max-priority", 5, 6, "signedint"),
    ("x-overflow", "drop-head", "reject-publish", "longstr"),
    ("x-dead-letter-exchange", "one", "two", "longstr"),
    ("x-single-active-consumer", True, False, "bool"),
]


def text_of(value: Any) -> str:
    """
    A value as RabbitMQ shows it.
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(("argument", "value", "other", "type"), ARGUMENTS)
def test_another_argument(
    channel: Channel, argument: str, value: Any, other: Any, type: str
) -> None:
    """
    406 is for declaring a queue with another value of an argument.
    """
    queue = channel.queue({argument: value})
    assert channel.refusal(
        "queue.declare", queue=queue, arguments={argument: other}
    ) == Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{queue}' in"
        f" vhost '/': received '{text_of(other)}' but current is '{text_of(value)}'",
        "queue.declare",
    )


def test_an_argument_of_another_type(channel: Channel) -> None:
    """
    406 is for declaring a queue with a number as text.
    """
    queue = channel.queue({"x-max-length": 10})
    assert channel.refusal(
        "queue.declare", queue=queue, arguments={"x-max-length": "10"}
    ) == Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '{queue}' in"
        " vhost '/': received '10' but current is '10'",
        "queue.declare",
    )


@pytest.mark.parametrize(("argument", "value", "other", "type"), ARGUMENTS)
def test_an_argument_less(
    channel: Channel, argument: str, value: Any, other: Any, type: str
) -> None:
    """
    406 is for declaring a queue without an argument that it has.
    """
    queue = channel.queue({argument: value})
    assert channel.refusal("queue.declare", queue=queue) == Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{queue}' in"
        f" vhost '/': received none but current is the value '{text_of(value)}' of type"
        f" '{type}'",
        "queue.declare",
    )


def test_an_argument_more(channel: Channel) -> None:
    """
    406 is for declaring a queue with an argument that it has not.
    """
    queue = channel.queue()
    refusal = channel.refusal(
        "queue.declare", queue=queue, arguments={"x-message-ttl": 1000}
    )
    assert refusal.text == (
        f"PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue '{queue}'"
        " in vhost '/': received the value '1000' of type 'signedint' but current is"
        " none"
    )


def test_another_dead_letter_key(channel: Channel) -> None:
    """
    406 is for declaring a queue with another key for dead letters.
    """
    table = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "one"}
    queue = channel.queue(table)
    table["x-dead-letter-routing-key"] = "two"
    refusal = channel.refusal("queue.declare", queue=queue, arguments=table)
    assert refusal.code == 406
    assert "inequivalent arg 'x-dead-letter-routing-key'" in refusal.text


@pytest.mark.parametrize(
    ("type", "raw"),
    [
        (b"b", b"\x64"),
        (b"s", b"\0\x64"),
        (b"I", b"\0\0\0\x64"),
        (b"l", b"\0\0\0\0\0\0\0\x64"),
        (b"B", b"\x64"),
        (b"u", b"\0\x64"),
        (b"i", b"\0\0\0\x64"),
    ],
)
def test_integers_of_any_size(channel: Channel, type: bytes, raw: bytes) -> None:
    """
    An argument that is a number may be of any type of integers.
    """
    queue = channel.queue({"x-max-length": 100})
    table = typed_table(("x-max-length", type, raw))
    channel.call("queue.declare", queue=queue, arguments=table)


def test_own_arguments_do_not_matter(channel: Channel) -> None:
    """
    A queue may be declared again with other arguments of the client's own.
    """
    queue = channel.queue({"note": "one"})
    channel.queue({"note": 2, "more": [None, 1.5]}, queue=queue)


def test_classic(channel: Channel) -> None:
    """
    A queue is classic whether it is called so or not.
    """
    queue = channel.queue({"x-queue-type": "classic"})
    channel.queue(queue=queue)
    other = channel.queue()
    channel.queue({"x-queue-type": "classic"}, queue=other)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x-message-ttl", -1),
        ("x-message-ttl", 315_360_000_001),
        ("x-message-ttl", "1000"),
        ("x-message-ttl", 1.5),
        ("x-message-ttl", True),
        ("x-expires", 0),
        ("x-expires", -1),
        ("x-expires", "1000"),
        ("x-max-length", -1),
        ("x-max-length", "1"),
        ("x-max-length-bytes", -1),
        ("x-max-length-bytes", None),
        ("x-max-priority", -1),
        ("x-max-priority", 256),
        ("x-max-priority", "1"),
        ("x-overflow", "nonsense"),
        ("x-overflow", 1),
        ("x-dead-letter-routing-key", "key"),
        ("x-dead-letter-routing-key", 1),
        ("x-single-active-consumer", "yes"),
        ("x-single-active-consumer", 1),
    ],
)
def test_wrong_arguments(channel: Channel, argument: str, value: Any) -> None:
    """
    406 is for an argument of the wrong type, or out of bounds.
    """
    queue = fresh("queue")
    refusal = channel.refusal("queue.declare", queue=queue, arguments={argument: value})
    assert refusal.begins(
        "channel",
        406,
        f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{queue}' in vhost"
        " '/': ",
        "queue.declare",
    ), refusal


def test_dead_letter_exchange_is_a_name(channel: Channel) -> None:
    """
    406 is for an exchange for dead letters that is no text.
    """
    queue = fresh("queue")
    assert channel.refusal(
        "queue.declare", queue=queue, arguments={"x-dead-letter-exchange": 1}
    ) == Close(
        "channel",
        406,
        "PRECONDITION_FAILED - invalid type 'signedint' for arg"
        f" 'x-dead-letter-exchange' in queue '{queue}' in vhost '/'",
        "queue.declare",
    )


@pytest.mark.parametrize(
    "table",
    [
        {"x-message-ttl": 0},
        {"x-message-ttl": 315_360_000_000},
        {"x-expires": 60000},
        {"x-max-length": 0},
        {"x-max-length-bytes": 0},
        {"x-max-priority": 0},
        {"x-max-priority": 255},
        {"x-overflow": "drop-head"},
        {"x-overflow": "reject-publish"},
        {"x-overflow": "reject-publish-dlx"},
        {"x-dead-letter-exchange": ""},
        {"x-dead-letter-exchange": "nowhere", "x-dead-letter-routing-key": ""},
        {"x-single-active-consumer": False},
        {"x-queue-mode": "default"},
        {"x-queue-mode": "lazy"},
        {"x-queue-version": 2},
    ],
)
def test_right_arguments(channel: Channel, table: dict[str, Any]) -> None:
    """
    Arguments that make sense are taken.
    """
    assert channel.queue(table)


def test_queue_version(broker: Broker, channel: Channel) -> None:
    """
    The older of the two versions of classic queues is refused where it is gone.
    """
    queue, table = fresh("queue"), {"x-queue-version": 1}
    if QUEUE_VERSION_1.on(broker):
        channel.queue(table, queue=queue)
    else:
        refusal = channel.refusal("queue.declare", queue=queue, arguments=table)
        text = (
            f"PRECONDITION_FAILED - invalid arg 'x-queue-version' for queue '{queue}'"
        )
        assert refusal.begins("channel", 406, text, "queue.declare"), refusal


# -- Exclusive queues


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("queue.declare", {}),
        ("queue.declare", {"exclusive": True}),
        ("queue.declare", {"passive": True}),
        ("queue.bind", {"exchange": "amq.direct"}),
        ("queue.purge", {}),
        ("queue.delete", {}),
        ("basic.consume", {}),
        ("basic.get", {}),
    ],
)
def test_exclusive(
    connect: Connect, channel: Channel, method: str, options: dict[str, Any]
) -> None:
    """
    405 is for using an exclusive queue of another connection.
    """
    queue = channel.queue(exclusive=True)
    other = connect().channel()
    assert other.refusal(method, queue=queue, **options) == locked(queue, method)


def test_exclusive_for_all_channels(client: Client, channel: Channel) -> None:
    """
    An exclusive queue is open to all channels of its connection.
    """
    queue = channel.queue(exclusive=True)
    channel.put(queue, b"body")
    assert client.channel().get(queue).body == b"body"


@pytest.mark.parametrize("exclusive", [True, False])
def test_exclusive_otherwise(channel: Channel, exclusive: bool) -> None:
    """
    405 is for declaring a queue exclusive that is not, and the reverse.
    """
    queue = channel.queue(exclusive=exclusive)
    assert channel.refusal(
        "queue.declare", queue=queue, exclusive=not exclusive
    ) == locked(queue, "queue.declare")


@pytest.mark.parametrize("durable", [True, False])
def test_exclusive_and_durable(channel: Channel, durable: bool) -> None:
    """
    An exclusive queue is the same whether it is called durable or not.
    """
    queue = channel.queue(exclusive=True, durable=durable)
    channel.queue(queue=queue, exclusive=True, durable=not durable)


def test_exclusive_is_published_to(connect: Connect, channel: Channel) -> None:
    """
    Other connections may publish to an exclusive queue.
    """
    queue = channel.queue(exclusive=True)
    connect().channel().put(queue, b"body")
    assert channel.get(queue).body == b"body"


@pytest.mark.parametrize("how", ["close", "drop"])
def test_exclusive_ends(connect: Connect, channel: Channel, how: str) -> None:
    """
    An exclusive queue goes with its connection.
    """
    other = connect()
    queue = other.channel().queue(exclusive=True)
    if how == "close":
        other.close()
    else:
        other.drop()
    until(lambda: not is_routable(channel, queue))


def test_exclusive_outlives_its_channel(client: Client, channel: Channel) -> None:
    """
    An exclusive queue does not go with the channel it was declared on.
    """
    queue = channel.queue(exclusive=True)
    channel.close()
    assert client.channel().exists(queue)


# -- Emptying and deleting


def test_purge(channel: Channel) -> None:
    """
    Purging a queue tells how many messages were ready.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3")
    assert channel.call("queue.purge", queue=queue)["message_count"] == 3
    assert channel.call("queue.purge", queue=queue)["message_count"] == 0
    assert channel.get(queue).name == "basic.get-empty"


def test_purge_leaves_the_unacked(channel: Channel) -> None:
    """
    Purging a queue does not take away what was delivered.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2")
    tag = channel.get(queue)["delivery_tag"]
    assert channel.call("queue.purge", queue=queue)["message_count"] == 1
    channel.reject(tag, requeue=True)
    assert channel.take(queue).body == b"1"


@pytest.mark.parametrize("method", ["queue.purge", "basic.get", "basic.consume"])
def test_unknown(channel: Channel, method: str) -> None:
    """
    404 is for using a queue that is not there.
    """
    queue = fresh("queue")
    assert channel.refusal(method, queue=queue) == Close(
        "channel", 404, f"NOT_FOUND - no queue '{queue}' in vhost '/'", method
    )


def test_delete(channel: Channel) -> None:
    """
    Deleting a queue tells how many messages were ready.
    """
    queue = channel.queue()
    channel.put(queue, b"1", b"2", b"3")
    channel.get(queue)
    assert channel.call("queue.delete", queue=queue)["message_count"] == 2
    assert not channel.exists(queue)


def test_delete_unknown(channel: Channel) -> None:
    """
    A queue that is not there may be deleted.
    """
    reply = channel.call("queue.delete", queue=fresh("queue"))
    assert reply["message_count"] == 0


def test_delete_used(channel: Channel) -> None:
    """
    406 is for deleting, if unused, a queue with consumers.
    """
    queue = channel.queue()
    tag = channel.consume(queue)
    other = channel.client.channel()
    assert other.refusal("queue.delete", queue=queue, if_unused=True) == Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use",
        "queue.delete",
    )
    channel.call("basic.cancel", consumer_tag=tag)
    channel.call("queue.delete", queue=queue, if_unused=True)
    assert not channel.exists(queue)


def test_delete_filled(channel: Channel) -> None:
    """
    406 is for deleting, if empty, a queue with messages.
    """
    queue = channel.queue()
    channel.put(queue, b"body")
    other = channel.client.channel()
    assert other.refusal("queue.delete", queue=queue, if_empty=True) == Close(
        "channel",
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty",
        "queue.delete",
    )
    channel.call("queue.purge", queue=queue)
    channel.call("queue.delete", queue=queue, if_empty=True)
    assert not channel.exists(queue)


def test_delete_with_unacked(channel: Channel) -> None:
    """
    A queue all of whose messages are delivered is empty.
    """
    queue = channel.queue()
    channel.put(queue, b"body")
    channel.get(queue)
    channel.call("queue.delete", queue=queue, if_empty=True)
    assert not channel.exists(queue)


def test_delete_removes_bindings(channel: Channel) -> None:
    """
    A queue that is declared again after its deletion has no bindings.
    """
    queue, exchange = channel.queue(), channel.exchange("fanout")
    channel.bind(queue, exchange)
    channel.call("queue.delete", queue=queue)
    channel.queue(queue=queue)
    channel.publish(exchange, "", mandatory=True)
    assert channel.next().name == "basic.return"


# -- Queues that go by themselves


def test_auto_delete(channel: Channel) -> None:
    """
    A queue with auto-delete goes with its last consumer.
    """
    queue = channel.queue(auto_delete=True)
    first, last = channel.consume(queue), channel.consume(queue)
    channel.call("basic.cancel", consumer_tag=first)
    assert channel.exists(queue)
    channel.call("basic.cancel", consumer_tag=last)
    until(lambda: not channel.exists(queue))


def test_auto_delete_needs_a_consumer(channel: Channel) -> None:
    """
    A queue with auto-delete stays while it never had a consumer.
    """
    queue = channel.queue(auto_delete=True)
    channel.put(queue, b"body")
    channel.get(queue, no_ack=True)
    assert channel.exists(queue)


@pytest.mark.parametrize("how", ["channel", "connection", "socket"])
def test_auto_delete_with_the_channel(
    connect: Connect, channel: Channel, how: str
) -> None:
    """
    A queue with auto-delete goes when its consumer's channel does.
    """
    other = connect()
    consumer = other.channel()
    queue = consumer.queue(auto_delete=True)
    consumer.consume(queue)
    end = {"channel": consumer.close, "connection": other.close, "socket": other.drop}
    end[how]()
    until(lambda: not channel.exists(queue))


def test_expires(channel: Channel) -> None:
    """
    A queue goes when it was unused for as long as C{x-expires} says.
    """
    queue = channel.queue({"x-expires": 50})
    until(lambda: not is_routable(channel, queue))


def test_consumers_keep_from_expiring(channel: Channel) -> None:
    """
    A queue with a consumer is used.
    """
    used = channel.queue({"x-expires": 1_000})  # a consumer comes before that
    channel.consume(used)
    unused = channel.queue({"x-expires": 1_100})
    asking = channel.client.channel()
    until(lambda: not is_routable(asking, unused))
    assert channel.exists(used)


def test_expires_after_the_last_consumer(channel: Channel) -> None:
    """
    A queue expires when it has no consumers any more.
    """
    queue = channel.queue({"x-expires": 1_000})  # a consumer comes before that
    channel.call("basic.cancel", consumer_tag=channel.consume(queue))
    until(lambda: not is_routable(channel, queue))


def test_expires_with_messages(channel: Channel) -> None:
    """
    A queue expires whatever is in it, and without dead letters.
    """
    dead = channel.queue()
    queue = channel.queue(
        {
            "x-expires": 50,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead,
        }
    )
    channel.put(queue, b"body")
    until(lambda: not is_routable(channel, queue))
    assert channel.count(dead) == (0, 0)
