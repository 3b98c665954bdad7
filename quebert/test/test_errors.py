"""
Tests for L{quebert.errors}.
"""

from __future__ import annotations

from pamqp.exceptions import CLASS_MAPPING
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BrokerRefused, ReplyCode


class ReplyCodeTests(SynchronousTestCase):
    """
    Tests for L{ReplyCode}.
    """

    def test_as_others_have_them(self) -> None:
        """
        Numbers and names are those of pamqp, which makes its own from AMQP's XML.
        """
        wanted = {
            code: vars(error)["name"].replace("-", "_")
            for code, error in CLASS_MAPPING.items()
        }
        wanted[200] = "REPLY_SUCCESS"
        self.assertEqual({code.value: code.name for code in ReplyCode}, wanted)

    def test_final(self) -> None:
        """
        A refusal that may pass is not final.
        """
        passing = [each for each in ReplyCode if not BrokerRefused(each, "").final]
        self.assertEqual(
            passing,
            [
                ReplyCode.REPLY_SUCCESS,
                ReplyCode.CONTENT_TOO_LARGE,
                ReplyCode.NO_ROUTE,
                ReplyCode.NO_CONSUMERS,
                ReplyCode.CONNECTION_FORCED,
                ReplyCode.RESOURCE_LOCKED,
                ReplyCode.RESOURCE_ERROR,
                ReplyCode.INTERNAL_ERROR,
            ],
        )
        self.assertFalse(BrokerRefused(599, "unknown").final)
