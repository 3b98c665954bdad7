"""
Tests for C{quebert._pipe_lines}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert._pipe_lines import PipeLines
from quebert.test.checks import QUICK


class PipeLinesTests(SynchronousTestCase):
    """
    L{PipeLines} makes lines of what comes in pieces.
    """

    @given(st.lists(st.binary()), st.integers(1, 20))
    @QUICK
    def test_pieces(self, texts: list[bytes], size: int) -> None:
        """
        However it is cut.
        """
        whole = b"\n".join(texts)
        lines, found = PipeLines(), []
        for start in range(0, len(whole), size):
            found += lines.feed(whole[start : start + size])
        self.assertEqual(b"\n".join([*found, lines.end()]), whole)
        self.assertEqual(lines.end(), b"")

    def test_limit(self) -> None:
        """
        A line without an end is ended.
        """
        lines = PipeLines(10)
        self.assertEqual(lines.feed(b"x" * 10), [])
        self.assertEqual(lines.feed(b"y\nz"), [b"x" * 10 + b"y"])
        self.assertEqual(lines.feed(b"z" * 10), [b"z" * 11])
        self.assertEqual(lines.end(), b"")
