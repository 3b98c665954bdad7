"""
Tests for L{quebert.amqp.wire._temporary_channel}.
"""

from __future__ import annotations

from pamqp.commands import Channel as ChannelClass
from pamqp.commands import Exchange
from twisted.internet.defer import Deferred

from quebert.amqp.wire import Call, call_in_one_write
from quebert.errors import BrokerRefused, ChannelLost
from quebert.test.test_wire import WireTestCase


class OneWriteTests(WireTestCase):
    """
    Tests for L{call_in_one_write}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.let_in()

    def call(self) -> Deferred[None]:
        """
        Delete an exchange, and declare another one.
        """
        calls: list[Call] = [
            ("exchange_delete", {"exchange": "one"}),
            ("exchange_declare", {"exchange": "two", "exchange_type": "fanout"}),
        ]
        called = self.ask(call_in_one_write(self.wire, calls))
        self.assertEqual(self.broker.open_channel(confirms=False), 1)
        found = self.broker.expect(Exchange.Delete, Exchange.Declare)
        self.assertEqual([each.exchange for each in found], ["one", "two"])
        return called

    def test_done(self) -> None:
        """
        All calls are sent before the first one is answered; once all are answered, the
        channel is closed.
        """
        called = self.call()
        self.broker.send(Exchange.DeleteOk(), channel=1)
        self.assertNoResult(called)
        self.broker.send(Exchange.DeclareOk(), channel=1)
        self.broker.expect(ChannelClass.Close)
        self.broker.send(ChannelClass.CloseOk(), channel=1)
        self.assertIsNone(self.successResultOf(called))

    def test_refused(self) -> None:
        """
        Where the broker refuses a call, its reason is that of all.
        """
        called = self.call()
        self.broker.send(Exchange.DeleteOk(), channel=1)
        self.broker.send(ChannelClass.Close(403, "ACCESS_REFUSED", 40, 10), channel=1)
        self.broker.expect(ChannelClass.CloseOk)
        self.assertEqual(self.failureResultOf(called, BrokerRefused).value.code, 403)

    def test_lost(self) -> None:
        """
        It fails when the connection is lost.
        """
        called = self.call()
        self.broker.lose()
        self.failed(called, ChannelLost)
