"""
Tests for L{quebert.mediator._describe}: what tasks are called in a log.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.mediator._describe import name_of, one_line


class DescribeTests(SynchronousTestCase):
    """
    Names and lines.
    """

    def test_name(self) -> None:
        """
        A task is called by its uuid and its URL, without the secrets of that.
        """
        task = {"uuid": "1", "url": "http://me:s3cret@a/b?token=s3cret"}
        self.assertTrue(name_of(task).startswith("1 for http://"))
        self.assertNotIn("s3cret", name_of(task))
        self.assertTrue(name_of({}).startswith("(no uuid) for "))

    def test_line(self) -> None:
        """
        A text is one line, and what may be large is not shown.
        """
        self.assertEqual(len(one_line("a\nb\u2028c").splitlines()), 1)
        self.assertEqual(len(one_line("x" * 10_000)), 400)
        self.assertEqual((one_line([1]), one_line({1: 2})), ("[...]", "{...}"))
