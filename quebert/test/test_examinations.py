"""
L{quebert.amqp.watch._examinations}, seen from a whole watch.
"""

from __future__ import annotations

from quebert.errors import BrokerError
from quebert.test.test_watcher import WatcherTestCase


class ExaminationsTests(WatcherTestCase):
    """
    Messages that have come before.
    """

    def test_examined_while_stopping(self) -> None:
        """
        The end waits no longer than for the last message that is looked at.
        """
        for is_lost in (False, True):
            self.begin(exchange="")
            self.client.held.add("queue_declare")
            self.channel.deliver(redelivered=True)
            brief = self.client.channels[-1]
            stopped = self.watcher.stop(grace=300)
            self.client.held.clear()
            self.assertNoResult(stopped)
            if is_lost:
                self.channel.lose()
            for each in self.client.channels:
                while each.pending:
                    each.answer()
            self.assertTrue(brief.closed)
            while self.client.publisher.unconfirmed:
                self.confirm()
            self.successResultOf(stopped)

    def test_another_error_while_examining(self) -> None:
        """
        A fault in looking at a message is logged; the message is attempted.
        """

        async def in_order(*arguments: object, **options: object) -> bool:
            raise BrokerError("fault")

        self.begin(exchange="")
        self.patch(self.client.suspects, "in_order", in_order)
        message = self.deliver(redelivered=True)
        self.check_logged(BrokerError)
        self.assertEqual(self.called, [message])
