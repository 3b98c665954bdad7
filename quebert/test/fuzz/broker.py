"""
The embedded broker: one client sends anything, and another one goes on.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from quebert._protocol.content import CONTENT_HEADER
from quebert._protocol.frames import FRAME_BODY, FRAME_HEADER, FRAME_METHOD, frame
from quebert._protocol.methods import METHODS, method_frame
from quebert._protocol.properties import encode_properties
from quebert._protocol.values import CodecError
from quebert.broker import BrokerFactory
from quebert.test.broker.peer import Memory, Peer
from quebert.test.broker.peer import check as check_books
from quebert.test.fuzz.choices import Choices

__all__ = ["check"]

#: The reply codes of AMQP that a client can be told (AMQP 0-9-1 reference,
#: constants); 541 would be a
#: defect.
CODES = {320, 402, 403, 404, 405, 406, 501, 502, 503, 504, 505, 506, 530, 540}
_NAMES = sorted(METHODS)
_LAYOUTS = list(METHODS.values())
#: What real clients call comes more often.
_COMMON = (
    "queue.declare", "queue.bind", "queue.delete", "queue.purge", "basic.consume",
    "basic.get", "basic.ack", "basic.nack", "basic.reject", "basic.qos",
    "exchange.declare", "exchange.bind", "channel.open", "channel.close",
    "confirm.select", "basic.cancel",
)  # fmt: skip
_WORDS = ("", "a", "b", "amq.topic", "amq.headers", "#", "a.*", "c" * 255, "\udcff")
_KEYS = (
    "x-message-ttl", "x-expires", "x-dead-letter-exchange", "x-max-length",
    "x-dead-letter-routing-key", "x-max-length-bytes", "x-overflow", "x-max-priority",
    "x-queue-type", "x-delivery-limit", "x-single-active-consumer", "x-match", "CC",
    "x-death", "x-priority", "x-dead-letter-strategy", "alternate-exchange",
    "x-queue-mode",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    0, 1, 5, -1, 2**31, 2**62, True, False, None, "", "a", "quorum", "classic", "any",
    "drop-head", "reject-publish", "at-least-once", "amq.topic", 1.5, ["a", "b"], [],
    {}, [{"queue": "a", "reason": "expired", "count": 2**62}], [{"queue": "a"}],
    b"\xff", "reject-publish-dlx", "stream",
)  # fmt: skip


def check(data: bytes) -> None:
    """
    The bytes are what a client does, one thing after the other.
    """
    choices = Choices(data)
    broker = BrokerFactory(Clock(), Memory())
    other = Peer(broker).open()
    other.call("queue.declare", queue="other")
    other.call("confirm.select")
    start = choices.octet() % 8
    client = Peer(broker) if start == 0 else Peer(broker).open()
    while choices.more and not client.lost:
        _STEPS[choices.octet() % len(_STEPS)](client, choices)
        _check_closes(client)
    check_books(broker)
    _leave(broker, client)
    _goes_on(broker, other)
    assert not broker.clock.getDelayedCalls() or _is_quiet(broker)


def _check_closes(client: Peer) -> None:
    """
    What the broker closed, it closed with a code that it does not apologize with.
    """
    for each in client.received:
        if each.name.endswith(".close"):
            assert each["reply_code"] in CODES, each
    client.received.clear()


def _leave(broker: BrokerFactory, client: Peer) -> None:
    """
    When the client is gone, nothing of its connection is left.
    """
    client.transport.loseConnection()
    assert client.connection not in broker.connections
    assert not list(client.connection.channels)
    check_books(broker)
    for queue in broker.vhosts["/"].queues.values():
        assert not queue.consumers, queue
        assert not queue.unacked, queue
        assert queue.owner is None, queue


def _goes_on(broker: BrokerFactory, other: Peer) -> None:
    """
    Another client can do all that it could do.
    """
    assert not other.lost
    other.received.clear()
    assert other.call("queue.purge", queue="other") is not None
    other.received.clear()
    other.publish("other", b"body", message_id="mine")
    assert [each.name for each in other.received] == ["basic.ack"]
    got = other.call("basic.get", queue="other", no_ack=True)
    assert got is not None
    assert got.body == b"body"
    assert other.call("queue.delete", queue="other") is not None
    other.transport.loseConnection()
    assert not broker.connections
    check_books(broker)


def _is_quiet(broker: BrokerFactory) -> bool:
    """
    Nothing that still waits belongs to a connection: queues expire, and messages do.
    """
    broker.advance(2.0**33)
    check_books(broker)
    return True


# -- What a client does


def _raw(client: Peer, choices: Choices) -> None:
    client.send(choices.short())


def _frame(client: Peer, choices: Choices) -> None:
    kind, channel = choices.octet() % 10, choices.octet() % 4
    client.send(frame(kind, channel, choices.short()))


def _common(client: Peer, choices: Choices) -> None:
    _called(client, choices.pick(_COMMON), choices)


def _any(client: Peer, choices: Choices) -> None:
    _called(client, choices.pick(_NAMES), choices)


def _called(client: Peer, name: str, choices: Choices) -> None:
    channel = choices.pick((1, 1, 1, 2, 0))
    if name.startswith("connection."):
        channel = 0
    layout = METHODS[name]
    named = zip(layout.fields, layout.types, strict=True)
    arguments = [_argument(f, t, choices) for f, t in named]
    try:
        data = method_frame(channel, name, arguments)
    except CodecError:
        return
    client.send(data)


def _argument(field: str, type: str, choices: Choices) -> Any:
    if type == "bit":
        return choices.flag()
    if type in ("shortstr", "longstr"):
        if field == "exchange_type":
            return choices.pick(("direct", "fanout", "topic", "headers", "no such"))
        kind = choices.octet()
        if kind < 16:
            return choices.take(kind)
        return _WORDS[kind % len(_WORDS)].encode("utf-8", "surrogateescape")
    if type == "table":
        return _table(choices)
    sizes = {"octet": 8, "short": 16, "long": 32}
    return choices.number() % 2 ** sizes.get(type, 64)


def _table(choices: Choices) -> dict[str, Any]:
    return {
        choices.pick(_KEYS): choices.pick(_VALUES) for _ in range(choices.octet() % 4)
    }


def _publish(client: Peer, choices: Choices) -> None:
    exchange = choices.pick(("", "", "a", "amq.topic", "amq.headers"))
    key, mandatory = choices.pick(("a", "b", "", "a.b")), choices.flag()
    properties: dict[str, Any] = {"headers": _table(choices)}
    if choices.flag():
        properties["expiration"] = choices.take(choices.octet() % 6)
        properties["priority"] = choices.octet()
    given = (0, exchange, key, mandatory, choices.octet() % 32 == 1)
    method = method_frame(1, "basic.publish", given)
    body = choices.take(choices.octet() % 40)
    size = choices.number() if choices.octet() % 8 == 1 else len(body)
    header = CONTENT_HEADER.pack(60, 0, size) + encode_properties(properties)
    client.send(method + frame(FRAME_HEADER, 1, header))
    for at in range(0, len(body), 16):
        client.send(frame(FRAME_BODY, 1, body[at : at + 16]))


def _pass_time(client: Peer, choices: Choices) -> None:
    client.turn(choices.pick((0.001, 1.0, 5.0, 60.0, 1e6)))


def _raw_method(client: Peer, choices: Choices) -> None:
    layout = choices.pick(_LAYOUTS)
    client.send(
        frame(FRAME_METHOD, choices.octet() % 3, layout.index + choices.short())
    )


_STEPS = (_raw, _frame, _common, _common, _any, _publish, _pass_time, _raw_method)
