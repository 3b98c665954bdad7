"""
Tests for C{quebert.amqp.watch._channel_keeper}: each row of the table of its states.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from quebert._machine import Machine, WrongEvent
from quebert.amqp.watch._channel_backoff import LASTING
from quebert.amqp.watch._channel_keeper import TABLE, ChannelKeeper, KeeperState
from quebert.errors import BrokerError, BrokerRefused, ChannelLost
from quebert.test.support import logged

GONE = ChannelLost("gone")


class FakeChannel:
    """
    A channel.
    """

    def __init__(self, wire: FakeWire) -> None:
        self.client = wire
        self.closed: Deferred[BrokerError] = Deferred()
        self.was_shut = False

    def when_closed(self) -> Deferred[BrokerError]:
        """
        Fires when the test says so.
        """
        return self.closed

    async def shut(self) -> None:
        """
        Note it.
        """
        self.was_shut = True


class FakeWire:
    """
    A connection.
    """

    def __init__(self) -> None:
        self.closed = False
        self.channels: list[FakeChannel] = []

    async def open_channel(self, confirms: bool) -> Any:
        """
        Another channel.
        """
        self.channels.append(FakeChannel(self))
        return self.channels[-1]


class FakeSession:
    """
    The connections of a client.

    @ivar connecting: fires when there is one.
    """

    def __init__(self) -> None:
        self.reactor = Clock()
        self.wire = FakeWire()
        self.connecting: Deferred[Any] = Deferred()
        self.timeouts: list[float | None] = []

    async def connected(self, timeout: float | None = None) -> Any:
        """
        Wait for the test.
        """
        self.timeouts.append(timeout)
        self.connecting = Deferred()
        return await self.connecting


class KeeperTestCase(SynchronousTestCase):
    """
    A keeper, of which the test makes the connections.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        self.session = FakeSession()
        self.clock = self.session.reactor
        self.losses = 0
        self.preparing: Deferred[None] | None = None
        self.keeper = ChannelKeeper(
            cast(Any, self.session), "q", self.prepare, self.lost, self.wait_for
        )

    async def prepare(self, wire: Any, channel: Any) -> None:
        """
        Make a channel ready.
        """
        if self.preparing is not None:
            await self.preparing

    def lost(self) -> None:
        """
        Count.
        """
        self.losses += 1

    def wait_for(self, seconds: float) -> Deferred[None]:
        """
        Wait.
        """
        return deferLater(self.clock, seconds)

    def begin(self, timeout: float | None = 30.0) -> None:
        """
        Attach for the first time.
        """
        self.begun = Deferred.fromCoroutine(self.keeper.begin(timeout))
        self.errors: list[Any] = []
        self.begun.addErrback(self.errors.append)

    def succeed(self) -> None:
        """
        There is a connection, and a channel.
        """
        self.session.connecting.callback(self.session.wire)

    def refuse(self) -> None:
        """
        There is none.
        """
        self.session.connecting.errback(GONE)

    def keep(self) -> None:
        """
        Attach again, whatever happens.
        """
        self.keeping = Deferred.fromCoroutine(self.keeper.keep())

    def lose(self) -> None:
        """
        The channel is closed.
        """
        self.session.wire.channels[-1].closed.callback(GONE)

    def attached(self) -> None:
        """
        There is a channel that is kept.
        """
        self.begin()
        self.succeed()
        self.keep()


class TableTests(KeeperTestCase):
    """
    The states of the channel of a watch.
    """

    def reach(self, state: KeeperState) -> None:
        """
        A new keeper, in a state.
        """
        self.setUp()
        if state is KeeperState.ATTACHING:
            self.begin()
        elif state in (KeeperState.ATTACHED, KeeperState.WAITING):
            self.attached()
        if state is KeeperState.WAITING:
            self.lose()
            self.refuse()
        if state is KeeperState.ENDING:
            self.attached()
            self.keeper.end()
        self.assertIs(self.keeper.state, state)

    def test_ways(self) -> None:
        """
        It goes through its states as the table has it.
        """
        self.assertIs(self.keeper.state, KeeperState.DETACHED)
        self.begin()
        self.assertIs(self.keeper.state, KeeperState.ATTACHING)
        self.succeed()
        self.assertIs(self.keeper.state, KeeperState.ATTACHED)
        self.keep()
        self.lose()
        self.assertIs(self.keeper.state, KeeperState.ATTACHING)  # at once
        self.refuse()
        self.assertIs(self.keeper.state, KeeperState.WAITING)
        self.clock.advance(60)
        self.assertIs(self.keeper.state, KeeperState.ATTACHING)
        self.keeper.end()
        self.assertIs(self.keeper.state, KeeperState.ENDING)

    def test_failed_at_first(self) -> None:
        """
        Where there is no connection for the first attempt, it is detached.
        """
        self.begin()
        self.refuse()
        [failure] = self.errors
        self.assertIs(failure.value, GONE)
        self.assertIs(self.keeper.state, KeeperState.DETACHED)

    def test_ending(self) -> None:
        """
        The end can come in each state.
        """
        for before in KeeperState:
            self.reach(before)
            self.keeper.end()
            self.assertIs(self.keeper.state, KeeperState.ENDING)

    def test_rows(self) -> None:
        """
        Each event leads to the state that the table has, and no other can be.
        """
        for event in TABLE:
            for before in KeeperState:
                machine = Machine(TABLE, before)
                after = TABLE[event].get(before, before)
                if before in TABLE[event]:
                    machine.move(event)
                else:
                    self.assertRaises(WrongEvent, machine.move, event)
                self.assertIs(machine.state, after)


class EndTests(KeeperTestCase):
    """
    The end of a watch.
    """

    def test_attached(self) -> None:
        """
        The channel remains until it is closed, and there is no other.
        """
        self.attached()
        self.keeper.end()
        self.assertIsNot(self.keeper.channel, None)
        self.lose()
        self.successResultOf(self.keeping)
        self.assertIs(self.keeper.channel, None)
        self.assertEqual((self.losses, len(self.session.timeouts)), (1, 1))

    def test_attaching(self) -> None:
        """
        A channel that is opened just then is shut.
        """
        self.begin()
        self.keeper.end()
        self.succeed()
        [failure] = self.errors
        self.assertIn("the watch of queue 'q' was stopped", str(failure.value))
        self.assertTrue(self.session.wire.channels[0].was_shut)
        self.assertIs(self.keeper.channel, None)

    def test_waiting(self) -> None:
        """
        Nobody waits on.
        """
        self.attached()
        self.lose()
        self.refuse()
        self.keeper.end()
        self.clock.advance(60)
        self.successResultOf(self.keeping)
        self.assertIs(self.keeper.channel, None)

    def test_waiting_at_first(self) -> None:
        """
        The first attempt may be waiting for another.
        """
        self.preparing = Deferred()
        self.begin()
        self.succeed()
        self.session.wire.closed = True
        self.preparing.errback(GONE)
        self.assertIs(self.keeper.state, KeeperState.WAITING)
        self.keeper.end()
        [failure] = self.errors
        self.assertIn("was stopped", str(failure.value))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FaultTests(KeeperTestCase):
    """
    Faults of ours, or of a throttle.
    """

    def test_tried_again(self) -> None:
        """
        A fault that makes a channel ready no more is logged, and does not end the
        watch.
        """
        self.attached()
        self.lose()
        self.preparing = fail(ValueError("fault"))
        self.succeed()
        [failure] = self.flushLoggedErrors(ValueError)
        self.assertEqual(str(failure.value), "fault")
        self.assertNoResult(self.keeping)
        self.preparing = None
        self.clock.advance(60)
        self.succeed()
        self.assertIs(self.keeper.state, KeeperState.ATTACHED)
        self.keeper.end()
        self.lose()
        self.successResultOf(self.keeping)


class AgainTests(KeeperTestCase):
    """
    Attempts after a channel that was lost.
    """

    def again(self, seconds: float, *, connection: bool = False) -> float:
        """
        A channel lasts for so long, and is lost; after how many seconds is another
        asked for?
        """
        self.clock.advance(seconds)
        wire, number = self.session.wire, len(self.session.timeouts)
        wire.closed = connection
        self.lose()
        waited = 0.0
        while len(self.session.timeouts) == number:
            self.clock.advance(0.25)
            waited += 0.25
        wire.closed = False
        self.succeed()
        return waited

    def test_short_lived(self) -> None:
        """
        Channels that are lost soon, on connections that are not, are made anew later
        each time; one that has lasted ends that.
        """
        self.attached()
        waited = [self.again(1.0) for _ in range(4)]
        self.assertEqual(waited[0], 0.0)
        self.assertTrue(0 < waited[1] < waited[2] < waited[3], waited)
        self.assertEqual(self.again(LASTING), 0.0)
        self.assertEqual(self.again(1.0), 0.0)

    def test_lost_with_the_connection(self) -> None:
        """
        Those that are lost with their connections are made anew at once.
        """
        self.attached()
        waited = [self.again(1.0, connection=True) for _ in range(4)]
        self.assertEqual(waited, [0.0] * 4)

    def test_told(self) -> None:
        """
        The log tells why the queue is not consumed: of the loss, of each attempt that
        fails for another reason, and of the end.
        """
        self.attached()
        with logged() as lines:
            self.lose()
            self.session.connecting.errback(ChannelLost("another reason"))
            self.clock.advance(5)
            self.preparing = fail(ValueError("fault"))
            self.succeed()
            self.preparing = None
            self.clock.advance(59)
            self.assertIs(self.keeper.state, KeeperState.WAITING)
            self.clock.advance(1)
            self.succeed()
            self.clock.advance(5)
            self.clock.advance(5)
        self.flushLoggedErrors(ValueError)
        told = [line for line in lines if "'q'" in line]
        for reason in ("gone", "another reason", ": fault"):
            self.assertTrue(any(reason in line for line in told), (reason, told))
        self.assertIn("after", told[-1])

    def test_no_answer(self) -> None:
        """
        A broker that does not answer for half a minute is told once; one that answers
        in time is not.
        """
        for seconds, number in ((29.5, 0), (30.0, 1)):
            self.setUp()
            self.preparing = Deferred()
            self.begin()
            with logged() as lines:
                self.succeed()
                self.clock.advance(seconds)
                self.preparing.callback(None)
                self.clock.advance(1)
            told = [line for line in lines if "has not answered for 30 s" in line]
            self.assertEqual(len(told), number)
            self.keeper.end()
            self.assertEqual(self.clock.getDelayedCalls(), [])


class BeginTests(KeeperTestCase):
    """
    The first attempts.
    """

    def lose_connection(self, why: BrokerError = GONE) -> None:
        """
        The connection is lost while the channel is made ready.
        """
        self.preparing = Deferred()
        self.succeed()
        self.session.wire.closed = True
        self.preparing.errback(why)
        self.preparing = None

    def test_again(self) -> None:
        """
        There is another attempt, in what is left of the time.
        """
        self.begin()
        self.clock.advance(10)
        self.lose_connection()
        self.assertEqual(self.losses, 1)
        self.clock.advance(5)
        self.assertEqual(self.session.timeouts, [30.0, 15.0])
        self.succeed()
        self.successResultOf(self.begun)
        self.assertEqual(self.errors, [])

    def test_not_in_time(self) -> None:
        """
        There is none that would come too late.
        """
        self.begin()
        self.clock.advance(29)
        self.lose_connection()
        self.assertEqual(len(self.errors), 1)

    def test_no_limit(self) -> None:
        """
        Without a limit there are further attempts, however late, each without a limit.
        """
        self.begin(None)
        self.clock.advance(10_000)
        self.lose_connection()
        self.clock.advance(5)
        self.assertEqual(self.session.timeouts, [None, None])
        self.succeed()
        self.successResultOf(self.begun)

    def test_just_in_time(self) -> None:
        """
        There is no attempt for which no time would be left.
        """
        for seconds, number in ((28.4, 2), (28.5, 1), (28.6, 1)):
            self.setUp()
            self.begin()
            self.clock.advance(seconds)
            self.lose_connection()
            self.clock.advance(1.5)
            self.assertEqual(len(self.session.timeouts), number, seconds)

    def test_told(self) -> None:
        """
        The log tells why there is another attempt, and that it was successful.
        """
        self.begin()
        with logged() as lines:
            self.lose_connection()
            self.clock.advance(5)
            self.succeed()
            for _ in range(5):
                self.clock.advance(5)
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("gone", lines[0])

    def test_connected_and_lost(self) -> None:
        """
        An attempt that fails while the connection lasts is the last.
        """
        self.begin()
        self.preparing = fail(GONE)
        self.succeed()
        self.assertEqual(len(self.errors), 1)
        self.assertTrue(self.session.wire.channels[0].was_shut)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_final(self) -> None:
        """
        There is none after a refusal.
        """
        self.begin()
        self.lose_connection(BrokerRefused(403, "no"))
        self.assertEqual(len(self.errors), 1)

    def test_cancelled(self) -> None:
        """
        It can be cancelled while it waits.
        """
        self.begin()
        self.lose_connection()
        self.begun.cancel()
        self.assertEqual(len(self.errors), 1)
        self.assertIs(self.keeper.state, KeeperState.DETACHED)
