"""
Forwarding what has waited, with a broker that only pretends, and a clock that
only the tests move.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.frames import MAX_PAYLOAD
from quebert._protocol.properties import encode_properties
from quebert.amqp.delays import PREFIX, Forwarder, arrivals_of, due_in
from quebert.amqp.delays._arrivals import MOST_BYTES
from quebert.amqp.delays._forwarding import _to_begin, _to_wait
from quebert.amqp.delays._refusals import LadderRefused
from quebert.amqp.delays._rungs_in_use import CHECK
from quebert.amqp.wire import DELAY, NOT_BEFORE, Message, Unconfirmed
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    MessageRefused,
    PublishRefused,
)
from quebert.test.doubles import RABBITMQ
from quebert.test.support import logged
from quebert.test.test_watcher import FakeLadder, FakePublisher

FULL = PublishRefused("the queue is full")


class FakeChannel:
    """
    A channel on which messages arrive.

    @ivar calls: the methods that were called.
    @ivar arguments: of each method, when it was called last.
    @ivar acked: the tags of deliveries that were acknowledged.
    @ivar closed_waiters: those who wait for its end.
    """

    def __init__(self, wire: Any) -> None:
        self.client = wire
        self.calls: list[str] = []
        self.arguments: dict[str, dict[str, Any]] = {}
        self.acked: list[int] = []
        self.closed = False
        self.end: Deferred[BrokerError] = Deferred()

    def when_closed(self) -> Deferred[BrokerError]:
        """
        Fires at its end.
        """
        return self.end

    async def call(self, method: str, **arguments: Any) -> None:
        """
        Call a method.
        """
        self.calls.append(method)
        self.arguments[method] = arguments

    def ack(self, delivery_tag: int) -> None:
        """
        Acknowledge.
        """
        self.acked.append(delivery_tag)

    def give_all_back(self) -> None:
        """
        Give back all others.
        """
        self.calls.append("nack")

    async def shut(self) -> None:
        """
        Close it.
        """
        self.calls.append("close")
        self.closed = True


async def _wait_for(deferred: Deferred[Any]) -> Any:
    return await deferred


class ForwarderTests(SynchronousTestCase):
    """
    What arrives for a queue.
    """

    def setUp(self) -> None:
        """
        A forwarder that has begun.
        """
        self.clock = Clock()
        self.channels: list[Any] = []
        self.wire = SimpleNamespace(
            clock=self.clock, closed=False, max_payload=MAX_PAYLOAD
        )

        async def open_channel(*, confirms: bool) -> Any:
            assert not confirms
            self.channels.append(FakeChannel(self.wire))
            return self.channels[-1]

        async def connected() -> Any:
            return self.wire

        async def nothing(*_: object) -> None:
            pass

        self.wire.open_channel = open_channel
        self.ladder = cast(Any, FakeLadder())
        self.ladder.prepare = self.ladder.check = nothing
        self.publisher = cast(Any, FakePublisher())
        self.session: Any = SimpleNamespace(
            reactor=self.clock, now=self.clock.seconds, connected=connected
        )
        old_ladder: Any = None
        self.forwarder = Forwarder(
            self.ladder, old_ladder, self.session, "queue", self.publisher
        )
        self.bring_back: Callable[[Any], Any] = nothing
        self.patch(
            self.forwarder._astray, "bring_back", lambda wire: self.bring_back(wire)
        )
        self.forwarder.begin()
        self.addCleanup(self.end)
        self.tag = 0

    def end(self) -> None:
        """
        Leave no coroutine that waits: one that is collected later fails another test.
        """
        while self.unconfirmed:
            self.publisher.confirm()
        ending = Deferred.fromCoroutine(self.forwarder.end())
        ending.addErrback(lambda _: None)
        for _ in range(200):
            self.clock.advance(0.05)
        ending.cancel()

    def arrive(
        self, due: float = 0.0, waited: int = 1, rung: int = 0, body: bytes = b""
    ) -> None:
        """
        A message arrives.

        @param body: its number by default.
        @param due: in so many seconds.
        @param waited: the seconds for which it has waited.
        @param rung: the seconds for which it was to wait; as many by default.
        """
        self.tag += 1
        headers = {
            NOT_BEFORE: self.clock.seconds() + due,
            DELAY: due + waited,
            "x-death": [
                {
                    "queue": f"quebert.delay.wait.{rung or waited}s",
                    "time": datetime.fromtimestamp(int(self.clock.seconds()), UTC),
                }
            ],
        }
        message = Message("", self.tag, False, "", "queue")
        message.encoded_properties = encode_properties({"headers": headers})
        message.body = body or b"%d" % self.tag
        self.channels[-1].on_message(message)

    @property
    def unconfirmed(self) -> list[bytes]:
        """
        What is on its way.
        """
        return [each.body for each in self.publisher.unconfirmed]

    def lose(self) -> None:
        """
        Have the broker close the channel.
        """
        channel = self.channels[-1]
        channel.closed = True
        channel.end.callback(ChannelLost("closed"))

    def test_forwarded(self) -> None:
        """
        What is due goes to its queue, and is acknowledged when that is confirmed.
        """
        self.arrive()
        (publication,) = self.publisher.publications
        self.assertEqual((publication.exchange, publication.routing_key), ("", "queue"))
        self.assertEqual(self.channels[0].acked, [])
        self.publisher.confirm()
        self.assertEqual(self.channels[0].acked, [1])

    @property
    def is_fetching(self) -> bool:
        """
        Whether it consumes.
        """
        calls = self.channels[-1].calls
        return bool(calls.count("basic_consume") > calls.count("basic_cancel"))

    def test_many_bytes(self) -> None:
        """
        While many bytes are on their way, no further messages are fetched, until at
        most half as many are.
        """
        large = bytes(MOST_BYTES // 4)
        for expected in (True, True, True, True, False):
            self.arrive(body=large)
            self.assertEqual(self.is_fetching, expected)
        for expected in (False, False, True):
            self.publisher.confirm()
            self.assertEqual(self.is_fetching, expected)
        for _ in range(2):
            self.publisher.confirm()
        self.assertEqual(self.channels[0].acked, [1, 2, 3, 4, 5])
        self.assertEqual(self.channels[0].calls.count("basic_consume"), 2)

    def test_closed_with_many_bytes(self) -> None:
        """
        Where the channel is closed while nothing is fetched, it begins anew at once,
        and what is on its way does not count over the next channel.
        """
        for _ in range(2):
            self.arrive(body=bytes(MOST_BYTES))
        self.assertFalse(self.is_fetching)
        self.lose()
        self.clock.advance(1)
        self.assertEqual(len(self.channels), 2)
        self.assertTrue(self.is_fetching)
        self.publisher.confirm()
        self.publisher.confirm()
        self.arrive(body=bytes(MOST_BYTES // 2))
        self.assertTrue(self.is_fetching)

    def test_cannot_look(self) -> None:
        """
        Where it may not look after the ladder, or after what went astray, what is due
        is forwarded all the same.
        """

        async def refuse(*_: object) -> None:
            raise BrokerRefused(403, "ACCESS_REFUSED")

        self.ladder.check = refuse
        self.bring_back = refuse
        for number in (1, 2, 3):
            self.clock.advance(CHECK)
            self.arrive()
            self.publisher.confirm()
            self.assertEqual(self.channels[0].acked, [*range(1, number + 1)])
        self.assertEqual(len(self.channels), 1)

    def test_broker_fails(self) -> None:
        """
        Where RabbitMQ itself fails, each attempt is later than the one before, also if
        the queue was declared meanwhile; once all is well that is over.
        """
        tries: list[float] = []

        async def fail(*_: object) -> None:
            tries.append(self.clock.seconds())
            raise BrokerRefused(541, "INTERNAL_ERROR")

        prepare, self.ladder.prepare = self.ladder.prepare, fail
        self.lose()
        for _ in range(600):
            self.clock.advance(0.1)
            self.forwarder.declared()
        gaps = [later - time for time, later in pairwise(tries)]
        self.assertGreaterEqual(len(gaps), 3)
        self.assertGreater(gaps[-1], 2 * gaps[0])
        self.ladder.prepare = prepare
        self.clock.pump([1] * 60)
        self.assertEqual(len(self.channels), 2)
        self.ladder.prepare = fail
        tries.clear()
        self.lose()
        self.clock.pump([0.1] * 60)
        self.assertGreaterEqual(len(tries), 2)

    def test_confirmed_at_the_end(self) -> None:
        """
        The end waits some seconds for the answers to what was published, so that what
        is safe in its queue does not come twice.
        """
        self.arrive()
        ending = Deferred.fromCoroutine(self.forwarder.end())
        self.clock.pump([0.05] * 20)
        self.assertNoResult(ending)
        self.assertFalse(self.channels[0].closed)
        self.publisher.confirm()
        self.clock.pump([0.05] * 2)
        self.successResultOf(ending)
        self.assertEqual(self.channels[0].acked, [1])
        self.assertTrue(self.channels[0].closed)

    def test_fault_of_ours(self) -> None:
        """
        After a fault of ours, which is logged, forwarding goes on a minute later.
        """

        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        check, self.ladder.check = self.ladder.check, fail
        self.clock.advance(CHECK)
        self.ladder.check = check
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.channels[0].closed)
        self.clock.advance(60)
        self.arrive()
        self.publisher.confirm()
        self.assertEqual(self.channels[1].acked, [1])

    def test_too_early_while_full(self) -> None:
        """
        Messages that come too early keep none waiting that are due, although the queue
        takes nothing for a while.
        """
        self.arrive()
        self.publisher.confirm(FULL)
        for _ in range(3):
            self.arrive(due=8.0, rung=9)
        for problem in (*[FULL] * 8, *[None] * 40):
            self.clock.advance(0.5)
            while self.unconfirmed:
                self.publisher.confirm(problem)
        self.assertEqual(sorted(self.channels[0].acked), [1, 2, 3, 4])

    def test_next_wait_while_full(self) -> None:
        """
        A queue that takes nothing keeps no message from its next wait, and is not asked
        more often since others begin theirs.
        """
        self.arrive()
        self.publisher.confirm(FULL)
        for _ in range(10):
            self.arrive(due=500.0, waited=64)
            self.publisher.confirm()
        self.assertEqual(self.channels[0].acked, [*range(2, 12)])
        self.assertEqual(self.unconfirmed, [])
        self.clock.advance(1)
        self.assertEqual(self.unconfirmed, [b"1"])

    def test_due_meanwhile(self) -> None:
        """
        A message that becomes due while its next rung is made goes to its queue, where
        it is due, too.
        """
        self.clock.advance(1000)
        made = Deferred[str]()
        self.patch(self.ladder, "rung_for", lambda *_: made)
        self.arrive(due=0.75, waited=16)
        self.clock.advance(3.5)
        made.callback("rung")
        (publication,) = self.publisher.publications
        self.assertEqual((publication.exchange, publication.routing_key), ("", "queue"))
        message = Message("", 1, False, "", "queue")
        message.encoded_properties = encode_properties(publication.properties)
        self.assertEqual(due_in(message, self.clock.seconds(), 0.0), 0.0)

    def test_fault_while_full(self) -> None:
        """
        A message that has a fault of ours keeps none waiting, although the queue took
        nothing just before.
        """
        self.arrive()
        self.arrive()
        self.publisher.confirm(FULL)
        self.publisher.confirm(FULL)
        self.clock.advance(1)
        self.publisher.confirm(cast(Any, ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.unconfirmed, [b"2"])

    def test_round_fails_while_full(self) -> None:
        """
        Where a round fails, what waits for its queue is given back, and not published.
        """

        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        self.arrive()
        self.publisher.confirm(FULL)
        self.ladder.check = fail
        self.forwarder._wake()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("nack", self.channels[0].calls)
        self.clock.pump([1] * 30)
        self.assertEqual(len(self.publisher.publications), 1)

    def test_while_blocked(self) -> None:
        """
        While RabbitMQ reads nothing, a message waits here, and is put where it waits
        for what is left then.
        """
        self.publisher.blockade = blockade = Deferred[None]()
        self.arrive(due=20.0, waited=64)
        self.clock.advance(17)
        self.assertEqual(self.unconfirmed, [])
        self.publisher.blockade = None
        blockade.callback(None)
        (publication,) = self.publisher.publications
        self.assertEqual(publication.exchange, f"{PREFIX}.wait.3s")

    def test_due_while_blocked(self) -> None:
        """
        A message that is due is with the publisher at once, which knows when to write.
        """
        self.publisher.blockade = Deferred()
        self.arrive()
        self.assertEqual(self.unconfirmed, [b"1"])

    def test_nothing_kept_of_those_held(self) -> None:
        """
        Of messages that were held nothing is kept.
        """

        def count() -> int:
            gc.collect()
            return sum(type(each) is Deferred for each in gc.get_objects())

        counts = []
        for _ in range(2):
            for _ in range(20):
                self.arrive(due=2.0, rung=3)
            self.clock.advance(2)
            while self.unconfirmed:
                self.publisher.confirm()
            self.publisher.publications.clear()
            self.publisher.confirmed.clear()
            counts.append(count())
        self.assertLess(counts[1] - counts[0], 20)

    def test_refused_after_the_channel(self) -> None:
        """
        A refusal of what came over a channel that is lost does not keep waiting what
        comes over the next one.
        """
        self.arrive()
        self.arrive()
        self.lose()
        self.publisher.confirm(FULL)
        self.publisher.confirm(FULL)
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(len(self.channels), 2)
        self.arrive()
        self.assertEqual(self.unconfirmed, [b"3"])

    def test_whose_refusal(self) -> None:
        """
        A refusal that closes the channel of the publications may be another message's:
        the message is published alone then.  A refusal of that is told; of a part of
        the ladder, the ladder tells.
        """
        refusal = BrokerRefused(403, "ACCESS_REFUSED - access to exchange 'e'")
        ours = BrokerRefused(403, "ACCESS_REFUSED - access to queue 'quebert.delay.q'")
        self.arrive()
        with logged(LogLevel.warn) as lines:
            self.publisher.confirm(Unconfirmed(refusal))
            self.clock.advance(1)
            self.assertEqual((self.publisher.alone, lines), ([1], []))
            self.publisher.confirm(refusal)
            self.clock.advance(2)
            self.publisher.confirm(ours)
        starts = "Queue 'queue' takes no delayed", "Tasks cannot wait in the broker"
        self.assertEqual(len(lines), 2)
        for line, start, why in zip(lines, starts, (refusal, ours), strict=True):
            self.assertIn(start, line)
            self.assertIn(str(why), line)

    def test_refused_for_itself(self) -> None:
        """
        A message that RabbitMQ refuses for itself waits alone, longer each time; others
        come by.
        """
        too_large = MessageRefused(406, "PRECONDITION_FAILED - it is too large")
        self.arrive()
        with logged(LogLevel.warn) as lines:
            self.publisher.confirm(Unconfirmed(too_large))
            tries = []
            for _ in range(4):
                self.publisher.confirm(too_large)
                self.arrive()
                self.publisher.confirm()
                began = self.clock.seconds()
                while not self.unconfirmed:
                    self.clock.advance(0.5)
                tries.append(self.clock.seconds() - began)
        self.assertEqual(self.channels[0].acked, [2, 3, 4, 5])
        self.assertEqual(tries, [1, 2, 4, 8])
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("it is too large", lines[0])

    def test_no_room_for_deaths(self) -> None:
        """
        A message to which RabbitMQ has added more than a frame has room for goes to its
        queue as it was published.
        """
        self.wire.max_payload = 130
        self.arrive()
        (publication,) = self.publisher.publications
        self.assertNotIn("x-death", publication.properties["headers"])
        self.wire.max_payload = MAX_PAYLOAD
        self.arrive()
        publication = self.publisher.publications[-1]
        self.assertIn("x-death", publication.properties["headers"])

    def test_end(self) -> None:
        """
        At the end nothing is left: what has no answer stays where it is, and a late
        refusal begins nothing.
        """
        self.arrive()
        self.arrive()
        self.publisher.confirm(FULL)
        ending = Deferred.fromCoroutine(self.forwarder.end())
        for _ in range(200):
            self.clock.advance(0.05)
        self.successResultOf(ending)
        self.assertEqual(self.channels[0].calls[-2:], ["nack", "close"])
        self.publisher.confirm(FULL)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_end_while_connecting(self) -> None:
        """
        The end does not wait for a connection.
        """
        connecting: Deferred[Any] = Deferred()
        self.patch(self.session, "connected", lambda: _wait_for(connecting))
        self.lose()
        self.clock.advance(1)
        self.assertEqual(len(self.channels), 1)
        ending = Deferred.fromCoroutine(self.forwarder.end())
        self.clock.advance(0)
        self.successResultOf(ending)

    def test_end_given_up(self) -> None:
        """
        When somebody does not wait for the end, the channel is closed all the same.
        """
        self.arrive()
        ending = Deferred.fromCoroutine(self.forwarder.end())
        ending.addErrback(lambda _: None)
        self.clock.advance(0.05)
        ending.cancel()
        self.assertEqual(self.channels[0].calls[-2:], ["nack", "close"])

    def test_ladder_refused(self) -> None:
        """
        What the ladder may not make is asked for again, and all the rest of it is not
        taken for missing.
        """

        async def refuse(*_: object) -> None:
            raise LadderRefused("no permission")

        self.patch(self.ladder, "prepare", refuse)
        self.lose()
        forgotten = self.ladder.forgotten
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.ladder.forgotten, forgotten)

    def ends(self) -> Deferred[None]:
        """
        The end, begun.
        """
        return Deferred.fromCoroutine(self.forwarder.end())

    def test_begun_twice(self) -> None:
        self.forwarder.begin()
        self.assertEqual(len(self.channels), 1)

    def test_how_it_consumes(self) -> None:
        channel = self.channels[0]
        self.assertEqual(channel.arguments["basic_qos"], {"prefetch_count": 10_000})
        consumer = {"queue": f"{PREFIX}.arrivals.queue", "consumer_tag": "quebert"}
        self.assertEqual(channel.arguments["basic_consume"], consumer)
        self.successResultOf(self.ends())
        self.assertEqual(channel.calls[-3:], ["basic_cancel", "nack", "close"])
        self.assertEqual(channel.arguments["basic_cancel"], {"consumer_tag": "quebert"})

    def test_goes_on_fetching(self) -> None:
        """
        As long as few bytes are on their way it fetches, and while many are, it does
        not, however often it looks; each change takes one call.
        """
        calls = self.channels[0].calls
        for _ in range(3):
            self.clock.advance(CHECK)
        self.assertNotIn("basic_cancel", calls)
        self.arrive(body=bytes(MOST_BYTES + 1))
        for _ in range(3):
            self.clock.advance(CHECK)
        self.assertEqual(calls.count("basic_cancel"), 1)
        self.assertEqual(calls.count("basic_consume"), 1)

    def test_errors_keep_nothing(self) -> None:
        """
        Whoever keeps an error does not keep a connection with it.
        """
        error = ChannelLost("closed")

        async def fail() -> Any:
            raise error

        self.patch(self.session, "connected", fail)
        self.lose()
        self.clock.advance(1)
        self.assertIsNone(error.__traceback__)

    def test_ended_while_not_fetching(self) -> None:
        self.arrive(body=bytes(MOST_BYTES + 1))
        self.assertEqual(
            self.channels[0].arguments["basic_cancel"], {"consumer_tag": "quebert"}
        )
        ending = self.ends()
        self.publisher.confirm()
        self.clock.pump([0.05] * 2)
        self.successResultOf(ending)
        self.assertEqual(self.channels[0].calls.count("basic_cancel"), 1)

    def test_patience_at_the_end(self) -> None:
        self.arrive()
        ending = self.ends()
        self.clock.pump([0.05] * 79)
        self.assertNoResult(ending)
        self.clock.pump([0.05] * 2)
        self.successResultOf(ending)
        self.assertEqual(self.channels[0].acked, [])

    def test_no_patience_for_lost_channels(self) -> None:
        """
        The end does not wait for answers to what came over a channel that is lost.
        """
        self.arrive()
        self.lose()
        self.clock.advance(1)
        self.assertEqual(len(self.channels), 2)
        self.successResultOf(self.ends())

    def test_arrives_after_the_end(self) -> None:
        """
        What arrives while the end waits for answers is given back.
        """
        self.arrive()
        ending = self.ends()
        self.arrive()
        self.assertEqual(self.unconfirmed, [b"1"])
        self.publisher.confirm()
        self.clock.advance(0.05)
        self.successResultOf(ending)
        self.assertEqual(self.channels[0].calls[-2:], ["nack", "close"])

    def test_ended_while_held(self) -> None:
        """
        The end does not wait for messages that are held since they came too early.
        """
        with logged(LogLevel.warn) as lines:
            self.arrive(due=8.0, rung=9)
        self.assertEqual(len(lines), 1)
        ending = self.ends()
        self.clock.advance(0.05)
        self.successResultOf(ending)
        self.assertEqual(self.publisher.publications, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_queue_of_arrivals_deleted(self) -> None:
        """
        Where somebody deletes the queue of the arrivals, it is made again at once, and
        with it all that may be missing.
        """
        self.channels[0].on_cancel("quebert")
        self.assertEqual(self.ladder.forgotten, 1)
        self.assertTrue(self.channels[0].closed)
        self.assertTrue(self.is_fetching)
        self.assertEqual(len(self.channels), 2)

    def test_channel_lost(self) -> None:
        """
        The loss of a channel is not told, which the watch tells; the ladder is looked
        at.
        """
        with logged(LogLevel.info) as lines:
            self.lose()
        self.assertEqual(lines, [])
        self.assertEqual(self.ladder.forgotten, 1)
        self.assertNotIn("basic_cancel", self.channels[0].calls)

    def test_channel_refused(self) -> None:
        """
        A refusal that closes the channel is told, and is met no earlier than a second
        later.
        """
        with logged(LogLevel.info) as lines:
            self.channels[0].closed = True
            self.channels[0].end.callback(BrokerRefused(406, "PRECONDITION_FAILED"))
        self.assertEqual(len(lines), 1)
        self.assertIn("PRECONDITION_FAILED", lines[0])

    def test_how_long_after_a_failed_round(self) -> None:
        connected = self.session.connected
        tries: list[float] = []

        async def fail() -> Any:
            tries.append(self.clock.seconds())
            raise ChannelLost("closed")

        self.patch(self.session, "connected", fail)
        self.lose()
        self.clock.pump([0.25] * 12)
        self.assertEqual(tries, [0.0, 1.0, 2.0, 3.0])
        self.patch(self.session, "connected", connected)
        self.clock.advance(1)
        self.assertEqual(len(self.channels), 2)

    def test_error_at_the_end(self) -> None:
        """
        What fails since the end has begun is not told.
        """
        connecting: Deferred[Any] = Deferred(
            lambda deferred: deferred.errback(BrokerError("stopped"))
        )
        self.patch(self.session, "connected", lambda: _wait_for(connecting))
        self.lose()
        forgotten = self.ladder.forgotten
        with logged(LogLevel.info) as lines:
            self.successResultOf(self.ends())
        self.assertEqual((lines, self.ladder.forgotten), ([], forgotten))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def pauses(self, number: int) -> list[float]:
        """
        The seconds between the first attempts, while RabbitMQ fails.
        """
        tries: list[float] = []

        async def fail(*_: object) -> None:
            tries.append(self.clock.seconds())
            raise BrokerRefused(541, "INTERNAL_ERROR")

        prepare, self.ladder.prepare = self.ladder.prepare, fail
        self.lose()
        for _ in range(64 * 60):
            if len(tries) > number:
                break
            self.clock.advance(1 / 64)
        self.ladder.prepare = prepare
        self.assertEqual(len(tries), number + 1)
        return [later - time for time, later in pairwise(tries)]

    def test_pauses_while_rabbitmq_fails(self) -> None:
        """
        Each is half as long again as the one before, or up to twice as short by chance;
        after a round that went well they begin anew.
        """
        for _ in range(2):
            for number, pause in enumerate(self.pauses(4), 1):
                self.assertGreater(pause, 1.5**number / 2 - 0.02)
                self.assertLess(pause, 1.5**number + 0.04)
            self.clock.pump([1] * 12)
            self.arrive()
            self.publisher.confirm()
            self.assertEqual(self.channels[-1].acked, [self.tag])

    def test_ended_while_rabbitmq_fails(self) -> None:
        self.pauses(3)
        self.successResultOf(self.ends())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_a_fault_of_ours(self) -> None:
        """
        It begins no sooner than a minute later, says so, and the end does not wait.
        """

        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        check, self.ladder.check = self.ladder.check, fail
        with logged(LogLevel.critical) as lines:
            self.clock.advance(CHECK)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        expected = (
            "Moving delayed tasks to queue 'queue' failed, and is tried again in 60 s"
        )
        self.assertEqual(lines, [expected])
        self.clock.advance(59)
        self.assertEqual(len(self.channels), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.channels), 2)
        self.ladder.check = fail
        self.clock.advance(CHECK)
        self.ladder.check = check
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.successResultOf(self.ends())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_declared(self) -> None:
        """
        When the task queue was declared, it takes messages again, perhaps, and what
        went astray is looked for at once.
        """
        looks: list[float] = []

        async def look(*_: object) -> None:
            looks.append(self.clock.seconds())

        self.bring_back = look
        self.arrive()
        self.publisher.confirm(FULL)
        self.assertEqual((self.unconfirmed, looks), ([], []))
        self.forwarder.declared()
        self.assertEqual((self.unconfirmed, looks), ([b"1"], [0.0]))

    def test_declared_while_looking(self) -> None:
        """
        There is one look at what went astray at a time, and the end waits for it.
        """
        looks: list[Deferred[Any]] = []

        async def look(*_: object) -> None:
            looks.append(Deferred())
            await looks[-1]

        self.bring_back = look
        for _ in range(3):
            self.forwarder.declared()
        self.assertEqual(len(looks), 1)
        looks[0].callback(None)
        self.forwarder.declared()
        self.assertEqual(len(looks), 2)
        ending = self.ends()
        self.assertTrue(self.channels[0].closed)
        self.assertNoResult(ending)
        looks[1].callback(None)
        self.successResultOf(ending)

    def test_not_looked_after(self) -> None:
        """
        What cannot be looked after is told to those who want to know all.
        """

        async def refuse(*_: object) -> None:
            raise BrokerRefused(403, "ACCESS_REFUSED")

        self.ladder.check = refuse
        self.bring_back = refuse
        with logged() as lines:
            self.clock.advance(CHECK)
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertIn("cannot be checked", line)
            self.assertIn("ACCESS_REFUSED", line)

    def test_connection_lost_while_looking(self) -> None:
        """
        Where the connection is lost meanwhile, forwarding begins anew.
        """

        async def lose(*_: object) -> None:
            self.wire.closed = True
            raise ChannelLost("closed")

        check, self.ladder.check = self.ladder.check, lose
        self.clock.advance(CHECK)
        self.wire.closed, self.ladder.check = False, check
        self.clock.advance(1)
        self.assertEqual(len(self.channels), 2)

    def test_fault_with_a_message(self) -> None:
        """
        The log names the message that has a fault of ours, and it is not acknowledged.
        """
        self.arrive()
        with logged(LogLevel.critical) as lines:
            self.publisher.confirm(cast(Any, ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        (line,) = lines
        self.assertIn("Moving <Message 1 from", line)
        self.assertIn("which is due, to queue 'queue' failed", line)
        self.assertEqual(self.channels[0].acked, [])
        self.successResultOf(self.ends())

    def test_takes_messages_again(self) -> None:
        """
        A queue that takes nothing is told once, and that it takes messages again.
        """
        with logged(LogLevel.info) as lines:
            self.arrive()
            self.publisher.confirm(FULL)
            self.clock.advance(1)
            self.publisher.confirm(FULL)
            self.clock.advance(2)
            self.publisher.confirm()
            self.assertEqual(len(lines), 1)
            self.clock.pump([1] * 12)
        begun, over = lines
        self.assertIn("they wait in queue 'quebert.delay.arrivals.queue'", begun)
        self.assertIn("'queue' takes delayed tasks again, after 2 failures", over)
        self.assertEqual(self.ladder.forgotten, 0)

    def test_no_warning_after_the_end(self) -> None:
        """
        What was told is over with the end, silently.
        """
        self.arrive()
        self.publisher.confirm(FULL)
        self.arrive(due=8.0, rung=9)
        with logged(LogLevel.info) as lines:
            ending = self.ends()
            self.clock.pump([0.05] * 2)
            self.successResultOf(ending)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(lines, [])

    def test_comes_too_early(self) -> None:
        """
        A message that waited less than its rung should have let it is told, is held for
        five seconds, and then waits for the rest; the first that is due ends that.
        """
        with logged(LogLevel.info) as lines:
            self.arrive(due=10.0, waited=1, rung=20)
            self.clock.advance(4.5)
            self.assertEqual(self.publisher.publications, [])
            self.clock.advance(0.5)
            (publication,) = self.publisher.publications
            self.assertEqual(publication.exchange, f"{PREFIX}.wait.5s")
            self.publisher.confirm()
            self.arrive()
            self.publisher.confirm()
            self.clock.pump([1] * 12)
        early, over = lines
        self.assertIn("come before their time", early)
        self.assertIn("message-ttl", early)
        self.assertIn("come in time again", over)

    def test_little_too_early_is_held_as_long(self) -> None:
        """
        A message is not held for longer than until it is due.
        """
        self.arrive(due=2.0, rung=3)
        self.clock.advance(1.9)
        self.assertEqual(self.unconfirmed, [])
        self.clock.advance(0.1)
        (publication,) = self.publisher.publications
        self.assertEqual(publication.exchange, "")

    def test_within_tolerance_is_not_too_early(self) -> None:
        """
        Where clocks differ by no more than a second, a message did not come too early.
        """
        for due, is_held in ((1.0, False), (1.01, True)):
            self.arrive(due=due, waited=1, rung=5)
            self.assertEqual(self.unconfirmed == [], is_held)
            if not is_held:
                self.publisher.confirm()

    def test_full_for_those_that_wait(self) -> None:
        """
        A rung that takes nothing stops no message that is due.
        """
        self.arrive(due=500.0, waited=64)
        self.publisher.confirm(FULL)
        self.arrive()
        self.assertEqual(self.unconfirmed, [b"2"])
        self.clock.advance(1)
        self.assertEqual(self.unconfirmed, [b"2", b"1"])

    def test_end_while_rungs_take_nothing(self) -> None:
        """
        Messages that wait for a rung keep the end from nothing.
        """
        for _ in range(2):
            self.arrive(due=500.0, waited=64)
        self.publisher.confirm(FULL)
        self.publisher.confirm(FULL)
        ending = self.ends()
        self.clock.advance(0.05)
        self.successResultOf(ending)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def declare_anew(self, *queues: str) -> None:
        """
        Quorum queues are declared that RabbitMQ may lose for the next 3.5 s.
        """
        self.wire.server_properties = {**RABBITMQ, "version": "4.0.5"}
        for each in queues:
            self.ladder.new_queues.declared(self.wire, each, "quorum")

    @pytest.mark.new_queues
    def test_declared_meanwhile(self) -> None:
        """
        Where the queue, the rung or the queue of arrivals is declared anew while a
        message is on its way there, the message is kept until RabbitMQ loses it no
        more.
        """
        rung = f"{PREFIX}.wait.64s"
        places = ((0.0, "queue"), (64.0, rung), (64.0, arrivals_of("queue")))
        for tag, (due, place) in enumerate(places, 1):
            self.arrive(due=due, waited=64)
            self.declare_anew(place)
            self.publisher.confirm()
            self.clock.advance(3.4)
            self.assertNotIn(tag, self.channels[0].acked)
            self.clock.advance(0.1)
            self.assertIn(tag, self.channels[0].acked)
        self.assertEqual(self.publisher.publications[-1].exchange, rung)

    @pytest.mark.new_queues
    def test_new_task_queue(self) -> None:
        """
        A message that is due waits here while its queue is so new that RabbitMQ may
        lose what is in it.
        """
        self.declare_anew("queue")
        self.arrive()
        self.clock.advance(3.4)
        self.assertEqual(self.unconfirmed, [])
        self.clock.advance(0.1)
        self.assertEqual(self.unconfirmed, [b"1"])
        self.publisher.confirm()
        self.assertEqual(self.channels[0].acked, [1])

    def properties(self, headers: dict[str, Any]) -> dict[str, Any]:
        """
        The headers with which a message is published that arrives with these.
        """
        message = Message("", 1, False, "", "queue")
        message.encoded_properties = encode_properties({"headers": headers})
        self.channels[-1].on_message(message)
        published: dict[str, Any] = self.publisher.publications[-1].properties[
            "headers"
        ]
        return published

    def test_counts_of_deliveries(self) -> None:
        """
        What RabbitMQ has counted is left out, so that it does not count on.
        """
        for name in ("x-delivery-count", "x-acquired-count"):
            self.assertEqual(self.properties({name: 3, "mine": 1}), {"mine": 1})

    def test_unreadable(self) -> None:
        """
        Properties that cannot be read stay as they are.
        """
        message = Message("", 1, False, "", "queue")
        message.encoded_properties = b"\xff\xffx-delivery-count"
        begun = _to_begin(message, True, MAX_PAYLOAD)
        for properties in (begun, _to_wait(message, 5.0)):
            self.assertEqual(properties, message.encoded_properties)
        encoded = message.encoded_properties
        self.assertEqual(_to_begin(message, False, MAX_PAYLOAD), encoded)

    def test_begins_another_wait(self) -> None:
        """
        A message that waits again has its new delay, and no deaths, by which RabbitMQ
        would take it for one that goes round in circles.
        """
        died = datetime.fromtimestamp(0, UTC)
        deaths = [{"queue": f"{PREFIX}.wait.64s", "time": died}]
        headers = {NOT_BEFORE: 500.0, DELAY: 564.0, "x-delivery-count": 1}
        first = {"x-first-death-reason": "expired", "x-death": deaths, "mine": 1}
        expected = {NOT_BEFORE: 500.0, DELAY: 500.0, "mine": 1}
        self.assertEqual(self.properties({**headers, **first}), expected)
