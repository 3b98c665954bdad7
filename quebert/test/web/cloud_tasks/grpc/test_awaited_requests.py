"""
L{AwaitedRequests}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.web.cloud_tasks.grpc._awaited_requests import AwaitedRequests


class AwaitedRequestsTests(SynchronousTestCase):
    """
    L{AwaitedRequests}, with 16 threads and 10 seconds.
    """

    def setUp(self) -> None:
        self.awaited = AwaitedRequests(16, 10.0)

    def begin(self, client: str, count: int, now: float) -> list[str]:
        """
        Begin calls; the names of those that may wait.
        """
        calls = [f"{client} {now} {number}" for number in range(count)]
        return [each for each in calls if self.awaited.begin(each, client, now)]

    def late(self, now: float) -> list[str]:
        """
        The names of those that are late, which end.
        """
        found = list(self.awaited.late(now))
        for each in found:
            self.awaited.end(each)
        return found

    def test_some(self) -> None:
        """
        Calls have their time, and then are ended; their client may have others.
        """
        calls = self.begin("a", 8, 0.0)
        self.awaited.end(calls.pop())
        self.assertEqual(self.late(9.9), [])
        self.assertEqual(self.late(10.0), calls)
        self.assertEqual(len(self.begin("a", 16, 10.0)), 16)

    def test_crowd(self) -> None:
        """
        A client whose calls have more than half of the threads has them ended sooner,
        and then a few alone, for a minute.  Other clients are not concerned.
        """
        others = self.begin("b", 3, 0.0)
        calls = self.begin("a", 9, 0.0)
        self.assertEqual(self.late(1.9), [])
        self.assertEqual(self.late(2.0), calls)
        self.assertEqual(len(self.begin("a", 9, 2.0)), 2)
        self.assertEqual(len(self.begin("b", 9, 2.0)), 9)
        self.assertEqual(self.late(10.0)[:3], others)
        self.assertEqual(len(self.begin("a", 9, 61.0)), 0)
        self.late(62.0)
        self.assertEqual(len(self.begin("a", 9, 62.0)), 9)
