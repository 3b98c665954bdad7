"""
L{quebert.amqp.wire._wire} against a broker that is written down here, and speaks
through pamqp: a second, independent implementation of the frames.
"""

from __future__ import annotations

import gc
import struct
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import body, frame, header, heartbeat
from pamqp.commands import Basic, Connection, Queue, Tx
from pamqp.commands import Channel as ChannelClass
from pamqp.commands import Confirm as ConfirmClass
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionLost as TCPLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from quebert._protocol.frames import CHANNEL_MAX, FRAME_MAX
from quebert._protocol.properties import encode_properties
from quebert._repeated import QUIET
from quebert.amqp.wire import Channel, Message
from quebert.amqp.wire._wire import Wire
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    ProtocolError,
    PublishRefused,
    Unroutable,
)
from quebert.test.checks import QUICK
from quebert.test.memory_network import NetworkTestCase

T = TypeVar("T")

NO_PROPERTIES = b"\x00\x00"
PERSISTENT = encode_properties({"delivery-mode": 2, "content-type": "text/plain"})


class ScriptedBroker:
    """
    The far end of one L{Wire}: what it sends is encoded, and what it gets is
    decoded, by pamqp.

    @ivar frames: what came from the client and was not looked at yet.
    """

    def __init__(self, wire: Wire, transport: StringTransport | None = None) -> None:
        self.wire = wire
        self.transport = transport or StringTransport()
        self.frames: list[tuple[int, Any]] = []
        self._read = 0

    def connect(self) -> None:
        """
        Accept the client.
        """
        self.wire.makeConnection(self.transport)

    def lose(self, reason: Exception | None = None) -> None:
        """
        The TCP connection ends.
        """
        self.wire.connectionLost(Failure(reason or ConnectionDone()))

    def send(self, *frames: Any, channel: int = 0) -> None:
        """
        Send frames, in one piece.
        """
        self.wire.dataReceived(marshalled(*frames, channel=channel))

    def take(self) -> list[Any]:
        """
        The frames that the client has sent since the last time.
        """
        return [each for _, each in self.take_numbered()]

    def take_numbered(self) -> list[tuple[int, Any]]:
        """
        The same, each with the number of its channel.
        """
        data = self.transport.value()[self._read :]
        self._read += len(data)
        frames = []
        while data:
            size, number, each = frame.unmarshal(data)
            frames.append((number, each))
            data = data[size:]
        return frames

    def expect(self, *kinds: type) -> list[Any]:
        """
        Take the frames, which must be of these kinds and no other.
        """
        frames = self.take()
        found = [type(each).__name__ for each in frames]
        wanted = [each.__name__ for each in kinds]
        if found != wanted:
            raise AssertionError(f"the client sent {found}, not {wanted}")
        return frames

    # -- The polite parts of a conversation

    def start(self, mechanisms: str = "AMQPLAIN PLAIN") -> None:
        """
        Send C{connection.start} to a client that has just connected.
        """
        self.expect(header.ProtocolHeader)
        properties: Any = {"product": "RabbitMQ", "capabilities": {"basic.nack": True}}
        self.send(Connection.Start(0, 9, properties, mechanisms, "en_US"))

    def tune(self, channel_max: int = 0, frame_max: int = 0, heartbeat: int = 0) -> Any:
        """
        Send C{connection.tune}; gives the C{tune-ok}.
        """
        self.expect(Connection.StartOk)
        self.send(Connection.Tune(channel_max, frame_max, heartbeat))
        tune_ok, _ = self.expect(Connection.TuneOk, Connection.Open)
        return tune_ok

    def let_in(self, **limits: int) -> Any:
        """
        All of the negotiation; gives the C{tune-ok}.
        """
        self.start()
        tune_ok = self.tune(**limits)
        self.send(Connection.OpenOk())
        return tune_ok

    def open_channel(self, confirms: bool = True) -> int:
        """
        Answer a client that opens a channel; gives its number.
        """
        ((number, asked),) = self.take_numbered()
        assert isinstance(asked, ChannelClass.Open)
        self.send(ChannelClass.OpenOk(), channel=number)
        if confirms:
            self.expect(ConfirmClass.Select)
            self.send(ConfirmClass.SelectOk(), channel=number)
        return number


def marshalled(*frames: Any, channel: int = 0) -> bytes:
    """
    The bytes of frames on one channel.
    """
    return b"".join(frame.marshal(each, channel) for each in frames)


def delivery(
    content: bytes,
    *,
    properties: bytes = NO_PROPERTIES,
    tag: int = 1,
    consumer: str = "consumer",
    exchange: str = "flow",
    key: str = "tasks.low",
    redelivered: bool = False,
    channel: int = 1,
    step: int = 131_064,
) -> bytes:
    """
    The bytes of a delivery, its body cut into frames of C{step} bytes.
    """
    method = Basic.Deliver(consumer, tag, redelivered, exchange, key)
    return marshalled(method, channel=channel) + contents(
        content, properties=properties, channel=channel, step=step
    )


def contents(
    content: bytes,
    *,
    properties: bytes = NO_PROPERTIES,
    channel: int = 1,
    step: int = 131_064,
) -> bytes:
    """
    A content header with these very properties, and the body's frames.
    """
    start = struct.pack(">HHQ", 60, 0, len(content))
    pieces = [raw_frame(2, channel, start + properties)]
    for at in range(0, len(content), step):
        pieces.append(raw_frame(3, channel, content[at : at + step]))
    return b"".join(pieces)


def raw_frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    """
    A frame as section 4.2.3 has it, right or wrong.
    """
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


class WireTestCase(SynchronousTestCase):
    """
    A wire with a broker at its other end; none of what is asked of it may be
    left without an answer when the connection is gone.
    """

    heartbeat = 0

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[Any]] = []
        self.make()
        self.addCleanup(self.check_nothing_is_left)

    def make(self, heartbeat: int | None = None) -> None:
        """
        Another wire, connected.
        """
        seconds = self.heartbeat if heartbeat is None else heartbeat
        self.wire = Wire(vhost="/", heartbeat=seconds, clock=self.clock)
        self.broker = ScriptedBroker(self.wire)
        self.transport = self.broker.transport
        self.broker.connect()

    def check_nothing_is_left(self) -> None:
        """
        Nobody waits, and nothing is scheduled, once the connection is lost.
        """
        if not self.wire.lost.called:
            self.broker.lose()
        self.assertTrue(self.wire.lost.called)
        self.assertTrue(all(each.called for each in self.asked), self.asked)
        for each in self.asked:
            each.addErrback(lambda _: None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.wire.channels, {}, "channels are left")

    def ask(self, coroutine: Awaitable[T]) -> Deferred[T]:
        """
        Begin something, whose answer is expected by the end of the test.
        """
        if isinstance(coroutine, Deferred):
            asked: Deferred[T] = coroutine
        else:
            assert isinstance(coroutine, Coroutine)
            asked = Deferred.fromCoroutine(coroutine)
        self.asked.append(asked)
        return asked

    def negotiate(self) -> Deferred[None]:
        """
        Begin to negotiate.
        """
        return self.ask(self.wire.negotiate("user", "pass wörd"))

    def let_in(self, **limits: int) -> Any:
        """
        Negotiate to the end.
        """
        negotiated = self.negotiate()
        tune_ok = self.broker.let_in(**limits)
        self.successResultOf(negotiated)
        return tune_ok

    def channel(self, confirms: bool = True) -> Channel:
        """
        An open channel.
        """
        opened = self.ask(self.wire.open_channel(confirms=confirms))
        number = self.broker.open_channel(confirms)
        channel = self.successResultOf(opened)
        self.assertEqual(channel.id, number)
        return channel

    def failed(self, deferred: Deferred[Any], *kinds: type[BrokerError]) -> BrokerError:
        """
        The error that a Deferred has failed with.
        """
        error = self.failureResultOf(deferred, *kinds).value
        assert isinstance(error, BrokerError)
        return error

    def check_logged_once(self, kind: type[BaseException] | None = None) -> None:
        """
        Exactly one error was logged, with a traceback of C{kind} or without.
        """
        logged = self.flushLoggedErrors(*([kind] if kind else []))
        self.assertEqual(len(logged), 1, logged)

    def check_failed(self, code: int, logged: int = 0) -> Any:
        """
        The connection was closed, with this reply code.
        """
        close = self.broker.take()[-1]
        self.assertIsInstance(close, Connection.Close)
        self.assertEqual(close.reply_code, code)
        self.assertTrue(self.wire.closed)
        self.assertTrue(self.transport.disconnecting)
        self.assertIsInstance(self.wire.why, ProtocolError)
        self.assertEqual(len(self.flushLoggedErrors()), logged)
        return close


class OpenChannelTestCase(WireTestCase):
    """
    A connection with an open channel, whose messages are noted.
    """

    def setUp(self) -> None:
        super().setUp()
        self.let_in()
        self.opened = self.channel()
        self.messages: list[Message] = []
        self.opened.on_message = self.messages.append


class NegotiationTests(WireTestCase):
    """
    Tests for L{Wire.negotiate}.
    """

    def test_protocol_header(self) -> None:
        """
        The client speaks first, and wants AMQP 0-9-1.
        """
        (first,) = self.broker.expect(header.ProtocolHeader)
        version = (first.major_version, first.minor_version, first.revision)
        self.assertEqual(version, (0, 9, 1))
        self.assertEqual(self.transport.value(), b"AMQP\x00\x00\x09\x01")

    def test_plain(self) -> None:
        """
        It logs in with PLAIN, in UTF-8, and names what it is capable of.
        """
        negotiated = self.negotiate()
        self.broker.start()
        (start_ok,) = self.broker.expect(Connection.StartOk)
        self.assertEqual(start_ok.mechanism, "PLAIN")
        self.assertEqual(start_ok.response, "\0user\0pass wörd")
        self.assertEqual(start_ok.locale, "en_US")
        can = start_ok.client_properties["capabilities"]
        for capability in (
            "authentication_failure_close",
            "basic.nack",
            "consumer_cancel_notify",
            "publisher_confirms",
        ):
            self.assertIs(can[capability], True)
        self.assertNoResult(negotiated)

    def test_virtual_host(self) -> None:
        """
        It opens the virtual host that was asked for, and has succeeded when
        the broker says so, not before.
        """
        self.wire = Wire(vhost="a/ö", heartbeat=0, clock=self.clock)
        self.broker = ScriptedBroker(self.wire)
        self.transport = self.broker.transport
        self.broker.connect()
        negotiated = self.negotiate()
        self.broker.start()
        self.broker.expect(Connection.StartOk)
        self.broker.send(Connection.Tune(0, 0, 0))
        _, opened = self.broker.expect(Connection.TuneOk, Connection.Open)
        self.assertEqual(opened.virtual_host, "a/ö")
        self.assertNoResult(negotiated)
        self.broker.send(Connection.OpenOk())
        self.successResultOf(negotiated)

    def test_no_limits(self) -> None:
        """
        A broker's 0 is no limit: then the client's own are in force.
        """
        tune_ok = self.let_in(channel_max=0, frame_max=0, heartbeat=0)
        self.assertEqual(tune_ok.channel_max, CHANNEL_MAX)
        self.assertEqual(tune_ok.frame_max, FRAME_MAX)
        self.assertEqual(tune_ok.heartbeat, 0)

    def test_lower_limits(self) -> None:
        """
        Of two limits the lower one is taken, the broker's.
        """
        tune_ok = self.let_in(channel_max=7, frame_max=4096)
        self.assertEqual((tune_ok.channel_max, tune_ok.frame_max), (7, 4096))

    def test_higher_limits(self) -> None:
        """
        Of two limits the lower one is taken, the client's.
        """
        tune_ok = self.let_in(channel_max=65535, frame_max=2**31)
        self.assertEqual(tune_ok.channel_max, CHANNEL_MAX)
        self.assertEqual(tune_ok.frame_max, FRAME_MAX)

    def check_heartbeat(self, *, ours: int, brokers: int, agreed: int) -> None:
        """
        What is agreed upon, where each side wants something else.
        """
        self.broker.lose()
        self.make(heartbeat=ours)
        tune_ok = self.let_in(heartbeat=brokers)
        self.assertEqual(tune_ok.heartbeat, agreed)

    def test_heartbeat_lower(self) -> None:
        """
        Of two heartbeats the shorter one is taken.
        """
        self.check_heartbeat(ours=30, brokers=60, agreed=30)
        self.check_heartbeat(ours=60, brokers=10, agreed=10)

    def test_heartbeat_not_wanted_by_the_broker(self) -> None:
        """
        Where the broker wants no heartbeat, there is ours.
        """
        self.check_heartbeat(ours=30, brokers=0, agreed=30)

    def test_heartbeat_not_wanted(self) -> None:
        """
        A client that wants no heartbeat has none.
        """
        self.check_heartbeat(ours=0, brokers=60, agreed=0)

    def test_byte_by_byte(self) -> None:
        """
        Negotiation does not care how its bytes arrive.
        """
        negotiated = self.negotiate()
        for answer in (
            Connection.Start(0, 9, {"a": [1, -1, None, 2.5]}, "PLAIN", "en_US"),
            Connection.Tune(0, 0, 0),
            Connection.OpenOk(),
        ):
            for each in marshalled(answer):
                self.wire.dataReceived(bytes([each]))
        self.successResultOf(negotiated)

    def test_wrong_password(self) -> None:
        """
        A 403 after start-ok is a refusal that is final, in the broker's words,
        and answered with close-ok.
        """
        negotiated = self.negotiate()
        self.broker.start()
        self.broker.expect(Connection.StartOk)
        self.broker.send(Connection.Close(403, "ACCESS_REFUSED - no", 0, 0))
        error = self.failed(negotiated, BrokerRefused)
        assert isinstance(error, BrokerRefused)
        self.assertEqual((error.code, str(error)), (403, "ACCESS_REFUSED - no"))
        self.assertTrue(error.final)
        self.broker.expect(Connection.CloseOk)
        self.assertTrue(self.transport.disconnecting)

    def test_no_such_virtual_host(self) -> None:
        """
        A 530 to C{connection.open} is a refusal that is final.
        """
        negotiated = self.negotiate()
        self.broker.start()
        self.broker.tune()
        self.broker.send(Connection.Close(530, "NOT_ALLOWED - vhost", 10, 40))
        error = self.failed(negotiated, BrokerRefused)
        assert isinstance(error, BrokerRefused)
        self.assertTrue(error.final)
        self.broker.expect(Connection.CloseOk)

    def test_shutting_down(self) -> None:
        """
        A broker that is shutting down (320) refuses, but not for ever.
        """
        negotiated = self.negotiate()
        self.broker.start()
        self.broker.tune()
        self.broker.send(Connection.Close(320, "CONNECTION_FORCED", 0, 0))
        error = self.failed(negotiated, BrokerRefused)
        assert isinstance(error, BrokerRefused)
        self.assertFalse(error.final)

    def test_no_plain(self) -> None:
        """
        A broker that does not know PLAIN is told of with what it knows, and
        logged once; "PLAINTEXT" is not "PLAIN".
        """
        negotiated = self.negotiate()
        self.broker.start("EXTERNAL PLAINTEXT")
        error = self.failed(negotiated)
        self.assertIn("EXTERNAL", str(error))
        self.assertTrue(self.wire.closed)
        self.assertTrue(self.transport.disconnecting)
        self.check_failed(530)

    def test_text_for_the_broker(self) -> None:
        """
        The broker is told why, in at most 255 bytes, whatever it has said itself.
        """
        negotiated = self.negotiate()
        self.broker.start(mechanisms="\u00e9" * 300)
        close = self.check_failed(530)
        self.assertIn("\u00e9", close.reply_text)
        self.failed(negotiated, ProtocolError)

    def test_lost_at_once(self) -> None:
        """
        A peer that hangs up at once fails the negotiation.
        """
        negotiated = self.negotiate()
        self.broker.lose(TCPLost("reset"))
        self.assertIn("reset", str(self.failed(negotiated, ChannelLost)))

    def test_lost_at_open(self) -> None:
        """
        A peer that hangs up at C{connection.open} fails the negotiation.
        """
        negotiated = self.negotiate()
        self.broker.start()
        self.broker.tune()
        self.broker.lose()
        self.failed(negotiated, ChannelLost)

    def test_virtual_host_too_long(self) -> None:
        """
        A virtual host that no frame can hold is an error, not a hang.
        """
        self.broker.lose()
        self.wire = Wire(vhost="v" * 256, heartbeat=0, clock=self.clock)
        self.broker = ScriptedBroker(self.wire)
        self.transport = self.broker.transport
        self.broker.connect()
        negotiated = self.negotiate()
        self.broker.start()
        self.broker.expect(Connection.StartOk)
        self.broker.send(Connection.Tune(0, 0, 0))
        self.failed(negotiated)

    def check_not_amqp(self, said: bytes) -> None:
        """
        What is no AMQP closes the connection, whatever comes after it.
        """
        self.wire.dataReceived(said)
        self.assertTrue(self.transport.disconnecting)
        for _ in range(3):
            self.wire.dataReceived(said)

    def test_http(self) -> None:
        """
        A peer that speaks HTTP is left.  Who has connected tells of that, in one line.
        """
        said: list[Any] = []
        self.patch(self.wire, "log", _Log(said))
        negotiated = self.negotiate()
        self.check_not_amqp(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        error = self.failed(negotiated, ProtocolError)
        self.assertIn("AMQP", str(error))
        self.broker.lose()
        self.assertEqual(said, [])

    def test_another_amqp(self) -> None:
        """
        A peer that knows another version of AMQP only is left.
        """
        negotiated = self.negotiate()
        self.check_not_amqp(b"AMQP\x00\x01\x00\x00")
        self.failed(negotiated, ProtocolError)

    def test_starts_twice(self) -> None:
        """
        A second C{connection.tune} closes the connection; nothing hangs.
        """
        self.let_in()
        self.broker.send(Connection.Tune(0, 0, 10))
        self.check_failed(503)

    def test_no_delay(self) -> None:
        """
        Small frames are sent at once (TCP_NODELAY), where the transport is TCP.
        """
        set_to: list[bool] = []
        transport = StringTransport()
        directlyProvides(transport, ITCPTransport)
        transport.setTcpNoDelay = set_to.append  # type: ignore[attr-defined]
        self.broker.lose()
        self.wire = Wire(vhost="/", heartbeat=0, clock=self.clock)
        self.broker = ScriptedBroker(self.wire, transport)
        self.broker.connect()
        self.assertEqual(set_to, [True])


class _Log:
    """
    A logger that remembers.
    """

    def __init__(self, said: list[Any]) -> None:
        self._said = said

    def __getattr__(self, level: str) -> Callable[..., None]:
        def say(text: str, *arguments: object, **fields: object) -> None:
            self._said.append((level, fields or text))

        return say


class CallTests(WireTestCase):
    """
    Tests for L{Wire.open_channel} and L{Channel.call}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.let_in(channel_max=3)

    def test_open(self) -> None:
        """
        A channel is usable when it is open and in confirm mode.
        """
        opened = self.ask(self.wire.open_channel())
        self.broker.expect(ChannelClass.Open)
        self.assertNoResult(opened)
        self.broker.send(ChannelClass.OpenOk(), channel=1)
        self.broker.expect(ConfirmClass.Select)
        self.assertNoResult(opened)
        self.broker.send(ConfirmClass.SelectOk(), channel=1)
        self.assertEqual(self.successResultOf(opened).id, 1)

    def test_open_without_confirms(self) -> None:
        """
        A channel without confirms is open after one answer.
        """
        self.channel(confirms=False)
        self.broker.expect()

    def test_without_an_answer(self) -> None:
        """
        A call that has no answer is over when it is written.
        """
        channel = self.channel(confirms=False)
        self.successResultOf(self.ask(channel.call("basic_ack", delivery_tag=7)))
        (ack,) = self.broker.expect(Basic.Ack)
        self.assertEqual(ack.delivery_tag, 7)

    def test_numbers(self) -> None:
        """
        Channels are numbered from 1 to the limit; then there are no more, and
        a number is free again after its channel is closed.
        """
        channels = [self.channel() for _ in range(3)]
        self.assertEqual([each.id for each in channels], [1, 2, 3])
        self.assertIn("3", str(self.failed(self.ask(self.wire.open_channel()))))
        shut = self.ask(channels[1].shut())
        self.broker.expect(ChannelClass.Close)
        self.broker.send(ChannelClass.CloseOk(), channel=2)
        self.successResultOf(shut)
        self.assertEqual(self.channel().id, 2)

    def test_closed_again(self) -> None:
        """
        Who closes a channel again that is closed leaves the next one of its number.
        """
        first, *_ = [self.channel() for _ in range(3)]
        self.broker.send(ChannelClass.Close(406, "no", 0, 0), channel=1)
        self.broker.expect(ChannelClass.CloseOk)
        again = self.channel()
        first.close(ChannelLost("once more"))
        self.assertIs(self.wire.channels[1], again)

    def test_number_of_a_crossing(self) -> None:
        """
        Where both ends close a channel, its number is free again when the broker has
        answered.
        """
        first, *_ = [self.channel() for _ in range(3)]
        shut = self.ask(first.shut())
        self.broker.send(ChannelClass.Close(406, "timed out", 0, 0), channel=1)
        self.successResultOf(shut)
        self.failed(self.ask(self.wire.open_channel()))
        self.broker.send(ChannelClass.CloseOk(), channel=1)
        self.broker.take()
        self.assertEqual(self.channel().id, 1)

    def test_number_of_a_refused_one(self) -> None:
        """
        What comes on a channel that the broker has closed is ignored; on a later one of
        that number, that was closed here, it is an error.
        """
        for _ in range(3):
            self.channel()
        self.broker.send(ChannelClass.Close(406, "no", 0, 0), channel=1)
        self.broker.expect(ChannelClass.CloseOk)
        self.wire.dataReceived(delivery(b"late"))
        again = self.channel()
        shut = self.ask(again.shut())
        self.broker.expect(ChannelClass.Close)
        self.broker.send(ChannelClass.CloseOk(), channel=1)
        self.successResultOf(shut)
        self.assertFalse(self.wire.closed)
        self.wire.dataReceived(delivery(b"later"))
        self.check_failed(504)

    def test_concurrent_opening(self) -> None:
        """
        Two channels opened at a time have different numbers.
        """
        first = self.ask(self.wire.open_channel(confirms=False))
        second = self.ask(self.wire.open_channel(confirms=False))
        numbers = [number for number, _ in self.broker.take_numbered()]
        self.assertEqual(numbers, [1, 2])
        self.broker.send(ChannelClass.OpenOk(), channel=2)
        self.assertNoResult(first)
        self.assertEqual(self.successResultOf(second).id, 2)
        self.broker.send(ChannelClass.OpenOk(), channel=1)
        self.assertEqual(self.successResultOf(first).id, 1)

    def test_call(self) -> None:
        """
        A call sends its arguments, and gives the answer's.
        """
        channel = self.channel()
        declared = self.ask(
            channel.call("queue_declare", queue="q", durable=True, exclusive=True)
        )
        (asked,) = self.broker.expect(Queue.Declare)
        self.assertEqual(asked.queue, "q")
        self.assertTrue(asked.durable)
        self.assertTrue(asked.exclusive)
        self.assertFalse(asked.auto_delete)
        self.assertFalse(asked.passive)
        self.broker.send(Queue.DeclareOk("q", 12, 3), channel=1)
        answer = self.successResultOf(declared)
        self.assertEqual(answer.queue, "q")
        self.assertEqual((answer.message_count, answer.consumer_count), (12, 3))

    def test_calls_in_order(self) -> None:
        """
        Calls that overlap get their answers in the order of asking.
        """
        channel = self.channel()
        first = self.ask(channel.call("queue_declare", queue="a"))
        second = self.ask(channel.call("queue_declare", queue="b"))
        self.broker.send(
            Queue.DeclareOk("a", 0, 0), Queue.DeclareOk("b", 0, 0), channel=1
        )
        self.assertEqual(self.successResultOf(first).queue, "a")
        self.assertEqual(self.successResultOf(second).queue, "b")

    def test_refused(self) -> None:
        """
        A call to which the broker closes the channel fails with what it said;
        the channel is gone, the connection is not.
        """
        channel = self.channel()
        declared = self.ask(channel.call("queue_declare", queue="q"))
        self.broker.expect(Queue.Declare)
        why = self.ask(channel.when_closed())
        text = "PRECONDITION_FAILED - inequivalent arg 'durable'"
        self.broker.send(ChannelClass.Close(406, text, 50, 10), channel=1)
        error = self.failed(declared, BrokerRefused)
        assert isinstance(error, BrokerRefused)
        self.assertEqual((error.code, str(error)), (406, text))
        self.assertTrue(error.final)
        self.assertIs(self.successResultOf(why), error)
        self.assertEqual(
            [(n, type(f)) for n, f in self.broker.take_numbered()],
            [(1, ChannelClass.CloseOk)],
        )
        self.assertFalse(self.wire.closed)
        self.failed(self.ask(channel.call("queue_declare", queue="q")), BrokerRefused)
        self.broker.expect()
        self.assertEqual(self.channel().id, 2)

    def test_many_refused(self) -> None:
        """
        However many calls wait for their answers, all of them fail.
        """
        channel = self.channel()
        asked = [
            self.ask(channel.call("queue_declare", queue=f"{n}")) for n in range(2000)
        ]
        self.broker.send(ChannelClass.Close(403, "ACCESS_REFUSED", 50, 10), channel=1)
        for each in asked:
            self.failed(each, BrokerRefused)

    def test_refused_for_now(self) -> None:
        """
        A 405 (locked) is a refusal that waiting may mend.
        """
        channel = self.channel()
        declared = self.ask(channel.call("queue_declare", queue="q"))
        self.broker.send(ChannelClass.Close(405, "RESOURCE_LOCKED", 50, 10), channel=1)
        error = self.failed(declared, BrokerRefused)
        assert isinstance(error, BrokerRefused)
        self.assertFalse(error.final)

    def test_connection_lost(self) -> None:
        """
        Calls that wait fail when the connection is lost.
        """
        channel, other = self.channel(), self.channel()
        waiting = [
            self.ask(channel.call("queue_declare", queue="q")),
            self.ask(channel.call("queue_declare", queue="r")),
            self.ask(other.call("queue_declare", queue="q")),
            self.ask(self.wire.open_channel()),
        ]
        self.broker.lose(TCPLost("cable"))
        for each in waiting:
            self.assertIn("cable", str(self.failed(each, ChannelLost)))
        self.failed(self.ask(channel.call("queue_declare", queue="q")), ChannelLost)
        self.failed(self.ask(self.wire.open_channel()), ChannelLost)

    def test_argument_too_long(self) -> None:
        """
        An argument that does not fit is an error; channel and connection stay
        usable, and nothing of it was sent.
        """
        channel = self.channel()
        self.failed(self.ask(channel.call("queue_declare", queue="q" * 256)))
        self.broker.expect()
        self.failed(self.ask(channel.call("queue_declare", queue="é" * 128)))
        self.broker.expect()
        declared = self.ask(channel.call("queue_declare", queue="q" * 255))
        self.broker.expect(Queue.Declare)
        self.broker.send(Queue.DeclareOk("q" * 255, 0, 0), channel=1)
        self.successResultOf(declared)
        self.assertFalse(channel.closed)

    def test_wrong_argument(self) -> None:
        """
        An argument of the wrong type is an error, too.
        """
        channel = self.channel()
        for wrong in (-1, 65536, "many"):
            self.failed(self.ask(channel.call("basic_qos", prefetch_count=wrong)))
        self.broker.expect()

    def test_arguments(self) -> None:
        """
        A table of arguments arrives with its types.
        """
        channel = self.channel()
        arguments = {"x-expires": 1000, "x-max-length": 2**40, "a": [True, None, -1]}
        self.ask(channel.call("queue_declare", queue="q", arguments=arguments))
        (asked,) = self.broker.expect(Queue.Declare)
        self.assertEqual(asked.arguments, arguments)

    def test_given_up_call(self) -> None:
        """
        The late answer to a call that was cancelled is not taken for the
        answer to the next one.
        """
        channel = self.channel()
        given_up = self.ask(channel.call("queue_declare", queue="a"))
        given_up.cancel()
        self.failureResultOf(given_up)
        following = self.ask(channel.call("queue_declare", queue="b"))
        self.broker.send(Queue.DeclareOk("a", 0, 0), channel=1)
        self.assertNoResult(following)
        self.broker.send(Queue.DeclareOk("b", 0, 0), channel=1)
        self.assertEqual(self.successResultOf(following).queue, "b")

    def test_given_up_and_shut(self) -> None:
        """
        A channel that is closed while an answer is under way does not take
        the connection with it.
        """
        channel = self.channel()
        given_up = self.ask(channel.call("queue_declare", queue="a"))
        given_up.cancel()
        self.failureResultOf(given_up)
        self.ask(channel.shut())
        self.broker.send(Queue.DeclareOk("a", 0, 0), channel=1)
        self.broker.send(ChannelClass.CloseOk(), channel=1)
        self.assertFalse(self.wire.closed, self.wire.why)
        self.assertTrue(channel.closed)

    def test_given_up_opening(self) -> None:
        """
        A channel whose opening is given up does not keep its number for ever.
        """
        for _ in range(3):
            opening = self.ask(self.wire.open_channel())
            number = self.broker.take_numbered()[0][0]
            opening.cancel()
            self.failureResultOf(opening)
            self.broker.send(ChannelClass.OpenOk(), channel=number)
            for each, sent in self.broker.take_numbered():
                if isinstance(sent, ChannelClass.Close):
                    self.broker.send(ChannelClass.CloseOk(), channel=each)
        self.assertFalse(self.wire.closed, self.wire.why)
        self.assertLess(self.channel().id, 4)

    def test_flow(self) -> None:
        """
        C{channel.flow} is answered.
        """
        self.channel()
        self.broker.send(ChannelClass.Flow(True), channel=1)
        (answer,) = self.broker.expect(ChannelClass.FlowOk)
        self.assertTrue(answer.active)

    def test_blocked(self) -> None:
        """
        A broker that blocks its publishers is logged, and nothing else.
        """
        with capturedLogs() as logged:
            self.broker.send(Connection.Blocked("low on memory"))
            self.broker.send(Connection.Unblocked())
            self.clock.advance(QUIET)
        self.assertEqual(
            [*map(formatEvent, logged)],
            [
                "The broker takes no messages for now: low on memory",
                "The broker takes messages again.",
            ],
        )
        levels = [event["log_level"] for event in logged]
        self.assertEqual(levels, [LogLevel.warn, LogLevel.info])
        self.assertFalse(self.wire.closed)

    def test_unblocked_only(self) -> None:
        """
        A broker that has blocked nobody may say that it reads on.
        """
        with capturedLogs() as logged:
            self.broker.send(Connection.Unblocked())
            self.clock.advance(QUIET)
        self.assertEqual(logged, [])

    def test_blocked_for_another_reason(self) -> None:
        """
        The first reason is logged, and the last one is told.
        """
        with capturedLogs() as logged:
            for reason in ("memory", "disk"):
                self.broker.send(Connection.Blocked(reason))
                self.assertEqual(self.wire.blocked, reason)
        self.assertEqual(len(logged), 1)

    def test_surely_taken(self) -> None:
        """
        A body of 256 KiB is taken by any broker, until one says otherwise.
        """
        self.assertEqual(self.wire.max_message_size, 256 * 1024)

    def test_when_unblocked(self) -> None:
        """
        Those who wait for the broker to read on are told when it does, and when the
        connection is lost.
        """
        self.successResultOf(self.wire.when_unblocked())
        self.broker.send(Connection.Blocked("low on memory"))
        waiting = [self.wire.when_unblocked() for _ in range(3)]
        waiting[0].addCallback(lambda _: waiting[1].cancel())
        self.failureResultOf(self._cancelled(self.wire.when_unblocked()))
        self.broker.send(Connection.Blocked("low on disk"))
        self.assertNoResult(waiting[0])
        self.broker.send(Connection.Unblocked())
        self.successResultOf(waiting[0])
        self.failureResultOf(waiting[1])
        self.successResultOf(waiting[2])
        self.broker.send(Connection.Blocked("low on memory"))
        waiting = [self.wire.when_unblocked()]
        self.broker.lose()
        self.successResultOf(waiting[0])
        self.successResultOf(self.wire.when_unblocked())

    def _cancelled(self, waiting: Deferred[None]) -> Deferred[None]:
        waiting.cancel()
        return waiting

    def test_blocked_flood(self) -> None:
        """
        A broker that blocks its publishers again and again, each time for another
        reason, is logged once, and no longer when the connection is lost.
        """
        with capturedLogs() as logged:
            for number in range(1_000):
                self.broker.send(Connection.Blocked(f"\x1b[2J{number}"))
                self.broker.send(Connection.Unblocked())
                self.clock.advance(0.1)
            self.assertEqual(len(logged), 1)
            self.assertIn("for now: ?[2J0", formatEvent(logged[0]))
            self.clock.advance(QUIET)
            self.assertIn("after 1,000 interruptions", formatEvent(logged[1]))
            self.broker.send(Connection.Blocked("once more"), Connection.Unblocked())
            self.broker.lose()
            self.clock.advance(QUIET)
        self.assertEqual(len(logged), 3)


class DeliveryTests(OpenChannelTestCase):
    """
    Tests for messages from the broker.
    """

    def check_bodies(self, *bodies: bytes) -> None:
        """
        These were delivered, and the connection is all right.
        """
        self.assertEqual([each.body for each in self.messages], list(bodies))
        self.assertFalse(self.wire.closed, self.wire.why)

    def test_fields(self) -> None:
        """
        A message has what C{basic.deliver} says.
        """
        self.wire.dataReceived(
            delivery(
                b"body",
                tag=2**63 - 1,
                consumer="cönsumer",
                exchange="flow",
                key="tasks.größe",
                redelivered=True,
            )
        )
        (message,) = self.messages
        self.assertEqual(message.delivery_tag, 2**63 - 1)
        self.assertEqual(message.consumer_tag, "cönsumer")
        self.assertEqual(message.exchange, "flow")
        self.assertEqual(message.routing_key, "tasks.größe")
        self.assertIs(message.redelivered, True)
        self.assertEqual(message.body, b"body")

    def test_message_type(self) -> None:
        """
        A message is of the class that its channel was given.
        """

        class Mine(Message):
            pass

        self.wire.dataReceived(delivery(b"body"))
        self.opened.message_type = Mine
        self.wire.dataReceived(delivery(b"body", tag=2))
        self.assertEqual([type(each) for each in self.messages], [Message, Mine])

    def test_empty_fields(self) -> None:
        """
        Consumer, exchange and key may all be empty.
        """
        self.wire.dataReceived(delivery(b"", consumer="", exchange="", key=""))
        (message,) = self.messages
        self.assertEqual(message.consumer_tag, "")
        self.assertEqual(message.exchange, "")
        self.assertEqual(message.routing_key, "")
        self.assertIs(message.redelivered, False)

    def test_not_text(self) -> None:
        """
        A routing key that is no UTF-8 loses nothing.
        """
        method = struct.pack(">HH", 60, 60) + b"\x01c" + struct.pack(">QB", 1, 0)
        method += b"\x00" + b"\x03\xff\x00\xfe"
        self.wire.dataReceived(raw_frame(1, 1, method) + contents(b"x"))
        key = self.messages[0].routing_key
        self.assertEqual(key.encode("utf-8", "surrogateescape"), b"\xff\x00\xfe")

    def test_pamqp_properties(self) -> None:
        """
        Properties that another implementation wrote are read.
        """
        properties = Basic.Properties(
            content_type="application/json",
            headers={"n": -1, "list": [1, {"deep": None}], "text": "é"},
            delivery_mode=2,
            priority=9,
            correlation_id="c",
            app_id="app",
        )
        self.broker.send(
            Basic.Deliver("c", 1, False, "", "k"),
            header.ContentHeader(0, 4, properties),
            body.ContentBody(b"\xff\xfe\x00\x01"),
            channel=1,
        )
        (message,) = self.messages
        self.assertEqual(message.body, b"\xff\xfe\x00\x01")
        self.assertEqual(message.properties["content-type"], "application/json")
        self.assertEqual(message.properties["priority"], 9)
        self.assertEqual(
            message.headers, {"n": -1, "list": [1, {"deep": None}], "text": "é"}
        )

    def test_raw_properties(self) -> None:
        """
        The properties are kept byte for byte, even those nobody can read.
        """
        for strange in (PERSISTENT, b"\x20\x00\x00\x00\x00\x03\x01kZ", b"\xff\xff"):
            self.messages.clear()
            self.wire.dataReceived(delivery(b"x", properties=strange))
            self.assertEqual(self.messages[0].encoded_properties, strange)
        self.assertFalse(self.wire.closed)

    def test_body_sizes(self) -> None:
        """
        A body of any size arrives whole, over as many frames as it takes.
        """
        sizes = (0, 1, 7, 8, 131_063, 131_064, 131_065, 400_000)
        bodies = [bytes([n % 251]) * n for n in sizes]
        for content in bodies:
            self.wire.dataReceived(delivery(content))
        self.check_bodies(*bodies)

    def test_small_frames(self) -> None:
        """
        A character cut by a frame's end is none the worse for it.
        """
        content = "größe €".encode()
        self.wire.dataReceived(delivery(content, step=1))
        self.check_bodies(content)

    def test_frame_end_in_the_body(self) -> None:
        """
        A body may be full of what looks like the ends of frames.
        """
        content = b"\xce" * 100 + raw_frame(1, 1, b"x")
        self.wire.dataReceived(delivery(content, step=10))
        self.check_bodies(content)

    def test_every_cut(self) -> None:
        """
        The stream may be cut in two at any point.
        """
        stream = delivery(b"one", properties=PERSISTENT) + delivery(b"", tag=2)
        stream += marshalled(heartbeat.Heartbeat()) + delivery(b"three", step=2)
        for cut in range(len(stream) + 1):
            self.messages.clear()
            self.wire.dataReceived(stream[:cut])
            self.wire.dataReceived(stream[cut:])
            self.check_bodies(b"one", b"", b"three")

    def test_byte_by_byte(self) -> None:
        """
        The stream may come in single bytes.
        """
        for each in delivery(b"slow", step=3) * 3:
            self.wire.dataReceived(bytes([each]))
        self.check_bodies(*[b"slow"] * 3)

    def test_many_at_once(self) -> None:
        """
        Many messages may come in one read, and come in order.
        """
        bodies = [b"%d" % n for n in range(2000)]
        self.wire.dataReceived(b"".join(map(delivery, bodies)))
        self.check_bodies(*bodies)

    def test_interleaved_channels(self) -> None:
        """
        The frames of several channels may come mixed.
        """
        second = self.channel()
        others: list[Message] = []
        second.on_message = others.append
        one = _frames_of(delivery(b"first", step=1))
        two = _frames_of(delivery(b"SECOND", step=2, channel=2))
        while one or two:
            self.wire.dataReceived(b"".join(one[:1] + two[:1]))
            del one[:1], two[:1]
        self.check_bodies(b"first")
        self.assertEqual([each.body for each in others], [b"SECOND"])

    def test_answers_between_deliveries(self) -> None:
        """
        Deliveries and the answers to calls do not get into each other's way.
        """
        declared = self.ask(self.opened.call("queue_declare", queue="q"))
        self.wire.dataReceived(
            delivery(b"one")
            + marshalled(Queue.DeclareOk("q", 0, 0), channel=1)
            + delivery(b"two", tag=2)
        )
        self.successResultOf(declared)
        self.check_bodies(b"one", b"two")

    def test_settling(self) -> None:
        """
        C{ack} and C{give_back} name one delivery each; pamqp reads them so.
        """
        self.opened.ack(2**64 - 1)
        self.clock.advance(0)
        self.opened.give_back(7)
        frames = self.broker.take_numbered()
        self.assertEqual([number for number, _ in frames], [1, 1])
        (_, ack), (_, nack) = frames
        self.assertIsInstance(ack, Basic.Ack)
        # pamqp takes the number for a signed one.
        self.assertEqual((ack.delivery_tag % 2**64, ack.multiple), (2**64 - 1, False))
        self.assertIsInstance(nack, Basic.Nack)
        self.assertEqual((nack.delivery_tag, nack.multiple), (7, False))
        self.assertIs(nack.requeue, True)

    def test_settling_together(self) -> None:
        """
        Acknowledgements are written at the end of the turn, one for as many as
        can be, or before anything else is asked of the channel.
        """
        for tag in range(1, 7):
            self.wire.dataReceived(delivery(b"body", tag=tag))
        for tag in (2, 1, 3):
            self.opened.ack(tag)
        self.broker.expect()
        self.clock.advance(0)
        (ack,) = self.broker.expect(Basic.Ack)
        self.assertEqual((ack.delivery_tag, ack.multiple), (3, True))
        for tag in (6, 4):
            self.opened.ack(tag)
        self.ask(self.opened.call("basic_cancel", consumer_tag="consumer"))
        acks = self.broker.expect(Basic.Ack, Basic.Ack, Basic.Cancel)
        settled = [(each.delivery_tag, each.multiple) for each in acks[:2]]
        self.assertEqual(settled, [(4, True), (6, False)])

    def test_settling_before_the_channel_closes(self) -> None:
        """
        What was done before the channel is closed here is acknowledged.
        """
        self.wire.dataReceived(delivery(b"body", tag=1))
        self.opened.ack(1)
        self.ask(self.opened.shut())
        self.broker.expect(Basic.Ack, ChannelClass.Close)

    def test_settling_before_the_connection_closes(self) -> None:
        """
        The same of the connection.
        """
        self.wire.dataReceived(delivery(b"body", tag=1))
        self.opened.ack(1)
        self.ask(self.wire.shut())
        self.broker.expect(Basic.Ack, Connection.Close)

    def test_closing(self) -> None:
        """
        On a channel that is being closed here nothing is settled any more, and
        what is delivered still is nobody's: the broker delivers it again.
        """
        self.wire.dataReceived(delivery(b"one", tag=1))
        self.ask(self.opened.shut())
        self.broker.expect(ChannelClass.Close)
        self.wire.dataReceived(delivery(b"two", tag=2))
        self.opened.ack(1)
        self.opened.give_back(2)
        self.clock.advance(0)
        self.broker.expect()
        self.check_bodies(b"one")

    def test_closing_while_it_comes(self) -> None:
        """
        So is a delivery that is coming when the channel is closed here.
        """
        for count in (1, 2):
            channel = self.channel()
            channel.on_message = self.messages.append
            frames = _frames_of(delivery(b"one", channel=channel.id))
            self.wire.dataReceived(b"".join(frames[:count]))
            self.ask(channel.shut())
            self.broker.expect(ChannelClass.Close)
            self.wire.dataReceived(b"".join(frames[count:]))
            self.assertEqual((self.messages, self.wire.closed), ([], False))

    def test_settling_too_late(self) -> None:
        """
        Nothing is said of a delivery on a channel that is closed.
        """
        self.broker.send(ChannelClass.Close(406, "no", 0, 0), channel=1)
        self.broker.expect(ChannelClass.CloseOk)
        self.opened.ack(1)
        self.opened.give_back(2)
        self.opened.give_all_back()
        self.broker.expect()

    def test_settled_when_it_is_lost(self) -> None:
        """
        What was to be acknowledged is not, once the connection is lost, and nothing
        is left to do.
        """
        self.wire.dataReceived(delivery(b"one"))
        self.opened.ack(1)
        self.broker.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(0)
        self.broker.expect()

    def test_asked_for(self) -> None:
        """
        One message is asked for so that it must be acknowledged.
        """
        self.ask(self.opened.get("queue"))
        asked = frame.marshal(Basic.Get(0, "queue", False), 1)
        self.assertTrue(self.transport.value().endswith(asked))

    def test_asked_for_and_unsettled(self) -> None:
        """
        It is unsettled until it is acknowledged, as a delivery is.
        """
        asked = self.ask(self.opened.get("queue"))
        self.broker.send(Basic.GetOk(1, False, "flow", "key", 0), channel=1)
        self.wire.dataReceived(contents(b"body"))
        message: Any = self.successResultOf(asked)
        self.assertEqual((message.body, self.opened.acks.unsettled), (b"body", 1))
        self.opened.ack(message.delivery_tag)
        self.clock.advance(0)
        self.assertEqual(self.opened.acks.unsettled, 0)

    def test_nothing_asked_of_a_closed_one(self) -> None:
        """
        A closed channel says why to all that ask something of it, and sends nothing.
        """
        self.broker.send(ChannelClass.Close(406, "no", 0, 0), channel=1)
        self.broker.expect(ChannelClass.CloseOk)
        all_asked: list[Awaitable[Any]] = [
            self.opened.get("queue"),
            self.opened.publish("", "queue", b"", NO_PROPERTIES),
            self.opened.call("basic_qos", prefetch_count=1),
        ]
        for asked in all_asked:
            self.assertIs(self.failed(self.ask(asked)), self.opened.why)
        self.assertIs(self.successResultOf(self.opened.when_closed()), self.opened.why)
        self.broker.expect()

    def test_asked_for_when_it_closes(self) -> None:
        """
        Who has asked for a message learns that the channel is closed.
        """
        asked = self.ask(self.opened.get("queue"))
        self.broker.expect(Basic.Get)
        self.broker.send(ChannelClass.Close(404, "NOT_FOUND", 0, 0), channel=1)
        self.assertEqual(self.failureResultOf(asked, BrokerRefused).value.code, 404)

    def test_all_given_back(self) -> None:
        """
        All deliveries go back at once, behind what was settled before; nothing is said
        while the channel is being closed.
        """
        self.opened.ack(1)
        self.opened.give_all_back()
        ack, nack = self.broker.expect(Basic.Ack, Basic.Nack)
        self.assertEqual(ack.delivery_tag, 1)
        told = nack.delivery_tag, nack.multiple, nack.requeue
        self.assertEqual(told, (0, True, True))
        self.ask(self.opened.shut())
        self.broker.expect(ChannelClass.Close)
        self.opened.give_all_back()
        self.broker.expect()

    def test_cancelled_by_the_broker(self) -> None:
        """
        The end of a consumer is told to C{on_cancel}.
        """
        cancelled: list[str] = []
        self.opened.on_cancel = cancelled.append
        self.broker.send(Basic.Cancel("consumer", True), channel=1)
        self.assertEqual(cancelled, ["consumer"])
        self.broker.expect()
        self.assertFalse(self.wire.closed)

    def test_while_shutting(self) -> None:
        """
        What is delivered while the channel is being closed does no harm.
        """
        shut = self.ask(self.opened.shut())
        self.broker.expect(ChannelClass.Close)
        self.wire.dataReceived(delivery(b"late"))
        self.broker.send(ChannelClass.CloseOk(), channel=1)
        self.successResultOf(shut)
        self.assertFalse(self.wire.closed)

    # -- What is wrong

    def test_no_consumer(self) -> None:
        """
        A delivery to a channel that consumes nothing closes the connection.
        """
        self.channel()
        self.wire.dataReceived(delivery(b"x", channel=2))
        self.check_failed(503)

    def test_no_consumer_to_cancel(self) -> None:
        """
        The end of a consumer that there is not closes the connection.
        """
        self.channel()
        self.broker.send(Basic.Cancel("consumer", True), channel=2)
        self.check_failed(503)

    def test_method_within_content(self) -> None:
        """
        A method where a content header was due is a 505.
        """
        deliver = Basic.Deliver("c", 1, False, "", "k")
        self.broker.send(deliver, deliver, channel=1)
        self.check_failed(505)

    def test_method_within_body(self) -> None:
        """
        A method where a body was due is a 505.
        """
        stream = delivery(b"body", step=2)[:-10] + delivery(b"next")
        self.wire.dataReceived(stream)
        self.check_failed(505)
        self.assertEqual(self.messages, [])

    def test_header_without_method(self) -> None:
        """
        A content header that nothing announced is a 505.
        """
        self.wire.dataReceived(contents(b"x"))
        self.check_failed(505)
        text = "a frame from the broker is refused: a content header came unexpectedly"
        self.assertEqual(str(self.wire.why), text)

    def test_second_header(self) -> None:
        """
        A second content header is a 505.
        """
        first = _frames_of(delivery(b"x"))[:2]
        self.wire.dataReceived(b"".join(first) + first[1])
        self.check_failed(505)

    def test_body_without_method(self) -> None:
        """
        A body that nothing announced is a 505.
        """
        self.wire.dataReceived(raw_frame(3, 1, b"x"))
        self.check_failed(505)

    def test_body_without_header(self) -> None:
        """
        A body that comes before its content header is a 505.
        """
        deliver = marshalled(Basic.Deliver("c", 1, False, "", "k"), channel=1)
        self.wire.dataReceived(deliver + raw_frame(3, 1, b"x"))
        self.check_failed(505)

    def test_empty_body_without_header(self) -> None:
        """
        Even an empty body must not come before its content header.
        """
        deliver = marshalled(Basic.Deliver("c", 1, False, "", "k"), channel=1)
        self.wire.dataReceived(deliver + raw_frame(3, 1, b""))
        self.assertEqual(self.messages, [])
        self.check_failed(505)

    def test_too_much_body(self) -> None:
        """
        More of a body than was announced is a 505, and is not delivered.
        """
        frames = _frames_of(delivery(b"four"))
        self.wire.dataReceived(b"".join(frames[:2]) + raw_frame(3, 1, b"fives"))
        self.check_failed(505)
        self.assertEqual(self.messages, [])

    def test_closed_channel(self) -> None:
        """
        What RabbitMQ sends on a channel that it has just closed is nothing to the next
        channel, nor to the others.
        """
        close = ChannelClass.Close(406, "PRECONDITION_FAILED", 0, 0)
        self.broker.send(close, channel=1)
        self.wire.dataReceived(delivery(b"late"))
        self.broker.take()
        opened = self.ask(self.wire.open_channel(confirms=False))
        self.wire.dataReceived(delivery(b"later"))
        self.broker.open_channel(confirms=False)
        channel = self.successResultOf(opened)
        self.wire.dataReceived(delivery(b"latest"))
        self.assertEqual(self.messages, [])
        self.assertFalse(self.wire.closed)
        channel.on_message = self.messages.append
        self.wire.dataReceived(delivery(b"its own", channel=channel.id))
        (message,) = self.messages
        self.assertEqual(message.body, b"its own")


def _frames_of(stream: bytes) -> list[bytes]:
    frames = []
    while stream:
        end = 8 + struct.unpack_from(">I", stream, 3)[0]
        frames.append(stream[:end])
        stream = stream[end:]
    return frames


class PublishTests(WireTestCase):
    """
    Tests for L{Channel.publish}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.let_in(frame_max=4096)
        self.opened = self.channel()

    def publish(
        self,
        body: bytes = b"body",
        key: str = "key",
        exchange: str = "flow",
        properties: bytes = PERSISTENT,
    ) -> Deferred[None]:
        """
        Publish something.
        """
        return self.ask(self.opened.publish(exchange, key, body, properties))

    def give_back(
        self,
        body: bytes = b"body",
        key: str = "key",
        exchange: str = "flow",
        properties: bytes = PERSISTENT,
    ) -> None:
        """
        Return something, as a broker does before it confirms.
        """
        method = Basic.Return(312, "NO_ROUTE", exchange, key)
        self.wire.dataReceived(
            marshalled(method, channel=1) + contents(body, properties=properties)
        )

    def confirm(self, tag: int, multiple: bool = False) -> None:
        """
        Confirm one, or all up to it.
        """
        self.broker.send(Basic.Ack(tag, multiple), channel=1)

    def check_published(self, content: bytes) -> list[bytes]:
        """
        It is one publication with this body; gives the bodies of its frames.
        """
        method, head, *pieces = self.broker.take()
        self.assertIsInstance(method, Basic.Publish)
        self.assertIsInstance(head, header.ContentHeader)
        self.assertEqual(head.body_size, len(content))
        bodies = [each.value for each in pieces]
        self.assertEqual(b"".join(bodies), content)
        return bodies

    def test_frames(self) -> None:
        """
        The frames are what pamqp takes for a mandatory publication.
        """
        properties = encode_properties(
            {"content-type": "é", "headers": {"n": 2**40}, "delivery-mode": 2}
        )
        self.publish("größe".encode(), "schlüssel", "flöw", properties)
        numbered = self.broker.take_numbered()
        self.assertEqual([number for number, _ in numbered], [1, 1, 1])
        method, head, piece = [each for _, each in numbered]
        self.assertIsInstance(method, Basic.Publish)
        self.assertEqual((method.exchange, method.routing_key), ("flöw", "schlüssel"))
        self.assertIs(method.mandatory, True)
        self.assertIs(method.immediate, False)
        self.assertEqual(head.body_size, 6 + 1)
        self.assertEqual(head.properties.content_type, "é")
        self.assertEqual(head.properties.headers, {"n": 2**40})
        self.assertEqual(head.properties.delivery_mode, 2)
        self.assertEqual(piece.value, "größe".encode())

    def test_exact_bytes(self) -> None:
        """
        They are the very bytes that pamqp would have sent.
        """
        start = len(self.transport.value())
        self.publish(b"body", "key", "flow", PERSISTENT)
        properties = Basic.Properties(content_type="text/plain", delivery_mode=2)
        self.assertEqual(
            self.transport.value()[start:],
            marshalled(
                Basic.Publish(exchange="flow", routing_key="key", mandatory=True),
                header.ContentHeader(0, 4, properties),
                body.ContentBody(b"body"),
                channel=1,
            ),
        )

    def test_empty_body(self) -> None:
        """
        An empty body has no body frame.
        """
        self.publish(b"")
        self.assertEqual(self.check_published(b""), [])

    def test_body_cut(self) -> None:
        """
        A body is cut so that each frame is at most as large as negotiated.
        """
        whole = 4096 - 8
        for size, frames in (
            (1, 1),
            (whole, 1),
            (whole + 1, 2),
            (2 * whole, 2),
            (10 * whole + 1, 11),
        ):
            start = len(self.transport.value())
            self.publish(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
            sent = _frames_of(self.transport.value()[start:])
            self.assertLessEqual(max(map(len, sent)), 4096)
            _, head, *pieces = self.broker.take()
            self.assertEqual((len(pieces), head.body_size), (frames, size))

    def test_too_long(self) -> None:
        """
        A key or properties that no frame can hold are an error; the channel
        stays usable and its count right.
        """
        self.failed(self.publish(key="k" * 256))
        self.failed(self.publish(exchange="e" * 256))
        self.failed(self.publish(properties=b"\x00\x00" + b"p" * 4096))
        self.broker.expect()
        published = self.publish()
        self.check_published(b"body")
        self.confirm(1)
        self.successResultOf(published)

    def test_blocked(self) -> None:
        """
        What is published while the broker takes nothing is sent once it says that it
        does, and confirmed as any other.
        """
        self.broker.send(Connection.Blocked("low on memory"))
        published = self.publish()
        self.broker.expect()
        self.broker.send(Connection.Unblocked())
        self.check_published(b"body")
        self.confirm(1)
        self.successResultOf(published)

    def test_confirmed(self) -> None:
        """
        A publication has succeeded when it is confirmed, in whatever order.
        """
        first, second = self.publish(), self.publish()
        self.assertNoResult(first)
        self.confirm(2)
        self.successResultOf(second)
        self.assertNoResult(first)
        self.confirm(1)
        self.successResultOf(first)

    def test_confirmed_together(self) -> None:
        """
        One confirm may be for all up to its number, and for no later one.
        """
        published = [self.publish() for _ in range(4)]
        self.confirm(3)
        self.confirm(2, multiple=True)
        for each in published[:3]:
            self.successResultOf(each)
        self.assertNoResult(published[3])

    def test_confirmed_out_of_order_then_together(self) -> None:
        """
        Those that are confirmed already do not mind being so again.
        """
        published = [self.publish() for _ in range(5)]
        self.confirm(4)
        self.confirm(2)
        self.confirm(5, multiple=True)
        for each in published:
            self.successResultOf(each)

    def test_unknown_confirm(self) -> None:
        """
        A confirm of what was never published is no harm.
        """
        published = self.publish()
        self.confirm(17)
        self.assertNoResult(published)
        self.confirm(1)
        self.confirm(1)
        self.successResultOf(published)
        self.assertFalse(self.wire.closed)

    def test_refused(self) -> None:
        """
        C{basic.nack} fails the publication, and only that one.
        """
        first, second = self.publish(), self.publish()
        self.broker.send(Basic.Nack(1, False, False), channel=1)
        self.failed(first, PublishRefused)
        self.assertNoResult(second)
        self.confirm(2)
        self.successResultOf(second)

    def test_refused_together(self) -> None:
        """
        C{basic.nack} may be for all up to its number.
        """
        published = [self.publish() for _ in range(3)]
        self.broker.send(Basic.Nack(2, True, False), channel=1)
        self.failed(published[0], PublishRefused)
        self.failed(published[1], PublishRefused)
        self.assertNoResult(published[2])

    def test_confirm_in_a_callback(self) -> None:
        """
        What hears of a confirm may publish again at once.
        """
        again: list[Deferred[None]] = []
        self.publish().addCallback(lambda _: again.append(self.publish(b"again")))
        second = self.publish()
        self.confirm(2, multiple=True)
        self.successResultOf(second)
        self.assertNoResult(again[0])
        self.confirm(3)
        self.successResultOf(again[0])

    def test_returned(self) -> None:
        """
        A publication that comes back is unroutable, once it is confirmed; the
        error names where to.
        """
        published = self.publish()
        self.give_back()
        self.confirm(1)
        text = str(self.failed(published, Unroutable))
        self.assertIn("NO_ROUTE", text)
        self.assertIn("flow", text)
        self.assertIn("key", text)

    def test_committed(self) -> None:
        """
        What was published in a transaction is confirmed with its end, but for what the
        broker has returned; the next transaction begins.
        """
        for number in range(2):
            first, second = self.publish(b"first"), self.publish(b"second")
            committed = self.ask(self.opened.commit())
            self.broker.take()
            self.give_back(b"second")
            for each in (first, second, committed):
                self.assertNoResult(each)
            self.broker.send(Tx.CommitOk(), channel=1)
            self.successResultOf(committed)
            self.successResultOf(first)
            self.failureResultOf(second, Unroutable)
            self.assertEqual(self.opened.publications.unconfirmed_bytes, 0, number)

    def test_not_committed(self) -> None:
        """
        Where the channel is closed instead, nobody knows.
        """
        published = self.publish()
        committed = self.ask(self.opened.commit())
        why = "PRECONDITION_FAILED - partial tx completion"
        self.broker.send(ChannelClass.Close(406, why, 0, 0), channel=1)
        self.failureResultOf(committed, BrokerRefused)
        self.failureResultOf(published, ChannelLost)

    def test_returned_empty(self) -> None:
        """
        A publication without a body may come back, too.
        """
        published = self.publish(b"")
        self.give_back(b"")
        self.confirm(1)
        self.failed(published, Unroutable)

    def test_returned_large(self) -> None:
        """
        A body comes back in frames of the broker's choice.
        """
        large = bytes(range(256)) * 100
        published = self.publish(large)
        method = Basic.Return(312, "NO_ROUTE", "flow", "key")
        stream = marshalled(method, channel=1)
        stream += contents(large, properties=PERSISTENT, step=1000)
        self.wire.dataReceived(stream)
        self.confirm(1)
        self.failed(published, Unroutable)

    def test_returned_while_closing(self) -> None:
        """
        A return that is coming when the channel is closed here is told.
        """
        published = self.publish(b"body")
        method = Basic.Return(312, "NO_ROUTE", "flow", "key")
        self.broker.send(method, channel=1)
        self.ask(self.opened.shut())
        self.wire.dataReceived(contents(b"body", properties=PERSISTENT))
        self.confirm(1)
        self.failed(published, Unroutable)

    def check_only_second_fails(
        self, first: Deferred[None], second: Deferred[None]
    ) -> None:
        """
        Of two that are confirmed together, the second one came back.
        """
        self.confirm(2, multiple=True)
        self.successResultOf(first)
        self.failed(second, Unroutable)

    def test_returned_by_body(self) -> None:
        """
        Which one came back, is told by the body.
        """
        first, second = self.publish(b"one"), self.publish(b"two")
        self.give_back(b"two")
        self.check_only_second_fails(first, second)

    def test_returned_by_key(self) -> None:
        """
        Which one came back, is told by the key where the bodies are the same.
        """
        first, second = self.publish(key="one"), self.publish(key="two")
        self.give_back(key="two")
        self.check_only_second_fails(first, second)

    def test_returned_by_exchange(self) -> None:
        """
        Which one came back, is told by the exchange where all else is the same.
        """
        first, second = self.publish(exchange=""), self.publish(exchange="flow")
        self.give_back(exchange="flow")
        self.check_only_second_fails(first, second)

    def test_returned_by_properties(self) -> None:
        """
        Which one came back, is told by the properties where all else is the
        same.
        """
        other = encode_properties({"message-id": "2"})
        first, second = self.publish(), self.publish(properties=other)
        self.give_back(properties=other)
        self.check_only_second_fails(first, second)

    def test_identical_both_returned(self) -> None:
        """
        Of several that are identical, as many fail as came back.
        """
        published = [self.publish() for _ in range(3)]
        self.give_back()
        self.give_back()
        self.confirm(3, multiple=True)
        self.failed(published[0], Unroutable)
        self.failed(published[1], Unroutable)
        self.successResultOf(published[2])

    def test_identical_later_returned(self) -> None:
        """
        One that is confirmed already is not what comes back.
        """
        first, second = self.publish(), self.publish()
        self.confirm(1)
        self.give_back()
        self.confirm(2)
        self.successResultOf(first)
        self.failed(second, Unroutable)

    def test_returned_rewritten(self) -> None:
        """
        What comes back with its properties written differently (a broker may
        decode and encode them) is still not taken for delivered.
        """
        sent = encode_properties({"headers": {"a": 1, "b": 2}})
        rewritten = encode_properties({"headers": {"b": 2, "a": 1}})
        published = self.publish(properties=sent)
        self.give_back(properties=rewritten)
        self.confirm(1)
        self.failed(published, Unroutable)

    def test_strange_return(self) -> None:
        """
        What comes back and never was sent is no harm.
        """
        published = self.publish()
        self.give_back(b"never sent")
        self.confirm(1)
        self.successResultOf(published)
        self.assertFalse(self.wire.closed)

    def test_no_such_exchange(self) -> None:
        """
        Where the exchange does not exist, the publications to it are
        unroutable; of the others nobody knows.
        """
        lost, other = self.publish(exchange="nowhere"), self.publish()
        text = "NOT_FOUND - no exchange 'nowhere' in vhost '/'"
        self.broker.send(ChannelClass.Close(404, text, 60, 40), channel=1)
        self.failed(lost, Unroutable)
        self.failed(other, ChannelLost)

    def test_channel_closed(self) -> None:
        """
        When the channel goes, nobody knows of what was not confirmed.
        """
        published = [self.publish() for _ in range(3)]
        self.confirm(2)
        self.broker.send(
            ChannelClass.Close(406, "PRECONDITION_FAILED", 0, 0), channel=1
        )
        self.successResultOf(published[1])
        for each in (published[0], published[2]):
            self.assertIn("PRECONDITION_FAILED", str(self.failed(each, ChannelLost)))
        self.failed(self.publish(), BrokerError)

    def test_connection_lost(self) -> None:
        """
        When the connection goes, so does all that was not confirmed.
        """
        published = [self.publish() for _ in range(3)]
        self.give_back()
        self.broker.lose()
        self.failed(published[0], Unroutable, ChannelLost)
        for each in published[1:]:
            self.failed(each, ChannelLost)
        self.failed(self.publish(), ChannelLost)

    def test_connection_closed(self) -> None:
        """
        The same when the broker closes the connection.
        """
        published = self.publish()
        self.broker.send(Connection.Close(320, "CONNECTION_FORCED", 0, 0))
        self.assertIn("CONNECTION_FORCED", str(self.failed(published, ChannelLost)))

    def test_half_a_return(self) -> None:
        """
        A connection lost in the middle of a return leaves nobody waiting.
        """
        published = self.publish()
        self.broker.send(Basic.Return(312, "NO_ROUTE", "flow", "key"), channel=1)
        self.broker.lose()
        self.failed(published, ChannelLost)

    def test_given_up(self) -> None:
        """
        The confirm of a publication that nobody waits for any more is no harm.
        """
        published = self.publish()
        published.cancel()
        self.failureResultOf(published)
        self.confirm(1)
        self.assertFalse(self.wire.closed)
        following = self.publish()
        self.confirm(2)
        self.successResultOf(following)


class EndTests(WireTestCase):
    """
    Tests for the ends of channels and connections.
    """

    def setUp(self) -> None:
        super().setUp()
        self.let_in()

    def test_half_a_body(self) -> None:
        """
        A channel that is lost half-way through a body is let go at once, with what has
        come of it.
        """
        channel = self.channel()
        channel.on_message = self.fail
        frames = delivery(b"body", step=2, channel=channel.id)
        self.wire.dataReceived(frames[:-10])
        gc.disable()
        self.addCleanup(gc.enable)
        there = weakref.ref(channel)
        del channel
        self.wire.connectionLost(Failure(TCPLost()))
        self.assertIsNone(there())

    def test_closed_by_the_broker(self) -> None:
        """
        C{connection.close} is answered, and is the reason for everything.
        """
        channel = self.channel()
        closed = self.ask(channel.when_closed())
        text = "CONNECTION_FORCED - broker forced connection closure"
        self.broker.send(Connection.Close(320, text, 0, 0))
        self.broker.expect(Connection.CloseOk)
        self.assertTrue(self.wire.closed)
        self.assertTrue(self.transport.disconnecting)
        why = self.wire.why
        assert isinstance(why, BrokerRefused)
        self.assertEqual((why.code, str(why)), (320, text))
        self.assertIs(self.successResultOf(closed), why)
        self.assertNoResult(self.wire.lost)
        self.broker.lose()
        self.assertIs(self.successResultOf(self.wire.lost), why)

    def test_lost(self) -> None:
        """
        A connection that is just lost tells how.
        """
        channel = self.channel()
        closed = self.ask(channel.when_closed())
        self.broker.lose(TCPLost("reset by peer"))
        why = self.successResultOf(self.wire.lost)
        self.assertIsInstance(why, ChannelLost)
        self.assertIn("reset by peer", str(why))
        self.assertIs(self.successResultOf(closed), why)
        self.assertIs(self.successResultOf(self.ask(channel.when_closed())), why)

    def test_shut_channel(self) -> None:
        """
        A channel is closed politely, with 200; then it is closed.
        """
        channel = self.channel()
        published = self.ask(channel.publish("", "q", b"", NO_PROPERTIES))
        closed = self.ask(channel.when_closed())
        self.broker.take()
        shut = self.ask(channel.shut())
        (close,) = self.broker.expect(ChannelClass.Close)
        self.assertEqual(close.reply_code, 200)
        self.assertNoResult(shut)
        self.assertNoResult(closed)
        self.broker.send(ChannelClass.CloseOk(), channel=1)
        self.successResultOf(shut)
        self.assertIsInstance(self.successResultOf(closed), ChannelLost)
        self.failed(published, ChannelLost)
        self.assertTrue(channel.closed)
        self.assertFalse(self.wire.closed)
        self.successResultOf(self.ask(channel.shut()))
        self.broker.expect()

    def test_shut_channel_confirmed_meanwhile(self) -> None:
        """
        A confirm that comes before the C{close-ok} counts.
        """
        channel = self.channel()
        published = self.ask(channel.publish("", "q", b"", NO_PROPERTIES))
        self.ask(channel.shut())
        self.broker.send(Basic.Ack(1, False), ChannelClass.CloseOk(), channel=1)
        self.successResultOf(published)

    def test_shut_channel_twice(self) -> None:
        """
        Two may close a channel at a time; the broker is asked once, for the
        second time would be a 504.
        """
        channel = self.channel()
        first, second = self.ask(channel.shut()), self.ask(channel.shut())
        self.broker.expect(ChannelClass.Close)
        self.broker.send(ChannelClass.CloseOk(), channel=1)
        self.successResultOf(first)
        self.successResultOf(second)

    def test_shut_channel_asked_more(self) -> None:
        """
        Nothing is sent behind C{channel.close}: that would be a 504.
        """
        channel = self.channel()
        shut = self.ask(channel.shut())
        self.broker.expect(ChannelClass.Close)
        for late in (
            Deferred.fromCoroutine(channel.call("basic_qos", prefetch_count=1)),
            channel.publish("", "q", b"", NO_PROPERTIES),
            channel.get("q"),
        ):
            self.failureResultOf(late, ChannelLost)
        self.broker.expect()
        self.broker.send(ChannelClass.CloseOk(), channel=1)
        self.successResultOf(shut)

    def test_shut_channel_mute_peer(self) -> None:
        """
        A channel whose peer does not answer is closed with its connection.
        """
        channel = self.channel()
        shut = self.ask(channel.shut())
        self.assertNoResult(shut)
        self.broker.lose()
        self.successResultOf(shut)

    def test_shut_channel_crossing(self) -> None:
        """
        A broker that closes a channel which is just being closed answers both
        (section 1.5.2.5); the connection stays.
        """
        channel = self.channel()
        shut = self.ask(channel.shut())
        self.broker.expect(ChannelClass.Close)
        self.broker.send(ChannelClass.Close(406, "delivery timed out", 0, 0), channel=1)
        self.successResultOf(shut)
        self.broker.expect(ChannelClass.CloseOk)
        self.broker.send(ChannelClass.CloseOk(), channel=1)
        self.assertFalse(self.wire.closed, self.wire.why)

    def test_shut_lost_channel(self) -> None:
        """
        Closing what is gone already is no error, and says nothing.
        """
        channel = self.channel()
        self.broker.lose()
        self.broker.take()
        self.successResultOf(self.ask(channel.shut()))
        self.successResultOf(self.ask(self.wire.shut()))
        self.broker.expect()

    def test_shut(self) -> None:
        """
        A connection is closed politely, with 200.
        """
        closed = self.ask(self.channel().when_closed())
        shut = self.ask(self.wire.shut())
        (close,) = self.broker.expect(Connection.Close)
        self.assertEqual(close.reply_code, 200)
        self.assertNoResult(shut)
        self.assertFalse(self.transport.disconnecting)
        self.broker.send(Connection.CloseOk())
        self.successResultOf(shut)
        self.assertTrue(self.transport.disconnecting)
        self.assertIsInstance(self.successResultOf(closed), ChannelLost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_shut_mute_peer(self) -> None:
        """
        A peer that does not answer is left after five seconds, whatever it has
        not read yet.
        """
        shut = self.ask(self.wire.shut())
        self.clock.advance(4.9)
        self.assertNoResult(shut)
        self.clock.advance(0.2)
        self.successResultOf(shut)
        self.assertTrue(self.transport.disconnecting)
        self.assertTrue(self.transport.disconnected)

    def test_shut_blocked(self) -> None:
        """
        A broker that reads nothing is not waited for.
        """
        self.broker.send(Connection.Blocked("memory"))
        shut = self.ask(self.wire.shut())
        (call,) = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime(), self.clock.seconds())
        self.clock.advance(0)
        self.successResultOf(shut)
        self.assertTrue(self.transport.disconnected)

    def test_shut_answered(self) -> None:
        """
        A broker that has answered may read what is still to be sent.
        """
        shut = self.ask(self.wire.shut())
        self.broker.send(Connection.CloseOk())
        self.successResultOf(shut)
        self.assertFalse(self.transport.disconnected)

    def test_shut_acknowledges(self) -> None:
        """
        What is done is acknowledged before the connection is closed.
        """
        channel = self.channel()
        channel.on_message = lambda message: channel.ack(message.delivery_tag)
        self.wire.dataReceived(delivery(b"one"))
        self.ask(self.wire.shut())
        self.broker.expect(Basic.Ack, Connection.Close)

    def test_shut_lost_meanwhile(self) -> None:
        """
        A peer that just hangs up has closed the connection, too.
        """
        shut = self.ask(self.wire.shut())
        self.broker.lose()
        self.successResultOf(shut)

    def test_shut_crossing(self) -> None:
        """
        A broker that closes the connection at the same time is answered.
        """
        shut = self.ask(self.wire.shut())
        self.broker.expect(Connection.Close)
        self.broker.send(Connection.Close(320, "CONNECTION_FORCED", 0, 0))
        self.broker.expect(Connection.CloseOk)
        self.successResultOf(shut)
        self.broker.send(Connection.CloseOk())

    def test_shut_twice(self) -> None:
        """
        Two may close a connection at a time.
        """
        first, second = self.ask(self.wire.shut()), self.ask(self.wire.shut())
        self.broker.send(Connection.CloseOk())
        self.successResultOf(first)
        self.successResultOf(second)

    def test_callback_fails(self) -> None:
        """
        When a consumer's end cannot be dealt with, the connection is closed,
        with one error in the log, and nobody is left waiting.
        """

        def fails(tag: str) -> None:
            raise ZeroDivisionError(tag)

        channel = self.channel()
        channel.on_cancel = fails
        waiting = self.ask(channel.call("queue_declare", queue="q"))
        self.broker.send(Basic.Cancel("consumer", True), channel=1)
        self.assertTrue(self.transport.disconnecting)
        self.failed(waiting)
        self.check_logged_once(ZeroDivisionError)


# -- Anything at all

_FRAMES = st.one_of(
    st.builds(
        raw_frame,
        st.sampled_from([1, 2, 3, 8, 4]),
        st.integers(0, 3),
        st.binary(max_size=60),
        st.sampled_from([b"\xce", b"\xce", b"\xce", b"\x00"]),
    ),
    st.builds(
        lambda ids, rest, channel: raw_frame(
            1, channel, struct.pack(">HH", *ids) + rest
        ),
        st.tuples(
            st.sampled_from([10, 20, 40, 50, 60, 85]),
            st.sampled_from([10, 11, 20, 21, 30, 31, 40, 41, 50, 60, 71, 80, 120]),
        ),
        st.binary(max_size=60),
        st.integers(0, 3),
    ),
    st.builds(
        lambda content, step, channel: delivery(content, step=step, channel=channel),
        st.binary(max_size=40),
        st.integers(1, 20),
        st.integers(0, 2),
    ),
    st.binary(max_size=40),
)

# Bodies of up to 1 MiB, made of a short piece so that they are quickly drawn.
_LARGE = st.builds(
    lambda piece, size: (piece * (size // len(piece) + 1))[:size],
    st.binary(min_size=1, max_size=64),
    st.integers(0, 2**20) | st.just(2**20),
)


def _letters() -> st.SearchStrategy[str]:
    return st.text(max_size=20)


_TABLES = st.dictionaries(
    _letters(),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | _letters(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(_letters(), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
)
_PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content-type": _letters(),
        "headers": _TABLES,
        "delivery-mode": st.integers(1, 2),
        "priority": st.integers(0, 255),
        "correlation-id": _letters(),
        "expiration": _letters(),
        "message-id": _letters(),
        "timestamp": st.integers(0, 2**64 - 1),
        "app-id": _letters(),
    },
)


class AnythingTests(WireTestCase):
    """
    Tests with whatever Hypothesis thinks of.
    """

    def reopen(self) -> tuple[Channel, list[Message]]:
        """
        A fresh connection with one channel.
        """
        if not self.wire.lost.called:
            self.broker.lose()
        self.make()
        self.let_in(frame_max=4096)
        channel = self.channel()
        messages: list[Message] = []
        channel.on_message = messages.append
        channel.on_cancel = lambda tag: None
        return channel, messages

    @given(
        st.lists(_FRAMES, min_size=1, max_size=12),
        st.lists(st.integers(1, 50)),
        st.data(),
    )
    @QUICK
    def check_bytes(self, frames: list[bytes], cuts: list[int], data: Any) -> None:
        """
        Feed a stream in pieces.
        """
        channel, _ = self.reopen()
        waiting = self.ask(channel.call("queue_declare", queue="q"))
        published = self.ask(channel.publish("", "q", b"x", NO_PROPERTIES))
        stream, read = b"".join(frames), 0
        while stream:
            size = cuts.pop() if cuts else len(stream)
            piece, stream = stream[:size], stream[size:]
            self.wire.dataReceived(piece)
            read = max(read, len(piece))
            if not self.wire.closed:
                self.assertLessEqual(len(self.wire._reader.buffer), 4096 + read)
        if self.wire.closed:
            self.assertTrue(self.transport.disconnecting)
            self.assertIsNotNone(self.wire.why)
        self.broker.lose()
        for each in (waiting, published):
            self.assertTrue(each.called)
            each.addErrback(lambda _: None)
        self.flushLoggedErrors()

    def test_arbitrary_bytes(self) -> None:
        """
        Whatever comes, no exception escapes, the buffer stays small, and the
        connection is either closed or none the worse.
        """
        self.check_bytes()

    @given(st.binary(max_size=200))
    @example(b"\x01" * 8)
    @QUICK
    def check_garbage(self, garbage: bytes) -> None:
        """
        A stranger on the other end, from the first byte.
        """
        if not self.wire.lost.called:
            self.broker.lose()
        self.make()
        negotiated = self.negotiate()
        self.wire.dataReceived(garbage)
        self.broker.lose()
        self.assertTrue(negotiated.called)
        negotiated.addErrback(lambda _: None)
        self.flushLoggedErrors()

    def test_arbitrary_peer(self) -> None:
        """
        A peer that is not AMQP at all fails the negotiation, nothing else.
        """
        self.check_garbage()

    @given(_PROPERTIES, _LARGE, st.integers(2000, 4088), st.data())
    @QUICK
    def check_large_round_trip(
        self, properties: dict[str, Any], content: bytes, step: int, data: Any
    ) -> None:
        """
        The same with bodies of up to a megabyte, in hundreds of frames.
        """
        self.round_trip(properties, content, step, data)

    def test_large_round_trip(self) -> None:
        """
        However large it is.
        """
        self.check_large_round_trip()

    @given(_PROPERTIES, st.binary(max_size=9000), st.integers(1, 4088), st.data())
    @QUICK
    def check_round_trip(
        self, properties: dict[str, Any], content: bytes, step: int, data: Any
    ) -> None:
        """
        Small ones, in frames of any size.
        """
        self.round_trip(properties, content, step, data)

    def round_trip(
        self, properties: dict[str, Any], content: bytes, step: int, data: Any
    ) -> None:
        """
        Publish, and deliver what was published, cut somewhere.
        """
        channel, messages = self.reopen()
        encoded = encode_properties(properties)
        start = len(self.transport.value())
        self.ask(channel.publish("flow", "key", content, encoded)).addErrback(
            lambda _: None
        )
        sent = _frames_of(self.transport.value()[start:])
        raw = sent[1][7 + 12 : -1]
        self.assertEqual(raw, encoded)
        stream = delivery(content, properties=raw, step=step)
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            self.wire.dataReceived(stream[begin:end])
        (message,) = messages
        self.assertEqual(message.body, content)
        self.assertEqual(message.encoded_properties, encoded)
        found = dict(message.properties)
        if not properties.get("headers"):
            self.assertEqual(found.pop("headers"), {})
            properties = {k: v for k, v in properties.items() if k != "headers"}
        if "timestamp" in properties:
            self.assertEqual(int(found["timestamp"]), properties["timestamp"])
        self.assertEqual(found, properties)

    def test_round_trip(self) -> None:
        """
        What is published comes out of a delivery as it went in.
        """
        self.check_round_trip()


class GetTests(NetworkTestCase):
    """
    C{basic.get}, with an embedded broker in memory.
    """

    def test_closed(self) -> None:
        """
        Whoever waits for a message is told that the channel was closed.
        """
        self.call("queue_declare", queue="there")
        channel = self.result(self.wire.open_channel(confirms=False))
        asked = [channel.get(queue) for queue in ("there", "missing", "there")]
        self.network.settle()
        there, *others = asked
        self.assertIsNone(self.successResultOf(there))
        for each in others:
            self.failureResultOf(each, BrokerRefused)
        self.failureResultOf(channel.get("there"), BrokerRefused)
