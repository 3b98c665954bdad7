"""
L{quebert.amqp.watch._one_suspect}: suspects of several watches, one at a time.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._consumer_timeout import LONGEST_WAIT
from quebert._protocol.properties import encode_properties
from quebert.amqp.watch import DeliveredMessage
from quebert.amqp.watch._one_suspect import (
    GATHERING,
    LONGEST_GATHERING,
    OneSuspect,
    SuspectOwner,
)
from quebert.amqp.watch._record import SUSPECT
from quebert.amqp.wire import ALONE, ENDS, FLIGHT, Wire

WIRE = cast(Wire, object())
OTHER_WIRE = cast(Wire, object())


class FakeSuspects:
    """
    Signs of attempts.

    @ivar signs: the flights that have one.
    @ivar signing: what the broker's answer to a new sign waits for.
    """

    def __init__(self) -> None:
        self.signs: list[str] = []
        self.signing: Deferred[None] | None = None

    async def begin(self, wire: Wire, flight: str) -> None:
        """
        There is a sign.
        """
        assert wire is WIRE
        self.signs.append(flight)
        if self.signing is not None:
            await self.signing

    async def end(self, wire: Wire, flight: str) -> None:
        """
        There is none.
        """
        assert wire is WIRE
        self.signs.remove(flight)


class FakeOwner(SuspectOwner):
    """
    A watch.

    @ivar running: how many messages are with its callback.
    @ivar is_closed: whether no further message begins.
    @ivar begun: the suspects that have begun.
    @ivar returned: those that were given back.
    @ivar wire: on which its messages have come.
    """

    running = 0

    def __init__(self) -> None:
        self.is_closed = False
        self.begun: list[DeliveredMessage] = []
        self.returned: list[DeliveredMessage] = []
        self.wire: Wire | None = WIRE

    def close(self, reason: str) -> None:
        self.is_closed = True

    def open(self, reason: str) -> None:
        self.is_closed = False

    def wire_of(self, message: DeliveredMessage) -> Wire | None:
        return self.wire

    def begin(self, message: DeliveredMessage) -> None:
        self.begun.append(message)

    def return_message(self, message: DeliveredMessage) -> None:
        self.returned.append(message)


class OneSuspectTests(SynchronousTestCase):
    """
    Two watches.
    """

    def setUp(self) -> None:
        """
        Nothing is suspect.
        """
        self.clock = Clock()
        self.suspects = FakeSuspects()
        self.one = OneSuspect(cast(Any, self.suspects), lambda: self.clock)
        self.first, self.second = FakeOwner(), FakeOwner()
        for each in (self.first, self.second):
            self.one.join(each)
        self.addCleanup(self.check_nothing_left)

    def check_nothing_left(self) -> None:
        """
        When there are no suspects any more, nothing waits, and no sign is left.
        """
        for watch in (self.first, self.second):
            self.one.take_back(watch)
            for message in watch.begun:
                self.one.decided(message)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.suspects.signs, [])
        self.check_closed(False)
        self.assertFalse(self.one.wanted)

    def check_closed(self, held: bool) -> None:
        """
        Whether no watch may begin a message.
        """
        self.assertEqual(
            [each.is_closed for each in (self.first, self.second)], [held] * 2
        )

    def add(
        self, watch: FakeOwner, flight: str = "a", *, alone: int = 0
    ) -> DeliveredMessage:
        """
        A suspect comes.
        """
        message = DeliveredMessage("consumer", 1, False, "", "queue")
        headers = {ENDS: SUSPECT, ALONE: alone, FLIGHT: flight * 32}
        message.encoded_properties = encode_properties({"headers": headers})
        message.came = self.clock.seconds()
        self.one.add(watch, message)
        return message

    def end(self, watch: FakeOwner, message: DeliveredMessage) -> None:
        """
        The callback ends with a suspect.
        """
        watch.begun.remove(message)
        self.one.decided(message)

    def test_others_wait(self) -> None:
        """
        From when it comes to its end, no watch begins anything else.
        """
        suspect = self.add(self.first)
        self.assertTrue(self.one.wanted)
        self.check_closed(True)
        self.clock.advance(GATHERING - 0.01)
        self.assertEqual(self.first.begun, [])
        self.clock.advance(0.01)
        self.assertEqual(self.first.begun, [suspect])
        self.assertEqual(self.suspects.signs, ["a" * 32])
        self.check_closed(True)
        self.end(self.first, suspect)
        self.check_closed(False)
        self.assertEqual(self.suspects.signs, [])
        self.assertFalse(self.one.wanted)

    def test_running(self) -> None:
        """
        It begins when the last callback of any watch has ended.
        """
        self.second.running = 2
        suspect = self.add(self.first)
        self.clock.advance(GATHERING)
        for running in (1, 0):
            self.assertEqual(self.first.begun, [])
            self.second.running = running
            self.one.decided(DeliveredMessage("consumer", 2, False, "", "queue"))
        self.assertEqual(self.first.begun, [suspect])

    def test_joined_meanwhile(self) -> None:
        """
        A watch that begins meanwhile waits as well.
        """
        for is_closed in (False, True):
            third = FakeOwner()
            self.one.join(third)
            self.assertIs(third.is_closed, is_closed)
            self.one.leave(third)
            self.add(self.first)

    def test_left(self) -> None:
        """
        A watch that is over keeps no suspect waiting, and is told nothing.
        """
        self.second.running = 1
        self.one.leave(self.second)
        suspect = self.add(self.first)
        self.assertFalse(self.second.is_closed)
        self.clock.advance(GATHERING)
        self.assertEqual(self.first.begun, [suspect])
        self.second.is_closed = True
        self.end(self.first, suspect)
        self.assertTrue(self.second.is_closed)
        self.second.is_closed = False

    def test_left_before_it_joined(self) -> None:
        """
        A watch that could not begin may say that it is over.
        """
        self.one.leave(FakeOwner())

    def test_in_their_order(self) -> None:
        """
        The one that was alone at fewer ends begins first; of two that were alone as
        often, the one that came first.
        """
        often, one, other = (
            self.add(self.first, flight, alone=alone)
            for flight, alone in (("a", 2), ("b", 1), ("c", 1))
        )
        self.clock.advance(GATHERING)
        for expected in (one, other, often):
            self.assertEqual(self.first.begun, [expected])
            self.check_closed(True)
            self.end(self.first, expected)
        self.check_closed(False)

    def test_gathering(self) -> None:
        """
        Each suspect that comes has the first wait for others again, for some seconds
        at most; what comes after that has nobody wait.
        """
        steps = 0
        while not self.first.begun:
            self.add(self.first)
            self.clock.advance(GATHERING / 2)
            steps += 1
        self.assertEqual(steps * GATHERING / 2, LONGEST_GATHERING)
        self.end(self.first, self.first.begun[0])
        self.assertEqual(len(self.first.begun), 1)
        late = self.add(self.first)
        self.end(self.first, self.first.begun[0])
        self.assertEqual(len(self.first.begun), 1)
        self.assertNotIn(late, self.first.begun)

    def test_between(self) -> None:
        """
        Between two suspects the others go on: the next waits for those.
        """
        one, two = self.add(self.first, "a"), self.add(self.second, "b")
        self.clock.advance(GATHERING)
        self.first.open = lambda reason: setattr(  # type: ignore
            self.first, "running", 1
        )
        self.end(self.first, one)
        self.assertEqual(self.second.begun, [])
        self.check_closed(True)
        self.first.running = 0
        self.one.decided(DeliveredMessage("consumer", 2, False, "", "queue"))
        self.assertEqual(self.second.begun, [two])
        self.end(self.second, two)
        del self.first.open
        self.first.open("suspect")

    def test_late(self) -> None:
        """
        One whose turn does not come goes back; when it was the last, the others go on.
        """
        self.second.running = 1
        suspect = self.add(self.first)
        self.clock.advance(LONGEST_WAIT - 1)
        self.assertEqual(self.first.returned, [])
        self.clock.advance(1)
        self.assertEqual(self.first.returned, [suspect])
        self.check_closed(False)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_of_two_late(self) -> None:
        """
        While another one waits, no further message begins.
        """
        self.second.running = 1
        self.add(self.first, "a")
        self.clock.advance(100)
        other = self.add(self.first, "b")
        self.clock.advance(LONGEST_WAIT - 100)
        self.assertEqual(len(self.first.returned), 1)
        self.check_closed(True)
        self.second.running = 0
        self.one.decided(DeliveredMessage("consumer", 2, False, "", "queue"))
        self.assertEqual(self.first.begun, [other])

    def test_begun_in_time(self) -> None:
        """
        One that has begun does not go back, however long its attempt lasts.
        """
        suspect = self.add(self.first)
        self.clock.advance(GATHERING)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(10 * LONGEST_WAIT)
        self.assertEqual((self.first.begun, self.first.returned), ([suspect], []))

    def test_taken_back_while_gathering(self) -> None:
        """
        A watch that takes back its suspects lets the others go on at once, and leaves
        nothing to be done later.
        """
        suspect = self.add(self.first)
        self.assertEqual(self.one.take_back(self.second), [])
        self.check_closed(True)
        self.assertEqual(self.one.take_back(self.first), [suspect])
        self.check_closed(False)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_those_of_another_remain(self) -> None:
        """
        Those of other watches wait on.
        """
        mine, other = self.add(self.first, "a"), self.add(self.second, "b")
        self.assertEqual(self.one.take_back(self.first), [mine])
        self.check_closed(True)
        self.clock.advance(GATHERING)
        self.assertEqual(self.second.begun, [other])
        self.assertEqual(self.first.begun, [])

    def test_begun_is_not_taken_back(self) -> None:
        """
        One that has begun is not taken back, and others wait for its end.
        """
        suspect = self.add(self.first)
        self.clock.advance(GATHERING)
        waits = self.add(self.first, "b")
        self.assertEqual(self.one.take_back(self.first), [waits])
        self.check_closed(True)
        self.end(self.first, suspect)
        self.check_closed(False)

    def test_taken_back_while_signing(self) -> None:
        """
        One whose sign is being made is taken back, and its sign removed.
        """
        self.suspects.signing = signing = Deferred[None]()
        suspect = self.add(self.first)
        self.clock.advance(GATHERING)
        self.assertEqual(self.one.take_back(self.second), [])
        self.assertEqual(self.one.take_back(self.first), [suspect])
        self.check_closed(False)
        signing.callback(None)
        self.assertEqual(self.first.begun, [])
        self.assertEqual(self.suspects.signs, [])

    def test_lost_before_its_turn(self) -> None:
        """
        Where its connection is lost as its turn comes, the others go on.
        """
        self.add(self.first)
        self.first.wire = None
        self.clock.advance(GATHERING)
        self.assertEqual((self.first.begun, self.suspects.signs), ([], []))
        self.check_closed(False)

    def test_lost_while_signing(self) -> None:
        """
        Where the connection is another one when its sign is there, it does not begin:
        RabbitMQ delivers it again.
        """
        for wire in (None, OTHER_WIRE):
            self.suspects.signing = signing = Deferred[None]()
            self.first.wire = WIRE
            self.add(self.first)
            self.clock.advance(GATHERING)
            self.first.wire = wire
            signing.callback(None)
            self.assertEqual((self.first.begun, self.suspects.signs), ([], []))
            self.check_closed(False)

    def test_lost_while_running(self) -> None:
        """
        A suspect that runs on when its channel is lost keeps nobody waiting.
        """
        suspect = self.add(self.first)
        self.clock.advance(GATHERING)
        self.one.lost(self.second)
        self.check_closed(True)
        self.one.lost(self.first)
        self.check_closed(False)
        self.suspects.signs.clear()  # by the next connection
        self.first.begun.remove(suspect)

    def test_lost_while_waiting(self) -> None:
        """
        Those that wait are RabbitMQ's when the channel is lost; one of another watch
        may begin then.
        """
        self.first.running = 1
        self.add(self.first, "a")
        other = self.add(self.second, "b")
        self.clock.advance(GATHERING)
        self.assertEqual(self.second.begun, [])
        self.first.running = 0
        self.one.lost(self.first)
        self.assertEqual((self.first.begun, self.second.begun), ([], [other]))

    def test_ends_at_once(self) -> None:
        """
        Suspects whose attempts end at once follow each other; the others go on at last.
        """
        begun: list[DeliveredMessage] = []

        def begin(message: DeliveredMessage) -> None:
            begun.append(message)
            self.one.decided(message)

        self.first.begin = begin  # type: ignore[method-assign]
        suspects = [self.add(self.first, flight) for flight in "abc"]
        self.clock.advance(GATHERING)
        self.assertEqual(begun, suspects)
        self.check_closed(False)
