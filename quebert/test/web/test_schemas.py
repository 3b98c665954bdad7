"""
L{Schemas}: what the document of the API says of the values of the API.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.test.web.doubles import MemoryAPI
from quebert.web._schemas import Schemas
from quebert.web._views import QueueDetail


class SchemasTests(SynchronousTestCase):
    """
    Tests for L{Schemas}.
    """

    def test_spread(self) -> None:
        """
        A schema has the fields that the JSON has, those of a spread field among them.
        """
        schemas = Schemas()
        schemas.of(QueueDetail)
        told = MemoryAPI().get("/v1/queues/mail")
        self.assertIn("name", told)
        self.assertEqual(set(schemas.known["QueueDetail"]["properties"]), set(told))
