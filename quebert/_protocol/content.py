"""
The contents of methods: a frame with a header, and frames with a body (AMQP 0-9-1,
section 4.2.6).  Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from io import BytesIO

from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_METHOD,
    FRAME_START,
    UnexpectedFrame,
    frame,
)

__all__ = [
    "CLASS_BASIC",
    "CONTENT_HEADER",
    "ContentReader",
    "content_head",
    "content_pieces",
    "whole_content",
]

#: The one class whose methods have contents.
CLASS_BASIC = 60
#: Class, weight, and the body's size; properties follow.
CONTENT_HEADER = struct.Struct(">HHQ")
# Bytes of a body that memory is reserved for before they have come.
_ROOM = 4 * 2**20


class ContentReader:
    """
    Reads one content after the other.

    @param whole: called with each body when its last frame has come.  An empty body has
        no frames.
    @ivar missing: bytes of the body that have not come yet.
    """

    def __init__(self, whole: Callable[[bytes], object]) -> None:
        self.missing = 0
        self._whole = whole
        # A body of several frames, each of which may be of one byte.
        self._begun: BytesIO | None = None

    def header_received(self, payload: bytes) -> tuple[int, bytes]:
        """
        The payload of a header frame.

        @return: the size of the body, which follows unless it is 0, and the encoded
            properties.
        @raise UnexpectedFrame: it is the header of another class.
        @raise struct.error: it is cut short.
        """
        klass, _, self.missing = CONTENT_HEADER.unpack_from(payload)
        if klass != CLASS_BASIC:
            text = f"expected content header for class {CLASS_BASIC}, got one for"
            raise UnexpectedFrame(f"{text} class {klass} instead")
        return self.missing, payload[CONTENT_HEADER.size :]

    def body_received(self, payload: bytes) -> None:
        """
        The payload of a body frame.

        @raise UnexpectedFrame: it is more than is missing.
        """
        missing = self.missing
        if not 0 < missing >= len(payload):
            raise UnexpectedFrame("more of a body came than was announced")
        self.missing = missing = missing - len(payload)
        begun = self._begun
        if begun is None:
            if not missing:  # nearly always
                self._whole(payload)
                return
            # It has room for all of it at once, and hands it over without a copy: one
            # of 3 MiB takes 1.5 ms, in which all else waits.
            begun = self._begun = BytesIO(bytes(min(missing + len(payload), _ROOM)))
        begun.write(payload)
        if not missing:
            self._begun = None
            self._whole(begun.getvalue())


# -- Writing


def content_head(channel: int, method: bytes, properties: bytes, size: int) -> bytes:
    """
    The frames of a method and of the header of its content.

    @param method: the payload of the method frame.
    @param properties: the encoded properties.
    @param size: bytes of the body.
    """
    header = CONTENT_HEADER.pack(CLASS_BASIC, 0, size) + properties
    return frame(FRAME_METHOD, channel, method) + frame(FRAME_HEADER, channel, header)


def whole_content(head: bytes, channel: int, body: bytes) -> bytes:
    """
    The frames of a method and of its whole content, whose body one frame can hold.

    @param head: what L{content_head} has made.
    """
    return head + frame(FRAME_BODY, channel, body) if body else head


def content_pieces(
    head: bytes, channel: int, body: bytes, max_payload: int
) -> Iterator[bytes]:
    """
    The frames of a method and of its content, one by one: each is made when it is asked
    for.

    @param head: what L{content_head} has made.
    @param max_payload: bytes that the payload of each frame may have.
    """
    yield head
    view = memoryview(body)
    for at in range(0, len(body), max_payload):
        payload = view[at : at + max_payload]
        start = FRAME_START.pack(FRAME_BODY, channel, len(payload))
        yield b"".join((start, payload, b"\xce"))
