"""
L{quebert.amqp.delays._astray} with a broker that only pretends, and a clock that only
the tests move.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.delays import UNCLAIMED, Ladder
from quebert.amqp.delays._astray import Astray, OldLadder
from quebert.amqp.wire import Message
from quebert.errors import BrokerRefused, ChannelLost

# Seconds for which the broker takes its time.
_TAKES = 0.001


class FakeStore:
    """
    A connection, also as all its channels, to a broker that has one queue.

    @ivar ready: the routing keys of the messages there that nobody holds.
    @ivar came: those that were published to a task queue.
    @ivar gets: how often somebody has asked for a message.
    """

    closed = False

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.server_properties: dict[str, Any] = {}
        self.ready: list[str] = []
        self.came: list[str] = []
        self.gets = 0

    async def open_channel(self, *, confirms: bool) -> FakeChannel:
        """
        Another channel.
        """
        if self.closed:
            raise ChannelLost("gone")
        await deferLater(self.clock, _TAKES)
        return FakeChannel(self)

    async def publish(self, exchange: str, key: str, body: bytes, _: bytes) -> None:
        """
        Publish, and be confirmed.
        """
        await deferLater(self.clock, _TAKES)
        assert not exchange
        self.came.append(key)


class FakeChannel:
    """
    A channel that holds what it has got, until that is settled.
    """

    def __init__(self, wire: FakeStore) -> None:
        self._wire = wire
        self._held: dict[int, str] = {}
        self._tag = 0

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Ask for the number of messages; nothing else is there.
        """
        await deferLater(self._wire.clock, _TAKES)
        if arguments.get("queue") != UNCLAIMED:
            raise BrokerRefused(404, "NOT_FOUND")
        ready = len(self._wire.ready)
        return SimpleNamespace(message_count=ready, consumer_count=0)

    async def get(self, queue: str) -> Message | None:
        """
        The first message, or none.
        """
        self._wire.gets += 1
        key = self._wire.ready.pop(0) if self._wire.ready else None
        await deferLater(self._wire.clock, _TAKES)
        if key is None:
            return None
        self._tag += 1
        self._held[self._tag] = key
        return Message("", self._tag, False, UNCLAIMED, key)

    def ack(self, delivery_tag: int) -> None:
        """
        It has left the queue.
        """
        del self._held[delivery_tag]

    def give_all_back(self) -> None:
        """
        Others may have what is held.
        """
        self._wire.ready[:0] = self._held.values()
        self._held.clear()

    async def shut(self) -> None:
        """
        Close it.
        """
        await deferLater(self._wire.clock, _TAKES)


class AstrayTests(SynchronousTestCase):
    """
    Bringing back what is unclaimed.
    """

    def setUp(self) -> None:
        """
        A mediator that watches some queues.
        """
        self.clock = Clock()
        self.wire: Any = FakeStore(self.clock)
        self.ladder = Ladder()
        self.begin(8)

    def begin(self, count: int) -> None:
        """
        Watch so many queues.
        """
        self.queues = [f"queue-{number}" for number in range(count)]
        self.astrays = [
            Astray(self.ladder, OldLadder(), each, self.wire) for each in self.queues
        ]
        for each in self.astrays:
            self.addCleanup(each.end)
        self.bring_back()

    def begin_to_bring_back(self) -> list[Deferred[int]]:
        """
        The ladder was looked after, and each queue brings back what is for it.
        """
        self.ladder.unclaimed = len(self.wire.ready)
        return [
            Deferred.fromCoroutine(each.bring_back(self.wire)) for each in self.astrays
        ]

    def bring_back(self) -> list[int]:
        """
        The same until all of them are done; returns how many each has brought back.
        """
        bringing = self.begin_to_bring_back()
        self.clock.pump([_TAKES] * 3000)
        return [self.successResultOf(each) for each in bringing]

    def test_of_many_queues(self) -> None:
        """
        However many queues are watched, none holds what another one looks for, and each
        tells how many were its own.
        """
        for each in (3, 200):
            self.wire.came.clear()
            self.wire.ready.extend(self.queues * each)
            self.assertEqual(self.bring_back(), [each] * len(self.queues))
            self.assertEqual(sorted(self.wire.came), sorted(self.queues * each))

    def test_as_many_as_before(self) -> None:
        """
        A message is brought back also where as many have left meanwhile as have come;
        what stays for others is left in peace after some seconds.
        """
        self.begin(2)
        (ours, another), others = self.queues, "of another mediator"
        for each in (another, others):
            self.wire.ready += [ours, each]
            self.bring_back()
            self.wire.ready[:] = [ours]  # the other mediator has got its own
            self.bring_back()
        self.assertEqual(self.wire.came.count(ours), 4)
        self.wire.ready.append(others)
        self.clock.advance(10)
        self.bring_back()
        self.clock.advance(10)
        self.bring_back()
        gets = self.wire.gets
        self.bring_back()
        self.assertEqual(self.wire.gets, gets)

    def test_lost(self) -> None:
        """
        Where the connection is lost, however many queues are watched, all are told.
        """
        self.begin(500)
        self.wire.ready.extend(self.queues)
        bringing = self.begin_to_bring_back()
        self.wire.closed = True
        self.clock.pump([_TAKES] * 1000)
        for each in bringing:
            self.failureResultOf(each, ChannelLost)
