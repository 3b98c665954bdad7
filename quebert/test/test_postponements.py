"""
L{quebert.amqp.watch._postponements}, seen from a whole watch.
"""

from __future__ import annotations

from quebert.amqp.watch._backlog import PAUSE
from quebert.amqp.wire import NOT_BEFORE
from quebert.outcome import Retry
from quebert.test.test_watcher import START, WatcherTestCase

LATER = Retry(after=2, attempted=False)


class PostponementsTests(WatcherTestCase):
    """
    Messages that are to begin again as they are.
    """

    def setUp(self) -> None:
        """
        Watch, and hold what comes again within 5 seconds.
        """
        super().setUp()
        self.begin(exchange="", prefetch=2, hold_up_to=5)

    def check_published(self, number: int) -> None:
        """
        So many messages were published.
        """
        self.assertEqual(len(self.client.publisher.publications), number)

    def test_begins_again(self) -> None:
        """
        A message that was not attempted begins again when its time has come.  It has
        no place meanwhile, and nothing takes its place.
        """
        first, second = self.deliver(), self.deliver()
        self.finish(first, LATER)
        third = self.deliver(beyond_prefetch=True)
        self.assertEqual(self.called, [first, second, third])
        self.assertEqual(self.watcher.held, 1)
        self.finish(second)
        self.advance(2)
        self.assertEqual(self.watcher.held, 0)
        self.assertEqual(self.called, [first, second, third, first])
        self.finish(third)
        self.finish(first)
        self.check_published(0)
        self.check_counts(received=3, done=3)
        self.assertEqual(self.watcher._deliveries._postponements.number, 0)

    def test_again_and_again(self) -> None:
        """
        It may have to wait several times, for C{hold_up_to} in all.
        """
        message = self.deliver()
        for _ in range(2):
            self.finish(message, LATER)
            self.advance(2)
            self.check_published(0)
        self.finish(message, LATER)
        self.advance(2)
        self.check_published(1)
        self.confirm()
        self.check_counts(received=1, retried=1)

    def test_no_place(self) -> None:
        """
        It is put back if others have all places when its time has come: these may take
        long.  So it is if no place is given now.
        """
        for is_closed in (False, True):
            first = self.deliver()
            self.finish(first, LATER)
            number = 1 if is_closed else 2
            others = [self.deliver(beyond_prefetch=True) for _ in range(number)]
            if is_closed:
                self.watcher._deliveries.close("suspect")
            self.advance(2)
            self.assertEqual(self.called.count(first), 1)
            self.confirm()
            self.check_settled([*self.channel.acked], [])
            self.watcher._deliveries.open("suspect")
            for each in others:
                self.finish(each)
        self.check_counts(received=5, done=3, retried=2)

    def test_counted(self) -> None:
        """
        One that would count again for a rate is put back.
        """
        self.begin(exchange="", prefetch=2, rate="100/s", share_rate=False)
        self.finish(self.deliver(), LATER)
        self.advance(2)
        self.check_published(1)
        self.confirm()

    def test_header(self) -> None:
        """
        What the header says of its time is asked once: it may be wrong.
        """
        now = [START]
        self.begin(exchange="", hold_up_to=5, now=lambda: now[0])
        self.at_once[b"early"] = None
        self.deliver(b"early", {NOT_BEFORE: START + 3})
        self.advance(3)
        self.assertEqual(len(self.called), 1)
        self.check_counts(received=1, done=1)

    def test_no_hot_loop(self) -> None:
        """
        A message whose wait is very short is put back.
        """
        message = self.deliver()
        self.finish(message, Retry(after=1e-6, attempted=False))
        self.advance(0.001)
        self.check_published(1)
        self.confirm()

    def test_published(self) -> None:
        """
        What was attempted, is changed, or waits for long is published anew.
        """
        for retry in (
            Retry(after=2),
            Retry(after=2, attempted=False, body=b"changed"),
            Retry(after=2, attempted=False, headers={"x": 1}),
            Retry(after=6, attempted=False),
            Retry(after=0, attempted=False),
        ):
            self.finish(self.deliver(), retry)
            self.advance(2)
            self.confirm()
        self.check_counts(received=5, retried=5)

    def test_stopped(self) -> None:
        """
        When the watch is stopped, the rest of the time passes in the broker.
        """
        message = self.deliver()
        self.finish(message, LATER)
        self.advance(1)
        stopped = self.watcher.stop()
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.delay, 1)
        self.confirm()
        self.successResultOf(stopped)
        self.check_settled([message.delivery_tag], [])

    def test_decided_while_stopping(self) -> None:
        """
        When the watch is being stopped, no message begins to wait here.
        """
        message = self.deliver()
        stopped = self.watcher.stop()
        self.finish(message, LATER)
        self.check_published(1)
        self.confirm()
        self.successResultOf(stopped)
        self.check_settled([message.delivery_tag], [])

    def test_paused(self) -> None:
        """
        If its queue is paused when its time has come, it goes back.
        """
        self.finish(self.deliver(), LATER)
        self.client.pauses.paused.add("queue")
        self.client.pauses.looks["queue"]()
        self.advance(2)
        self.check_published(1)
        self.confirm()
        self.assertEqual(len(self.called), 1)
        self.check_counts(received=1, retried=1)

    def test_lost(self) -> None:
        """
        If its channel is lost, it begins no more: RabbitMQ delivers it again.
        """
        self.finish(self.deliver(), LATER)
        self.channel.lose()
        self.advance(2)
        self.assertEqual(len(self.called), 1)
        self.check_counts(received=1, returned=1)

    def test_fetched_beside(self) -> None:
        """
        More messages are fetched beside those that wait, but not all at once: as many
        again after each pause.
        """
        self.at_once[b"refused"] = Retry(after=4, attempted=False)
        numbers = []
        for _ in range(5):
            while self.channel.room() is not None:
                self.channel.deliver(b"refused")
            numbers.append(len(self.called))
            self.advance(PAUSE / 2)
            self.assertIsNone(self.channel.room())
            self.advance(PAUSE / 2)
        self.assertEqual(numbers, [4, 8, 16, 32, 64])
