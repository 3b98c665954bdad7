"""
The frames of AMQP 0-9-1 (section 2.3.5).  Pure.
"""

from __future__ import annotations

import struct

from quebert.errors import QuebertError, ReplyCode

__all__ = [
    "CHANNEL_MAX",
    "FRAME_BODY",
    "FRAME_END",
    "FRAME_HEADER",
    "FRAME_HEARTBEAT",
    "FRAME_MAX",
    "FRAME_METHOD",
    "FRAME_MIN",
    "FRAME_OVERHEAD",
    "FRAME_START",
    "FRAME_TYPES",
    "HEARTBEAT_FRAME",
    "MAX_PAYLOAD",
    "PROTOCOL_HEADER",
    "FrameError",
    "FrameReader",
    "UnexpectedFrame",
    "WholeFrame",
    "frame",
]

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
#: The types of frames (AMQP 0-9-1 reference, constants: frame-method and so on).
FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT = 1, 2, 3, 8
FRAME_TYPES = frozenset((FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT))
FRAME_END = 0xCE
#: Octets that a frame has at most, unless the other side wants less: for the client
#: (C{Wire.tuned}), the producer without Twisted and the embedded broker.
FRAME_MAX = 131_072
#: And how many each side must take (the same: frame-min-size).
FRAME_MIN = 4_096
#: Octets of a frame beside its payload.
FRAME_OVERHEAD = 8
#: Octets that a payload has at most, unless the other side wants less.
MAX_PAYLOAD = FRAME_MAX - FRAME_OVERHEAD
#: Channels that may be open, unless the other side wants fewer.
CHANNEL_MAX = 2_047
#: Type, channel, and the payload's size.
FRAME_START = struct.Struct(">BHI")
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"

#: Type, channel, and payload.
WholeFrame = tuple[int, int, bytes]

# Without a look-up at each frame.
_pack_start, _unpack_start = FRAME_START.pack, FRAME_START.unpack_from


class FrameError(QuebertError, ValueError):
    """
    What came is no frame, or does not fit what came before.

    @cvar code: the reply code for it.
    """

    code = ReplyCode.FRAME_ERROR


class UnexpectedFrame(FrameError):
    """
    What came is a frame, and does not fit what came before.
    """

    code = ReplyCode.UNEXPECTED_FRAME


class FrameReader:
    """
    Cuts what comes over a connection into frames.

    @ivar max_payload: octets that the payload of a frame may have, ...
    @ivar max_header: ... and that of a content header, if that is more.
    @ivar buffer: what came and is not read: less than a frame, unless L{read} has
        stopped.
    @ivar stopped: whether L{read} has stopped before a frame that it would refuse.
    """

    def __init__(self, max_payload: int, max_header: int = 0) -> None:
        self.max_payload = max_payload
        self.max_header = max_header
        self.buffer = b""
        self.stopped = False

    def read(self, data: bytes) -> list[WholeFrame]:
        """
        Take in what came.

        A frame is refused only once those before it are done with, which may change
        L{max_payload}.  So whoever reads goes on, with no data, while L{stopped}.

        @return: the frames that are whole, up to one that would be refused.
        @raise FrameError: the first one is no frame, or is too large.  The first octets
            of a frame tell.
        """
        if self.buffer:
            data = self.buffer + data
        self.stopped = False
        frames: list[WholeFrame] = []
        at, there = 0, len(data)
        try:
            while there - at >= FRAME_OVERHEAD:
                kind, channel, size = _unpack_start(data, at)
                if size > self.max_payload or kind not in FRAME_TYPES:
                    self._check(kind, size)
                begin = at + 7
                end = begin + size
                if end >= there:
                    break
                if data[end] != FRAME_END:
                    text = f"a frame ends with {data[end]}, not with {FRAME_END}"
                    raise FrameError(text)
                at = end + 1
                frames.append((kind, channel, data[begin:end]))
        except FrameError:
            self.stopped = bool(frames)
            if not frames:
                at = there  # where the next frame begins, nobody knows
                raise
        finally:
            self.buffer = data[at:]
        return frames

    def _check(self, kind: int, size: int) -> None:
        most = self.max_payload
        if kind == FRAME_HEADER:
            most = max(most, self.max_header)
        if kind not in FRAME_TYPES or size > most:
            text = f"a frame of type {kind} with {size} octets; the maximum is {most}"
            raise FrameError(text)


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """
    Any frame.
    """
    return _pack_start(kind, channel, len(payload)) + payload + b"\xce"
