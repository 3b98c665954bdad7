"""
L{quebert.amqp.watch._until_confirmed}: what RabbitMQ does not take at once, seen from a
whole watch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred

from quebert.amqp.delays import PREFIX, LadderRefused
from quebert.amqp.watch import _until_confirmed
from quebert.amqp.watch._until_confirmed import LONGEST_PUBLISH_WAIT, RETRY_RATE
from quebert.amqp.wire import Unconfirmed
from quebert.errors import BrokerRefused, ChannelLost, PublishRefused, Unroutable
from quebert.outcome import POISON, Bury, Retry
from quebert.test.support import logged
from quebert.test.test_settlement import SettlementTestCase


class NotTakenTests(SettlementTestCase):
    """
    Messages that the broker does not take.
    """

    def test_told(self) -> None:
        """
        Two lines tell that the queue does not take tasks back, and that it does again.
        """
        with logged() as lines:
            self.outcome(Retry())
            self.confirm(PublishRefused("full"))
            self.advance(LONGEST_PUBLISH_WAIT)
            self.confirm()
            for _ in range(3):
                self.advance(5)
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("Queue 'queue' does not take a task back for now", lines[0])
        self.assertIn("full", lines[0])
        self.assertIn("Queue 'queue' takes tasks back again", lines[1])

    def test_dead_told(self) -> None:
        """
        The same for dead letters.
        """
        with logged() as lines:
            self.outcome(Bury("no task", POISON))
            self.confirm(PublishRefused("full"))
            self.advance(LONGEST_PUBLISH_WAIT)
            self.confirm()
            for _ in range(2):
                self.advance(3)
        self.assertEqual(len(lines), 3, lines)
        self.assertIn("Queue 'queue.dead' refuses dead letters for now", lines[0])
        self.assertIn("is now in queue 'queue.dead': no task", lines[1])
        self.assertIn("Queue 'queue.dead' takes dead letters again", lines[2])

    def test_seconds_between(self) -> None:
        """
        It is tried again after 2 and 4 seconds, and then always after as long.
        """
        self.outcome(Retry())
        at = [self.clock.seconds()]
        for _ in range(5):
            number = len(self.publications)
            self.confirm(PublishRefused("full"))
            while len(self.publications) == number:
                self.advance(0.25)
            at.append(self.clock.seconds())
        waits = [after - before for before, after in pairwise(at)]
        self.assertEqual(waits, [2.0, 4.0, *[LONGEST_PUBLISH_WAIT] * 3])

    def test_many(self) -> None:
        """
        Where very many wait for it, each is tried more seldom.
        """
        self.patch(_until_confirmed, "RETRY_RATE", 1.0)
        self.watcher.stop(0)
        self.begin(prefetch=0)
        for _ in range(8):
            self.outcome(Retry())
        for seconds in (2, 4, 8):
            for _ in range(8):
                self.confirm(PublishRefused("full"))
            self.advance(seconds - 1)
            self.assertEqual(self.client.publisher.unconfirmed, [])
            self.advance(1)
            self.assertEqual(len(self.client.publisher.unconfirmed), 8)
        self.assertEqual(RETRY_RATE, 200.0)

    def test_ladder_is_forgotten(self) -> None:
        """
        What RabbitMQ has lost is looked for again, and what is full is there.
        """
        for error, forgotten in ((PublishRefused("full"), 0), (Unroutable("no"), 1)):
            self.client.ladder.forgotten = 0
            self.outcome(Retry(after=60))
            self.confirm(error)
            self.assertEqual(self.client.ladder.forgotten, forgotten)
            self.advance(LONGEST_PUBLISH_WAIT)
            self.confirm()

    def test_acked_when_it_survives(self) -> None:
        """
        A message that waits in a rung is settled when a new part of the ladder has it
        on the disks of enough nodes, and not when it is confirmed.
        """

        async def kept(wire: Any, rung: str, queue: str) -> None:
            asked.append((rung, queue))
            await survives

        asked: list[tuple[str, str]] = []
        survives: Deferred[None] = Deferred()
        self.patch(self.client.ladder, "kept", kept)
        self.outcome(Retry(after=60))
        self.confirm()
        self.assertEqual(asked, [(f"{PREFIX}.wait.60s", "queue")])
        self.check_settled([], [])
        survives.callback(None)
        self.check_settled([1], [])

    def test_is_it_this_one(self) -> None:
        """
        A message that went with others to a channel which the broker has closed is
        published again at once, alone; where it is the cause, it is set aside.
        """
        self.outcome(Retry())
        self.confirm(Unconfirmed(BrokerRefused(406, "PRECONDITION_FAILED")))
        self.assertEqual(self.client.publisher.alone, [1])
        self.confirm()
        self.check_counts(received=1, retried=1)

    def test_not_for_this_one(self) -> None:
        """
        Where there was no refusal, or it was refused alone, it waits like others.
        """
        refusal = Unconfirmed(BrokerRefused(406, "PRECONDITION_FAILED"))
        for errors in ([Unconfirmed(ChannelLost("gone"))], [refusal, refusal]):
            self.outcome(Retry())
            for each in errors:
                self.confirm(each)
            self.assertEqual(self.client.publisher.unconfirmed, [])
            self.advance(4)
            self.confirm()

    def test_told_by_the_ladder(self) -> None:
        """
        What the ladder tells of is not told here, too.
        """
        for tells, number in ((True, 0), (False, 1)):
            self.patch(self.client.ladder, "tells", lambda *_, tells=tells: tells)
            with logged() as lines:
                self.outcome(Retry(after=60))
                self.confirm(Unroutable("no"))
            self.assertEqual(len(lines), number)
            self.advance(4)
            self.confirm()

    def test_lost_meanwhile(self) -> None:
        """
        A publisher that has lost its channel is no fault of the queue.
        """
        with logged() as lines:
            self.outcome(Retry())
            self.confirm(ChannelLost("gone"))
            self.advance(2)
            self.confirm()
        self.assertEqual(lines, [])
        self.check_counts(received=1, retried=1)

    def test_ladder_refused(self) -> None:
        """
        Where the ladder is refused, it asks for all: each is tried after a second or
        two, and nothing is told here.
        """

        async def rung_for(*arguments: object) -> str:
            asked.append(self.clock.seconds())
            raise LadderRefused("no")

        asked: list[float] = []
        self.patch(self.client.ladder, "rung_for", rung_for)
        with logged() as lines:
            self.outcome(Retry(after=60))
            for _ in range(20):
                self.advance(0.5)
        self.assertEqual(lines, [])
        waits = {after - before for before, after in pairwise(asked)}
        self.assertEqual(waits, {2.0})

    def test_fault(self) -> None:
        """
        A fault of ours is logged, and the message given back.
        """

        async def rung_for(*arguments: object) -> str:
            raise ValueError("fault")

        self.patch(self.client.ladder, "rung_for", rung_for)
        message = self.outcome(Retry(after=60))
        self.check_logged(ValueError)
        self.assertEqual(self.channel.given_back, [message.delivery_tag])

    def test_stopped(self) -> None:
        """
        When the watch ends, one that is not taken is given back, and nothing is told
        later.
        """
        message = self.outcome(Retry())
        self.confirm(PublishRefused("full"))
        stopped = self.watcher.stop(0)
        self.confirm(PublishRefused("full"))
        self.successResultOf(stopped)
        self.assertEqual(self.channel.given_back, [message.delivery_tag])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_dead_stopped(self) -> None:
        """
        The same for one that is to be buried.
        """
        self.outcome(Bury("no task", POISON))
        self.confirm(PublishRefused("full"))
        stopped = self.watcher.stop(0)
        self.confirm(PublishRefused("full"))
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_settled_already(self) -> None:
        """
        Nothing is published in the place of a message that is not in the ledger, and
        nothing is said to be taken.
        """
        message = self.outcome(None)
        replacements = self.watcher._deliveries._settlement._replacements
        wire: Any = self.client.wire
        taken = replacements.publish(message, wire, b"task", b"", 0.0)
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(taken)))
        self.assertEqual(self.publications, [])

    def test_held_when_lost(self) -> None:
        """
        When the channel is lost, nothing waits here for its retry any more.
        """
        self.outcome(Retry(after=3))
        self.assertEqual(len(self.waits()), 1)
        self.channel.lose()
        self.assertEqual(self.waits(), [])

    def test_channel_lost(self) -> None:
        """
        When the channel is lost, nobody waits for the confirmation.
        """
        self.outcome(Retry())
        publication = self.publications[0]
        self.channel.lose()
        self.assertTrue(publication.confirmed.called)
        self.advance(10)
        self.assertEqual(len(self.publications), 1)

    def test_not_taken_where_the_channel_is_lost(self) -> None:
        """
        What waits for a confirmation then is not said to be taken.
        """
        replacements = self.watcher._deliveries._settlement._replacements
        wire: Any = self.client.wire
        taken = Deferred.fromCoroutine(
            replacements.publish(self.deliver(), wire, b"task", b"\0\0", 0.0)
        )
        self.channel.lose()
        self.assertFalse(self.successResultOf(taken))
