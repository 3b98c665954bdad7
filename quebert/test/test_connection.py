"""
L{quebert.amqp.link._connection} on a reactor that only pretends, with brokers of
L{quebert.test.test_wire} at the other end.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from OpenSSL.SSL import Error as SSLError
from pamqp.commands import Basic, Connection, Exchange, Queue
from pamqp.commands import Channel as ChannelClass
from pamqp.commands import Confirm as ConfirmClass
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert._machine import Machine, WrongEvent
from quebert._repeated import QUIET
from quebert.amqp import TxAMQPClient, Watcher
from quebert.amqp.link._connection import TABLE, LinkState
from quebert.amqp.wire import Message, Wire
from quebert.config import Address, AmqpURL
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    CertificateRefused,
    ChannelLost,
    ConfigError,
    PublishRefused,
    QuebertError,
    Unroutable,
)
from quebert.test.doubles import FakeForwarder, MemoryReactor
from quebert.test.support import options_of
from quebert.test.test_watcher import FakePauses
from quebert.test.test_wire import ScriptedBroker, contents, delivery, marshalled

Frame = Any

#: What a willing broker answers.
ANSWERS: dict[type, Callable[[Frame], Frame]] = {
    Connection.Close: lambda asked: Connection.CloseOk(),
    ChannelClass.Open: lambda asked: ChannelClass.OpenOk(),
    ChannelClass.Close: lambda asked: ChannelClass.CloseOk(),
    ConfirmClass.Select: lambda asked: ConfirmClass.SelectOk(),
    Queue.Declare: lambda asked: Queue.DeclareOk(asked.queue, 0, 0),
    Exchange.Declare: lambda asked: Exchange.DeclareOk(),
    Queue.Bind: lambda asked: Queue.BindOk(),
    Basic.Qos: lambda asked: Basic.QosOk(),
    Basic.Consume: lambda asked: Basic.ConsumeOk(asked.consumer_tag),
    Basic.Cancel: lambda asked: Basic.CancelOk(asked.consumer_tag),
}


class ClosingTransport(StringTransport):
    """
    A transport that is closed soon after it is asked to be.

    @ivar stuck: whether it is not: what was written does not get away.
    """

    def __init__(self, reactor: MemoryReactor, lose: Callable[[], None]) -> None:
        super().__init__()
        self.stuck = False
        self._reactor = reactor
        self._lose = lose

    def loseConnection(self) -> None:
        """
        Close it soon.
        """
        first = not self.disconnecting
        super().loseConnection()
        if first and not self.stuck:
            self._reactor.callLater(0, self._lose)

    def abortConnection(self) -> None:
        """
        Close it soon, whatever was written.
        """
        if not self.disconnected:
            self.disconnected = True
            if self.stuck or not self.disconnecting:
                self._reactor.callLater(0, self._lose)
            self.disconnecting = True


class ServingBroker(ScriptedBroker):
    """
    A broker that answers what it is asked.

    @ivar seen: all that it was asked, with the numbers of channels.
    @ivar serves: whether it does, which it does after negotiation.
    @ivar confirms: whether it confirms what is published.
    """

    transport: ClosingTransport

    def __init__(self, protocol: Any, reactor: MemoryReactor) -> None:
        super().__init__(protocol, ClosingTransport(reactor, self.lose_once))
        self.seen: list[tuple[int, Frame]] = []
        self.confirms = True
        self.lost = False
        self.serves = False
        self._published: dict[int, int] = {}

    def lose_once(self) -> None:
        """
        The TCP connection ends, if it has not yet.
        """
        if not self.lost:
            self.lost = True
            self.lose()

    def serve(self) -> None:
        """
        Answer all that was asked.
        """
        while frames := self.take_numbered():
            for number, asked in frames:
                self.seen.append((number, asked))
                answer = ANSWERS.get(type(asked))
                if answer is not None and not self.lost:
                    self.send(answer(asked), channel=number)
                elif isinstance(asked, Basic.Publish):
                    tag = self._published[number] = self._published.get(number, 0) + 1
                    if self.confirms:
                        self.send(Basic.Ack(tag, False), channel=number)

    def count(self, kind: type) -> int:
        """
        How often it was asked for this.
        """
        return len([each for _, each in self.seen if isinstance(each, kind)])


class ClientTestCase(SynchronousTestCase):
    """
    A client on a network where the tests are the brokers.
    """

    options: dict[str, Any] = {}
    hosts: str | tuple[str, ...] = "rabbit.example"

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.attempts = 0
        self.brokers: list[ServingBroker] = []
        self.disconnects: list[Failure] = []
        self.client = self.make(**self.options)
        self.addCleanup(self.end)

    def make(self, **options: Any) -> TxAMQPClient:
        """
        A client.
        """
        settings = {"reactor": self.reactor, "heartbeat": 0, **options}
        client = TxAMQPClient(self.hosts, "user", "s3cret", **settings)
        client.pauses = FakePauses()  # it would ask much, and listen
        self.patch(client, "make_forwarder", FakeForwarder)
        return client

    def end(self) -> None:
        """
        Stop it; nothing may be left.
        """
        stopped = self.client.stop(0)
        for _ in range(20):
            self.advance(1)
        self.successResultOf(stopped)
        self.flushLoggedErrors(CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertTrue(all(each.lost for each in self.brokers))
        attempts = len(self.reactor.tcpClients)
        self.advance(1000)
        self.assertEqual(len(self.reactor.tcpClients), attempts)

    def advance(self, seconds: float, step: float = 0.25) -> None:
        """
        Let time pass, in steps.
        """
        self.settle()
        steps = round(seconds / step) if seconds < 100 else 10
        for _ in range(steps):
            self.reactor.advance(seconds / steps)
            self.settle()

    def settle(self) -> None:
        """
        Let happen what happens at once.
        """
        for _ in range(5):
            self.reactor.advance(0)
            for each in self.brokers:
                if not each.lost and each.serves:
                    each.serve()

    def pending(self) -> list[Any]:
        """
        The attempts to connect that nobody has dealt with.
        """
        return list(self.reactor.tcpClients[self.attempts :])

    def take(self) -> Any:
        """
        The next attempt to connect.
        """
        self.reactor.advance(0)
        self.assertTrue(self.pending(), "nobody connects")
        attempt = self.reactor.tcpClients[self.attempts]
        self.attempts += 1
        return attempt[2]

    def accept(self) -> ServingBroker:
        """
        Let the next attempt to connect succeed; nothing is said yet.
        """
        protocol = self.take().buildProtocol(IPv4Address("TCP", "127.0.0.1", 5672))
        broker = ServingBroker(protocol, self.reactor)
        broker.connect()
        return broker

    def let_in(self) -> ServingBroker:
        """
        Let the next attempt to connect succeed, and negotiate.
        """
        broker = self.accept()
        broker.let_in()
        broker.serves = True
        self.brokers.append(broker)
        self.settle()
        return broker

    def unreachable(self) -> None:
        """
        Let the next attempt to connect fail.
        """
        self.take().clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.reactor.advance(0)

    def refuse(self, code: int = 403, text: str = "ACCESS_REFUSED") -> None:
        """
        Accept the next attempt, and refuse the password.
        """
        broker = self.accept()
        self.brokers.append(broker)
        broker.start()
        broker.expect(Connection.StartOk)
        broker.send(Connection.Close(code, text, 0, 0))
        self.settle()

    def watch(self, queue: str = "queue", **options: Any) -> Deferred[Watcher]:
        """
        Watch a queue.
        """
        return self.client.watch(
            "flow",
            queue,
            "tasks.#",
            lambda message: None,
            onDisconnect=self.disconnects.append,
            **options_of(options),
        )

    def connect(self) -> ServingBroker:
        """
        Watch something, and let the client in.
        """
        watching = self.watch()
        broker = self.let_in()
        self.successResultOf(watching)
        return broker

    def connect_publisher(self) -> ServingBroker:
        """
        Publish something, and let the client in.
        """
        publishing = self.client.publish("", "queue", b"first")
        broker = self.let_in()
        self.successResultOf(publishing)
        return broker


class URLTests(ClientTestCase):
    """
    Tests for L{TxAMQPClient.from_url} and what a client says of itself.
    """

    def test_url(self) -> None:
        """
        All that a URL says is heeded.
        """
        client = TxAMQPClient.from_url(
            "amqp://us%40er:p%2Fss@h.example:1234/v%2Fhost?heartbeat=7"
        )
        broker = client.broker
        self.assertEqual(broker.addresses, (Address("h.example", 1234),))
        self.assertEqual((broker.username, broker.password), ("us@er", "p/ss"))
        self.assertEqual((broker.vhost, broker.heartbeat), ("v/host", 7))
        self.assertFalse(broker.tls)
        self.assertEqual(client.connectTimeout, 30)

    # Twisted 24.11 does that.
    @pytest.mark.filterwarnings(
        "ignore:Attempting to mutate a Context:DeprecationWarning"
    )
    def test_tls(self) -> None:
        """
        C{amqps} is TLS, on its own port.
        """
        client = TxAMQPClient.from_url("amqps://h.example")
        self.assertTrue(client.broker.tls)
        self.assertEqual(client.broker.addresses, (Address("h.example", 5671),))

    @pytest.mark.filterwarnings(
        "ignore:Attempting to mutate a Context:DeprecationWarning"
    )
    def test_begins_with_tls(self) -> None:
        """
        With TLS, the first bytes are a handshake (RFC 8446, section 5.1).
        """
        self.client = self.make(tls=True)
        publishing = self.client.publish("", "queue", b"first")
        protocol = self.take().buildProtocol(IPv4Address("TCP", "127.0.0.1", 5671))
        transport = ClosingTransport(self.reactor, lambda: None)
        transport.setTcpNoDelay = lambda enabled: None  # type: ignore[attr-defined]
        protocol.makeConnection(transport)
        self.assertEqual(transport.value()[:2], b"\x16\x03")
        protocol.connectionLost(Failure(ConnectionRefusedError()))
        stopped = self.client.stop(0)
        self.advance(1)
        self.successResultOf(stopped)
        self.failureResultOf(publishing, BrokerError)

    def test_hosts(self) -> None:
        """
        Several hosts may be named in a URL, in a list, or with commas between.
        """
        wanted = (Address("a", 5672), Address("b", 1), Address("::1", 5672))
        clients = [
            TxAMQPClient.from_url("amqp://a,b:1,[::1]/"),
            TxAMQPClient("a,b:1,::1", "user", "s3cret"),
            TxAMQPClient(["a", "b:1", "::1"], "user", "s3cret"),
        ]
        for client in clients:
            self.assertEqual(client.broker.addresses, wanted)
        self.assertRaises(ConfigError, TxAMQPClient, "a,,b", "user", "s3cret")
        self.assertRaises(ConfigError, TxAMQPClient, [], "user", "s3cret")

    def test_options(self) -> None:
        """
        Options may be given beside the URL, and go before it.
        """
        client = TxAMQPClient.from_url(
            "amqp://h/?heartbeat=7", heartbeat=9, connectTimeout=None
        )
        self.assertEqual(client.broker.heartbeat, 9)
        self.assertIsNone(client.connectTimeout)

    def test_bad(self) -> None:
        """
        What is no URL of a broker is a L{ConfigError}.
        """
        for bad in ("http://localhost/", "amqp://h:port/", "amqp://h/?x=1", ""):
            self.assertRaises(ConfigError, TxAMQPClient.from_url, bad)

    def test_repr(self) -> None:
        """
        A client tells where its broker is, but not the password.
        """
        for text in (repr(self.client), str(self.client), f"{self.client.broker}"):
            self.assertIn("rabbit.example", text)
            self.assertNotIn("s3cret", text)

    def test_errors(self) -> None:
        """
        Nor is the password in what it fails with.
        """
        watching = self.watch()
        self.unreachable()
        self.advance(31)
        text = str(self.failureResultOf(watching, BrokerUnreachable).value)
        self.assertIn("rabbit.example:5672", text)
        self.assertNotIn("s3cret", text)


class ConnectTests(ClientTestCase):
    """
    Tests for L{TxAMQPClient.connected}, and with it L{TxAMQPClient.watch}.
    """

    def connected(self, timeout: float | None = None) -> Deferred[Any]:
        """
        Ask for a connection.
        """
        return Deferred.fromCoroutine(self.client.connected(timeout))

    def test_lazy(self) -> None:
        """
        No connection is made before one is needed.
        """
        self.advance(100)
        self.assertEqual(self.pending(), [])

    def test_connected(self) -> None:
        """
        It is made to the host and port that were given, once.
        """
        self.client = self.make(port=1234)
        first, second = self.connected(), self.connected()
        self.assertEqual([each[1] for each in self.pending()], [1234])
        self.assertNoResult(first)
        self.let_in()
        wire = self.successResultOf(first)
        self.assertIs(self.successResultOf(second), wire)
        self.assertIs(self.successResultOf(self.connected(0)), wire)
        self.assertEqual(self.pending(), [])

    def test_at_once(self) -> None:
        """
        Who has got it may ask again, and stop the client, before anything else
        happens.
        """

        async def ask() -> tuple[Any, Any]:
            first = await self.client.connected()
            second = await self.client.connected()
            await self.client.stop()
            return first, second

        asked = Deferred.fromCoroutine(ask())
        broker = self.let_in()
        self.advance(1)
        first, second = self.successResultOf(asked)
        self.assertIs(first, second)
        self.assertEqual(broker.count(Connection.Close), 1)

    def test_heartbeat(self) -> None:
        """
        The heartbeat that was asked for is negotiated.
        """
        self.client = self.make(heartbeat=17)
        connected = self.connected()
        broker = self.accept()
        self.brokers.append(broker)
        self.assertEqual(broker.let_in(heartbeat=60).heartbeat, 17)
        broker.serves = True
        self.successResultOf(connected)

    def test_times_out(self) -> None:
        """
        A broker that is not there is tried again until the time is up; then
        the error tells the last reason.
        """
        connected = self.connected(30)
        tried = 0
        for _ in range(299):
            while self.pending():
                tried += 1
                self.unreachable()
            self.assertNoResult(connected)
            self.reactor.advance(0.1)
        self.assertGreater(tried, 8)
        self.advance(0.2)
        text = str(self.failureResultOf(connected, BrokerUnreachable).value)
        self.assertIn("30", text)
        self.assertIn("refused", text)

    def test_found_again(self) -> None:
        """
        A broker that is back is found within five seconds, however long it
        was away.
        """
        connected = self.connected(None)
        for _ in range(3600):
            while self.pending():
                self.unreachable()
            self.reactor.advance(1)
        self.assertNoResult(connected)
        for _ in range(50):
            if self.pending():
                break
            self.reactor.advance(0.1)
        self.let_in()
        self.successResultOf(connected)

    def test_no_answer(self) -> None:
        """
        Attempts that are not answered at all time out as well.
        """
        connected = self.connected(30)
        self.advance(31)
        self.failureResultOf(connected, BrokerUnreachable)

    def test_look_up_without_end(self) -> None:
        """
        Where the look-up of the host's name never ends, the host is tried again.
        """

        class Mute:
            def resolveHostName(self, *arguments: Any, **options: Any) -> None:
                pass

        mute: Any = Mute()
        before = self.reactor.installNameResolver(mute)
        connected = self.connected(None)
        self.advance(50, step=1)
        self.reactor.installNameResolver(before)
        self.advance(15, step=1)
        self.let_in()
        self.successResultOf(connected)

    def test_mute_peer(self) -> None:
        """
        A peer that accepts and says nothing is left after a while, and tried
        again while there is time.
        """
        connected = self.connected(30)
        mute = self.accept()
        self.brokers.append(mute)
        self.advance(20)
        self.assertTrue(mute.transport.disconnected)
        self.assertNoResult(connected)
        self.let_in()
        self.successResultOf(connected)

    def test_mute_peer_for_ever(self) -> None:
        """
        One who waits for ever does so for a peer that says nothing, too.
        """
        connected = self.connected(None)
        for _ in range(4):
            self.brokers.append(self.accept())
            self.advance(20)
            self.assertNoResult(connected)
        self.let_in()
        self.successResultOf(connected)

    def test_hangs_up(self) -> None:
        """
        A peer that hangs up while it negotiates is tried again.
        """
        connected = self.connected(30)
        broker = self.accept()
        self.brokers.append(broker)
        broker.start()
        broker.lose_once()
        self.advance(5)
        self.assertNoResult(connected)
        self.let_in()
        self.successResultOf(connected)

    def test_not_amqp(self) -> None:
        """
        A peer that is no broker is named as the reason.
        """
        connected = self.connected(10)
        for _ in range(40):
            if self.pending():
                broker = self.accept()
                self.brokers.append(broker)
                broker.wire.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            self.advance(0.25)
        self.advance(1)
        text = str(self.failureResultOf(connected, BrokerUnreachable).value)
        self.assertIn("AMQP", text)

    def check_given_up(self) -> None:
        """
        Nothing happens any more.
        """
        self.advance(0.5)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.advance(1000)
        self.assertEqual(self.pending(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_refused(self) -> None:
        """
        A broker that refuses the first attempt ends it: there is no other.
        """
        watching = self.watch()
        self.refuse(403, "ACCESS_REFUSED - Login was refused")
        error = self.failureResultOf(watching, BrokerRefused).value
        self.assertIn("Login was refused", str(error))
        self.check_given_up()
        self.assertEqual(self.disconnects, [])
        self.assertEqual(self.client.watchers, [])

    def test_refused_whom(self) -> None:
        """
        A refusal tells who was refused where, and what said so.
        """
        for url, source in [
            ("amqp://me:hunter2@h:1/v", ""),
            (AmqpURL("amqp://me:hunter2@h:1/v", "--amqp-url"), " (from --amqp-url)"),
        ]:
            self.client = TxAMQPClient.from_url(url, reactor=self.reactor)
            watching = self.watch()
            self.refuse(403, "ACCESS_REFUSED - Login was refused")
            error = self.failureResultOf(watching, BrokerRefused).value
            who = f"the broker at h:1, vhost 'v' refuses user 'me'{source}"
            self.assertEqual(str(error), f"{who}: ACCESS_REFUSED - Login was refused")
            self.settle()

    def test_unreachable_whence(self) -> None:
        """
        So does an error that there is no broker.
        """
        url = AmqpURL("amqp://h:1/v", "QUEBERT_AMQP_URL")
        options: dict[str, Any] = {"reactor": self.reactor, "connectTimeout": 1.0}
        self.client = TxAMQPClient.from_url(url, **options)
        publishing = self.client.publish("", "q", b"")
        self.advance(1)
        error = self.failureResultOf(publishing, BrokerUnreachable).value
        where = "the broker at h:1, vhost 'v' (from QUEBERT_AMQP_URL) was not reached"
        self.assertIn(where, str(error))
        self.settle()

    def test_certificate_refused(self) -> None:
        """
        A connection that TLS has ended tells whose certificate was not accepted.
        """
        watching = self.watch()
        broker = self.accept()
        self.brokers.append(broker)
        broker.lost = True
        broker.lose(SSLError([("SSL routines", "", "certificate verify failed")]))
        self.settle()
        error = self.failureResultOf(watching, CertificateRefused).value
        self.assertIn("not signed by an authority that we trust", str(error))

    def test_reached_again(self) -> None:
        """
        Once there is a connection, the log says so, if it has said that there was none.
        """
        with capturedLogs() as events:
            self.watch()
            self.unreachable()
            self.advance(5)
            while self.pending():
                self.let_in()
            self.advance(QUIET)
        lines = [str(formatEvent(each)) for each in events]
        for text in ("no connection to the broker", "a connection to the broker"):
            found = [each for each in lines if f"There is {text}" in each]
            self.assertEqual(len(found), 1, lines)

    def test_refused_without_a_limit(self) -> None:
        """
        Also for one who would wait for ever.
        """
        connected = self.connected(None)
        self.refuse(530, "NOT_ALLOWED - vhost not found")
        self.failureResultOf(connected, BrokerRefused)
        self.check_given_up()

    def test_all_refused(self) -> None:
        """
        All who wait are told.
        """
        watching = [self.watch(), self.watch("other")]
        publishing = [self.client.publish("", "queue", b"") for _ in range(2)]
        self.refuse()
        self.refuse()
        for each in (*watching, *publishing):
            self.failureResultOf(each, BrokerRefused)
        self.check_given_up()

    def test_refused_then_let_in(self) -> None:
        """
        One who asks again after a refusal is heard.
        """
        watching = self.watch()
        self.refuse()
        self.failureResultOf(watching, BrokerRefused)
        self.connect()

    def test_refused_for_now(self) -> None:
        """
        A broker that is shutting down is tried again.
        """
        watching = self.watch()
        self.refuse(320, "CONNECTION_FORCED")
        self.advance(5)
        self.assertNoResult(watching)
        self.let_in()
        self.successResultOf(watching)

    def test_refused_later(self) -> None:
        """
        A broker that had let us in and refuses then is tried again, but not
        often.
        """
        self.connect().lose_once()
        self.advance(5)
        times: list[float] = []
        for _ in range(600):
            if self.pending():
                times.append(self.reactor.seconds())
                self.refuse()
            self.reactor.advance(1)
            self.settle()
        pauses = [b - a for a, b in pairwise(times)]
        self.assertLess(pauses[0], 6)
        self.assertLess(pauses[1], 20)
        self.assertGreater(min(pauses[2:]), 30)
        self.assertIn(len(times), range(5, 15))
        self.assertEqual(len(self.disconnects), 1)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.advance(61)
        broker = self.let_in()
        self.advance(61)
        self.assertEqual(broker.count(Basic.Consume), 1)

    def test_cancelled(self) -> None:
        """
        One who does not want to watch any more is forgotten.
        """
        watching = self.watch()
        watching.cancel()
        self.failureResultOf(watching, QuebertError, CancelledError)
        self.assertEqual(self.client.watchers, [])
        broker = self.let_in()
        self.advance(5)
        self.assertEqual(broker.count(Basic.Consume), 0)


class SpareTests(ClientTestCase):
    """
    Tests for the connection that may be lost without harm.
    """

    def instead_of(self, wire: Any) -> Deferred[Any]:
        """
        The spare connection, or C{wire}.
        """
        return Deferred.fromCoroutine(self.client.spare.instead_of(wire))

    def wire(self) -> Any:
        """
        The connection that consumes.
        """
        return self.successResultOf(Deferred.fromCoroutine(self.client.connected()))

    def test_refused(self) -> None:
        """
        Where the broker lets the user have no more connections, there is none, and the
        broker is not asked again for a minute.
        """
        self.connect()
        wire = self.wire()
        for _ in range(2):
            spare = self.instead_of(wire)
            self.refuse(530, "NOT_ALLOWED")
            self.advance(1)
            self.assertIs(self.successResultOf(spare), wire)
            self.assertIs(self.successResultOf(self.instead_of(wire)), wire)
            self.assertEqual(self.pending(), [])
            self.advance(60)
        spare = self.instead_of(wire)
        self.let_in()
        self.assertIsNot(self.successResultOf(spare), wire)

    def test_asked_again(self) -> None:
        """
        The broker is asked again after a minute, and no sooner.
        """
        self.connect()
        wire = self.wire()
        spare = self.instead_of(wire)
        self.refuse(530, "NOT_ALLOWED")
        self.assertIs(self.successResultOf(spare), wire)
        self.reactor.advance(59)
        self.assertIs(self.successResultOf(self.instead_of(wire)), wire)
        self.reactor.advance(1)
        spare = self.instead_of(wire)
        self.assertNoResult(spare)
        self.let_in()
        self.successResultOf(spare)

    def test_frozen_host(self) -> None:
        """
        It is given up after a few seconds where its host is frozen, although the other
        connections may be silent for longer.
        """
        self.client = self.make(heartbeat=30)
        self.connect()
        wire = self.wire()
        getting = self.instead_of(wire)
        broker = self.let_in()
        spare = self.successResultOf(getting)
        broker.serves = False
        asked = Deferred.fromCoroutine(spare.open_channel())
        self.advance(13)
        self.failureResultOf(asked, ChannelLost)
        self.assertFalse(wire.closed)

    def test_heartbeat(self) -> None:
        """
        It has a heartbeat of five seconds where the other connections have a longer
        one.
        """
        self.client = self.make(heartbeat=30)
        self.connect()
        self.instead_of(self.wire())
        broker = self.accept()
        self.assertEqual(broker.let_in(heartbeat=60).heartbeat, 5)
        broker.serves = True
        self.brokers.append(broker)
        self.settle()

    def test_after_an_outage(self) -> None:
        """
        It is made at once after the broker was away, however long that was.
        """
        broker = self.connect()
        wire = self.wire()
        spare = self.instead_of(wire)
        broker.lose_once()
        self.advance(11)
        self.assertIs(self.successResultOf(spare), wire)
        self.attempts = len(self.reactor.tcpClients) - 2  # of each connection the last
        self.let_in()
        self.let_in()
        wire = self.wire()
        self.assertIsNot(self.successResultOf(self.instead_of(wire)), wire)

    def test_stopped(self) -> None:
        """
        A client that is stopped meanwhile makes none; one that is used again does.
        """
        self.connect()
        spare = self.instead_of(self.wire())
        stopped = self.client.stop(0)
        self.advance(1)
        self.successResultOf(stopped)
        self.failureResultOf(spare, ChannelLost)
        self.attempts = len(self.reactor.tcpClients)
        self.connect()
        wire = self.wire()
        spare = self.instead_of(wire)
        self.let_in()
        self.assertIsNot(self.successResultOf(spare), wire)


class StatesTests(ClientTestCase):
    """
    Each row of the table of the states of a connection.
    """

    def setUp(self) -> None:
        super().setUp()
        self.connection = self.client._consuming

    def check(self, state: LinkState) -> None:
        """
        The connection must be in a state.
        """
        self.assertIs(self.connection.state, state)

    def want(self) -> Deferred[Any]:
        """
        Want the connection.
        """
        wanting = Deferred.fromCoroutine(self.connection.connected())
        wanting.addErrback(lambda failure: None)
        return wanting

    def test_made_and_lost(self) -> None:
        """
        One that is wanted is made, and made again when it is lost.
        """
        self.check(LinkState.UNWANTED)
        self.want()
        self.check(LinkState.CONNECTING)
        for _ in range(2):
            broker = self.let_in()
            self.check(LinkState.CONNECTED)
            broker.lose_once()
            self.check(LinkState.CONNECTING)
            self.advance(5)

    def test_blocked(self) -> None:
        """
        It tells why the broker reads nothing, where there is a connection.
        """
        self.assertIsNone(self.connection.blocked)
        self.want()
        broker = self.let_in()
        self.assertIsNone(self.connection.blocked)
        broker.send(Connection.Blocked("memory"))
        self.assertEqual(self.connection.blocked, "memory")
        broker.lose_once()
        self.assertIsNone(self.connection.blocked)

    def test_failed(self) -> None:
        """
        An attempt that fails is followed by another.
        """
        self.want()
        self.unreachable()
        self.check(LinkState.CONNECTING)
        self.advance(5)
        self.let_in()
        self.check(LinkState.CONNECTED)

    def test_stopped(self) -> None:
        """
        It can be stopped in each state.
        """
        for reach in (lambda: None, self.want, lambda: (self.want(), self.let_in())):
            reach()
            stopped = Deferred.fromCoroutine(self.connection.stop())
            self.check(LinkState.UNWANTED)
            self.advance(1)
            self.successResultOf(stopped)
            self.attempts = len(self.reactor.tcpClients)

    def test_refused(self) -> None:
        """
        Where all hosts refuse, nobody tries again until it is wanted again.
        """
        self.want()
        self.refuse()
        self.check(LinkState.UNWANTED)
        self.advance(100)
        self.assertEqual(self.pending(), [])
        self.want()
        self.check(LinkState.CONNECTING)

    def test_lost_after_the_end(self) -> None:
        """
        What was connected when it was ended is lost later, which is no loss of what
        was made since.
        """
        old: Any = self.want() and self.let_in().wire
        stopped = Deferred.fromCoroutine(self.connection.stop())
        self.check(LinkState.UNWANTED)
        self.advance(1)
        self.successResultOf(stopped)
        self.check(LinkState.UNWANTED)
        self.attempts = len(self.reactor.tcpClients)
        self.want()
        self.connection.lost(old, ChannelLost("gone"))
        self.check(LinkState.CONNECTING)
        self.let_in()
        self.connection.lost(old, ChannelLost("gone"))
        self.check(LinkState.CONNECTED)

    def test_made_after_the_end(self) -> None:
        """
        What is made as it is ended is not wanted.
        """
        wire = Wire(vhost="/", heartbeat=0, clock=self.reactor)
        self.connection.made(wire)
        self.check(LinkState.UNWANTED)
        self.connection.lost(wire, ChannelLost("gone"))
        self.check(LinkState.UNWANTED)

    def test_rows(self) -> None:
        """
        No other event can be.
        """
        for event, row in TABLE.items():
            for before in set(LinkState) - set(row):
                machine = Machine(TABLE, before)
                self.assertRaises(WrongEvent, machine.move, event)


class HostsTests(ClientTestCase):
    """
    Tests for brokers with several hosts.
    """

    hosts = ("node:1", "node:2", "node:3")
    ports = (1, 2, 3)

    def tried(self) -> list[int]:
        """
        The ports to which it connected, so far.
        """
        return [each[1] for each in self.reactor.tcpClients]

    def test_in_turn(self) -> None:
        """
        They are tried in turn, in quick succession, until one lets us in.
        """
        watching = self.watch()
        for _ in range(4):
            self.unreachable()
            self.advance(0.75)
        self.let_in()
        self.successResultOf(watching)
        self.assertEqual(self.tried(), [1, 2, 3, 1, 2])

    def test_next_after_a_loss(self) -> None:
        """
        When the connection is lost, the next host is tried first.
        """
        self.connect().lose_once()
        self.advance(0.3)
        self.let_in()
        self.assertEqual(self.tried(), [1, 2])

    def test_spare_beside_the_others(self) -> None:
        """
        The spare connection leads to the host that has answered.
        """
        watching = self.watch()
        self.unreachable()
        self.advance(0.75)
        self.let_in()
        self.successResultOf(watching)
        wire = self.successResultOf(Deferred.fromCoroutine(self.client.connected()))
        spare = Deferred.fromCoroutine(self.client.spare.instead_of(wire))
        self.let_in()
        self.successResultOf(spare)
        self.assertEqual(self.tried(), [1, 2, 2])

    def test_one_says_nothing(self) -> None:
        """
        A host that accepts a connection and then says nothing, as one that is frozen,
        costs five seconds.
        """
        watching = self.watch()
        self.brokers.append(self.accept())
        self.advance(5.5)
        self.let_in()
        self.successResultOf(watching)
        self.assertEqual(self.tried(), [1, 2])

    def test_one_says_nothing_after_a_loss(self) -> None:
        """
        The same when a connection was lost.
        """
        self.connect().lose_once()
        self.advance(0.3)
        self.brokers.append(self.accept())
        self.advance(5.5)
        self.let_in()
        self.assertEqual(self.tried(), [1, 2, 3])

    def test_slow_login(self) -> None:
        """
        A host that has greeted has fifteen seconds to let us in.
        """
        watching = self.watch()
        slow = self.accept()
        self.brokers.append(slow)
        slow.start()
        self.advance(14)
        self.assertFalse(slow.transport.disconnected)
        self.advance(2)
        self.assertTrue(slow.transport.disconnected)
        self.let_in()
        self.successResultOf(watching)

    def test_found_soon(self) -> None:
        """
        However long all were away, each is tried again every few seconds.
        """
        self.client.connectTimeout = None
        watching = self.watch()
        for _ in range(60 * 4):
            while self.pending():
                self.unreachable()
            self.reactor.advance(0.25)
        before = len(self.tried())
        for _ in range(8 * 4):
            while self.pending():
                self.unreachable()
            self.reactor.advance(0.25)
        self.assertEqual(set(self.tried()[before:]), {1, 2, 3})
        watching.addErrback(lambda failure: failure.trap(BrokerError))

    def test_one_refuses(self) -> None:
        """
        A refusal by some, while the others are away, is no end of it, but is
        logged, once a minute.
        """
        self.client.connectTimeout = None
        watching = self.watch()
        with capturedLogs() as events:
            for _ in range(2):
                self.refuse(text="ACCESS_REFUSED - wrong")
                self.advance(0.75)
                for _ in range(2):
                    self.unreachable()
                    self.advance(0.75)
        self.assertNoResult(watching)
        told = [formatEvent(each) for each in events]
        self.assertEqual(len([each for each in told if "ACCESS_REFUSED" in each]), 1)
        watching.addErrback(lambda failure: failure.trap(BrokerError))

    def test_all_refuse(self) -> None:
        """
        A refusal is told when each host has refused.
        """
        watching = self.watch()
        for _ in self.hosts:
            self.assertNoResult(watching)
            self.refuse()
            self.advance(0.75)
        self.failureResultOf(watching, BrokerRefused)


class WatchTests(ClientTestCase):
    """
    Tests for L{TxAMQPClient.watch} on a connection.
    """

    def test_watch(self) -> None:
        """
        It fires with the watcher, once the broker delivers.
        """
        watching = self.watch(maxEvents=4)
        broker = self.let_in()
        watcher = self.successResultOf(watching)
        self.assertIsInstance(watcher, Watcher)
        self.assertTrue(watcher.consuming)
        self.assertEqual(self.client.watchers, [watcher])
        (qos,) = [each for _, each in broker.seen if isinstance(each, Basic.Qos)]
        self.assertEqual((qos.prefetch_count, qos.global_), (4, False))

    def test_callback(self) -> None:
        """
        A message goes to the callback, and is acked on its channel.
        """
        messages: list[Message] = []
        watching = self.client.watch("flow", "queue", "k", messages.append)
        broker = self.let_in()
        self.successResultOf(watching)
        tag = broker.seen[-1][1].consumer_tag
        broker.wire.dataReceived(delivery(b"body", tag=5, consumer=tag))
        self.settle()
        self.assertEqual([each.body for each in messages], [b"body"])
        number, ack = broker.seen[-1]
        self.assertIsInstance(ack, Basic.Ack)
        self.assertEqual((number, ack.delivery_tag), (1, 5))

    def test_a_channel_each(self) -> None:
        """
        Watches share the connection, and have a channel each.
        """
        watching = [self.watch("one"), self.watch("two"), self.watch("three")]
        broker = self.let_in()
        for each in watching:
            self.successResultOf(each)
        consumers = [n for n, each in broker.seen if isinstance(each, Basic.Consume)]
        self.assertEqual(sorted(consumers), [1, 2, 3])
        self.assertEqual(self.pending(), [])

    def test_own_factory(self) -> None:
        """
        C{watcherFactory} is called like L{Watcher}.
        """

        class MyWatcher(Watcher):
            pass

        self.client = self.make(watcherFactory=MyWatcher)
        watching = self.watch()
        self.let_in()
        self.assertIsInstance(self.successResultOf(watching), MyWatcher)

    def test_settings(self) -> None:
        """
        Wrong settings fail at once, without a connection.
        """
        self.failureResultOf(self.watch(queue=""), ConfigError)
        wrong = self.failureResultOf(self.watch(maxEvents=-1), ConfigError)
        told = "maxEvents=-1 must be from 0 to 65535"
        self.assertEqual(str(wrong.value), told)
        self.assertEqual(self.client.watchers, [])
        self.assertEqual(self.pending(), [])

    def test_declared_otherwise(self) -> None:
        """
        A queue that is declared otherwise fails its watch, and no other.
        """
        broker = self.connect()
        broker.serves = False
        watching = self.watch("other")
        number = broker.open_channel(confirms=False)
        broker.expect(Queue.Declare)
        text = "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'other'"
        broker.send(ChannelClass.Close(406, text, 50, 10), channel=number)
        error = self.failureResultOf(watching, BrokerRefused).value
        self.assertEqual(str(error), text)
        broker.serves = True
        self.assertEqual(len(self.client.watchers), 1)
        self.assertTrue(self.client.watchers[0].consuming)

    def test_lost(self) -> None:
        """
        After a loss all watches consume again, on one new connection, and each
        is told of it once.
        """
        watching = [self.watch("one"), self.watch("two")]
        broker = self.let_in()
        for each in watching:
            self.successResultOf(each)
        broker.lose_once()
        self.assertEqual(len(self.disconnects), 2)
        self.advance(5)
        self.assertEqual(len(self.pending()), 1)
        other = self.let_in()
        self.advance(5)
        self.assertEqual(other.count(Basic.Consume), 2)
        self.assertEqual(len(self.disconnects), 2)
        self.assertEqual(self.pending(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_closed_by_the_broker(self) -> None:
        """
        A connection that the broker closes is replaced, too, and C{onDisconnect}
        gets to know the reason.
        """
        broker = self.connect()
        broker.send(Connection.Close(320, "CONNECTION_FORCED", 0, 0))
        self.advance(5)
        (failure,) = self.disconnects
        self.assertIn("CONNECTION_FORCED", str(failure.value))
        other = self.let_in()
        self.advance(5)
        self.assertEqual(other.count(Basic.Consume), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_lost_often(self) -> None:
        """
        Each lost connection is told of once.
        """
        broker = self.connect()
        for n in range(1, 5):
            broker.lose_once()
            self.assertEqual(len(self.disconnects), n)
            self.advance(10)
            broker = self.let_in()
            self.advance(2)
            self.assertTrue(self.client.watchers[0].consuming)


class PublishTests(ClientTestCase):
    """
    Tests for L{TxAMQPClient.publish}.
    """

    def test_published(self) -> None:
        """
        It fires when the broker has confirmed it.
        """
        publishing = self.client.publish(
            "flow", "tasks.low", b"body", {"content-type": "text/plain"}
        )
        broker = self.let_in()
        self.successResultOf(publishing)
        method, head, piece = [each for _, each in broker.seen[-3:]]
        self.assertEqual((method.exchange, method.routing_key), ("flow", "tasks.low"))
        self.assertEqual(head.properties.content_type, "text/plain")
        self.assertEqual(piece.value, b"body")

    def test_one_channel(self) -> None:
        """
        Those that publish at the same time share one channel, and so do those
        that come later.
        """
        publishing = [self.client.publish("", "q", b"%d" % n) for n in range(10)]
        broker = self.let_in()
        for each in publishing:
            self.successResultOf(each)
        later = self.client.publish("", "q", b"later")
        self.settle()
        self.successResultOf(later)
        self.assertEqual(broker.count(ChannelClass.Open), 1)
        self.assertEqual(broker.count(Basic.Publish), 11)

    def test_order(self) -> None:
        """
        They are published in the order of asking.
        """
        for n in range(10):
            self.client.publish("", "q", b"%d" % n)
        broker = self.let_in()
        bodies = [each.value for _, each in broker.seen if hasattr(each, "value")]
        self.assertEqual(bodies, [b"%d" % n for n in range(10)])

    def test_not_on_a_watch(self) -> None:
        """
        What consumes does not publish: it has a connection of its own, which
        no alarm of the broker's blocks.
        """
        consuming = self.connect()
        publishing = self.connect_publisher()
        self.client.publish("", "q", b"")
        self.settle()
        self.assertEqual(consuming.count(Basic.Publish), 0)
        self.assertEqual(publishing.count(Basic.Publish), 2)
        self.assertEqual(publishing.count(Basic.Consume), 0)
        self.assertEqual(self.pending(), [])

    def test_unroutable(self) -> None:
        """
        It fails when no queue takes it.
        """
        broker = self.connect_publisher()
        broker.confirms = False
        publishing = self.client.publish("", "nowhere", b"body")
        self.settle()
        self.assertNoResult(publishing)
        returned = marshalled(Basic.Return(312, "NO_ROUTE", "", "nowhere"), channel=1)
        broker.wire.dataReceived(returned + contents(b"body", channel=1))
        broker.send(Basic.Ack(2, False), channel=1)
        error = self.failureResultOf(publishing, Unroutable).value
        self.assertEqual(str(error), "there is no queue 'nowhere': NO_ROUTE")

    def test_refused(self) -> None:
        """
        It fails when the broker does not take it.
        """
        broker = self.connect_publisher()
        broker.confirms = False
        publishing = self.client.publish("", "q", b"body")
        self.settle()
        broker.send(Basic.Nack(2, False, False), channel=1)
        self.failureResultOf(publishing, PublishRefused)

    def test_refused_channel(self) -> None:
        """
        A channel that was refused a publication is not used for others, and ends when
        all that was published on it has its answer.
        """
        broker = self.connect_publisher()
        broker.confirms = False
        refused, slow = (self.client.publish("", "q", b"body") for _ in range(2))
        self.advance(2)
        broker.send(Basic.Nack(2, False, False), channel=1)
        self.failureResultOf(refused, PublishRefused)
        broker.confirms = True
        self.advance(1)
        another = self.client.publish("", "q", b"body")
        self.settle()
        self.successResultOf(another)
        self.assertEqual(broker.seen[-1][0], 2)
        self.assertEqual(broker.count(ChannelClass.Close), 0)
        broker.send(Basic.Ack(3, False), channel=1)
        self.successResultOf(slow)
        self.settle()
        self.assertEqual(broker.count(ChannelClass.Close), 1)

    def test_refused_often(self) -> None:
        """
        A queue that is full does not cost a channel each time.
        """
        broker = self.connect_publisher()
        broker.confirms = False
        for _ in range(40):
            refused = self.client.publish("", "q", b"body")
            self.settle()
            channel = broker.seen[-1][0]
            broker.send(Basic.Nack(1000, True, False), channel=channel)
            self.failureResultOf(refused, PublishRefused)
            self.advance(0.05, 0.05)
        self.assertIn(broker.count(ChannelClass.Open), (2, 3))

    def test_no_such_exchange(self) -> None:
        """
        A channel that it costs is replaced for the next.
        """
        broker = self.connect_publisher()
        broker.confirms = False
        publishing = self.client.publish("nowhere", "q", b"body")
        self.settle()
        text = "NOT_FOUND - no exchange 'nowhere' in vhost '/'"
        broker.send(ChannelClass.Close(404, text, 60, 40), channel=1)
        self.failureResultOf(publishing, Unroutable)
        broker.confirms = True
        following = self.client.publish("", "q", b"body")
        self.settle()
        broker.send(Basic.Ack(1, False), channel=1)
        self.successResultOf(following)
        self.assertFalse(broker.lost)

    def test_lost(self) -> None:
        """
        When the connection is lost before the confirm, nobody knows; the next
        publication has another connection.
        """
        broker = self.connect_publisher()
        broker.confirms = False
        publishing = self.client.publish("", "q", b"body")
        self.settle()
        broker.lose_once()
        self.failureResultOf(publishing, BrokerError)
        following = self.client.publish("", "q", b"body")
        self.advance(5)
        self.let_in()
        self.advance(1)
        self.successResultOf(following)

    def test_properties(self) -> None:
        """
        A property that does not exist, or cannot be written, fails it without
        a connection.
        """
        for wrong in ({"no-such": 1}, {"priority": 300}, {"headers": {"x": object()}}):
            publishing = self.client.publish("", "q", b"", wrong)
            self.failureResultOf(publishing, QuebertError)
        self.assertEqual(self.pending(), [])

    def test_unreachable(self) -> None:
        """
        All who publish while there is no broker fail when their own time is
        up, however many they are.
        """
        publishing = [self.client.publish("", "q", b"%d" % n) for n in range(3)]
        for _ in range(124):
            while self.pending():
                self.unreachable()
            self.reactor.advance(0.25)
        for each in publishing:
            self.failureResultOf(each, BrokerUnreachable)

    def test_stuck(self) -> None:
        """
        A connection that was closed, but does not end, does not hold it up
        longer than the time that there is.
        """
        broker = self.connect_publisher()
        broker.transport.stuck = True
        broker.send(Connection.Close(320, "CONNECTION_FORCED", 0, 0))
        self.addCleanup(broker.lose_once)
        publishing = self.client.publish("", "q", b"")
        self.advance(31)
        self.failureResultOf(publishing, BrokerError)
        broker.lose_once()


class StopTests(ClientTestCase):
    """
    Tests for L{TxAMQPClient.stop}.
    """

    def check_stopped(self, stopped: Deferred[None]) -> None:
        """
        It has stopped, and nothing is left of it.
        """
        self.advance(0.5)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        attempts = len(self.reactor.tcpClients)
        self.advance(1000)
        self.assertEqual(len(self.reactor.tcpClients), attempts)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_never_connected(self) -> None:
        """
        A client that did nothing has nothing to stop.
        """
        self.successResultOf(self.client.stop())
        self.assertEqual(self.pending(), [])

    def test_connected(self) -> None:
        """
        All watches are ended, then the connection is closed politely.
        """
        broker = self.connect()
        watcher = self.client.watchers[0]
        self.check_stopped(self.client.stop())
        ends = [type(each).__name__ for _, each in broker.seen[-3:]]
        self.assertEqual(broker.count(Basic.Cancel), 1)
        self.assertEqual(broker.count(Connection.Close), 1)
        self.assertEqual(ends[-1], "Close")
        self.assertTrue(broker.lost)
        self.assertFalse(watcher.consuming)
        self.assertEqual(self.client.watchers, [])
        self.assertEqual(self.disconnects, [])

    def test_twice(self) -> None:
        """
        It may be stopped twice.
        """
        self.connect()
        first, second = self.client.stop(), self.client.stop()
        self.check_stopped(first)
        self.check_stopped(second)

    def test_mute_broker(self) -> None:
        """
        A broker that does not answer is left after five seconds.
        """
        connected = Deferred.fromCoroutine(self.client.connected(None))
        broker = self.let_in()
        self.successResultOf(connected)
        broker.serves = False
        stopped = self.client.stop()
        self.advance(6)
        self.successResultOf(stopped)
        self.assertTrue(broker.lost)

    def test_while_connecting(self) -> None:
        """
        Those who wait for a connection are told that there will be none.
        """
        watching = self.watch()
        publishing = self.client.publish("", "q", b"")
        stopped = self.client.stop()
        self.check_stopped(stopped)
        self.failureResultOf(watching, BrokerError)
        self.failureResultOf(publishing, BrokerError)

    def test_between_attempts(self) -> None:
        """
        The same between two attempts.
        """
        watching = self.watch()
        publishing = self.client.publish("", "q", b"")
        self.unreachable()
        self.reactor.advance(0)
        stopped = self.client.stop()
        self.check_stopped(stopped)
        self.failureResultOf(watching, BrokerError)
        self.failureResultOf(publishing, BrokerError)

    def test_just_after_an_attempt(self) -> None:
        """
        The same in the very moment in which an attempt has failed: nobody
        connects anew after the end.
        """
        watching = self.watch()
        publishing = self.client.publish("", "q", b"")
        self.take().clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        stopped = self.client.stop()
        self.check_stopped(stopped)
        self.failureResultOf(watching, BrokerError)
        self.failureResultOf(publishing, BrokerError)

    def test_while_negotiating(self) -> None:
        """
        The same in the middle of the negotiation.
        """
        watching = self.watch()
        broker = self.accept()
        self.brokers.append(broker)
        broker.start()
        stopped = self.client.stop()
        self.check_stopped(stopped)
        self.failureResultOf(watching, BrokerError)
        self.assertTrue(broker.lost)

    def test_while_declaring(self) -> None:
        """
        The same while a queue is being declared.
        """
        watching = self.watch()
        broker = self.accept()
        self.brokers.append(broker)
        broker.let_in()
        stopped = self.client.stop()
        broker.serves = True
        self.check_stopped(stopped)
        self.failureResultOf(watching, BrokerError)
        self.assertEqual(broker.count(Basic.Consume), 0)

    def test_while_reconnecting(self) -> None:
        """
        A client that looks for its broker may be stopped, at any moment.
        """
        for seconds in (0.0, 0.3, 1.0, 2.0, 5.0):
            broker = self.connect()
            broker.lose_once()
            for _ in range(round(seconds / 0.1)):
                while self.pending():
                    self.unreachable()
                self.reactor.advance(0.1)
            self.check_stopped(self.client.stop())
            self.attempts = len(self.reactor.tcpClients)

    def test_reused(self) -> None:
        """
        A client that was stopped may be used again.
        """
        self.connect()
        self.check_stopped(self.client.stop())
        self.connect()

    def test_twice_while_running(self) -> None:
        """
        A second stop waits for what the first waits for, be it the client's or
        a watch's.
        """
        running: Deferred[None] = Deferred()
        watching = self.client.watch("flow", "queue", "k", lambda message: running)
        broker = self.let_in()
        watcher = self.successResultOf(watching)
        tag = broker.seen[-1][1].consumer_tag
        broker.wire.dataReceived(delivery(b"", tag=1, consumer=tag))
        stopped = [watcher.stop(10), self.client.stop(10), self.client.stop(10)]
        self.advance(5)
        for each in stopped:
            self.assertNoResult(each)
        self.assertFalse(broker.lost)
        running.callback(None)
        self.advance(1)
        for each in stopped:
            self.successResultOf(each)
        self.assertEqual(broker.count(Basic.Ack), 1)
        self.assertTrue(broker.lost)

    def test_grace(self) -> None:
        """
        C{grace} is what running callbacks get.
        """
        running: list[Deferred[None]] = []

        def callback(message: Message) -> Deferred[None]:
            running.append(Deferred())
            return running[-1]

        watching = self.client.watch("flow", "queue", "k", callback)
        broker = self.let_in()
        self.successResultOf(watching)
        tag = broker.seen[-1][1].consumer_tag
        broker.wire.dataReceived(delivery(b"", tag=1, consumer=tag))
        broker.wire.dataReceived(delivery(b"", tag=2, consumer=tag))
        stopped = self.client.stop(grace=10)
        self.advance(9)
        self.assertNoResult(stopped)
        running[0].callback(None)
        self.settle()
        self.assertFalse(broker.lost)
        self.advance(2)
        self.successResultOf(stopped)
        acks = [each for _, each in broker.seen if isinstance(each, Basic.Ack)]
        nacks = [each for _, each in broker.seen if isinstance(each, Basic.Nack)]
        self.assertEqual([each.delivery_tag for each in acks], [1])
        self.assertEqual([each.delivery_tag for each in nacks], [2])
        self.assertTrue(nacks[0].requeue)
        self.flushLoggedErrors(CancelledError)
