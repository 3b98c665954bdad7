"""
Which RabbitMQ a connection leads to.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.wire import version_of


class Properties:
    """
    A connection of which only the server properties matter.
    """

    def __init__(self, **told: Any) -> None:
        self.server_properties = {
            "product": "RabbitMQ",
            "platform": "Erlang/OTP 25.2.3",
            **told,
        }


class VersionTests(SynchronousTestCase):
    """
    L{version_of}.
    """

    def test_versions(self) -> None:
        """
        The numbers count, up to the first thing that is none.
        """
        for version, expected in (
            ("3.10.8", (3, 10, 8)),
            ("4.3.6", (4, 3, 6)),
            ("4.1.0-rc.1", (4, 1, 0)),
            ("4.2+git.9", (4, 2)),
            ("unknown", None),
            ("", None),
        ):
            wire: Any = Properties(version=version)
            self.assertEqual(version_of(wire), expected, version)

    def test_others(self) -> None:
        """
        Another product, another platform, and a broker that tells nothing are no
        RabbitMQ.
        """
        for told in (
            {"product": "Qpid", "version": "9.0.0"},
            {"platform": "quebert 1.0, Python/Twisted", "version": "3.13.0"},
            {},
        ):
            wire: Any = Properties(**told)
            self.assertIsNone(version_of(wire), told)
        nothing: Any = Properties(version="4.0.0")
        nothing.server_properties = {}
        self.assertIsNone(version_of(nothing))
