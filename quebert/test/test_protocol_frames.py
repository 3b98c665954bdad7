"""
Tests for L{quebert._protocol.frames}.
"""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame as peer
from pamqp.body import ContentBody
from pamqp.heartbeat import Heartbeat as PeerHeartbeat
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_MAX,
    FRAME_METHOD,
    FRAME_OVERHEAD,
    HEARTBEAT_FRAME,
    MAX_PAYLOAD,
    FrameError,
    FrameReader,
    WholeFrame,
    frame,
)
from quebert.test.checks import QUICK

MOST = 100
KINDS = st.sampled_from((FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT))
FRAMES = st.lists(st.tuples(KINDS, st.integers(0, 2**16 - 1), st.binary(max_size=MOST)))


class FrameTests(SynchronousTestCase):
    """
    Tests for L{frame}.
    """

    def test_as_others_write_it(self) -> None:
        """
        A frame is what pamqp writes.
        """
        self.assertEqual(
            frame(FRAME_BODY, 7, b"body"), peer.marshal(ContentBody(b"body"), 7)
        )
        self.assertEqual(HEARTBEAT_FRAME, peer.marshal(PeerHeartbeat(), 0))
        self.assertEqual(HEARTBEAT_FRAME, frame(FRAME_HEARTBEAT, 0, b""))

    def test_largest(self) -> None:
        """
        The largest payload makes the largest frame.
        """
        self.assertEqual(len(frame(FRAME_BODY, 1, bytes(MAX_PAYLOAD))), FRAME_MAX)
        self.assertEqual(len(frame(FRAME_BODY, 1, b"")), FRAME_OVERHEAD)


class FrameReaderTests(SynchronousTestCase):
    """
    Tests for L{FrameReader}.
    """

    def setUp(self) -> None:
        self.reader = FrameReader(MOST, 2 * MOST)

    def check_refused(self, data: bytes, text: str) -> None:
        """
        Check that C{data} is no frame, and that nothing of it is kept.
        """
        with self.assertRaisesRegex(FrameError, text):
            self.reader.read(data)
        self.assertEqual(self.reader.buffer, b"")

    @QUICK
    @given(FRAMES, st.integers(1, 50))
    def test_segments(self, frames: list[WholeFrame], size: int) -> None:
        """
        Frames are the same, however what comes is cut into segments.
        """
        reader = FrameReader(MOST)
        seen: list[WholeFrame] = []
        data = b"".join(frame(*each) for each in frames) + b"\x01\0"
        for at in range(0, len(data), size):
            seen += reader.read(data[at : at + size])
        self.assertEqual(seen, frames)
        self.assertEqual(reader.buffer, b"\x01\0")

    def test_stopped(self) -> None:
        """
        The frames before one that may not come are read; it is refused after that.
        """
        for data in (b"\x04\0\0\0\0\0\0\0", HEARTBEAT_FRAME[:-1] + b"\0"):
            frames = self.reader.read(HEARTBEAT_FRAME + data + HEARTBEAT_FRAME)
            self.assertEqual(frames, [(FRAME_HEARTBEAT, 0, b"")])
            self.assertTrue(self.reader.stopped)
            self.check_refused(b"", "a frame")
            self.assertFalse(self.reader.stopped)

    def test_limit_changes(self) -> None:
        """
        A limit that is agreed on holds for the next frame of the same segment.
        """
        large = frame(FRAME_BODY, 1, bytes(200))
        frames = self.reader.read(frame(FRAME_METHOD, 0, b"tune") + large)
        self.assertEqual(frames, [(FRAME_METHOD, 0, b"tune")])
        self.reader.max_payload = 200
        self.assertEqual(self.reader.read(b""), [(FRAME_BODY, 1, bytes(200))])

    def test_end(self) -> None:
        """
        A frame ends with 0xCE.
        """
        self.check_refused(
            frame(FRAME_BODY, 1, b"x")[:-1] + b"\xcd", "ends with 205, not with 206"
        )

    def test_type(self) -> None:
        """
        A frame of an unknown type is refused before its payload has come.
        """
        self.check_refused(struct.pack(">BHIx", 4, 1, 16), "type 4 with 16 octets")
        self.check_refused(b"HTTP/1.1 400 Bad Request", "of type 72 with ")

    def test_size(self) -> None:
        """
        A frame that is too large is refused before its payload has come.
        """
        self.assertEqual(len(self.reader.read(frame(FRAME_BODY, 1, bytes(MOST)))), 1)
        for kind in (FRAME_BODY, FRAME_METHOD, FRAME_HEARTBEAT):
            start = struct.pack(">BHIx", kind, 1, MOST + 1)
            self.check_refused(start, "101 octets; the maximum is 100")

    def test_size_of_header(self) -> None:
        """
        A content header may be larger, if the reader was told so.
        """
        largest = frame(FRAME_HEADER, 1, bytes(2 * MOST))
        self.assertEqual(len(self.reader.read(largest)), 1)
        start = struct.pack(">BHIx", FRAME_HEADER, 1, 2 * MOST + 1)
        self.check_refused(start, "201 octets; the maximum is 200")
        self.reader = FrameReader(MOST)
        start = struct.pack(">BHIx", FRAME_HEADER, 1, MOST + 1)
        self.check_refused(start, "101 octets; the maximum is 100")
