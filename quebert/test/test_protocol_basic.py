"""
Tests for L{quebert._protocol.basic}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame as peer
from pamqp.commands import Basic
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.basic import ack, nack_with_requeue

CHANNELS = st.integers(0, 2**16 - 1)
# pamqp takes the number for a signed one.
TAGS = st.integers(0, 2**63 - 1)


class SettleTests(SynchronousTestCase):
    """
    Tests for L{ack} and L{nack_with_requeue}.
    """

    @given(CHANNELS, TAGS, st.booleans())
    def test_as_others_write_it(self, channel: int, tag: int, multiple: bool) -> None:
        """
        The frames are those that pamqp writes.
        """
        wanted = peer.marshal(Basic.Ack(tag, multiple), channel)
        self.assertEqual(ack(channel, tag, multiple=multiple), wanted)
        wanted = peer.marshal(Basic.Nack(tag, multiple, requeue=True), channel)
        self.assertEqual(nack_with_requeue(channel, tag, multiple=multiple), wanted)
