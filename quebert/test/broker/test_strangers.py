"""
Tests for what clients may do to the embedded broker that have not logged in.
"""

from __future__ import annotations

import resource
import struct
import tracemalloc
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._host import network_of
from quebert._protocol import methods, values
from quebert._protocol.frames import FRAME_METHOD, PROTOCOL_HEADER, frame
from quebert._protocol.methods import method_frame
from quebert.broker import BrokerFactory
from quebert.broker.protocol import _strangers
from quebert.broker.protocol._frame_connection import INITIAL_FRAME_MAX
from quebert.broker.protocol._server import HANDSHAKE_TIMEOUT
from quebert.broker.protocol._strangers import (
    FREE_GUESSES,
    LONGEST_WAIT,
    MOST_STRANGERS,
    MOST_WAITING,
    Guesses,
    Strangers,
)
from quebert.test.broker.peer import Peer

HERE = IPv4Address("TCP", "192.0.2.1", 40_000)
TUNE_OK = method_frame(0, "connection.tune-ok", (2047, 131_072, 0))


class Stranger(Peer):
    """
    A client that knows no password, from a place of its own.
    """

    def __init__(self, broker: BrokerFactory, address: Any = HERE) -> None:
        with pytest.MonkeyPatch.context() as patch:
            build = broker.buildProtocol
            patch.setattr(broker, "buildProtocol", lambda _: build(address))
            super().__init__(broker)

    def log_in(self, password: str = "wrong", user: str = "guest") -> Stranger:
        """
        Give a password.
        """
        self.send(PROTOCOL_HEADER + login(password, user))
        return self

    @property
    def waits(self) -> bool:
        """
        Whether the broker has said nothing about the password yet.
        """
        return self.connection.state == "waiting"


def login(password: str, user: str = "guest", properties: Any = None) -> bytes:
    """
    The frame that gives a password.
    """
    capabilities = {"capabilities": {"authentication_failure_close": True}}
    given = (properties or capabilities, "PLAIN", f"\0{user}\0{password}", "en_US")
    return method_frame(0, "connection.start-ok", given)


class Case(SynchronousTestCase):
    """
    A broker.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = BrokerFactory(self.clock)
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """
        Stop it; nothing is left.
        """
        stopped = self.broker.stop()
        self.clock.advance(10)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.broker._strangers), 0)


class MemoryTests(Case):
    """
    What a client that has not logged in can have the broker keep, and do.
    """

    def test_frame(self) -> None:
        """
        A frame has 8 KB at most, which is told before it has come.
        """
        stranger = Stranger(self.broker)
        stranger.send(PROTOCOL_HEADER)
        stranger.received.clear()
        size = INITIAL_FRAME_MAX - 7
        stranger.send(struct.pack(">BHI", FRAME_METHOD, 0, size + 8)[:7] + b"x" * 10)
        (close,) = stranger.received
        self.assertEqual((close["reply_code"], close.name), (501, "connection.close"))
        self.assertEqual(stranger.connection._reader.buffer, PROTOCOL_HEADER[:0])

    def test_largest(self) -> None:
        """
        A log-in of nearly that size is taken, and one that is larger is not.
        """
        for size, state in ((7_900, "tuning"), (8_300, "deaf")):
            stranger = Stranger(self.broker)
            properties = {"information": "x" * size}
            stranger.send(PROTOCOL_HEADER + login("guest", properties=properties))
            self.assertEqual(stranger.connection.state, state)

    def test_afterwards(self) -> None:
        """
        Whoever has logged in may send frames as large as was agreed.
        """
        peer = Peer(self.broker).open()
        peer.call("queue.declare", queue="q", arguments={"x": "y" * 100_000})
        self.assertEqual(peer.connection.max_payload, 131_064)

    def test_many(self) -> None:
        """
        Hundreds that send as much as they may without a log-in cost a few MB.
        """
        piece = (
            PROTOCOL_HEADER
            + frame(FRAME_METHOD, 0, b"\0" * (INITIAL_FRAME_MAX - 8))[:-1]
        )
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            strangers = [Stranger(self.broker) for _ in range(600)]
            for each in strangers:
                each.send(piece)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(after - before, 8 * 2**20)
        self.assertEqual(len(self.broker._strangers), MOST_STRANGERS)
        self.assertEqual(sum(not each.lost for each in strangers), MOST_STRANGERS)

    def test_few_files(self) -> None:
        """
        There are fewer than the process may have files open: where no file is left,
        nobody can connect.
        """
        self.patch(resource, "getrlimit", lambda _: (100, 100))
        self.broker = BrokerFactory(self.clock)
        strangers = [Stranger(self.broker) for _ in range(200)]
        strangers[-1].send(PROTOCOL_HEADER)
        self.assertEqual(sum(not each.lost for each in strangers), 75)
        self.assertFalse(strangers[-1].lost)

    def test_time(self) -> None:
        """
        Somebody who sends a byte now and then is cut off all the same.
        """
        stranger = Stranger(self.broker)
        data = PROTOCOL_HEADER + login("guest")
        for at in range(int(HANDSHAKE_TIMEOUT)):
            stranger.send(data[at : at + 1])
            self.assertFalse(stranger.lost)
            stranger.turn(1)
        self.assertTrue(stranger.lost)

    def test_good_ones(self) -> None:
        """
        A flood of connections keeps nobody out who logs in, from the same place or
        another, nor does it end connections that have logged in.
        """
        peer = Stranger(self.broker).log_in("guest")
        elsewhere = Stranger(self.broker, IPv4Address("TCP", "192.0.2.9", 1))
        elsewhere.send(PROTOCOL_HEADER)
        for _ in range(3 * MOST_STRANGERS):
            Stranger(self.broker)
        here = Stranger(self.broker)
        for each in (elsewhere, here):
            each.send(PROTOCOL_HEADER[: 8 * (each is here)] + login("guest") + TUNE_OK)
            self.assertEqual(each.connection.state, "opening")
        self.assertFalse(peer.lost)

    def test_too_many(self) -> None:
        """
        It is logged that one of too many strangers is cut off.
        """
        with capturedLogs() as logged:
            for _ in range(MOST_STRANGERS + 1):
                Stranger(self.broker).send(PROTOCOL_HEADER)
        (line,) = map(formatEvent, logged)
        why = f"more than {MOST_STRANGERS} have not logged in"
        self.assertEqual(line, f"A connection without a log-in is closed: {why}")

    def test_one_line(self) -> None:
        """
        Whatever strangers do wrong, and however often, fills no log.
        """
        with capturedLogs() as logged:
            for number in range(2_000):
                stranger = Stranger(self.broker)
                stranger.send(PROTOCOL_HEADER + frame(number % 200 + 10, 1, b"\x1b[2J"))
                stranger.transport.loseConnection()
            self.clock.advance(5)
        lines = [*map(formatEvent, logged)]
        self.assertLessEqual(len(lines), 12, lines)
        self.assertIn("A connection without a log-in is closed: FRAME_ERROR", lines[0])


class DecodingTests(Case):
    """
    What is decoded of what a client sends.
    """

    def setUp(self) -> None:
        super().setUp()
        self.decoded = 0

        def decode(*arguments: Any) -> Any:
            self.decoded += 1
            return values.decode_arguments(*arguments)

        self.patch(methods, "decode_arguments", decode)

    def test_after_a_refusal(self) -> None:
        """
        After a refused frame, nothing: neither of a stranger, nor of a client.
        """
        peer = Peer(self.broker).open()
        declare = peer.encoded("queue.declare", {"arguments": {"a": 1}})
        for each in (Stranger(self.broker).log_in(), peer):
            each.send(method_frame(0, "connection.open", ("/", "", False)))
            self.assertEqual(each.connection.state, "closing")
            before = self.decoded
            again = method_frame(0, "connection.open", ("/", "", False))
            each.send((login("guest") + again + declare) * 100)
            self.assertEqual(self.decoded, before)
            each.send(method_frame(0, "connection.close-ok"))
            self.assertTrue(each.lost)

    def test_in_the_same_turn(self) -> None:
        """
        The same of what came together with the refused frame.
        """
        stranger = Stranger(self.broker)
        stranger.send(PROTOCOL_HEADER + login("wrong") + login("guest") * 100)
        # The broker's own start and close are decoded here, too.
        self.assertEqual(self.decoded - len(stranger.received), 1)
        self.assertEqual(stranger.connection.state, "closing")

    def test_out_of_place(self) -> None:
        """
        Before a log-in, no arguments but those of the log-in.
        """
        stranger = Stranger(self.broker)
        stranger.send(PROTOCOL_HEADER)
        before = self.decoded
        stranger.send(method_frame(0, "connection.open", ("/", "", False)))
        self.assertEqual(self.decoded - before, 1)  # the close that is sent
        (close,) = stranger.take("connection.close")
        self.assertEqual(close["reply_code"], 504)

    def test_on_a_closed_channel(self) -> None:
        """
        A channel that was closed for an error.
        """
        peer = Peer(self.broker).open()
        peer.call("queue.declare", queue="none", passive=True)
        before = self.decoded
        peer.send(peer.encoded("queue.declare", {"arguments": {"a": 1}}) * 100)
        self.assertEqual(self.decoded, before)


class GuessingTests(Case):
    """
    Wrong passwords.
    """

    def guess(self, times: int = 1, **options: Any) -> list[Stranger]:
        """
        Give wrong passwords.
        """
        return [Stranger(self.broker).log_in(**options) for _ in range(times)]

    def test_free(self) -> None:
        """
        The first few are answered at once.
        """
        for each in self.guess(FREE_GUESSES):
            self.assertEqual(each.take("connection.close")[0]["reply_code"], 403)

    def test_growing(self) -> None:
        """
        Each further one waits twice as long, up to a limit.
        """
        self.guess(FREE_GUESSES)
        waits = []
        for _ in range(10):
            (stranger,) = self.guess()
            self.assertTrue(stranger.waits)
            assert stranger.connection._waiting is not None
            _, call = stranger.connection._waiting
            waits.append(round(call.getTime() - self.clock.seconds(), 1))
            stranger.turn(waits[-1] + 0.001)
            self.assertEqual(stranger.take("connection.close")[0]["reply_code"], 403)
        self.assertEqual(waits, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[LONGEST_WAIT] * 4])

    def test_rate(self) -> None:
        """
        However many connections somebody opens, few passwords are tried.
        """
        self.guess(FREE_GUESSES + 10)
        asked = 0
        ask = self.broker.lets_in

        def counting(*arguments: Any) -> bool:
            nonlocal asked
            asked += 1
            return ask(*arguments)

        self.patch(self.broker, "lets_in", counting)
        for _ in range(60):
            for each in self.guess(20):
                each.transport.loseConnection() if not each.waits else None
            self.clock.advance(1)
        self.assertLessEqual(asked, 60 / LONGEST_WAIT * MOST_WAITING + MOST_WAITING)
        self.assertGreater(asked, 50)

    def test_too_many(self) -> None:
        """
        Beyond a few that wait, a client is cut off, and not told that its password is
        wrong.
        """
        self.guess(FREE_GUESSES)
        waiting = self.guess(MOST_WAITING)
        with capturedLogs() as logged:
            (another,) = self.guess(password="guest")
        self.assertTrue(another.lost)
        self.assertEqual(another.take("connection.close"), [])
        (line,) = map(formatEvent, logged)
        self.assertIn("too many passwords from 192.0.2.1", str(line))
        waiting[0].transport.loseConnection()
        (another,) = self.guess(password="guest")
        self.assertTrue(another.waits)

    def test_right(self) -> None:
        """
        A right password waits as long, and what came after it is read then.
        """
        self.guess(FREE_GUESSES + 1)
        stranger = Stranger(self.broker).log_in("guest")
        self.assertEqual(stranger.transport.producerState, "paused")
        stranger.send(TUNE_OK + method_frame(0, "connection.open", ("/", "", False)))
        self.assertTrue(stranger.waits)
        stranger.turn(0.2)
        self.assertEqual(stranger.connection.state, "running")
        self.assertEqual(stranger.transport.producerState, "producing")
        self.assertEqual(len(stranger.take("connection.open-ok")), 1)

    def test_bounded(self) -> None:
        """
        Who sends more than 128 KiB while it waits is cut off.
        """
        self.guess(FREE_GUESSES)
        (stranger,) = self.guess()
        for _ in range(2):
            stranger.send(b"x" * 65_536)
        self.assertFalse(stranger.lost)
        stranger.send(b"x")
        self.assertTrue(stranger.lost)

    def test_gone(self) -> None:
        """
        Nothing is left of a client that is gone while it waits.
        """
        self.guess(FREE_GUESSES)
        for each in self.guess(3):
            each.transport.loseConnection()
        self.assertEqual(
            [g.waiting for g in self.broker._guesses._guessers.values()], [0]
        )

    def test_others(self) -> None:
        """
        Neither another user nor another place has to wait.
        """
        self.broker._users["other"] = "secret"
        self.guess(FREE_GUESSES + 3)
        stranger = Stranger(self.broker).log_in("secret", "other")
        self.assertEqual(stranger.connection.state, "tuning")
        stranger = Stranger(self.broker, IPv4Address("TCP", "192.0.2.2", 1))
        self.assertEqual(stranger.log_in("guest").connection.state, "tuning")

    def test_unknown_users(self) -> None:
        """
        Users that there are not are one: to invent names helps nobody.
        """
        for number in range(FREE_GUESSES):
            self.guess(user=f"user{number}")
        (stranger,) = self.guess(user="another")
        self.assertTrue(stranger.waits)

    def test_logged(self) -> None:
        """
        They are logged once for each cause, without the password, and their end.
        """
        with capturedLogs() as logged:
            for number in range(50):
                self.guess(password=f"s3cret{number}")
                self.guess(user=f"s3cret{number}")
                self.clock.advance(LONGEST_WAIT)
            Stranger(self.broker).log_in("guest")
            self.clock.pump([1.0] * 20)
        lines = [*map(formatEvent, logged)]
        closed = "A connection without a log-in is closed: a wrong password for"
        whose = "user 'guest'", "an unknown user"
        self.assertEqual(lines[:2], [f"{closed} {x} from 192.0.2.1" for x in whose])
        self.assertIn("times more", lines[2])
        self.assertIn("Connections log in again, after 100 failures", lines[-1])
        self.assertLess(len(lines), 15)
        self.assertNotIn("s3cret", "".join(lines))


class TableTests(SynchronousTestCase):
    """
    Tests for L{quebert.broker.protocol._strangers}.
    """

    def test_networks(self) -> None:
        """
        One person has many IPv6 addresses.
        """
        one, other = "2001:db8:1:2::1", "2001:db8:1:2:ffff::9"
        self.assertEqual(network_of(one), network_of(other))
        self.assertNotEqual(network_of(one), network_of("2001:db8:1:3::1"))
        self.assertEqual(network_of("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(network_of("fe80::1%eth0"), network_of("fe80::2"))
        self.assertEqual(network_of(""), "")
        self.assertEqual(network_of(IPv6Address("TCP", one, 1).host), network_of(one))

    def test_bounded(self) -> None:
        """
        Whoever has guessed last is remembered.
        """
        self.patch(_strangers, "_MOST_GUESSERS", 3)
        guesses = Guesses()
        for name in "abcadb":
            guesses.failed((name, ""), 0)
        self.assertEqual(len(guesses), 3)
        self.assertEqual([who for who, _ in guesses._guessers], ["a", "d", "b"])

    def test_forgotten(self) -> None:
        """
        After ten minutes nobody waits any more.
        """
        guesses, who = Guesses(), ("a", "")
        for _ in range(100):
            guesses.failed(who, 5)
        self.assertEqual(guesses.begin(who, 6), LONGEST_WAIT)
        guesses.end(who)
        self.assertEqual(guesses.begin(who, 606), 0)
        self.assertEqual(len(guesses), 0)
        guesses.end(who)

    def test_crowded(self) -> None:
        """
        The oldest one of the most crowded network goes.
        """
        strangers: Strangers[int] = Strangers(3)
        self.assertIsNone(strangers.add(1, "a"))
        self.assertIsNone(strangers.add(2, "b"))
        self.assertIsNone(strangers.add(3, "b"))
        self.assertEqual(strangers.add(4, "c"), 2)
        strangers.discard(3)
        strangers.discard(3)
        self.assertEqual(len(strangers), 2)
        self.assertEqual(strangers._counts, {"a": 1, "c": 1})

    def test_waits(self) -> None:
        """
        The first few wait not at all, and each further one twice as long, up to a
        limit, however many there are.
        """
        guesses, who, waits = Guesses(), ("a", ""), []
        for number in range(1, 1_100):
            guesses.failed(who, 0)
            wait = guesses.begin(who, 0)
            if number < FREE_GUESSES + 8:
                waits.append(wait)
            if wait:
                guesses.end(who)
        growing = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_WAIT, LONGEST_WAIT]
        self.assertEqual(waits, [0.0] * (FREE_GUESSES - 1) + growing)
        self.assertEqual(guesses.begin(who, 0), LONGEST_WAIT)

    def test_waiting_at_a_time(self) -> None:
        """
        Only so many passwords wait, also long after a wrong one; each that ends makes
        room for another.
        """
        guesses, who = Guesses(), ("a", "")
        for _ in range(FREE_GUESSES):
            guesses.failed(who, 0)
        waits = [guesses.begin(who, 0) for _ in range(MOST_WAITING + 1)]
        self.assertEqual(waits, [*[0.1] * MOST_WAITING, None])
        self.assertIsNone(guesses.begin(who, 10_000))
        guesses.end(who)
        self.assertEqual(guesses.begin(who, 0), 0.1)
        self.assertIsNone(guesses.begin(who, 0))

    def test_ends_no_wait_that_was_not_begun(self) -> None:
        """
        What ends too often makes no room.
        """
        guesses, who = Guesses(), ("a", "")
        for _ in range(FREE_GUESSES):
            guesses.failed(who, 0)
        guesses.end(who)
        for _ in range(MOST_WAITING):
            guesses.begin(who, 0)
        self.assertIsNone(guesses.begin(who, 0))

    def test_still_remembered(self) -> None:
        """
        For ten minutes since the last wrong password it is known.
        """
        guesses, who = Guesses(), ("a", "")
        for _ in range(FREE_GUESSES):
            guesses.failed(who, 5)
        self.assertEqual(guesses.begin(who, 605), 0.1)
        guesses.end(who)
        guesses.failed(who, 605)
        self.assertEqual(guesses.begin(who, 1205), 0.2)

    def test_bounds(self) -> None:
        """
        The bounds that are promised.
        """
        self.assertEqual(_strangers._MOST_GUESSERS, 10_000)
        self.assertEqual(Strangers().most, MOST_STRANGERS)
        bounds = MOST_STRANGERS, FREE_GUESSES, MOST_WAITING
        self.assertEqual(bounds, (500, 5, 8))
