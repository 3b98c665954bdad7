"""
Tests for L{quebert._lanes}, and for who has hundreds wait for a lane.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from quebert._lanes import Lanes
from quebert.amqp.link import Publisher
from quebert.doctor._subject import together
from quebert.errors import ChannelLost

MANY = 2_000


class FakeWire:
    """
    A connection, and a channel of it, which answers nothing before it is lost.
    """

    closed = False

    def __init__(self) -> None:
        self.asked: list[Deferred[None]] = []

    async def open_channel(self) -> FakeWire:
        """
        The channel.
        """
        return self

    async def publish(self, *message: object) -> None:
        """
        Wait for an answer.
        """
        if self.closed:
            raise ChannelLost("lost")
        self.asked.append(Deferred())
        await self.asked[-1]

    async def shut(self) -> None:
        """
        Close the channel.
        """

    def lose(self) -> None:
        """
        Be lost.
        """
        self.closed = True
        for each in self.asked:
            each.errback(ChannelLost("lost"))


class FakeConnection:
    """
    What has a connection.
    """

    def __init__(self, wire: FakeWire) -> None:
        self.wire = wire

    def connected(self) -> Deferred[FakeWire]:
        """
        Have it at once.
        """
        return succeed(self.wire)


class LanesTests(SynchronousTestCase):
    """
    L{Lanes}.
    """

    def setUp(self) -> None:
        self.wire = FakeWire()

    def test_some_at_a_time(self) -> None:
        """
        No more run than there are lanes, and each has its turn.
        """
        lanes, ends, results = Lanes(3), list[Deferred[int]](), list[int]()

        def begin() -> Deferred[int]:
            ends.append(Deferred())
            return ends[-1]

        for _ in range(5):
            lanes.run(begin).addCallback(results.append)
        for number in range(5):
            self.assertEqual(len(ends), min(5, 3 + number))
            ends[number].callback(number)
        self.assertEqual(results, [0, 1, 2, 3, 4])
        self.assertEqual((lanes.tokens, lanes.waiting), (3, []))

    def test_publisher(self) -> None:
        """
        Where hundreds of messages are published on channels of their own, each of them
        has an answer, however that ends.
        """
        connection: Any = FakeConnection(self.wire)
        for end in (Publisher.shut, lambda _: None):
            publisher = Publisher(connection)
            sending = [
                Deferred.fromCoroutine(publisher.publish_alone("", "q", b"", b""))
                for _ in range(MANY)
            ]
            end(publisher)
            self.wire.lose()
            for each in sending:
                self.failureResultOf(each, ChannelLost)
            self.wire = connection.wire = FakeWire()

    def test_doctor(self) -> None:
        """
        Where the doctor has hundreds of questions, a lost connection ends all of them.
        """
        asking = together(self.wire.publish() for _ in range(MANY))
        asked = Deferred.fromCoroutine(asking)
        self.wire.lose()
        self.failureResultOf(asked, ChannelLost)
