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
    frame,
)

Seen = list[tuple[int, int, bytes]]

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
        self.seen: Seen = []

    def received(self, kind: int, channel: int, payload: bytes) -> bool:
        """
        Read on.
        """
        self.seen.append((kind, channel, payload))
        return True

    def check_refused(self, data: bytes, text: str) -> None:
        """
        Check that C{data} is no frame, and that nothing of it is kept.
        """
        with self.assertRaisesRegex(FrameError, text):
            self.reader.read(data, self.received)
        self.assertEqual((self.seen, self.reader.buffer), ([], b""))

    @given(FRAMES, st.integers(1, 50))
    def test_segments(self, frames: Seen, size: int) -> None:
        """
        Frames are the same, however what comes is cut into segments.
        """
        reader = FrameReader(MOST)
        self.seen = []
        data = b"".join(frame(*each) for each in frames) + b"\x01\0"
        for at in range(0, len(data), size):
            reader.read(data[at : at + size], self.received)
        self.assertEqual(self.seen, frames)
        self.assertEqual(reader.buffer, b"\x01\0")

    def test_stopped(self) -> None:
        """
        Reading stops after the frame for which C{received} says so, and goes on with
        the next one.
        """
        kinds: list[int] = []

        def once(kind: int, channel: int, payload: bytes) -> bool:
            kinds.append(kind)
            return False

        frames = frame(FRAME_METHOD, 1, b"a") + frame(FRAME_HEADER, 1, b"b")
        self.reader.read(frames + HEARTBEAT_FRAME, once)
        self.assertEqual(kinds, [FRAME_METHOD])
        self.reader.read(b"", once)
        self.assertEqual(kinds, [FRAME_METHOD, FRAME_HEADER])
        self.assertEqual(self.reader.buffer, HEARTBEAT_FRAME)

    def test_failed(self) -> None:
        """
        A frame that cannot be taken is not read again.
        """

        def fail(kind: int, channel: int, payload: bytes) -> bool:
            raise RuntimeError

        with self.assertRaises(RuntimeError):
            self.reader.read(HEARTBEAT_FRAME + b"\x08", fail)
        self.assertEqual(self.reader.buffer, b"\x08")

    def test_limit_changes(self) -> None:
        """
        A limit that is agreed on holds for the next frame of the same segment.
        """

        def tuned(kind: int, channel: int, payload: bytes) -> bool:
            self.reader.max_payload = 200
            return self.received(kind, channel, payload)

        large = frame(FRAME_BODY, 1, bytes(200))
        self.reader.read(frame(FRAME_METHOD, 0, b"tune") + large, tuned)
        self.assertEqual(len(self.seen), 2)

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
        self.reader.read(frame(FRAME_BODY, 1, bytes(MOST)), self.received)
        self.assertEqual(len(self.seen), 1)
        self.seen.clear()
        for kind in (FRAME_BODY, FRAME_METHOD, FRAME_HEARTBEAT):
            start = struct.pack(">BHIx", kind, 1, MOST + 1)
            self.check_refused(start, "101 octets; the maximum is 100")

    def test_size_of_header(self) -> None:
        """
        A content header may be larger, if the reader was told so.
        """
        self.reader.read(frame(FRAME_HEADER, 1, bytes(2 * MOST)), self.received)
        self.assertEqual(len(self.seen), 1)
        self.seen.clear()
        start = struct.pack(">BHIx", FRAME_HEADER, 1, 2 * MOST + 1)
        self.check_refused(start, "201 octets; the maximum is 200")
        self.reader = FrameReader(MOST)
        start = struct.pack(">BHIx", FRAME_HEADER, 1, MOST + 1)
        self.check_refused(start, "101 octets; the maximum is 100")
