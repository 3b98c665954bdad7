"""
Quorum queues: what they are declared with, how they count deliveries, and what becomes
of a message whose delivery fails too often.

The embedded broker does as RabbitMQ 4.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quebert.test.contract.client import Channel, Client, Event, fresh, until
from quebert.test.contract.conftest import Broker

Connect = Callable[..., Client]
Rules = tuple[int, ...]

#: Gives a delivery back, and gives a channel to go on with.
Return = Callable[[Channel, Event], Channel]


@pytest.fixture
def rules(broker: Broker, dial: Callable[[], Client]) -> Rules:
    """
    The version of RabbitMQ whose rules the broker keeps: major and minor.
    """
    if broker.name == "embedded":
        return (4, 3)
    version = dial().start()["server_properties"]["version"]
    return tuple(map(int, version.split(".")[:2]))


def quorum(channel: Channel, name: str = "", **arguments: Any) -> str:
    """
    Declare a quorum queue, and give its name.

    @param arguments: without C{x-}, and with underscores.
    """
    given = {f"x-{k.replace('_', '-')}": value for k, value in arguments.items()}
    table = {"x-queue-type": "quorum", **given}
    return channel.queue(table, queue=name or fresh("quorum"), durable=True)


def fetch(channel: Channel, queue: str) -> Event:
    """
    Wait for a message in a queue, and leave it unsettled.
    """

    def got() -> Event | None:
        event = channel.get(queue)
        return event if event.name == "basic.get-ok" else None

    return until(got)


# -- Declaring


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"exclusive": True}, "exclusive-owner"),
        ({"durable": False}, "non-durable"),
        ({"auto_delete": True}, "auto-delete"),
    ],
)
def test_refused_property(
    channel: Channel, options: dict[str, bool], problem: str
) -> None:
    """
    406 is for a quorum queue that would go with a connection or the broker.
    """
    name = fresh("quorum")
    how = {"durable": True, **options, "arguments": {"x-queue-type": "quorum"}}
    refusal = channel.refusal("queue.declare", queue=name, **how)
    text = f"PRECONDITION_FAILED - invalid property '{problem}' for queue '{name}'"
    assert refusal.begins("channel", 406, text, "queue.declare")


def test_refused_without_a_name(channel: Channel) -> None:
    """
    The broker makes no name for a quorum queue.
    """
    arguments = {"x-queue-type": "quorum"}
    refusal = channel.refusal("queue.declare", durable=True, arguments=arguments)
    text = "PRECONDITION_FAILED - Cannot declare a server-named queue"
    assert refusal.begins("channel", 406, text, "queue.declare")


@pytest.mark.parametrize(
    ("kind", "argument", "value"),
    [
        ("quorum", "x-max-priority", 5),
        ("quorum", "x-queue-mode", "lazy"),
        ("quorum", "x-queue-version", 2),
        ("quorum", "x-queue-master-locator", "min-masters"),
        ("classic", "x-delivery-limit", 5),
        ("classic", "x-dead-letter-strategy", "at-most-once"),
    ],
)
def test_refused_argument(
    channel: Channel, kind: str, argument: str, value: Any
) -> None:
    """
    406 is for an argument that only another type of queues has.
    """
    name = fresh("queue")
    arguments = {"x-queue-type": kind, argument: value}
    refusal = channel.refusal(
        "queue.declare", queue=name, durable=True, arguments=arguments
    )
    text = f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{name}'"
    assert refusal.begins("channel", 406, text, "queue.declare")
    assert f"of queue type rabbit_{kind}_queue" in refusal.text


@pytest.mark.parametrize("value", ["nonsense", "Quorum", 5])
def test_unknown_type(channel: Channel, value: Any) -> None:
    """
    406 is for a type that there is not.
    """
    arguments = {"x-queue-type": value}
    refusal = channel.refusal(
        "queue.declare", queue=fresh("queue"), durable=True, arguments=arguments
    )
    text = "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue"
    assert refusal.begins("channel", 406, text, "queue.declare")


@pytest.mark.parametrize(
    "arguments",
    [
        {"delivery_limit": 3},
        {"delivery_limit": -1},
        {"message_ttl": 60_000, "expires": 60_000},
        {"max_length": 5, "max_length_bytes": 500, "overflow": "reject-publish"},
        {"overflow": "reject-publish-dlx"},
        {"single_active_consumer": True},
        {"quorum_initial_group_size": 3, "queue_leader_locator": "balanced"},
        {"max_in_memory_length": 5, "max_in_memory_bytes": 500},
        {"dead_letter_strategy": "at-most-once"},
        {"dead_letter_strategy": "at-least-once", "overflow": "reject-publish"},
    ],
)
def test_declared_again(channel: Channel, arguments: dict[str, Any]) -> None:
    """
    A quorum queue may be declared again, with the same arguments.
    """
    name = quorum(channel, **arguments)
    assert quorum(channel, name, **arguments) == name
    refusal = channel.refusal(
        "queue.declare",
        queue=name,
        durable=True,
        arguments={"x-queue-type": "quorum", "x-delivery-limit": 7},
    )
    text = "PRECONDITION_FAILED - inequivalent arg 'x-"
    assert refusal.begins("channel", 406, text, "queue.declare")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_other_type(channel: Channel, kind: str) -> None:
    """
    406 is for a queue of the other type.
    """
    kinds = {"classic", "quorum"}
    name = channel.queue({"x-queue-type": kind}, durable=True)
    arguments = {"x-queue-type": min(kinds - {kind})}
    refusal = channel.refusal(
        "queue.declare", queue=name, durable=True, arguments=arguments
    )
    text = f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{name}'"
    assert refusal.begins("channel", 406, text, "queue.declare")


# -- Counting


def nacked(channel: Channel, event: Event) -> Channel:
    """
    By basic.nack.
    """
    channel.send("basic.nack", delivery_tag=event["delivery_tag"], requeue=True)
    return channel


def rejected(channel: Channel, event: Event) -> Channel:
    """
    By basic.reject.
    """
    channel.reject(event["delivery_tag"], requeue=True)
    return channel


def recovered(channel: Channel, event: Event) -> Channel:
    """
    By basic.recover.
    """
    channel.call("basic.recover", requeue=True)
    return channel


def channel_closed(channel: Channel, event: Event) -> Channel:
    """
    By closing the channel.
    """
    channel.close()
    return channel.client.channel()


def channel_failed(channel: Channel, event: Event) -> Channel:
    """
    By an error that closes the channel.
    """
    channel.refusal("queue.declare", queue="amq.mine")
    return channel.client.channel()


RETURNS = [nacked, rejected, recovered, channel_closed, channel_failed]


def fails(how: Return, rules: Rules) -> bool:
    """
    Whether a return counts for the delivery limit: to RabbitMQ 4.2 each does.
    """
    return rules < (4, 3) or how not in (nacked, recovered)


def counts(event: Event) -> dict[str, int]:
    """
    What a delivery says of how often it came back.
    """
    headers = event.properties.get("headers", {})
    return {name: headers[name] for name in headers if name.endswith("-count")}


def counted(rules: Rules, acquired: int, failed: int) -> dict[str, int]:
    """
    What it has to say, to a consumer.
    """
    wanted = {"x-delivery-count": failed}
    if rules >= (4, 3):
        wanted["x-acquired-count"] = acquired
    return {name: count for name, count in wanted.items() if count}


@pytest.mark.parametrize("how", RETURNS)
def test_counts(channel: Channel, rules: Rules, how: Return) -> None:
    """
    A message that came back says how often, beside its own headers.
    """
    queue = quorum(channel)
    channel.put(queue, b"body", headers={"own": 1})
    for count in range(4):
        tag = channel.consume(queue)
        event = channel.next()
        assert (event.body, event["redelivered"]) == (b"body", count > 0)
        assert event.headers["own"] == 1
        failed = count if fails(how, rules) else 0
        assert counts(event) == counted(rules, count, failed)
        channel.call("basic.cancel", consumer_tag=tag)
        channel = how(channel, event)


def test_counts_of_a_lost_connection(connect: Connect, rules: Rules) -> None:
    """
    A lost connection counts as a failure, with basic.get as well.
    """
    client = connect()
    queue = quorum(client.channel())
    client.channel().put(queue, b"body")
    for count in range(3):
        event = fetch(client.channel(), queue)
        if rules >= (4, 0) or count:  # 3.10 says 0, too
            assert counts(event) == counted(rules, count, count)
        client.drop()
        client = connect()


def test_own_counts_are_replaced(channel: Channel, rules: Rules) -> None:
    """
    A count that the publisher has written is none of the broker's.
    """
    queue = quorum(channel, delivery_limit=3)
    channel.put(queue, b"body", headers={"x-delivery-count": 7})
    rejected(channel, fetch(channel, queue))
    assert counts(fetch(channel, queue)) == counted(rules, 1, 1)


def test_classic_queues_do_not_count(channel: Channel) -> None:
    """
    A classic queue says but that a message came before.
    """
    queue = channel.queue()
    channel.put(queue, b"body")
    rejected(channel, fetch(channel, queue))
    event = fetch(channel, queue)
    assert event["redelivered"]
    assert "headers" not in event.properties


# -- The delivery limit


@pytest.mark.parametrize("how", RETURNS)
@pytest.mark.parametrize("limit", [0, 2])
def test_limit(channel: Channel, rules: Rules, how: Return, limit: int) -> None:
    """
    A message whose delivery failed more often is a dead letter; one that was given back
    in good order comes again.
    """
    dead = channel.queue()
    to_dead = {"dead_letter_exchange": "", "dead_letter_routing_key": dead}
    queue = quorum(channel, delivery_limit=limit, **to_dead)
    channel.put(queue, b"body", headers={"own": 1})
    for _ in range(limit + 1):
        channel = how(channel, fetch(channel, queue))
    if not fails(how, rules):
        assert fetch(channel, queue).body == b"body"
        return
    letter = channel.take(dead)
    assert letter.body == b"body"
    assert letter.headers["own"] == 1
    assert counts(letter) == {}
    (death,) = letter.headers["x-death"]
    assert (death["reason"], death["queue"]) == ("delivery_limit", queue)
    assert letter.headers["x-first-death-reason"] == "delivery_limit"
    assert channel.count(queue)[0] == 0


def test_limit_by_default(channel: Channel, rules: Rules) -> None:
    """
    A delivery may fail 20 times; the next failure is too many.
    """
    dead = channel.queue()
    to_dead = {"dead_letter_exchange": "", "dead_letter_routing_key": dead}
    queue = quorum(channel, **to_dead)
    channel.put(queue, b"body")
    for _ in range(21):
        rejected(channel, fetch(channel, queue))
    if rules < (4, 0):  # there is no limit
        assert fetch(channel, queue).body == b"body"
    else:
        (death,) = channel.take(dead).headers["x-death"]
        assert death["reason"] == "delivery_limit"


def test_no_limit(channel: Channel, rules: Rules) -> None:
    """
    -1 is no limit from 4.0 on, and 0 before.
    """
    queue = quorum(channel, delivery_limit=-1)
    channel.put(queue, b"body")
    if rules < (4, 0):
        rejected(channel, fetch(channel, queue))
        channel.put(queue, b"next")
        assert fetch(channel, queue).body == b"next"
        return
    for _ in range(30):
        rejected(channel, fetch(channel, queue))
    assert fetch(channel, queue).body == b"body"


def test_limit_without_an_exchange(channel: Channel) -> None:
    """
    Where there is no exchange for dead letters, the message is gone.
    """
    queue = quorum(channel, delivery_limit=0)
    channel.put(queue, b"body")
    rejected(channel, fetch(channel, queue))
    channel.put(queue, b"next")
    assert fetch(channel, queue).body == b"next"
    assert channel.count(queue)[0] == 0


def test_counts_are_no_part_of_a_dead_letter(channel: Channel) -> None:
    """
    A message that is rejected for good goes on as it was published.
    """
    dead = channel.queue()
    queue = quorum(channel, dead_letter_exchange="", dead_letter_routing_key=dead)
    channel.put(queue, b"body", headers={"own": 1})
    rejected(channel, fetch(channel, queue))
    channel.reject(fetch(channel, queue)["delivery_tag"], requeue=False)
    letter = channel.take(dead)
    assert letter.headers["x-death"][0]["reason"] == "rejected"
    assert counts(letter) == {}


def test_dead_letter_at_least_once(channel: Channel) -> None:
    """
    A dead letter that cannot be sent on waits until it can, and is not to be had
    meanwhile.
    """
    dead = fresh("dead")
    queue = quorum(
        channel,
        dead_letter_strategy="at-least-once",
        dead_letter_exchange="",
        dead_letter_routing_key=dead,
        overflow="reject-publish",
    )
    channel.put(queue, b"body", headers={"own": 1})
    channel.reject(fetch(channel, queue)["delivery_tag"], requeue=False)
    channel.call("basic.qos")  # it has come
    assert channel.get(queue).name == "basic.get-empty"
    channel.queue(queue=dead)
    letter = channel.take(dead)
    assert (letter.body, letter.headers["own"]) == (b"body", 1)
    assert letter.headers["x-death"][0]["reason"] == "rejected"
    assert channel.count(queue)[0] == 0


def test_dead_letter_at_most_once(channel: Channel) -> None:
    """
    Where the queue drops its head, a dead letter that cannot be sent on is dropped.
    """
    dead = fresh("dead")
    queue = quorum(
        channel,
        dead_letter_strategy="at-least-once",
        dead_letter_exchange="",
        dead_letter_routing_key=dead,
    )
    channel.put(queue, b"body")
    channel.reject(fetch(channel, queue)["delivery_tag"], requeue=False)
    channel.put(queue, b"next")
    assert fetch(channel, queue).body == b"next"
    channel.queue(queue=dead)
    assert channel.get(dead).name == "basic.get-empty"


def test_limit_in_a_circle(channel: Channel) -> None:
    """
    A dead letter that comes to a queue where it died before is dropped.
    """
    names = fresh("quorum"), fresh("quorum")
    for name, other in (names, names[::-1]):
        to_other = {"dead_letter_exchange": "", "dead_letter_routing_key": other}
        quorum(channel, name, delivery_limit=0, **to_other)
    channel.put(names[0], b"body")
    for name in names:
        rejected(channel, fetch(channel, name))
    for name in names:
        channel.put(name, b"next")
        assert fetch(channel, name).body == b"next"


# -- Order


def test_transient_messages(channel: Channel) -> None:
    """
    A message need not be persistent; its delivery mode stays as it is.
    """
    queue = quorum(channel)
    channel.put(queue, b"body", delivery_mode=1)
    assert fetch(channel, queue).properties["delivery-mode"] == 1


@pytest.mark.parametrize("how", ["nack", "reject", "close"])
def test_order_of_returned(channel: Channel, rules: Rules, how: str) -> None:
    """
    What comes back goes before the rest, in the order in which it came back.  Where
    there is no limit, in 3.10, what is given back in good order goes behind the rest.
    """
    queue = quorum(channel)
    channel.put(queue, b"1", b"2", b"3", b"4", b"5")
    tags = [fetch(channel, queue)["delivery_tag"] for _ in range(3)]
    returned = [b"2", b"1", b"3"]
    for tag in (tags[1], tags[0], tags[2]):
        if how == "reject":
            channel.reject(tag, requeue=True)
        elif how == "nack":
            channel.send("basic.nack", delivery_tag=tag, requeue=True)
    if how == "close":
        channel.close()
        channel, returned = channel.client.channel(), [b"1", b"2", b"3"]
    channel.until_ready(queue, 5)
    wanted = [*returned, b"4", b"5"]
    if rules < (4, 0) and how != "close":
        wanted = [b"4", b"5", *returned]
    assert channel.bodies(queue) == wanted


def test_priorities(channel: Channel, rules: Rules) -> None:
    """
    From 4.3 on the priorities 0 to 31 count, and 4 is that of a message without one.
    In 3.10 there are none.  4.0 mixes two lanes.
    """
    queue = quorum(channel)
    published = [b"0", b"4", b"9", b"", b"31", b"32", b"255", b"3"]
    for body in published:
        channel.put(queue, body, **({"priority": int(body)} if body else {}))
    found = channel.bodies(queue)
    if rules >= (4, 3):
        assert found == [b"31", b"32", b"255", b"9", b"4", b"", b"3", b"0"]
    elif rules < (4, 0):
        assert found == published
    else:
        assert sorted(found) == sorted(published)


# -- Bounds, and the end


def test_drops_the_head(channel: Channel) -> None:
    """
    The oldest of too many goes, also where C{reject-publish-dlx} is asked for.
    """
    for overflow in ({}, {"overflow": "reject-publish-dlx"}):
        queue = quorum(channel, max_length=2, **overflow)
        channel.put(queue, b"1", b"2", b"3", b"4")
        assert channel.bodies(queue) == [b"3", b"4"]


def test_one_active_consumer(channel: Channel) -> None:
    """
    With C{x-single-active-consumer} the first consumer gets all.
    """
    queue = quorum(channel, single_active_consumer=True)
    first = channel.consume(queue)
    channel.consume(queue)
    channel.put(queue, b"1", b"2")
    assert [event["consumer_tag"] for event in channel.deliveries(2)] == [first] * 2


@pytest.mark.parametrize("flag", ["if_empty", "if_unused"])
def test_conditional_delete(channel: Channel, flag: str) -> None:
    """
    540 is for deleting a quorum queue on a condition.
    """
    refusal = channel.refusal("queue.delete", queue=quorum(channel), **{flag: True})
    text = "NOT_IMPLEMENTED - cannot delete queue"
    assert refusal.begins("connection", 540, text, "queue.delete")
    assert flag.replace("_", "-") in refusal.text


def test_delete(channel: Channel) -> None:
    """
    A deleted queue takes its messages with it, the unsettled, too.
    """
    queue = quorum(channel)
    channel.put(queue, b"1", b"2")
    event = fetch(channel, queue)
    assert channel.call("queue.delete", queue=queue)["message_count"] == 1
    rejected(channel, event)
    quorum(channel, queue)
    assert channel.get(queue).name == "basic.get-empty"


def test_purge(channel: Channel) -> None:
    """
    What is unsettled stays.
    """
    queue = quorum(channel)
    channel.put(queue, b"1", b"2", b"3")
    fetch(channel, queue)
    assert channel.call("queue.purge", queue=queue)["message_count"] == 2
    channel.close()
    channel = channel.client.channel()
    assert fetch(channel, queue).body == b"1"
