"""
Tests for L{quebert.amqp.wire._acks}: which deliveries are acknowledged, and when.
"""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.wire._acks import Acks
from quebert.test.checks import QUICK

# What hypothesis does: deliver, or do something with one of the outstanding, or
# end the turn.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("deliver", "deliver", "done", "done", "give back", "flush")),
        st.integers(0, 1000),
    ),
    max_size=120,
)


class Broker:
    """
    The broker's end of a channel: it closes channels that acknowledge what is
    not outstanding.
    """

    def __init__(self) -> None:
        self.outstanding: set[int] = set()
        self.acknowledged: set[int] = set()
        self.frames: list[tuple[int, bool]] = []

    def read(self, data: bytes) -> None:
        """
        Read frames of C{basic.ack} on channel 3.
        """
        for at in range(0, len(data), 21):
            fields = struct.unpack_from(">BHIHHQBB", data, at)
            tag, multiple = fields[5], bool(fields[6])
            assert fields == (1, 3, 13, 60, 80, tag, multiple, 0xCE)
            self.frames.append((tag, multiple))
            settled = {each for each in self.outstanding if each <= tag}
            settled = settled if multiple else settled & {tag}
            assert settled, f"precondition failed: unknown delivery tag {tag}"
            self.outstanding -= settled
            self.acknowledged |= settled


class AcksTests(SynchronousTestCase):
    """
    Deliveries of one channel.
    """

    def setUp(self) -> None:
        """
        Open a channel.
        """
        self.broker = Broker()
        self.clock = Clock()
        self.acks = Acks(3, self.broker.read, self.clock)

    def deliver(self, *tags: int) -> None:
        """
        Deliver these.
        """
        for tag in tags:
            self.broker.outstanding.add(tag)
            self.acks.outstanding[tag] = False

    def flush(self, *done: int) -> list[tuple[int, bool]]:
        """
        What is written when these are done, in this order.
        """
        self.broker.frames.clear()
        for tag in done:
            self.acks.done(tag)
        self.acks.flush()
        return self.broker.frames

    def test_one_for_all(self) -> None:
        """
        All that were delivered, up to some tag, are acknowledged by one frame,
        in whatever order they were done.
        """
        self.deliver(1, 2, 3, 4)
        self.assertEqual(self.flush(2, 3, 1), [(3, True)])
        self.assertEqual(self.broker.outstanding, {4})

    def test_not_others(self) -> None:
        """
        What comes after one that is not done is acknowledged one by one.
        """
        self.deliver(1, 2, 3, 4, 5)
        self.assertEqual(self.flush(1, 3, 5), [(1, True), (3, False), (5, False)])
        self.assertEqual(self.broker.outstanding, {2, 4})
        self.assertEqual(self.flush(4), [(4, False)])
        self.assertEqual(self.flush(2), [(2, True)])

    def test_given_back(self) -> None:
        """
        What was given back is not in the way, and not acknowledged.
        """
        self.deliver(1, 2, 3)
        self.acks.given_back(1)
        self.broker.outstanding.remove(1)
        self.assertEqual(self.flush(3, 2), [(3, True)])
        self.assertEqual(self.broker.acknowledged, {2, 3})

    def test_once_a_turn(self) -> None:
        """
        What is done in a turn is written at its end, and nothing when nothing is done.
        """
        self.deliver(*range(1, 11))
        self.flush()
        self.assertEqual((self.clock.getDelayedCalls(), self.broker.frames), ([], []))
        for tag in range(1, 6):
            self.acks.done(tag)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(self.broker.frames, [])
        self.clock.advance(0)
        self.assertEqual(self.broker.frames, [(5, True)])

    def test_end(self) -> None:
        """
        What is done is not written any more when the channel is closed.
        """
        self.deliver(1)
        self.acks.done(1)
        self.acks.end()
        self.clock.advance(0)
        self.assertEqual(self.broker.frames, [])

    def test_unknown(self) -> None:
        """
        A tag that was never delivered stands for nothing but itself.
        """
        self.deliver(1, 2)
        self.broker.outstanding.add(7)
        self.assertEqual(self.flush(7), [(7, False)])
        self.assertEqual(self.broker.outstanding, {1, 2})

    @QUICK
    @given(STEPS)
    def test_anything(self, steps: list[tuple[str, int]]) -> None:
        """
        In any order of events: after a flush what is done is acknowledged, and
        nothing else ever is.
        """
        self.setUp()
        last = 0
        running: list[int] = []
        done: set[int] = set()
        for what, n in steps:
            if what == "deliver":
                last += 1
                running.append(last)
                self.deliver(last)
            elif what == "flush":
                self.acks.flush()
                self.assertEqual(self.broker.acknowledged, done)
            elif running:
                tag = running.pop(n % len(running))
                if what == "done":
                    done.add(tag)
                    self.acks.done(tag)
                else:
                    self.acks.given_back(tag)
                    self.broker.outstanding.remove(tag)
            self.assertLessEqual(self.broker.acknowledged, done)
        self.acks.flush()
        self.assertEqual(self.broker.acknowledged, done)
        self.assertEqual(self.broker.outstanding, set(running))
