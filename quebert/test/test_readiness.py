"""
Tests for L{quebert.metrics._health}: whether a mediator does what it should.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from quebert.metrics import QueueHealth, Readiness, Reason, readiness_of


class ReadinessTests(SynchronousTestCase):
    """
    L{readiness_of} judges a mediator.
    """

    def names(self, *, started: bool = True, stopping: bool = False) -> list[str]:
        """
        The reasons of a mediator with queues in all states.
        """
        queues = {
            "well": QueueHealth(consuming=True),
            "cut off": QueueHealth(consuming=False, connected=False),
            "at rest": QueueHealth(consuming=False, paused=True),
            "refused": QueueHealth(consuming=False, problem="no such luck"),
        }
        found = readiness_of(queues, started=started, stopping=stopping)
        self.assertFalse(found.ready)
        return [f"{each.name}: {each.queue}" for each in found.reasons]

    def test_reasons(self) -> None:
        """
        Each queue that is not consumed has a reason.
        """
        reasons = ["broker_away: cut off", "paused: at rest", "not_consuming: refused"]
        self.assertEqual(self.names(), reasons)
        self.assertEqual(self.names(started=False), ["starting: ", *reasons])
        self.assertEqual(self.names(stopping=True), ["stopping: "])

    def test_ready(self) -> None:
        """
        A mediator that consumes all is ready; one without queues, too.
        """
        for queues in ({}, {"a": QueueHealth(consuming=True)}):
            found = readiness_of(queues, started=True, stopping=False)
            self.assertTrue(found.ready)
            self.assertEqual(
                json.loads(found.document()), {"ready": True, "reasons": []}
            )

    def test_json(self) -> None:
        """
        The reasons stand in JSON, and can be read again; there are not too many.
        """
        reasons = (
            Reason("paused", "Queue 'é' is paused.", "é"),
            Reason("stopping", "."),
        )
        found = Readiness(reasons)
        self.assertEqual(Readiness.from_json(found.as_json()), found)
        told = json.loads(found.document())
        self.assertEqual(told["reasons"][1], {"name": "stopping", "text": "."})
        self.assertEqual(told["reasons"][0]["queue"], "é")
        self.assertEqual(len(Readiness(reasons * 1_000).as_json()), 100)
