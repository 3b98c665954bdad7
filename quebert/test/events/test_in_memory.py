"""
Tests for L{EventPublisher} and L{EventReader}, with the embedded broker in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from quebert.events import ATTEMPTS, EXCHANGE, EventReader
from quebert.test.events.test_publisher import Told
from quebert.test.events.test_reader import Kept, batch, publish
from quebert.test.memory_network import NetworkTestCase
from quebert.test.support import logged


class EventsTestCase(NetworkTestCase):
    """
    Mediators that tell of their tasks, and readers.
    """

    def reader(self, handler: Kept, **options: Any) -> EventReader:
        """
        A reader that reads.
        """
        reader = EventReader(self.client(), handler, **options)
        self.addCleanup(lambda: self.result(reader.stop()))
        self.result(reader.start())
        return reader

    def mediator(self) -> Told:
        """
        A mediator that has begun to tell.
        """
        told = Told(self.client(), interval=0.25)
        self.addCleanup(lambda: self.result(told.publisher.stop()))
        told.publisher.start()
        return told

    def tell(self, *numbers: int) -> None:
        """
        Publish batches of one record.
        """
        self.result(publish(self.client(), *map(batch, numbers)))
        self.network.settle()


class EventReaderTests(EventsTestCase):
    """
    Tests for L{EventReader}.
    """

    def test_read(self) -> None:
        """
        Each batch comes once, and what is missing is told.
        """
        kept = Kept()
        reader = self.reader(kept, queue="history")
        self.assertTrue(reader.reading)
        self.tell(1, 2, 2, 5)
        self.assertEqual(kept.totals, [1, 2, 5])
        self.assertEqual([gap.count for gap in kept.gaps], [2])
        self.assertEqual((reader.missing, reader.at), (2, 5.0))
        self.assertEqual(self.depths(), {"history": 0})

    def test_unreadable(self) -> None:
        """
        What is no batch is passed over, and told once.
        """
        kept = Kept()
        reader = self.reader(kept)
        client = self.client()
        with logged() as lines:
            for _ in range(2):
                self.result(client.publish(EXCHANGE, ATTEMPTS, b"nonsense"))
            self.network.settle()
        self.assertEqual(reader.unreadable, 2)
        said = [each for each in lines if "cannot be read" in each]
        self.assertEqual(len(said), 1)
        self.tell(1)
        self.assertEqual(kept.totals, [1])

    def test_fails(self) -> None:
        """
        A batch that cannot be taken comes again and again, and the others wait.
        """
        kept = Kept()
        reader = self.reader(kept, queue="history")
        waiting: list[Deferred[None]] = []

        def answer() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        kept.answer = answer
        with logged() as lines:
            self.tell(1, 2)
            for _ in range(2):
                waiting.pop().errback(OSError("full"))
                self.network.pass_time(3)
        self.assertEqual(kept.totals, [1, 1, 1])
        said = [each for each in lines if "cannot be taken" in each]
        self.assertEqual(len(said), 1)
        self.assertIsNone(reader.at)
        kept.answer = lambda: None
        waiting.pop().callback(None)
        self.network.settle()
        self.assertEqual((kept.totals, reader.at), ([1, 1, 1, 2], 2.0))

    def test_gives_up(self) -> None:
        """
        A batch that cannot be taken is tried no more once its connection is lost, since
        it comes again, or once the reader is being stopped.
        """
        kept, others = Kept(), Kept()
        for each in kept, others:
            each.answer = lambda: fail(OSError("full"))
        with logged():
            self.reader(others)
            self.tell(1)
            self.network.is_down = True
            self.network.cut()
            self.network.pass_time(4)
            self.assertEqual(others.totals, [1])
            self.network.is_down = False
            self.wire = self.connect()
            reader = self.reader(kept)
            self.tell(2)
            ending = Deferred.fromCoroutine(reader.stop())
            self.network.pass_time(4)
        self.assertEqual(kept.totals, [2])
        self.successResultOf(ending)

    def test_goes_on(self) -> None:
        """
        A reader whose queue is deleted has it again, and one that loses its connection
        gets what came meanwhile, and nothing twice.
        """
        kept = Kept()
        reader = self.reader(kept, queue="history")
        self.tell(1)
        self.call("queue_delete", queue="history")
        self.network.settle()
        self.assertFalse(reader.reading)
        self.network.pass_time(2)
        self.assertTrue(reader.reading)
        self.tell(2)
        self.network.cut()
        self.assertFalse(reader.reading)
        self.wire = self.connect()
        self.tell(3)
        self.network.pass_time(5)
        self.assertTrue(reader.reading)
        self.assertEqual((kept.totals, kept.gaps), ([1, 2, 3], []))

    def test_stops(self) -> None:
        """
        A reader that is stopped leaves in its queue what it has not passed on, and the
        next one gets that.
        """
        kept = Kept()
        kept.answer = Deferred
        reader = self.reader(kept, queue="history")
        self.tell(1, 2)
        self.assertEqual(kept.totals, [1])
        self.result(reader.stop())
        self.assertFalse(reader.reading)
        self.assertEqual(self.depths(), {"history": 2})
        kept = Kept()
        self.reader(kept, queue="history")
        self.network.settle()
        self.assertEqual(kept.totals, [1, 2])


class EventPublisherTests(EventsTestCase):
    """
    Tests for L{EventPublisher}.
    """

    def test_published(self) -> None:
        """
        Records come to a reader, with the state of the mediator, and the last ones when
        the mediator ends.
        """
        kept = Kept()
        self.reader(kept)
        mediator = self.mediator()
        self.network.pass_time(3)
        self.assertEqual([each.mediator for each in kept.states], ["m"])
        mediator.end(2)
        self.network.pass_time(0.5)
        mediator.end(3)
        self.network.pass_time(3)
        mediator.end(1)
        self.result(mediator.publisher.stop())
        self.network.settle()
        counts = [len(each.records) for each in kept.batches]
        self.assertEqual([each for each in counts if each], [2, 3, 1])
        self.assertEqual((kept.totals[-1], kept.gaps), (6, []))
        self.assertGreater(len(kept.states), 1)
        self.assertFalse(mediator.publisher._publisher.ready)
        mediator.end(1)
        self.network.pass_time(3)
        self.assertEqual(kept.totals[-1], 6)

    def test_nobody(self) -> None:
        """
        Where nobody listens, who comes gets the last seconds.
        """
        mediator = self.mediator()
        for _ in range(10):
            mediator.end(1)
            self.network.pass_time(1)
        kept = Kept()
        self.reader(kept)
        self.network.pass_time(1)
        mediator.end(1)
        self.network.pass_time(1)
        self.assertEqual((kept.totals[-1], kept.gaps), (11, []))
        count = sum(len(each.records) for each in kept.batches)
        self.assertIn(count, range(2, 6))

    def test_connection_lost(self) -> None:
        """
        What was not confirmed when the connection was lost comes later, once.
        """
        kept = Kept()
        self.reader(kept, queue="history")
        mediator = self.mediator()
        mediator.end(1)
        self.network.pass_time(1)
        self.network.cut()
        self.network.is_down = True
        mediator.end(2)
        self.network.pass_time(3)
        mediator.end(3)
        self.network.is_down = False
        self.network.pass_time(60, 0.5)
        self.assertEqual((kept.totals[-1], kept.gaps), (6, []))
        self.assertEqual(sum(len(each.records) for each in kept.batches), 6)
        self.assertEqual(mediator.publisher.dropped, 0)

    def test_changed(self) -> None:
        """
        A mediator that is told to publish nothing more keeps nothing, either; told to
        publish again, it begins with what is new.
        """
        kept = Kept()
        self.reader(kept)
        mediator = self.mediator()
        mediator.end(1)
        self.network.pass_time(2)
        publisher = mediator.publisher
        same: Any = {"interval": 0.25, "most": 1_000}
        publisher.change(publisher._client, **same, publish=False)
        mediator.end(2)
        self.network.pass_time(2)
        publisher.change(publisher._client, **same, publish=True)
        self.network.pass_time(2)
        mediator.end(3)
        self.network.pass_time(2)
        counts = [len(each.records) for each in kept.batches]
        self.assertEqual([each for each in counts if each], [1, 3])
