"""
A client of a broker without sockets: what it sends is taken in at once, and what
the broker answers is there at the end of the turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from quebert._protocol.content import CONTENT_HEADER
from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_METHOD,
    FRAME_START,
    PROTOCOL_HEADER,
    frame,
)
from quebert._protocol.methods import METHODS, method_frame
from quebert._protocol.properties import decode_properties, encode_properties
from quebert.broker import BrokerFactory, Store
from quebert.broker.protocol import ServerConnection
from quebert.broker.protocol._methods import (
    Method,
    decode_method,
)
from quebert.broker.state import Entry, PublishedMessage, Queue

__all__ = ["Memory", "Peer", "Received", "check"]

#: The arguments of methods that are seldom given otherwise.
DEFAULTS: dict[str, dict[str, Any]] = {
    "basic.publish": {"exchange": "", "mandatory": False, "immediate": False},
    "basic.consume": {
        "consumer_tag": "tag",
        "no_local": False,
        "no_ack": False,
        "exclusive": False,
    },
    "basic.get": {"no_ack": False},
    "basic.ack": {"multiple": False},
    "basic.nack": {"multiple": False, "requeue": True},
    "basic.qos": {"prefetch_size": 0, "global": False},
    "queue.declare": {
        "passive": False,
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
    },
    "queue.delete": {"if_unused": False, "if_empty": False},
    "exchange.declare": {
        "exchange_type": "direct",
        "passive": False,
        "durable": True,
        "auto_delete": False,
        "internal": False,
    },
    "exchange.delete": {"if_unused": False},
}


@attrs.frozen
class Received:
    """
    What the broker sent on a channel: a method, and its content.
    """

    channel: int
    method: Method
    properties: Mapping[str, Any] | None = None
    body: bytes | None = None

    @property
    def name(self) -> str:
        """
        The method's.
        """
        return self.method.name

    def __getitem__(self, argument: str) -> Any:
        return self.method.arguments[argument]


class _Transport(StringTransport):
    """
    One that tells who is connected that it no longer is.
    """

    protocol: ServerConnection | None = None

    def loseConnection(self) -> None:
        """
        All has been written.
        """
        super().loseConnection()
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """
        The same, at once.
        """
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        As a TCP transport has it.
        """


class Peer:
    """
    A client that is connected to C{broker}.

    @ivar received: what came and was not taken yet.
    @ivar heartbeats: how many came.
    """

    def __init__(self, broker: BrokerFactory) -> None:
        assert isinstance(broker.clock, Clock)
        self.clock = broker.clock
        self.connection = broker.buildProtocol(None)
        self.transport = _Transport()
        self.transport.protocol = self.connection
        self.connection.makeConnection(self.transport)
        self.received: list[Received] = []
        self.raw = b""
        self.heartbeats = 0
        self._half: list[Any] = []

    @property
    def lost(self) -> bool:
        """
        Whether the broker has ended the connection.
        """
        return self.transport.protocol is None

    def open(
        self, vhost: str = "/", *, capabilities: bool = True, heartbeat: int = 0
    ) -> Peer:
        """
        Log in, and open channel 1.
        """
        wanted = ("authentication_failure_close", "consumer_cancel_notify")
        properties = {"capabilities": dict.fromkeys(wanted, capabilities)}
        self.send(PROTOCOL_HEADER)
        login = (properties, "PLAIN", "\0guest\0guest", "en_US")
        self.send(method_frame(0, "connection.start-ok", login))
        self.send(method_frame(0, "connection.tune-ok", (2047, 131_072, heartbeat)))
        self.send(method_frame(0, "connection.open", (vhost, "", False)))
        self.call("channel.open")
        self.received.clear()
        return self

    def send(self, data: bytes) -> None:
        """
        Send bytes, and end the turn.
        """
        if not self.lost:
            self.connection.dataReceived(data)
        self.turn()

    def turn(self, seconds: float = 0) -> None:
        """
        Let C{seconds} pass, and read what came.
        """
        self.clock.advance(seconds)
        self.raw += self.transport.value()
        self.transport.clear()
        self._read()

    def encoded(self, name: str, given: Mapping[str, Any], channel: int = 1) -> bytes:
        """
        A method as a frame; what is not given is empty, or the usual.
        """
        usual = DEFAULTS.get(name, {})
        empty = {"table": {}, "bit": False, "shortstr": "", "longstr": ""}
        layout = METHODS[name]
        values = [
            given.get(field, usual.get(field, empty.get(type, 0)))
            for field, type in zip(layout.fields, layout.types, strict=True)
        ]
        return method_frame(channel, name, values)

    def call(self, name: str, *, channel: int = 1, **arguments: Any) -> Received | None:
        """
        Call a method; the last that came for it, if anything.
        """
        before = len(self.received)
        self.send(self.encoded(name, arguments, channel))
        return self.received[-1] if len(self.received) > before else None

    def publish(
        self,
        routing_key: str,
        body: bytes = b"",
        *,
        channel: int = 1,
        exchange: str = "",
        mandatory: bool = False,
        **properties: Any,
    ) -> None:
        """
        Publish a message, persistent.
        """
        given = {"exchange": exchange, "routing_key": routing_key}
        method = self.encoded(
            "basic.publish", {**given, "mandatory": mandatory}, channel
        )
        spelled = {name.replace("_", "-"): value for name, value in properties.items()}
        encoded = encode_properties({"delivery-mode": 2, **spelled})
        self.send(method + content(channel, encoded, body))

    def take(self, name: str) -> list[Received]:
        """
        All that came by that name; the rest stays.
        """
        found = [each for each in self.received if each.name == name]
        self.received = [each for each in self.received if each.name != name]
        return found

    def _read(self) -> None:
        at, data = 0, self.raw
        if data.startswith(b"AMQP"):
            return
        while len(data) - at >= 8:
            kind, channel, size = FRAME_START.unpack_from(data, at)
            payload = data[at + 7 : at + 7 + size]
            assert data[at + 7 + size] == 0xCE
            at += size + 8
            self._frame(kind, channel, payload)
        self.raw = data[at:]

    def _frame(self, kind: int, channel: int, payload: bytes) -> None:
        if kind == FRAME_METHOD:
            method = decode_method(payload)
            if method.name.removeprefix("basic.") in ("deliver", "return", "get-ok"):
                self._half = [channel, method]
            else:
                self.received.append(Received(channel, method))
        elif kind == FRAME_HEADER:
            size = CONTENT_HEADER.unpack_from(payload)[2]
            self._half += [decode_properties(payload[12:]), size, b""]
        elif kind == FRAME_BODY:
            self._half[4] += payload
        else:
            self.heartbeats += 1
        if kind in (FRAME_HEADER, FRAME_BODY) and len(self._half[4]) == self._half[3]:
            place, method, properties, _, body = self._half
            assert place == channel
            self.received.append(Received(channel, method, properties, body))


def content(channel: int, properties: bytes, body: bytes, most: int = 131_064) -> bytes:
    """
    The frames of a message.
    """
    header = CONTENT_HEADER.pack(60, 0, len(body)) + properties
    starts = range(0, len(body), most)
    bodies = (frame(FRAME_BODY, channel, body[at : at + most]) for at in starts)
    return b"".join((frame(FRAME_HEADER, channel, header), *bodies))


class Memory:
    """
    A journal that the tests can look into.

    @ivar entries: the messages by their ids, committed or not.
    @ivar committed: those that are safe.
    """

    keeps_messages = True

    def __init__(self) -> None:
        self.entries: dict[int, tuple[Queue, PublishedMessage]] = {}
        self.committed: set[int] = set()
        self.pending = False

    def put(
        self,
        queue: Queue,
        entry: Entry,
        message: PublishedMessage,
        expires: float | None,
    ) -> None:
        """
        It is in a queue.
        """
        self.entries[entry.id] = (queue, message)
        self.pending = True

    def removed(self, entry: Entry) -> None:
        """
        It is out.
        """
        self.entries.pop(entry.id, None)
        self.pending = True

    def queue_deleted(self, queue: Queue) -> None:
        """
        With all that is in it.
        """
        self.entries = {k: v for k, v in self.entries.items() if v[0] is not queue}

    def _noted(self, *about: object) -> None:
        self.pending = True

    exchange_declared = exchange_deleted = _noted
    queue_declared = bound = unbound = delivered = counted = _noted

    def read(self, ids: Iterable[int]) -> Mapping[int, PublishedMessage]:
        """
        Messages again.
        """
        return {id: self.entries[id][1] for id in ids}

    def commit(self) -> None:
        """
        All is safe now.
        """
        self.committed = set(self.entries)
        self.pending = False

    def close(self) -> None:
        """
        Nothing is to be let go.
        """


def check(broker: BrokerFactory) -> None:
    """
    What holds whenever a turn is over.
    """
    unacked: dict[Queue, int] = {}
    weight = 0
    stored: set[int] = set()
    for connection in broker.connections:
        for channel in connection.channels:
            mine = list(channel._unacked.values())
            counted = [each for each in mine if each.consumer is not None]
            assert channel.unsettled == len(counted)
            for each in mine:
                unacked[each.queue] = unacked.get(each.queue, 0) + 1
                weight += _weight(each.entry)
                if each.entry.stored and not each.queue.deleted:
                    stored.add(each.entry.id)
            for consumer in channel.consumers.values():
                assert consumer in consumer.queue.consumers
                assert not consumer.queue.deleted
    for vhost in broker.vhosts.values():
        for queue in vhost.queues.values():
            _check_queue(queue, unacked.get(queue, 0))
            weight += sum(map(_weight, queue.ready))
            stored |= {entry.id for entry in queue.ready if entry.stored}
            stored |= {s.entry.id for s in queue.stranded if s.entry.stored}
            weight += sum(_weight(each.entry) for each in queue.stranded)
            assert not queue.stranded or queue.retry is not None
        for exchange in vhost.exchanges.values():
            for binding in exchange.bindings.values():
                to = binding.destination
                assert binding in to.incoming
                homes: Any = vhost.queues if isinstance(to, Queue) else vhost.exchanges
                assert homes[to.name] is to
    assert broker._router.resident == weight
    assert not broker._router._dead
    journal = broker._journal
    if isinstance(journal, Memory):
        assert set(journal.entries) == stored
    elif isinstance(journal, Store):
        journal._write()
        rows = journal._rows("SELECT id FROM messages")
        assert {id for (id,) in rows} == stored
        assert {id for (id,) in journal._rows("SELECT id FROM counts")} <= stored


def _weight(entry: Entry) -> int:
    return entry.message.weight if entry.stored and entry.message is not None else 0


def _check_queue(queue: Queue, unacked: int) -> None:
    entries = list(queue.ready)
    assert queue.unacked == unacked
    assert len(queue.ready) == len(entries)
    assert queue.ready.bytes == sum(entry.size for entry in entries)
    assert not queue.drops_head()
    assert set(queue.waiting) <= set(queue.consumers)
    if entries:  # else somebody would have got it
        assert not any(consumer.has_room for consumer in queue.waiting)
    time = queue.ready.next_expiry()
    if time is not None:  # somebody will look in time
        assert queue.expiry is not None
        assert queue.expiry.time <= time
    if not queue.settings.single_active:
        able = {each for each in queue.consumers if each.has_room}
        assert able <= set(queue.waiting)
