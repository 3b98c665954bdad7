"""
AMQP as the client reads it: values, properties, the arguments of methods, and a
connection to a broker that sends anything.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from quebert._protocol.content import CONTENT_HEADER
from quebert._protocol.frames import FRAME_BODY, FRAME_HEADER, FRAME_METHOD, frame
from quebert._protocol.properties import (
    amend_properties,
    decode_properties,
    encode_properties,
    split_headers,
)
from quebert._protocol.values import (
    CodecError,
    decode_arguments,
    decode_field,
    decode_table,
    encode_arguments,
    encode_longstr,
    encode_table,
    split_table,
)
from quebert.amqp.wire import (
    SPEC,
    Channel,
    Message,
    Wire,
    amended_properties,
    copied_properties,
)
from quebert.errors import BrokerError
from quebert.test.fuzz.choices import Choices, pieces

__all__ = ["check"]

_METHODS = [
    method
    for klass in SPEC.classes.byid.values()
    for method in klass.methods.byid.values()
]
#: The largest frame that is agreed on.
_FRAME = 4_096
#: A frame of properties may be this large, whatever was agreed.
_HEADERS = 2**20


def check(data: bytes) -> None:
    """
    The first byte chooses what the others are.
    """
    choices = Choices(data)
    _KINDS[choices.octet() % len(_KINDS)](choices)


# -- Values


def _table(choices: Choices) -> None:
    data = choices.rest()
    try:
        table = decode_table(data)
    except CodecError:
        try:
            split_table(data)  # may be read all the same
        except CodecError:
            pass
        return
    fields = split_table(data)
    assert list(fields) == list(table)
    for name, field in fields.items():
        assert _same(decode_field(field), table[name])
    joined = encode_longstr(b"".join(fields.values()))
    assert _same(decode_table(joined), table)
    _written(table)


def _written(table: dict[str, Any]) -> None:
    """
    What was read can be written, and read again as the same.
    """
    try:
        encoded = encode_table(table)
    except CodecError:
        assert not _writable(table), table
    else:
        assert decode_table(encoded) == table


def _writable(value: Any) -> bool:
    """
    Whether AMQP, as RabbitMQ has it, has a type for a value.
    """
    if isinstance(value, dict):
        return all(map(_writable, value.values()))
    if isinstance(value, list):
        return all(map(_writable, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _same(one: Any, other: Any) -> bool:
    """
    Whether two values are equal; one that is no number is equal to itself.
    """
    return one == other or repr(one) == repr(other)


def _properties(choices: Choices) -> None:
    data = choices.rest()
    message = Message("", 1, False, "flow", "key")
    message.encoded_properties = data
    _ = message.id_for_log, message.died_in, message.was_put_back
    message.number_in("quebert-errors")
    message.text_in("quebert-flight")
    for each in (
        amended_properties(message, errors=1, not_before=1.0, delayed=True),
        copied_properties(message, {"quebert-flight": "a"}, highest_priority=5),
    ):
        if each is not None:
            split_headers(each)
    try:
        found = decode_properties(data)
    except CodecError:
        return
    assert _same(message.properties, {"headers": {}, **found})
    assert set(split_headers(data)) == set(found.get("headers", {}))
    kept = amend_properties(data, changes={}, headers={})
    assert _same(decode_properties(kept), found)
    changed = amend_properties(data, changes={"priority": 3}, headers={"a": "b"})
    wanted = {**found, "priority": 3, "headers": {**found.get("headers", {}), "a": "b"}}
    assert _same(_sorted(decode_properties(changed)), _sorted(wanted))
    try:
        encoded = encode_properties(found)
    except CodecError:
        assert not _writable(found.get("headers", {})), found
    else:
        assert decode_properties(encoded) == found


def _sorted(properties: dict[str, Any]) -> list[Any]:
    headers = properties.pop("headers", {})
    return [sorted(properties.items()), sorted(headers.items(), key=lambda kv: kv[0])]


def _arguments(choices: Choices) -> None:
    types = choices.pick(_METHODS).layout.types
    try:
        values = decode_arguments(types, choices.rest(), 0)
    except CodecError:
        return
    try:
        encoded = encode_arguments(types, values)
    except CodecError:
        assert not _writable(values), values
    else:
        assert decode_arguments(types, encoded, 0) == values


# -- A connection


def _connection(choices: Choices) -> None:
    """
    However what a broker sends is cut into segments, the same becomes of it.
    """
    sizes = list(choices.short()) or [1] * 4_096
    is_open = choices.flag()
    stream = _stream(choices)
    assert _Talk(is_open).outcome([stream]) == _Talk(is_open).outcome(
        pieces(stream, sizes)
    )


def _stream(choices: Choices) -> bytes:
    stream = bytearray()
    while choices.more and len(stream) < 20_000:
        stream += choices.pick(_FRAMES)(choices)
    return bytes(stream)


def _channel(choices: Choices) -> int:
    return choices.pick((1, 1, 1, 0, 2))


def _any_method(choices: Choices) -> bytes:
    method = choices.pick(_METHODS)
    channel = 0 if method.klass.id == 10 else _channel(choices)
    arguments = [_argument(each, choices) for each in method.layout.types]
    return frame(FRAME_METHOD, channel, method.layout.encode(arguments))


def _argument(type: str, choices: Choices) -> Any:
    if type in ("shortstr", "longstr"):
        return choices.take(choices.octet() % 32)
    if type == "table":
        return {choices.text()[:20]: choices.octet()} if choices.flag() else {}
    if type == "bit":
        return choices.flag()
    sizes = {"octet": 8, "short": 16, "long": 32}
    return choices.number() % 2 ** sizes.get(type, 64)


def _raw_method(choices: Choices) -> bytes:
    method = choices.pick(_METHODS)
    index = method.layout.index
    return frame(FRAME_METHOD, _channel(choices), index + choices.short())


def _delivery(choices: Choices) -> bytes:
    method = struct.pack(">HH", 60, 60) + b"\1c"
    method += struct.pack(">QB", choices.octet(), choices.octet() % 3)
    method += b"\4flow\3key"
    body = choices.short()
    return frame(FRAME_METHOD, 1, method) + _content(len(body), choices) + _bodies(body)


def _content(size: int, choices: Choices) -> bytes:
    properties = choices.short() or b"\0\0"
    return frame(FRAME_HEADER, 1, CONTENT_HEADER.pack(60, 0, size) + properties)


def _bodies(body: bytes, step: int = 100) -> bytes:
    starts = range(0, len(body), step)
    return b"".join(frame(FRAME_BODY, 1, body[at : at + step]) for at in starts)


_FRAMES = (
    _delivery,
    _any_method,
    _raw_method,
    lambda choices: choices.short(),
    lambda choices: _content(choices.number(), choices),
    lambda choices: frame(FRAME_BODY, _channel(choices), choices.short()),
    lambda choices: frame(choices.octet(), choices.octet(), choices.short()),
    lambda choices: frame(8, 0, b""),
)


def _of_broker(
    klass: int, method: int, arguments: bytes = b"", channel: int = 0
) -> bytes:
    return frame(FRAME_METHOD, channel, struct.pack(">HH", klass, method) + arguments)


_START = _of_broker(10, 10, b"\0\x09\0\0\0\0\0\0\0\5PLAIN\0\0\0\5en_US")
_TUNE = _of_broker(10, 30, struct.pack(">HIH", 0, _FRAME, 0))
_OPEN_OK = _of_broker(10, 41, b"\0")
_CHANNEL_OK = _of_broker(20, 11, b"\0\0\0\0", 1)
_CONFIRM_OK = _of_broker(85, 11, b"", 1)
_CONSUME_OK = _of_broker(60, 21, b"\1c", 1)


class _Talk:
    """
    A client of a broker.

    @param is_open: whether the client is let in, and has a channel that consumes.
    """

    def __init__(self, is_open: bool) -> None:
        self.clock = Clock()
        self.wire = Wire(vhost="/", heartbeat=0, clock=self.clock)
        self.transport = StringTransport()
        self.wire.makeConnection(self.transport)
        self.messages: list[Message] = []
        self.told: list[str] = []
        self._ask("in", Deferred.fromCoroutine(self.wire.negotiate("user", "pass")))
        if is_open:
            self._open()

    def _ask(self, name: str, asked: Deferred[Any]) -> None:
        def answered(result: Any) -> None:
            if isinstance(result, Failure):
                result.trap(BrokerError)
                self.told.append(f"{name}: {result.value!r}")
            else:
                self.told.append(f"{name}: {type(result).__name__}")

        asked.addBoth(answered)

    def _open(self) -> None:
        self.wire.dataReceived(_START + _TUNE + _OPEN_OK)
        found: list[Channel] = []
        opening = Deferred.fromCoroutine(self.wire.open_channel())
        opening.addCallback(found.append)
        self.wire.dataReceived(_CHANNEL_OK + _CONFIRM_OK)
        (channel,) = found
        channel.on_message = self.messages.append
        channel.on_cancel = self.told.append
        consuming = channel.call("basic_consume", queue="q", consumer_tag="c")
        self._ask("consume", Deferred.fromCoroutine(consuming))
        self.wire.dataReceived(_CONSUME_OK)
        declaring = channel.call("queue_declare", queue="q")
        self._ask("declare", Deferred.fromCoroutine(declaring))
        self._ask("publish", channel.publish("", "q", b"body", b"\0\0"))

    def outcome(self, segments: Iterable[bytes]) -> tuple[object, ...]:
        """
        What has become of it, once a broker has sent C{segments} and hung up.
        """
        for each in segments:
            self.wire.dataReceived(each)
            if not self.wire.closed:
                held = len(self.wire._reader.buffer)
                assert held < _HEADERS + 8 if held > _FRAME + len(each) else True
        self.clock.advance(0)
        was_closed = self.wire.closed
        if was_closed:
            assert self.wire.why is not None
            assert self.transport.disconnecting
        self.wire.connectionLost(Failure(ConnectionDone()))
        assert isinstance(self.wire.why, BrokerError)
        assert self.wire.lost.called
        assert not self.wire.channels
        assert not self.clock.getDelayedCalls()
        told = [(each.body, each.encoded_properties) for each in self.messages]
        return was_closed, repr(self.wire.why), self.transport.value(), told, self.told


_KINDS = (_connection, _table, _properties, _arguments)
