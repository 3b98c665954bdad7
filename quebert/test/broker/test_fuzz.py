"""
Whatever clients send, the broker answers with a code, and goes on for all others.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.frames import FRAME_BODY, FRAME_HEADER, PROTOCOL_HEADER, frame
from quebert._protocol.properties import encode_properties
from quebert.broker import BrokerFactory, Store
from quebert.test.broker.peer import Memory, Peer, check, content
from quebert.test.checks import EXAMPLES, folder, run_machine

CODES = {320, 403, 404, 405, 406, 501, 502, 503, 504, 505, 530, 540}


def broker_in_memory() -> BrokerFactory:
    """
    One whose clock stands still, and whose journal can be looked into.
    """
    return BrokerFactory(Clock(), Memory())


def check_closes(case: SynchronousTestCase, peer: Peer) -> None:
    """
    What the broker closed, it closed with a code, and without an error of its
    own.
    """
    for each in peer.received:
        if each.name.endswith(".close"):
            assert each["reply_code"] in CODES, each
    assert case.flushLoggedErrors() == []


class BytesTests(SynchronousTestCase):
    """
    What is not AMQP, or half of it.
    """

    @settings(max_examples=3 * EXAMPLES, deadline=None)
    @given(st.lists(st.binary(max_size=100), max_size=5))
    def test_anything(self, pieces: list[bytes]) -> None:
        """
        Who does not speak AMQP is told what we speak, and is out.
        """
        broker = broker_in_memory()
        peer = Peer(broker)
        for piece in pieces:
            peer.send(piece)
        sent = b"".join(pieces)[:8]
        if (
            not sent.startswith(PROTOCOL_HEADER[:4])
            and sent[:4] != b"AMQP"[: len(sent)]
        ):
            assert peer.raw == PROTOCOL_HEADER
            assert peer.lost
        check_closes(self, peer)

    @settings(max_examples=3 * EXAMPLES, deadline=None)
    @given(st.lists(st.binary(max_size=100), max_size=5), st.booleans())
    def test_anything_on_an_open_connection(
        self, pieces: list[bytes], framed: bool
    ) -> None:
        """
        Who sends nonsense later is told the code of the mistake.
        """
        broker = broker_in_memory()
        peer = Peer(broker).open()
        for piece in pieces:
            peer.send(frame(piece[0] % 9, piece[-1] % 3, piece) if piece else piece)
            if not framed:
                peer.send(piece)
        check_closes(self, peer)
        self._gone(broker, peer)

    @settings(max_examples=2 * EXAMPLES, deadline=None)
    @given(st.data())
    def test_bytes_changed_on_the_way(self, data: st.DataObject) -> None:
        """
        One octet that is another one does no harm to others.
        """
        broker = broker_in_memory()
        peer, other = Peer(broker).open(), Peer(broker).open()
        properties = encode_properties({"headers": {"a": 1}, "priority": 3})
        right = (
            peer.encoded("queue.declare", {"queue": "q"})
            + peer.encoded("basic.publish", {"routing_key": "q"})
            + content(1, properties, b"body")
            + peer.encoded("basic.get", {"queue": "q"})
        )
        at = data.draw(st.integers(0, len(right) - 1))
        octet = data.draw(st.integers(0, 255))
        peer.send(right[:at] + bytes((octet,)) + right[at + 1 :])
        check_closes(self, peer)
        self._gone(broker, peer)
        assert other.call("queue.declare", queue="other") is not None
        check(broker)

    def _gone(self, broker: BrokerFactory, peer: Peer) -> None:
        """
        When it has gone, nothing is left of it.
        """
        check(broker)
        peer.transport.loseConnection()
        assert peer.connection not in broker.connections
        check(broker)
        (vhost,) = broker.vhosts.values()
        for queue in vhost.queues.values():
            assert not queue.consumers
            assert not queue.unacked


QUEUES = st.sampled_from(("", "a", "b", "c", "gone", "amq.x", "\udcff"))
EXCHANGES = st.sampled_from(("", "amq.direct", "amq.topic", "amq.headers", "x", "y"))
KEYS = st.sampled_from(("", "a", "b", "a.b", "#", "*.b", "\udcff"))
TYPES = st.sampled_from(("direct", "fanout", "topic", "headers", "no such"))
TAGS = st.sampled_from(("", "one", "two"))
CHANNELS = st.integers(1, 3)
ARGUMENTS = st.dictionaries(
    st.sampled_from(
        (
            "x-message-ttl",
            "x-expires",
            "x-dead-letter-exchange",
            "x-dead-letter-routing-key",
            "x-max-length",
            "x-max-length-bytes",
            "x-overflow",
            "x-max-priority",
            "x-single-active-consumer",
            "x-match",
            "mine",
        )
    ),
    st.sampled_from(
        (
            *(0, 1, 2, 5, 10, -1, 1000, True, False, None, "", "any", "a", "b"),
            *("amq.topic", "reject-publish", "reject-publish-dlx", "drop-head", "x"),
        )
    ),
    max_size=3,
)
# More often than not, what a queue may be.
SENSIBLE = st.sampled_from(
    (
        {},
        {"x-message-ttl": 1000, "x-dead-letter-exchange": ""},
        {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "a"},
        {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b"},
        {"x-max-length": 2, "x-dead-letter-exchange": "amq.topic"},
        {"x-max-length": 0, "x-dead-letter-exchange": ""},
        {"x-max-length": 1, "x-overflow": "reject-publish"},
        {"x-max-length-bytes": 5},
        {"x-max-priority": 3},
        {"x-single-active-consumer": True},
        {"x-expires": 2000},
    )
)
TABLES = ARGUMENTS | SENSIBLE | SENSIBLE | SENSIBLE
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "delivery-mode": st.integers(1, 2),
        "priority": st.integers(0, 9),
        "expiration": st.sampled_from(("0", "1", "1000", "-1", "later", "")),
        "user-id": st.sampled_from(("guest", "guest", "root")),
        "headers": st.fixed_dictionaries(
            {},
            optional={
                "a": st.sampled_from((1, "1", True, None)),
                "CC": st.lists(st.sampled_from(("a", "b")), max_size=2),
                "BCC": st.lists(st.sampled_from(("a", "c")), max_size=2) | st.just("a"),
                "x-death": st.just([{"queue": "a", "reason": "expired", "count": 1}])
                | st.just("old"),
            },
        ),
    },
)
BITS = {
    name: st.booleans()
    for name in (
        "auto_delete",
        "durable",
        "exclusive",
        "if_empty",
        "if_unused",
        "internal",
        "mandatory",
        "multiple",
        "no_ack",
        "nowait",
        "passive",
        "requeue",
    )
}
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **BITS,
    "queue": QUEUES,
    "exchange": EXCHANGES,
    "source": EXCHANGES,
    "destination": EXCHANGES,
    "routing_key": KEYS,
    "exchange_type": TYPES,
    "consumer_tag": TAGS,
    "arguments": TABLES,
    "delivery_tag": st.integers(0, 12),
    "prefetch_count": st.integers(0, 3),
    "active": st.booleans(),
    "global": st.booleans(),
}
METHODS = {
    "basic.ack": ("delivery_tag", "multiple"),
    "basic.cancel": ("consumer_tag", "nowait"),
    "basic.consume": ("queue", "consumer_tag", "no_ack", "exclusive", "nowait"),
    "basic.get": ("queue", "no_ack"),
    "basic.nack": ("delivery_tag", "multiple", "requeue"),
    "basic.qos": ("prefetch_count", "global"),
    "basic.recover": ("requeue",),
    "basic.reject": ("delivery_tag", "requeue"),
    "channel.close": (),
    "channel.close-ok": (),
    "channel.flow": ("active",),
    "channel.open": (),
    "confirm.select": ("nowait",),
    "exchange.bind": ("destination", "source", "routing_key", "arguments"),
    "exchange.declare": (
        "exchange",
        "exchange_type",
        "passive",
        "durable",
        "auto_delete",
        "internal",
        "nowait",
    ),
    "exchange.delete": ("exchange", "if_unused", "nowait"),
    "exchange.unbind": ("destination", "source", "routing_key", "arguments"),
    "queue.bind": ("queue", "exchange", "routing_key", "arguments", "nowait"),
    "queue.declare": (
        "queue",
        "passive",
        "durable",
        "exclusive",
        "auto_delete",
        "nowait",
        "arguments",
    ),
    "queue.delete": ("queue", "if_unused", "if_empty", "nowait"),
    "queue.purge": ("queue", "nowait"),
    "queue.unbind": ("queue", "exchange", "routing_key", "arguments"),
    "tx.select": (),
}
# What is done most in real life comes most.
WEIGHTED = [*METHODS, *["basic.consume", "basic.get", "queue.declare"] * 3]


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """
    A method, with arguments that may make sense.
    """
    name = draw(st.sampled_from(WEIGHTED))
    return name, {field: draw(FIELDS[field]) for field in METHODS[name]}


class Clients(RuleBasedStateMachine):
    """
    Two clients that call anything in any order; those that are thrown out come
    back.
    """

    case: SynchronousTestCase

    @initialize()
    def begin(self) -> None:
        """
        Both are connected.
        """
        self.store = Store(folder(self.case) / "broker.sqlite")
        self.broker = BrokerFactory(Clock(), self.store)
        self.peers = [Peer(self.broker).open() for _ in range(2)]
        peer = self.peers[0]
        peer.call("queue.declare", queue="a")
        peer.call("queue.bind", queue="a", exchange="amq.topic", routing_key="#")
        to_a = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "a"}
        safely = {
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 1, **to_a, **safely}
        peer.call("queue.declare", queue="b", arguments=arguments)
        peer.call("confirm.select")

    def _peer(self, which: bool) -> Peer:
        peer = self.peers[which]
        state = peer.connection.state
        if state != "running":
            closes = [each for each in peer.received if each.name == "connection.close"]
            assert closes, state  # with its code
            peer.call("connection.close-ok", channel=0)
            assert peer.lost
            peer = self.peers[which] = Peer(self.broker).open()
        return peer

    @rule(which=st.booleans(), channel=CHANNELS, call=calls())
    def call(self, which: bool, channel: int, call: tuple[str, dict[str, Any]]) -> None:
        """
        Call anything.
        """
        name, arguments = call
        self._peer(which).call(name, channel=channel, **arguments)

    @rule(
        which=st.booleans(),
        channel=st.sampled_from((1, 1, 1, 2)),
        exchange=st.sampled_from(("", "", "amq.topic", "x", "none")),
        key=KEYS,
        mandatory=st.booleans(),
        properties=PROPERTIES,
        body=st.binary(max_size=20),
    )
    def publish(
        self,
        which: bool,
        channel: int,
        exchange: str,
        key: str,
        mandatory: bool,
        properties: dict[str, Any],
        body: bytes,
    ) -> None:
        """
        Publish a whole message.
        """
        peer = self._peer(which)
        given = {"exchange": exchange, "routing_key": key, "mandatory": mandatory}
        method = peer.encoded("basic.publish", given, channel)
        peer.send(method + content(channel, encode_properties(properties), body, 7))

    @rule(
        which=st.booleans(),
        kind=st.sampled_from((FRAME_HEADER, FRAME_BODY)),
        payload=st.binary(max_size=20),
    )
    def stray(self, which: bool, kind: int, payload: bytes) -> None:
        """
        Content that nobody expects.
        """
        self._peer(which).send(frame(kind, 1, payload))

    @rule(which=st.booleans(), fields=st.integers(0, 2))
    def half(self, which: bool, fields: int) -> None:
        """
        Begin to publish, and do something else.
        """
        peer = self._peer(which)
        whole = content(1, encode_properties({}), b"1234", 2)
        cut = (0, 22, 32)[fields]
        peer.send(peer.encoded("basic.publish", {"routing_key": "a"}) + whole[:cut])

    @rule(seconds=st.sampled_from((0.001, 0.5, 1.0, 3.0)))
    def wait(self, seconds: float) -> None:
        """
        Let messages and queues expire.
        """
        self.broker.advance(seconds)
        for peer in self.peers:
            peer.turn()

    @rule(which=st.booleans())
    @precondition(lambda self: True)
    def vanish(self, which: bool) -> None:
        """
        The connection is lost.
        """
        self.peers[which].transport.loseConnection()
        self.peers[which] = Peer(self.broker).open()

    @rule()
    def restart(self) -> None:
        """
        The broker ends, and is started again with what is stored.
        """
        clock = Clock()
        clock.rightNow = self.broker.clock.seconds() + self.broker._ahead
        self._end()
        self.broker = BrokerFactory(clock, self.store, self.store.records())
        self.peers = [Peer(self.broker).open() for _ in range(2)]

    @invariant()
    def sane(self) -> None:
        """
        Nothing is lost or counted twice, and no error is logged.
        """
        if not hasattr(self, "broker"):
            return
        for peer in self.peers:
            peer.turn()
            check_closes(self.case, peer)
        check(self.broker)

    def teardown(self) -> None:
        """
        When all have gone, only what is to stay is left.
        """
        if not hasattr(self, "broker"):
            return
        self._end()
        self.store.close()

    def _end(self) -> None:
        """
        Have all clients go, and compare what is left with what is stored.
        """
        for peer in self.peers:
            peer.transport.loseConnection()
        assert not self.broker.connections
        check(self.broker)
        for queue in self.broker.vhosts["/"].queues.values():
            assert not queue.consumers
            assert not queue.unacked
            assert queue.owner is None
        self.store.commit()
        records = self.store.records()
        before = self._stored(self.broker)
        earlier = Clock()  # than anything expires that waited behind what is not stored
        earlier.rightNow = -1e6
        restarted = BrokerFactory(earlier, self.store, records)
        assert self._stored(restarted) == before

    @staticmethod
    def _stored(broker: BrokerFactory) -> dict[str, object]:
        """
        What is durable, as far as it can be compared.
        """
        vhost = broker.vhosts["/"]
        found: dict[str, object] = {}
        for name, exchange in vhost.exchanges.items():
            if exchange.durable:
                found[f"exchange {name}"] = {
                    (binding.destination.name, binding.key, binding.arguments)
                    for binding in exchange.bindings.values()
                    if binding.destination.durable
                }
        for name, queue in vhost.queues.items():
            if queue.durable:
                ids = sorted(entry.id for entry in queue.ready if entry.stored)
                waiting = sorted((s.entry.id, s.reason) for s in queue.stranded)
                found[f"queue {name}"] = (queue.settings, ids, waiting)
        return found


class AnyOrderTests(SynchronousTestCase):
    """
    Valid frames in any order.
    """

    def test_any_order(self) -> None:
        """
        Whatever clients call, every mistake gets its code, and the broker's books
        are right.
        """
        Clients.case = self
        run_machine(
            Clients,
            settings(
                max_examples=6 * EXAMPLES // 10,
                stateful_step_count=40,
                deadline=None,
            ),
        )
