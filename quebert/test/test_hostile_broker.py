"""
Brokers that are malicious or broken: memory is bounded, the connection is closed with
the right reply code, one line tells of that, and the client goes on trying.
"""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from typing import Any

from pamqp.commands import Basic, Connection, Exchange, Queue
from pamqp.commands import Channel as ChannelClass
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._bounds import MESSAGE, PROPERTY_BYTE
from quebert._protocol.properties import decode_properties
from quebert._repeated import QUIET
from quebert.amqp.wire._prefetch import MORE, TIMES, Prefetch
from quebert.errors import BrokerRefused, ChannelLost, ProtocolError
from quebert.test.test_connection import ClientTestCase
from quebert.test.test_wire import (
    NO_PROPERTIES,
    WireTestCase,
    contents,
    delivery,
    marshalled,
    raw_frame,
)

MIB = 2**20
ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\n\x9b\u202e"


def content_header(size: int, channel: int = 1) -> bytes:
    """
    A content header that announces a body of a size.
    """
    start = struct.pack(">HHQ", 60, 0, size)
    return raw_frame(2, channel, start + NO_PROPERTIES)


class HostileTestCase(WireTestCase):
    """
    A wire, and a broker that sends without end.
    """

    def check_ends(self, code: int, pieces: Iterator[bytes], most: int = MIB) -> None:
        """
        Of what a broker sends without end, the connection is closed with C{code}, and
        no more than C{most} bytes of memory are taken.  Nothing is logged here, since
        the one who has connected does that.
        """
        tracemalloc.start()
        try:
            with capturedLogs() as events:
                for _ in range(3_000):
                    if self.wire.closed:
                        break
                    self.wire.dataReceived(next(pieces))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertTrue(self.wire.closed, "it goes on for ever")
        self.assertLess(peak, most)
        self.check_failed(code)
        self.assertEqual([formatEvent(each) for each in events], [])

    def check_ends_at_once(self, code: int, data: bytes) -> None:
        """
        The same of what is sent but once.
        """
        self.check_ends(code, iter((data,)))


def endless(start: bytes, piece: bytes) -> Iterator[bytes]:
    """
    A beginning, and then the same again and again.
    """
    yield start
    while True:
        yield piece


class BeforeTheStartTests(HostileTestCase):
    """
    A broker that has not let anybody in yet.
    """

    def setUp(self) -> None:
        super().setUp()
        self.negotiated = self.negotiate()
        self.broker.take()

    def test_bodies(self) -> None:
        """
        No content may come on channel 0, whatever announces it.
        """
        chunk = raw_frame(3, 0, bytes(131_064))
        for method in (
            Basic.Deliver("c", 1, False, "", "k"),
            Basic.Return(312, "NO_ROUTE", "", "k"),
            Basic.GetOk(1, False, "", "k", 0),
        ):
            head = marshalled(method) + content_header(2**40, channel=0)
            self.check_ends(503, endless(head, chunk))
            self.tearDownWire()

    def tearDownWire(self) -> None:
        """
        Another connection.
        """
        self.broker.lose()
        self.make()
        self.negotiated = self.negotiate()
        self.broker.take()

    def test_tune_first(self) -> None:
        """
        C{connection.tune} comes after C{connection.start}, and each comes once.
        """
        self.check_ends_at_once(503, marshalled(Connection.Tune(0, 0, 0)))
        self.tearDownWire()
        start = marshalled(Connection.Start(0, 9, {}, "PLAIN", "en_US"))
        self.check_ends(503, endless(start, start))

    def test_tune_again(self) -> None:
        """
        Limits are not changed later.
        """
        self.broker.lose()
        self.make()
        self.let_in()
        self.check_ends_at_once(503, marshalled(Connection.Tune(0, 0, 10)))

    def test_tiny_frames(self) -> None:
        """
        A broker takes frames of 4,096 bytes (frame-min-size).
        """
        start = marshalled(Connection.Start(0, 9, {}, "PLAIN", "en_US"))
        for size in (1, 8, 9, 4_095):
            tune = marshalled(Connection.Tune(0, size, 0))
            self.check_ends_at_once(502, start + tune)
            self.tearDownWire()

    def test_answers(self) -> None:
        """
        What answers nothing is not kept.
        """
        answer = marshalled(Queue.DeclareOk("queue", 0, 0), channel=0)
        self.check_ends_at_once(503, answer)
        self.tearDownWire()
        self.check_ends_at_once(503, marshalled(Connection.OpenOk()))

    def test_mechanisms(self) -> None:
        """
        A list of mechanisms is told of in one line.
        """
        names = " ".join(f"M{n}\x1b[2J" for n in range(10_000))
        start = marshalled(Connection.Start(0, 9, {}, names, "en_US"))
        self.check_ends(530, endless(start, b""), 4 * MIB)
        error = self.failed(self.negotiated, ProtocolError)
        self.assertTrue(str(error).isprintable())
        self.assertLess(len(str(error)), 400)


class AfterTheStartTests(HostileTestCase):
    """
    A broker that has let somebody in, who consumes.
    """

    def setUp(self) -> None:
        super().setUp()
        self.let_in()
        self.opened = self.channel()
        self.messages: list[Any] = []

    def consume(self, prefetch: int = 10) -> None:
        """
        Consume from a queue.
        """
        self.opened.on_message = self.messages.append
        for method, arguments, answer in (
            ("basic_qos", {"prefetch_count": prefetch}, Basic.QosOk()),
            ("basic_consume", {"consumer_tag": "c"}, Basic.ConsumeOk("c")),
        ):
            asked = self.ask(self.opened.call(method, **arguments))
            self.broker.send(answer, channel=1)
            self.successResultOf(asked)

    def test_bodies_without_a_consumer(self) -> None:
        """
        A delivery that nobody wants is refused before its body has come.
        """
        deliver = marshalled(Basic.Deliver("c", 1, False, "", "k"), channel=1)
        head = deliver + content_header(2**30)
        self.check_ends(503, endless(head, raw_frame(3, 1, bytes(131_064))))

    def test_endless_body(self) -> None:
        """
        No RabbitMQ has a larger message than 512 MiB.
        """
        self.consume()
        deliver = marshalled(Basic.Deliver("c", 1, False, "", "k"), channel=1)
        for size in (MESSAGE + 1, 2**64 - 1):
            self.assertFalse(self.wire.closed)
            self.check_ends_at_once(502, deliver + content_header(size))
            text = f"a frame from the broker is refused: a body of {size} bytes"
            self.assertIn(text, str(self.wire.why))
            self.broker.lose()
            self.setUp()
            self.consume()

    def test_tiny_pieces(self) -> None:
        """
        A body in pieces of a byte takes no more memory than its bytes, and empty pieces
        take none.
        """
        self.consume()
        deliver = marshalled(Basic.Deliver("c", 1, False, "", "k"), channel=1)
        pieces = raw_frame(3, 1, b"x") * 10_000
        empty = raw_frame(3, 1, b"") * 10_000
        self.wire.dataReceived(deliver + content_header(200_001))
        tracemalloc.start()
        try:
            for _ in range(20):
                self.wire.dataReceived(pieces)
                self.wire.dataReceived(empty)
            self.assertLess(tracemalloc.get_traced_memory()[1], MIB)
        finally:
            tracemalloc.stop()
        self.wire.dataReceived(raw_frame(3, 1, b"y"))
        self.assertEqual([each.body for each in self.messages], [b"x" * 200_000 + b"y"])

    def test_beyond_the_prefetch(self) -> None:
        """
        More deliveries than were asked for close the connection.
        """
        self.consume(prefetch=10)
        most = TIMES * 10 + MORE

        def deliveries() -> Iterator[bytes]:
            for tag in range(1, 10**6):
                yield delivery(b"x" * 1_000, tag=tag, consumer="c")

        self.check_ends(503, deliveries())
        self.assertEqual(len(self.messages), most)

    def test_beyond_what_is_left(self) -> None:
        """
        When the broker has ended one of two consumers, and what it had is settled, only
        the prefetch of the other counts.
        """
        self.consume(prefetch=10)
        self.opened.on_cancel = lambda tag: None
        consuming = self.ask(self.opened.call("basic_consume", consumer_tag="d"))
        self.broker.send(Basic.ConsumeOk("d"), channel=1)
        self.successResultOf(consuming)
        self.broker.send(Basic.Cancel("d", True), channel=1)
        stream = (delivery(b"x", tag=tag, consumer="c") for tag in range(1, 10**6))
        self.check_ends(503, stream)
        self.assertEqual(len(self.messages), TIMES * 10 + MORE)

    def test_settled_in_time(self) -> None:
        """
        Any number of deliveries may come one after the other.
        """
        self.consume(prefetch=1)
        for tag in range(1, 1_000):
            self.wire.dataReceived(delivery(b"x", tag=tag, consumer="c"))
            self.opened.ack(tag)
            self.clock.advance(0)
        self.assertFalse(self.wire.closed, self.wire.why)

    def test_no_prefetch(self) -> None:
        """
        Without a prefetch any number may be here at once.
        """
        self.consume(prefetch=0)
        for tag in range(1, 1_000):
            self.wire.dataReceived(delivery(b"x", tag=tag, consumer="c"))
        self.assertFalse(self.wire.closed, self.wire.why)

    def test_returns(self) -> None:
        """
        What was not published cannot be returned, nor more than was published.
        """
        returned = Basic.Return(312, "NO_ROUTE", "", "k")
        stream = marshalled(returned, channel=1) + contents(b"x" * 1_000)
        self.check_ends(503, endless(b"", stream))
        self.broker.lose()
        self.setUp()
        self.ask(self.opened.publish("", "k", b"small", NO_PROPERTIES))
        self.broker.take()
        head = marshalled(returned, channel=1) + content_header(MIB)
        self.check_ends(502, endless(head, raw_frame(3, 1, bytes(1_000))))

    def test_channels(self) -> None:
        """
        Channels that nobody has opened are not there.
        """

        def openings() -> Iterator[bytes]:
            for number in range(2, 65_536):
                yield marshalled(ChannelClass.OpenOk(), channel=number)

        self.check_ends(504, openings())

    def test_wrong_answers(self) -> None:
        """
        An answer to something else is none, and what waits for one is told.
        """
        asked = self.ask(self.opened.call("queue_declare", queue="queue"))
        self.broker.take()
        answer = marshalled(Exchange.DeclareOk(), channel=1)
        self.check_ends_at_once(503, answer)
        self.failed(asked, ProtocolError)

    def test_unasked_answers(self) -> None:
        """
        Answers that nobody waits for are not kept.
        """
        answer = marshalled(Queue.DeclareOk("queue", 0, 0), channel=1)
        self.check_ends(503, endless(b"", answer * 100))

    def test_publications(self) -> None:
        """
        A broker publishes nothing.
        """
        publish = marshalled(Basic.Publish(0, "", "k"), channel=1)
        self.check_ends_at_once(503, publish + publish)

    def test_wrong_channels(self) -> None:
        """
        Channel 0 alone has the methods of the connection, and no other methods.
        """
        close = (200, "bye", 0, 0)
        for method, channel in (
            (Connection.Close(*close), 1),
            (Connection.Blocked("no memory"), 1),
            (ChannelClass.Close(*close), 0),
            (ChannelClass.Flow(True), 0),
            (Basic.Cancel("c"), 0),
        ):
            self.check_ends_at_once(503, marshalled(method, channel=channel))
            self.broker.lose()
            self.setUp()

    def test_answers_in_another_order(self) -> None:
        """
        RabbitMQ may answer what was asked later before it tells that there is a
        consumer.  Nobody is told earlier that there is one: RabbitMQ closes the
        connection if it is cancelled before.
        """
        consuming = self.ask(self.opened.call("basic_consume", queue="q"))
        asked = self.ask(self.opened.call("channel_flow", active=True))
        self.broker.send(ChannelClass.FlowOk(True), channel=1)
        self.assertNoResult(consuming)
        self.successResultOf(asked)
        self.broker.send(Basic.ConsumeOk("tag"), channel=1)
        self.assertEqual(self.successResultOf(consuming).consumer_tag, "tag")
        self.assertFalse(self.wire.closed)

    def test_blocked_again(self) -> None:
        """
        A broker that says again and again that it takes nothing is told of once, and
        likewise where it says that it takes messages.
        """
        for method in (Connection.Blocked("no memory"), Connection.Unblocked()):
            with capturedLogs() as events:
                for _ in range(1_000):
                    self.broker.send(method)
                self.clock.advance(QUIET)
            self.assertEqual(len(events), 1)

    def test_texts(self) -> None:
        """
        What the broker says can be shown on a terminal.
        """
        asked = self.ask(self.opened.call("queue_declare", queue="queue"))
        self.broker.send(ChannelClass.Close(404, ESCAPES, 50, 10), channel=1)
        self.assertTrue(str(self.failed(asked, BrokerRefused)).isprintable())
        with capturedLogs() as events:
            self.broker.send(Connection.Blocked(ESCAPES))
        self.assertTrue(all(str(formatEvent(each)).isprintable() for each in events))
        self.broker.send(Connection.Close(320, ESCAPES, 0, 0))
        self.assertTrue(str(self.wire.why).isprintable())
        self.assertIn("?[2J", str(self.wire.why))


class HeaderTests(SynchronousTestCase):
    """
    What the headers of a message take.
    """

    def test_nested(self) -> None:
        """
        Headers take L{PROPERTY_BYTE} times as much as their bytes at most, so that the
        most that is taken of them, one MiB, takes 30 MiB.
        """
        for inner in (
            b"V" * (MIB // 8),  # takes as much for each byte as a MiB
            _field(b"F", b"\x00V") * 20_000,
            _field(b"F", b"") * 20_000,
            _field(b"A", b"V") * 20_000,
            b"D\x01\x00\x00\x00\x01" * 20_000,
        ):
            value = _field(b"A", inner)
            for _ in range(100):
                value = _field(b"F", b"\x01a" + value)
            table = b"\x01a" + value
            data = struct.pack(">HI", 0x2000, len(table)) + table
            tracemalloc.start()
            try:
                decode_properties(data)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            self.assertLess(peak, PROPERTY_BYTE * len(data), inner[:10])


def _field(kind: bytes, inner: bytes) -> bytes:
    return kind + struct.pack(">I", len(inner)) + inner


class PrefetchTests(SynchronousTestCase):
    """
    L{Prefetch} counts what consumers may have, one after the other.
    """

    def setUp(self) -> None:
        self.prefetch = Prefetch()

    def consume(self, tag: str, count: int) -> None:
        """
        Another consumer begins.
        """
        self.prefetch.calling("basic_qos", {"prefetch_count": count})
        self.prefetch.calling("basic_consume", {"consumer_tag": tag})

    def check(self, deliveries: float) -> None:
        """
        So many are expected.
        """
        self.assertEqual(self.prefetch.limit, TIMES * deliveries + MORE)

    def test_in_turn(self) -> None:
        """
        A consumer that has ended leaves its deliveries, as many as there are.
        """
        self.consume("one", 10)
        self.check(10)
        self.consume("two", 20)
        self.check(30)
        self.prefetch.called("basic_cancel", {"consumer_tag": "one"}, 7)
        self.check(27)
        self.prefetch.cancelled("two", 3)
        self.check(3)

    def test_for_ever(self) -> None:
        """
        However many consumers there were, no more is expected than they left.
        """
        for number in range(1_000):
            self.consume(str(number), 10)
            self.prefetch.called("basic_cancel", {"consumer_tag": str(number)}, 4)
        self.check(4)

    def test_slack(self) -> None:
        """
        Twice the prefetch, and 100, are accepted.
        """
        self.assertEqual(self.prefetch.limit, 100)
        self.consume("one", 10)
        self.assertEqual(self.prefetch.limit, 120)

    def test_unnamed(self) -> None:
        """
        Consumers that the broker names count, each for itself.
        """
        self.prefetch.calling("basic_qos", {"prefetch_count": 10})
        for number in (1, 2):
            self.prefetch.calling("basic_consume", {"queue": "queue"})
            self.check(10 * number)

    def test_unknown(self) -> None:
        """
        A consumer that there is not leaves nothing when it ends.
        """
        self.consume("one", 10)
        self.prefetch.cancelled("two", 50)
        self.check(10)

    def test_other_methods(self) -> None:
        """
        No other method changes anything.
        """
        self.consume("one", 10)
        self.prefetch.calling("basic_cancel", {"consumer_tag": "one"})
        self.prefetch.called("basic_consume", {"consumer_tag": "one"}, 0)
        self.check(10)

    def test_no_limit(self) -> None:
        """
        A consumer without a prefetch may have all.
        """
        self.prefetch.calling("basic_consume", {"queue": "queue"})
        self.check(float("inf"))


class GoesOnTests(ClientTestCase):
    """
    A client that has begun goes on trying.
    """

    def test_garbage(self) -> None:
        """
        A broker that sends what it may not, again and again, is told of in one line a
        minute by each of who connects and who watches; then all is well again.
        """
        broker = self.connect()
        with capturedLogs() as events:
            for _ in range(10):
                broker.wire.dataReceived(marshalled(Connection.OpenOk(), channel=0))
                self.advance(5)
                broker = self.let_in()
        self.assertTrue(self.client.watchers[0].consuming)
        self.assertEqual(len(self.disconnects), 10)
        told = [each for each in events if each["log_level"] >= LogLevel.warn]
        for about in ("no connection", "not consumed"):
            lines = [str(formatEvent(each)) for each in told]
            self.assertEqual(len([line for line in lines if about in line]), 1, lines)
        self.assertEqual(len(told), 2)

    def test_garbage_before_the_start(self) -> None:
        """
        The same where it does not even let anybody in.
        """
        broker = self.connect()
        with capturedLogs() as events:
            broker.wire.dataReceived(marshalled(Connection.OpenOk(), channel=0))
            for _ in range(5):
                self.advance(5)
                broker = self.accept()
                self.brokers.append(broker)
                broker.wire.dataReceived(
                    b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(99)
                )
            self.advance(5)
            self.let_in()
        self.assertTrue(self.client.watchers[0].consuming)
        told = [each for each in events if each["log_level"] >= LogLevel.warn]
        lines = [str(formatEvent(each)) for each in told]
        self.assertEqual(len(set(lines)), len(lines))
        self.assertLessEqual(len(lines), 4, lines)

    def test_refused_later(self) -> None:
        """
        A refusal is no end of a client that was let in.
        """
        broker = self.connect()
        broker.send(Connection.Close(530, ESCAPES, 0, 0))
        for _ in range(3):
            self.await_attempt()
            self.refuse(403, ESCAPES)
        self.await_attempt()
        self.let_in()
        self.assertTrue(self.client.watchers[0].consuming)

    def await_attempt(self) -> None:
        """
        Let time go by until the client tries to connect.
        """
        for _ in range(70):
            if self.pending():
                return
            self.advance(1)
        self.fail("it does not try to connect")

    def test_stopped(self) -> None:
        """
        Nothing is told of a broker that is of no interest any more.
        """
        broker = self.connect()
        with capturedLogs() as events:
            broker.wire.dataReceived(marshalled(Connection.OpenOk(), channel=0))
            stopped = self.client.stop(0)
            self.advance(100)
        self.successResultOf(stopped)
        lines = [str(formatEvent(each)) for each in events]
        self.assertFalse([line for line in lines if "no connection" in line])

    def test_publisher(self) -> None:
        """
        What is published after such a connection goes over the next one.
        """
        broker = self.connect_publisher()
        broker.serves = False
        first = self.client.publish("", "queue", b"second")
        broker.wire.dataReceived(marshalled(Connection.OpenOk(), channel=0))
        self.failureResultOf(first, ChannelLost, ProtocolError)
        self.advance(5)
        second = self.client.publish("", "queue", b"third")
        self.let_in()
        self.successResultOf(second)
