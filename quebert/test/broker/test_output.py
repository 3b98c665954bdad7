"""
Tests for L{quebert.broker.protocol._output}.
"""

from __future__ import annotations

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from quebert.broker.protocol._output import Output

#: Bytes that are gathered for a client, or that it has not read: 256 KiB and 16 MiB.
CONGESTED, SWAMPED = 262_144, 16_777_216


class OutputTests(SynchronousTestCase):
    """
    What is said to a client that reads fast, slowly, or not at all.
    """

    def setUp(self) -> None:
        self.transport = StringTransport()
        self.relieved = 0
        self.output = Output(self.transport, self._count)

    def _count(self) -> None:
        self.relieved += 1

    def say(self, size: int) -> None:
        """
        Say so many bytes, and end the turn.
        """
        self.output.gather(bytes(size))
        self.output.flush()

    def test_at_the_end_of_a_turn(self) -> None:
        self.output.gather(b"one ")
        self.output.gather(b"two")
        self.assertEqual(self.transport.value(), b"")
        self.output.flush()
        self.output.flush()
        self.assertEqual(self.transport.value(), b"one two")

    def test_tells_whether_anything_was_written(self) -> None:
        self.assertTrue(self.output.wrote)
        self.output.wrote = False
        self.output.flush()
        self.assertFalse(self.output.wrote)
        self.say(1)
        self.assertTrue(self.output.wrote)

    def test_congested_by_what_is_gathered_until_it_is_written(self) -> None:
        self.output.gather(bytes(CONGESTED))
        self.assertFalse(self.output.congested)
        self.output.gather(b"x")
        self.assertTrue(self.output.congested)
        self.output.flush()
        self.assertFalse(self.output.congested)
        self.assertEqual(self.relieved, 1)
        self.output.gather(bytes(CONGESTED))
        self.assertFalse(self.output.congested)
        self.output.gather(b"x")
        self.assertTrue(self.output.congested)

    def test_congested_until_the_client_has_read(self) -> None:
        self.output.pauseProducing()
        self.say(CONGESTED + 1)
        self.assertTrue(self.output.congested)
        self.assertEqual(self.relieved, 0)
        self.output.resumeProducing()
        self.assertFalse(self.output.congested)
        self.assertEqual(self.relieved, 1)

    def test_is_relieved_of_nothing_by_a_little(self) -> None:
        self.say(CONGESTED)
        self.assertEqual(self.relieved, 0)

    def test_swamped_by_what_is_gathered(self) -> None:
        self.output.gather(bytes(SWAMPED))
        self.assertFalse(self.output.swamped)
        self.output.gather(b"x")
        self.assertTrue(self.output.swamped)
        self.output.flush()
        self.assertFalse(self.output.swamped)

    def test_swamped_by_what_is_not_read(self) -> None:
        self.output.pauseProducing()
        self.say(SWAMPED - 1)
        self.say(1)
        self.assertFalse(self.output.swamped)
        self.assertEqual(self.transport.producerState, "producing")
        self.say(1)
        self.assertTrue(self.output.swamped)
        self.assertEqual(self.transport.producerState, "paused")
        self.output.resumeProducing()
        self.assertFalse(self.output.swamped)
        self.assertEqual(self.transport.producerState, "producing")
        self.output.pauseProducing()
        self.say(1)
        self.assertFalse(self.output.swamped)

    def test_reads_on_only_where_it_has_stopped(self) -> None:
        self.output.pauseProducing()
        self.say(SWAMPED)
        self.transport.pauseProducing()  # for another reason
        self.output.resumeProducing()
        self.assertEqual(self.transport.producerState, "paused")

    def test_ends_at_once_where_nothing_is_left_to_be_said(self) -> None:
        self.output.end()
        self.assertTrue(self.transport.disconnecting)
        self.assertIsNone(self.transport.producer)

    def test_ends_when_all_is_said(self) -> None:
        self.output.gather(b"bye")
        self.output.end()
        self.assertFalse(self.transport.disconnecting)
        self.assertIsNone(self.transport.producer)
        self.output.flush()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.transport.value(), b"bye")

    def test_is_no_producer_twice(self) -> None:
        self.output.gather(b"bye")
        self.output.end()
        self.transport.registerProducer(object(), True)  # another one's
        self.output.end()
        self.assertIsNotNone(self.transport.producer)

    def test_says_nothing_to_a_client_that_is_gone(self) -> None:
        self.output.gather(b"hello")
        self.output.discard()
        self.output.flush()
        self.assertEqual(self.transport.value(), b"")
