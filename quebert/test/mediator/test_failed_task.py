"""
Tests for L{quebert.mediator._failed_task}.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert import task as tasks
from quebert.errors import BadStatus, BadTask
from quebert.mediator._codec import Codec
from quebert.mediator._failed_task import FailedTask
from quebert.mediator._history import NO_ATTEMPTS
from quebert.mediator._reading import TaskReader
from quebert.mediator._redaction import TEXT, Redaction
from quebert.mediator._steady_failures import SteadyFailures
from quebert.policy import FailedAnswer
from quebert.task import BOUNDS, Bounds, Task
from quebert.test.mediating import URL, FakeResponse, Unspeakable, raising


def failed(task: Task, error: Exception, **options: Any) -> FailedTask:
    """
    A task that has failed so.
    """
    bounds, encode = options.get("bounds", BOUNDS), options.get("encode", tasks.encode)
    reader = TaskReader(None, bounds, SteadyFailures(1))
    codec = Codec(tasks.decode, encode, bounds)
    redaction = Redaction(["s3cret"], reader.request)
    return FailedTask(task, Failure(error), NO_ATTEMPTS, None, reader, codec, redaction)


class FailedTaskTests(SynchronousTestCase):
    """
    L{FailedTask}.
    """

    def test_texts(self) -> None:
        """
        No text has a secret in it, and the reason is one line.
        """
        told = failed({"uuid": "1", "url": URL}, ValueError("a\ns3cret"))
        self.assertEqual(told.name, f"1 for {URL}")
        self.assertEqual(len(told.why.splitlines()), 1)
        self.assertIn("ValueError", told.traceback)
        for text in (told.why, told.traceback, told.without_secrets("a s3cret")):
            self.assertNotIn("s3cret", text)
        self.assertIsInstance(told.error, ValueError)

    def test_long_traceback(self) -> None:
        """
        Of a long traceback the end is told, without a secret that is cut off.
        """
        secret = "s3cret" * 1_000
        task = {"uuid": "1", "url": URL, "headers": {"X-Token": secret}}
        for behind in (0, 3_000, TEXT - 6_000, TEXT - 3_000, TEXT):
            told = failed(task, ValueError(secret + "b" * behind + "\nthe end"))
            self.assertNotIn("s3cret", told.traceback)
            self.assertTrue(told.traceback.endswith("\nthe end\n"))

    def test_answer(self) -> None:
        """
        The answer is told, if there was one.
        """
        without = failed({}, ValueError())
        self.assertEqual((without.answer, without.header(b"a")), (None, []))
        error = BadStatus(503, "text", FakeResponse(503, {"A": "b"}), b"body")
        told = failed({}, error)
        self.assertEqual(told.answer, FailedAnswer(503, "body"))
        self.assertEqual((told.header(b"a"), told.why), (["b"], "text"))

    def test_encoded(self) -> None:
        """
        The task is encoded as it is then, if it can be, and is not too large.
        """
        told = failed({"url": URL}, ValueError())
        told.task["n"] = 1
        self.assertEqual(told.encoded(), tasks.encode({"url": URL, "n": 1}))
        small = failed({"url": URL}, ValueError(), bounds=Bounds(body=20))
        self.assertIsNone(small.encoded())

    def test_spoiled(self) -> None:
        """
        What could not be requested, or cannot be encoded, is told, without secrets.
        """
        with self.assertRaisesRegex(BadTask, "url is missing"):
            failed({}, ValueError()).encoded()
        with self.assertRaisesRegex(BadTask, "ttl"):
            failed({"url": URL, "ttl": "5"}, ValueError()).encoded()
        fails = raising(RuntimeError, "no s3cret")
        with self.assertRaisesRegex(BadTask, r"no \.\.\."):
            failed({"url": URL}, ValueError(), encode=fails).encoded()
        with self.assertRaises(BadTask):
            failed({"url": URL}, ValueError(), encode=raising(Unspeakable)).encoded()
