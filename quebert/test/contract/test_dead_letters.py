"""
Messages that expire, are rejected or find no room, and where they go then.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from quebert._protocol.values import split_table
from quebert.test.contract.client import Channel, Event, fresh, until
from quebert.test.contract.conftest import Broker
from quebert.test.contract.differences import (
    DEATHS_OF_CLIENTS,
    KEYS_REPLACED,
    LAST_DEATH,
    REJECTED_IS_REDELIVERED,
)


@attrs.frozen
class Grave:
    """
    A queue, with an exchange for its dead letters, and the queue behind that.
    """

    queue: str
    exchange: str
    dead: str


def grave(channel: Channel, key: str | None = None, **arguments: Any) -> Grave:
    """
    Declare all that.

    @param key: for the dead letters, instead of their own.
    @param arguments: of the queue, without C{x-} and with underscores.
    """
    exchange, dead = channel.exchange("fanout"), channel.queue()
    channel.bind(dead, exchange)
    table = {f"x-{name.replace('_', '-')}": arguments[name] for name in arguments}
    table["x-dead-letter-exchange"] = exchange
    if key is not None:
        table["x-dead-letter-routing-key"] = key
    return Grave(channel.queue(table), exchange, dead)


def reject(channel: Channel, queue: str) -> None:
    """
    Wait for a message, and reject it.
    """
    fetched: Event = until(
        lambda: e if (e := channel.get(queue)).name == "basic.get-ok" else None
    )
    channel.reject(fetched["delivery_tag"], requeue=False)


def deaths(event: Event) -> list[tuple[str, str, int]]:
    """
    A message's deaths, newest first: the queues, the reasons, and how often.
    """
    return [
        (each["queue"], each["reason"], each["count"])
        for each in event.headers["x-death"]
    ]


def until_expired(channel: Channel, milliseconds: int) -> None:
    """
    Wait until messages that live as long as that, and are there now, expired.
    """
    clock = grave(channel, message_ttl=milliseconds + 20)
    channel.put(clock.queue, b"")
    channel.take(clock.dead)


# -- Reasons


@pytest.mark.parametrize("method", ["basic.reject", "basic.nack"])
def test_rejected(broker: Broker, channel: Channel, method: str) -> None:
    """
    A message that is rejected goes to the exchange for dead letters.
    """
    it = grave(channel)
    channel.put(it.queue, b"body")
    channel.get(it.queue)
    channel.send(method, delivery_tag=1, requeue=False)
    letter = channel.take(it.dead)
    assert letter.body == b"body"
    assert letter["exchange"] == it.exchange
    assert letter["routing_key"] == it.queue
    redelivered = method == "basic.reject" and REJECTED_IS_REDELIVERED.on(broker)
    assert letter["redelivered"] is redelivered
    assert deaths(letter) == [(it.queue, "rejected", 1)]


def test_nack_multiple(channel: Channel) -> None:
    """
    Messages that are rejected together die in their order.
    """
    it = grave(channel)
    channel.put(it.queue, b"1", b"2", b"3")
    for _ in range(3):
        channel.get(it.queue)
    channel.send("basic.nack", delivery_tag=3, multiple=True, requeue=False)
    assert [channel.take(it.dead).body for _ in range(3)] == [b"1", b"2", b"3"]


def test_not_when_requeued(channel: Channel) -> None:
    """
    A message that is put back is no dead letter.
    """
    it = grave(channel)
    channel.put(it.queue, b"body")
    channel.get(it.queue)
    channel.reject(1, requeue=True)
    assert channel.take(it.queue).body == b"body"
    assert channel.count(it.dead) == (0, 0)


def test_not_when_deleted(channel: Channel) -> None:
    """
    Messages of a queue that is emptied or deleted are no dead letters.
    """
    it = grave(channel)
    channel.put(it.queue, b"1")
    channel.call("queue.purge", queue=it.queue)
    channel.put(it.queue, b"2")
    channel.call("queue.delete", queue=it.queue)
    channel.put(it.dead, b"3")
    assert channel.bodies(it.dead) == [b"3"]


def test_expired(channel: Channel) -> None:
    """
    A message expires in a queue with a time to live.
    """
    it = grave(channel, message_ttl=50)
    channel.put(it.queue, b"body")
    letter = channel.take(it.dead)
    assert letter.body == b"body"
    assert deaths(letter) == [(it.queue, "expired", 1)]
    assert channel.count(it.queue) == (0, 0)


def test_expired_by_its_own(channel: Channel) -> None:
    """
    A message expires by a time to live of its own, which is then a header.
    """
    it = grave(channel)
    channel.put(it.queue, b"body", expiration="50", content_type="text/plain")
    letter = channel.take(it.dead)
    assert deaths(letter) == [(it.queue, "expired", 1)]
    assert letter.headers["x-death"][0]["original-expiration"] == "50"
    assert set(letter.properties) == {"content-type", "headers"}


def test_no_original_expiration(channel: Channel) -> None:
    """
    A message that had no time to live of its own has no such header.
    """
    it = grave(channel, message_ttl=50)
    channel.put(it.queue, b"body")
    assert "original-expiration" not in channel.take(it.dead).headers["x-death"][0]


def test_expiration_is_lost_by_any_death(channel: Channel) -> None:
    """
    A message that is rejected loses its time to live, too.
    """
    it = grave(channel)
    channel.put(it.queue, b"body", expiration="60000")
    reject(channel, it.queue)
    letter = channel.take(it.dead)
    assert "expiration" not in letter.properties
    assert letter.headers["x-death"][0]["original-expiration"] == "60000"


@pytest.mark.parametrize(("queues", "own"), [(50, "60000"), (60000, "50")])
def test_shorter_time(channel: Channel, queues: int, own: str) -> None:
    """
    Of the times to live of a queue and of a message the shorter counts.
    """
    it = grave(channel, message_ttl=queues)
    channel.put(it.queue, b"body", expiration=own)
    letter = channel.take(it.dead)
    assert deaths(letter) == [(it.queue, "expired", 1)]
    assert letter.headers["x-death"][0]["original-expiration"] == own


def test_expired_without_dead_letters(channel: Channel) -> None:
    """
    A message that expires in a queue without dead letters is gone.
    """
    queue = channel.queue({"x-message-ttl": 50})
    channel.put(queue, b"body")
    channel.until_ready(queue, 0)


def test_max_length(channel: Channel) -> None:
    """
    The oldest messages of a full queue are dead letters.
    """
    it = grave(channel, max_length=1)
    channel.put(it.queue, b"1", b"2", b"3")
    letters = [channel.take(it.dead) for _ in range(2)]
    assert [letter.body for letter in letters] == [b"1", b"2"]
    assert deaths(letters[0]) == [(it.queue, "maxlen", 1)]
    assert channel.bodies(it.queue) == [b"3"]


def test_max_length_bytes(channel: Channel) -> None:
    """
    The reason is the same where the bytes are too many.
    """
    it = grave(channel, max_length_bytes=10)
    channel.put(it.queue, b"1" * 6, b"2" * 6)
    assert deaths(channel.take(it.dead)) == [(it.queue, "maxlen", 1)]


def test_reject_publish(channel: Channel) -> None:
    """
    Messages that a full queue refuses are no dead letters.
    """
    it = grave(channel, max_length=1, overflow="reject-publish")
    channel.put(it.queue, b"1", b"2")
    channel.put(it.dead, b"3")
    assert channel.bodies(it.dead) == [b"3"]


def test_reject_publish_dlx(channel: Channel) -> None:
    """
    Messages that a full queue refuses may be dead letters as well.
    """
    it = grave(channel, max_length=1, overflow="reject-publish-dlx")
    channel.confirm()
    for body in (b"1", b"2"):
        channel.publish("", it.queue, body)
    assert channel.settled() == {1: "ack", 2: "nack"}
    letter = channel.take(it.dead)
    assert letter.body == b"2"
    assert deaths(letter) == [(it.queue, "maxlen", 1)]


# -- When


def test_only_at_the_head(channel: Channel) -> None:
    """
    A message expires only once it is the first in its queue.
    """
    it = grave(channel)
    channel.put(it.queue, b"1")
    channel.put(it.queue, b"2", expiration="1")
    until_expired(channel, 1)
    assert channel.count(it.queue) == (2, 0)
    assert channel.get(it.queue).body == b"1"
    assert deaths(channel.take(it.dead)) == [(it.queue, "expired", 1)]
    assert channel.count(it.queue) == (0, 0)


def test_not_while_unacked(channel: Channel) -> None:
    """
    A message that is delivered does not expire, until it is put back.
    """
    it = grave(channel, message_ttl=50)
    tag = channel.consume(it.queue)
    channel.put(it.queue, b"body")
    channel.expect("basic.deliver")
    channel.call("basic.cancel", consumer_tag=tag)
    until_expired(channel, 50)
    assert channel.count(it.dead) == (0, 0)
    channel.reject(1, requeue=True)
    assert deaths(channel.take(it.dead)) == [(it.queue, "expired", 1)]


def test_expired_are_not_delivered(channel: Channel) -> None:
    """
    A consumer that comes late is not given what has expired.
    """
    it = grave(channel, message_ttl=50)
    channel.put(it.queue, b"1")
    channel.take(it.dead)
    channel.consume(it.queue)
    channel.put(it.queue, b"2")
    assert channel.expect("basic.deliver").body == b"2"


@pytest.mark.parametrize("own", [True, False])
def test_ttl_0(channel: Channel, own: bool) -> None:
    """
    With no time to live a message expires unless a consumer waits for it.
    """
    it = grave(channel) if own else grave(channel, message_ttl=0)
    properties = {"expiration": "0"} if own else {}
    channel.put(it.queue, b"1", **properties)
    assert channel.take(it.dead).body == b"1"
    channel.consume(it.queue, no_ack=True)
    channel.put(it.queue, b"2", **properties)
    assert channel.expect("basic.deliver").body == b"2"
    assert channel.count(it.dead) == (0, 0)


def test_expire_in_order(channel: Channel) -> None:
    """
    Messages expire in the order they came in.
    """
    it = grave(channel, message_ttl=50)
    channel.put(it.queue, *(b"%d" % n for n in range(10)))
    assert [channel.take(it.dead).body for _ in range(10)] == [
        b"%d" % n for n in range(10)
    ]


# -- Where


def test_own_key(channel: Channel) -> None:
    """
    A dead letter keeps its key if the queue has none for dead letters.
    """
    exchange = channel.exchange("topic")
    it = grave(channel)
    channel.bind(it.queue, exchange, "a.#")
    channel.publish(exchange, "a.b", b"body")
    reject(channel, it.queue)
    letter = channel.take(it.dead)
    assert letter["routing_key"] == "a.b"
    assert letter.headers["x-death"][0]["exchange"] == exchange
    assert letter.headers["x-death"][0]["routing-keys"] == ["a.b"]


@pytest.mark.parametrize("key", ["other", ""])
def test_another_key(channel: Channel, key: str) -> None:
    """
    A queue may have a key for its dead letters.
    """
    it = grave(channel, key)
    channel.put(it.queue, b"body")
    reject(channel, it.queue)
    letter = channel.take(it.dead)
    assert letter["routing_key"] == key
    assert letter.headers["x-death"][0]["routing-keys"] == [it.queue]


def test_default_exchange(channel: Channel) -> None:
    """
    Dead letters may go straight to a queue.
    """
    dead = channel.queue()
    table = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    queue = channel.queue(table)
    channel.put(queue, b"body")
    reject(channel, queue)
    letter = channel.take(dead)
    assert (letter["exchange"], letter["routing_key"]) == ("", dead)
    assert letter.headers["x-death"][0]["exchange"] == ""


@pytest.mark.parametrize("key", [None, "other"])
def test_copies(broker: Broker, channel: Channel, key: str | None) -> None:
    """
    The keys of copies die with a message: they are among its keys, and the header
    stays unless a key for dead letters replaces it.
    """
    it = grave(channel, key)
    channel.publish("", it.queue, b"body", {"headers": {"CC": ["copy"]}})
    reject(channel, it.queue)
    letter = channel.take(it.dead)
    assert letter.headers["x-death"][0]["routing-keys"] == [it.queue, "copy"]
    stays = key is None or not KEYS_REPLACED.on(broker)
    assert letter.headers.get("CC") == (["copy"] if stays else None)


def test_copies_route_dead_letters(channel: Channel) -> None:
    """
    A dead letter that keeps its keys goes by all of them.
    """
    exchange, dead = channel.exchange("direct"), channel.queue()
    channel.bind(dead, exchange, "copy")
    queue = channel.queue({"x-dead-letter-exchange": exchange})
    channel.publish("", queue, b"body", {"headers": {"CC": ["copy"]}})
    reject(channel, queue)
    assert channel.take(dead).body == b"body"


def test_missing_exchange(channel: Channel) -> None:
    """
    Dead letters are dropped while their exchange is not there.
    """
    exchange, dead = fresh("exchange"), channel.queue()
    queue = channel.queue({"x-dead-letter-exchange": exchange})
    channel.put(queue, b"1")
    reject(channel, queue)
    # RabbitMQ purges a queue only after it has done what came before.
    assert channel.call("queue.purge", queue=queue)["message_count"] == 0
    channel.put(queue, b"2")
    channel.call("exchange.declare", exchange=exchange, exchange_type="fanout")
    channel.bind(dead, exchange)
    reject(channel, queue)
    assert channel.take(dead).body == b"2"
    assert channel.count(dead) == (0, 0)


def test_nowhere_to_go(channel: Channel) -> None:
    """
    Dead letters that their exchange cannot route are dropped.
    """
    queue = channel.queue({"x-dead-letter-exchange": channel.exchange()})
    channel.put(queue, b"1")
    reject(channel, queue)
    channel.call("basic.qos")
    assert channel.bodies(queue) == []


# -- What they tell


def last_and_first(broker: Broker) -> list[str]:
    """
    Of which deaths the headers of a dead letter tell, beside C{x-death}.
    """
    return ["first", "last"] if LAST_DEATH.on(broker) else ["first"]


def test_x_death(broker: Broker, channel: Channel) -> None:
    """
    A dead letter tells when it died, where and why, where it was published,
    and how often that happened.
    """
    it = grave(channel)
    channel.put(it.queue, b"body", headers={"mine": 1})
    before = datetime.now(UTC)
    reject(channel, it.queue)
    headers = channel.take(it.dead).headers
    time = headers["x-death"][0].pop("time")
    assert abs((time - before).total_seconds()) < 60
    assert headers == {
        "mine": 1,
        **{
            f"x-{which}-death-{field}": value
            for which in last_and_first(broker)
            for field, value in (
                ("exchange", ""),
                ("queue", it.queue),
                ("reason", "rejected"),
            )
        },
        "x-death": [
            {
                "count": 1,
                "exchange": "",
                "queue": it.queue,
                "reason": "rejected",
                "routing-keys": [it.queue],
            }
        ],
    }


def test_x_death_types(broker: Broker, channel: Channel) -> None:
    """
    The fields of x-death have the types that RabbitMQ gives them.
    """
    it = grave(channel)
    channel.put(it.queue, b"body", expiration="60000")
    reject(channel, it.queue)
    headers = split_table(channel.take(it.dead).encoded[2:])
    types = {name: raw[1 + len(name) :][:1] for name, raw in headers.items()}
    assert types == {
        "x-death": b"A",
        **{
            f"x-{which}-death-{field}": b"S"
            for which in last_and_first(broker)
            for field in ("exchange", "queue", "reason")
        },
    }
    array = headers["x-death"][len("\7x-deathA") + 4 :]
    assert array[:1] == b"F"
    fields = split_table(array[1:])
    assert {name: raw[1 + len(name) :][:1] for name, raw in fields.items()} == {
        "count": b"l",
        "exchange": b"S",
        "original-expiration": b"S",
        "queue": b"S",
        "reason": b"S",
        "routing-keys": b"A",
        "time": b"T",
    }
    assert fields["routing-keys"][len("\14routing-keysA") + 4 :][:1] == b"S"


def test_contents_are_kept(channel: Channel) -> None:
    """
    All else about a message stays as it was.
    """
    it = grave(channel)
    properties = {
        "content-type": "text/plain",
        "content-encoding": "utf-8",
        "delivery-mode": 2,
        "priority": 7,
        "correlation-id": "c",
        "reply-to": "r",
        "message-id": "m",
        "timestamp": 1_700_000_000,
        "type": "t",
        "user-id": "guest",
        "app-id": "a",
    }
    headers = {"a": [1, None, {"b": 2.5}], "z": True}
    channel.publish("", it.queue, b"body", {**properties, "headers": headers})
    reject(channel, it.queue)
    letter = channel.take(it.dead)
    assert {name: letter.headers[name] for name in headers} == headers
    assert {name: letter.properties[name] for name in properties} == properties


def test_newest_first(channel: Channel) -> None:
    """
    A message that died in several queues tells of the last first, and of the
    first for ever.
    """
    last = grave(channel, message_ttl=50)
    table = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": last.queue}
    first = channel.queue(table)
    channel.put(first, b"body")
    reject(channel, first)
    letter = channel.take(last.dead)
    assert deaths(letter) == [(last.queue, "expired", 1), (first, "rejected", 1)]
    assert letter.headers["x-first-death-queue"] == first
    assert letter.headers["x-first-death-reason"] == "rejected"
    assert letter.headers["x-first-death-exchange"] == ""
    assert letter.headers["x-death"][1]["routing-keys"] == [first]


def test_two_reasons(channel: Channel) -> None:
    """
    Deaths in the same queue count apart by their reasons.
    """
    it = grave(channel, max_length=1)
    channel.bind(it.queue, it.exchange)  # so it comes back, too
    channel.put(it.queue, b"1")
    reject(channel, it.queue)
    channel.until_ready(it.queue, 1)
    channel.put(it.queue, b"2")
    letter = channel.take(it.dead)
    assert deaths(letter) == [(it.queue, "rejected", 1)]
    letter = channel.take(it.dead)
    assert deaths(letter) == [(it.queue, "maxlen", 1), (it.queue, "rejected", 1)]


def test_told_by_the_client(broker: Broker, channel: Channel) -> None:
    """
    Deaths that a client publishes are gone on with, or replaced.
    """
    it = grave(channel)
    other = {"queue": "other", "reason": "expired", "count": 2}
    this = {"queue": it.queue, "reason": "rejected", "count": 5}
    channel.put(it.queue, b"body", headers={"x-death": [other, this]})
    reject(channel, it.queue)
    letter = channel.take(it.dead)
    if DEATHS_OF_CLIENTS.on(broker):
        assert deaths(letter) == [(it.queue, "rejected", 6), ("other", "expired", 2)]
        assert "x-first-death-queue" not in letter.headers
    else:
        assert deaths(letter) == [(it.queue, "rejected", 1)]
        assert letter.headers["x-first-death-queue"] == it.queue


def test_nonsense_told_by_the_client(channel: Channel) -> None:
    """
    A header x-death that is no list is replaced.
    """
    it = grave(channel)
    channel.put(it.queue, b"body", headers={"x-death": "nonsense"})
    reject(channel, it.queue)
    assert deaths(channel.take(it.dead)) == [(it.queue, "rejected", 1)]


# -- Round and round


def circle(channel: Channel, **arguments: Any) -> str:
    """
    A queue whose dead letters wait elsewhere for a while, and come back.
    """
    queue = fresh("queue")
    back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
    wait = channel.queue({"x-message-ttl": 50, **back})
    there = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait}
    return channel.queue({**there, **arguments}, queue=queue)


def test_waiting_and_coming_back(broker: Broker, channel: Channel) -> None:
    """
    A message that a client rejects may wait, and come back, for ever: each
    round counts.
    """
    queue = circle(channel)
    channel.put(queue, b"body")
    reject(channel, queue)
    for n in range(1, 4):
        channel.until_ready(queue, 1)
        fetched = channel.get(queue)
        (_, *first), second = deaths(fetched)
        assert first == ["expired", n]
        assert second == (queue, "rejected", n)
        assert fetched["redelivered"] is REJECTED_IS_REDELIVERED.on(broker)
        channel.reject(fetched["delivery_tag"], requeue=False)


def test_round_keeps_the_rest(channel: Channel) -> None:
    """
    A death that counts on tells of its first time otherwise.
    """
    queue = circle(channel)
    channel.put(queue, b"body", expiration="60000")
    for _ in range(2):
        reject(channel, queue)
    death = channel.take(queue).headers["x-death"][1]
    assert (death["count"], death["original-expiration"]) == (2, "60000")
    assert death["routing-keys"] == [queue]


def test_rejected_to_itself(channel: Channel) -> None:
    """
    A message that a client rejects may come back to the same queue.
    """
    queue = channel.queue({"x-dead-letter-exchange": ""})
    channel.put(queue, b"body")
    for _ in range(3):
        reject(channel, queue)
    assert deaths(channel.take(queue)) == [(queue, "rejected", 3)]


def test_circle_is_cut(channel: Channel) -> None:
    """
    A message does not come back to a queue by expiring alone.
    """
    it = grave(channel, message_ttl=50)
    channel.bind(it.queue, it.exchange)
    channel.put(it.queue, b"1")
    assert deaths(channel.take(it.dead)) == [(it.queue, "expired", 1)]
    channel.put(it.queue, b"2")
    letter = channel.take(it.dead)
    assert (letter.body, deaths(letter)) == (b"2", [(it.queue, "expired", 1)])


def test_long_circle_is_cut(channel: Channel) -> None:
    """
    A message does not come back by expiring in several queues, either.
    """
    it = grave(channel, message_ttl=50)
    back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": it.queue}
    other = channel.queue({"x-message-ttl": 50, **back})
    channel.bind(other, it.exchange)
    channel.put(it.queue, b"1")
    assert channel.take(it.dead).body == b"1"
    until_expired(channel, 50)
    channel.until_ready(other, 0)
    channel.put(it.queue, b"2")
    assert channel.take(it.dead).body == b"2"


def test_overflowing_circle_is_cut(channel: Channel) -> None:
    """
    A message does not come back to a queue that had no room for it.
    """
    it = grave(channel, max_length=1)
    channel.bind(it.queue, it.exchange)
    channel.put(it.queue, b"1", b"2")
    assert channel.take(it.dead).body == b"1"
    assert channel.bodies(it.queue) == [b"2"]
