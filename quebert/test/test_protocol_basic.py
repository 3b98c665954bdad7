"""
Tests for L{quebert._protocol.basic}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame as peer
from pamqp.commands import Basic
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.basic import (
    ONE,
    UP_TO,
    acks_on,
    deliver,
    deliver_head,
    get_ok,
    nack_with_requeue,
    publish_mandatory,
    read_deliver,
    read_get_ok,
    read_publish,
)
from quebert._protocol.frames import FRAME_METHOD, frame
from quebert._protocol.values import CodecError
from quebert.test.checks import QUICK

CHANNELS = st.integers(0, 2**16 - 1)
# pamqp takes the number for a signed one.
TAGS = st.integers(0, 2**63 - 1)
NAMES = st.text(max_size=60)
# pamqp refuses exchanges and queues that only RabbitMQ takes.
PLAIN = st.text("abc.-_", max_size=60)


class SettleTests(SynchronousTestCase):
    """
    Tests for L{acks_on} and L{nack_with_requeue}.
    """

    @QUICK
    @given(CHANNELS, TAGS, st.booleans())
    def test_as_others_write_it(self, channel: int, tag: int, multiple: bool) -> None:
        """
        The frames are those that pamqp writes.
        """
        wanted = peer.marshal(Basic.Ack(tag, multiple), channel)
        self.assertEqual(acks_on(channel)(tag, UP_TO if multiple else ONE), wanted)
        wanted = peer.marshal(Basic.Nack(tag, multiple, requeue=True), channel)
        self.assertEqual(nack_with_requeue(channel, tag, multiple=multiple), wanted)


class PublishTests(SynchronousTestCase):
    """
    Tests for L{publish_mandatory} and L{read_publish}.
    """

    @QUICK
    @given(PLAIN, NAMES)
    def test_as_others_write_it(self, exchange: str, key: str) -> None:
        """
        The frame is that of pamqp.
        """
        wanted = peer.marshal(Basic.Publish(0, exchange, key, mandatory=True), 7)
        payload = publish_mandatory(exchange, key)
        self.assertEqual(frame(FRAME_METHOD, 7, payload), wanted)

    @QUICK
    @given(NAMES, NAMES)
    def test_read(self, exchange: str, key: str) -> None:
        """
        What one end writes, the other reads.
        """
        read = read_publish(publish_mandatory(exchange, key))
        self.assertEqual(read, (exchange, key, 1))

    @QUICK
    @given(NAMES, NAMES, st.data())
    def test_wrong_size(self, exchange: str, key: str, data: st.DataObject) -> None:
        """
        One that is cut short, or too long, is refused.
        """
        payload = publish_mandatory(exchange, key)
        cut = data.draw(st.integers(6, len(payload) - 1))
        for wrong in (payload[:cut], payload + b"\1"):
            with self.assertRaises((CodecError, IndexError)):
                read_publish(wrong)


class DeliverTests(SynchronousTestCase):
    """
    Tests for L{deliver}, L{get_ok}, and their reading.
    """

    @QUICK
    @given(NAMES, TAGS, st.booleans(), PLAIN, NAMES)
    def test_deliver(
        self, consumer: str, tag: int, redelivered: bool, exchange: str, key: str
    ) -> None:
        """
        The frame is that of pamqp, and the other end reads it.
        """
        delivery = tag, redelivered, exchange, key
        payload = deliver(deliver_head(consumer), *delivery)
        wanted = peer.marshal(Basic.Deliver(consumer, *delivery), 7)
        self.assertEqual(frame(FRAME_METHOD, 7, payload), wanted)
        read = read_deliver(payload, lambda *fields: fields)
        self.assertEqual(read, (consumer, *delivery))

    @QUICK
    @given(TAGS, st.booleans(), PLAIN, NAMES, st.integers(0, 2**31 - 1))
    def test_get_ok(
        self, tag: int, redelivered: bool, exchange: str, key: str, more: int
    ) -> None:
        """
        Likewise C{basic.get-ok}, which has no consumer tag.
        """
        delivery = tag, redelivered, exchange, key
        payload = get_ok(*delivery, more)
        wanted = peer.marshal(Basic.GetOk(*delivery, more), 7)
        self.assertEqual(frame(FRAME_METHOD, 7, payload), wanted)
        read = read_get_ok(payload, lambda *fields: fields)
        self.assertEqual(read, ("", *delivery))
