"""
Tests for C{quebert._process_pool._frames}.
"""

from __future__ import annotations

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert._process_pool import (
    FrameKind,
    FrameParser,
    MalformedFrame,
    PoolFrame,
    read_frame,
)
from quebert.test.checks import QUICK

HEADS = st.recursive(
    st.none() | st.text() | st.integers() | st.booleans(), st.lists, max_leaves=5
)
FRAMES = st.lists(
    st.builds(PoolFrame, st.sampled_from(FrameKind), HEADS, st.binary()), max_size=4
)


def written(*frames: PoolFrame) -> bytes:
    """
    The bytes of frames.
    """
    return b"".join(part for frame in frames for part in frame.parts())


class FrameTests(SynchronousTestCase):
    """
    Frames are read as they were written.
    """

    @given(FRAMES, st.integers(1, 30))
    @QUICK
    def test_pieces(self, frames: list[PoolFrame], size: int) -> None:
        """
        In whatever pieces they come.
        """
        whole, parser = written(*frames), FrameParser(1_000)
        found = []
        for start in range(0, len(whole), size):
            found += parser.feed(whole[start : start + size])
        self.assertEqual(found, frames)

    @given(FRAMES)
    @QUICK
    def test_file(self, frames: list[PoolFrame]) -> None:
        """
        From a file, too, whose end is the end, even within a frame.
        """
        whole = written(*frames)
        file = BytesIO(whole)
        self.assertEqual([read_frame(file) for _ in frames], frames)
        self.assertIsNone(read_frame(file))
        last = len(whole) - len(written(*frames[:-1]))
        for left_out in {1, last - 1} if last > 1 else set[int]():
            file = BytesIO(whole[:-left_out])
            for _ in frames[:-1]:
                read_frame(file)
            self.assertIsNone(read_frame(file))

    def test_too_large(self) -> None:
        """
        A body beyond the limit is refused before it comes.
        """
        whole = written(PoolFrame(FrameKind.ANSWER, None, b"x" * 11))
        self.assertEqual(FrameParser(11).feed(whole[:-1]), [])
        error = self.assertRaises(MalformedFrame, FrameParser(10).feed, whole[:9])
        self.assertEqual(str(error), "the body of a frame has 11 bytes")

    def test_malformed(self) -> None:
        """
        So is a head beyond it, another kind, and a head that is not JSON.
        """
        for data, why in (
            (b"Z" + bytes(8), "no frame of the kind b'Z'"),
            (b"A\xff" + bytes(7), "the head of a frame has"),
            (b"A" + bytes(3) + b"\1" + bytes(4) + b"{", "is not JSON"),
        ):
            error = self.assertRaises(MalformedFrame, FrameParser(10).feed, data)
            self.assertIn(why, str(error))
