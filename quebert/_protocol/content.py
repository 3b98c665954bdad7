"""
The contents of methods: a frame with a header, and frames with a body (AMQP 0-9-1,
section 4.2.6).  Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Protocol, TypeVar

from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_METHOD,
    FRAME_START,
    FrameError,
    UnexpectedFrame,
    frame,
)
from quebert.errors import ReplyCode

__all__ = [
    "CLASS_BASIC",
    "CONTENT_HEADER",
    "Content",
    "ContentReader",
    "ContentTooLarge",
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

_C = TypeVar("_C", bound="Content")


class ContentTooLarge(FrameError):
    """
    More was announced than is taken.

    @ivar size: bytes that the body is to have.
    """

    code = ReplyCode.SYNTAX_ERROR

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"a body of {size} bytes was announced; at most {most} may be")
        self.size = size


class Content(Protocol):
    """
    What a method has beside its arguments.
    """

    encoded_properties: bytes
    body: bytes


class ContentReader:
    """
    Reads one content after the other.

    @ivar content: what is filled in by the next frames; C{None} where no content is
        expected.
    @ivar most: bytes that its body may have.
    @ivar completed: called with C{content} when its last frame has come.
    @ivar missing: bytes of the body that have not come yet.
    """

    def __init__(self) -> None:
        self.content: Any = None
        self.most = 0
        self.completed: Callable[[Any], object] = _nothing
        self.missing = 0
        # A body of several frames, each of which may be of one byte.
        self._begun: BytesIO | None = None

    def expect(self, content: _C, most: int, completed: Callable[[_C], object]) -> None:
        """
        A method has come whose content follows; the parameters become the attributes
        of these names.
        """
        self.content, self.most, self.completed = content, most, completed

    def header_received(self, payload: bytes) -> None:
        """
        The payload of a header frame.  The body follows, unless it is empty.

        @raise UnexpectedFrame: it is not its time, or it is the header of another
            class.
        @raise ContentTooLarge: the body is to have more than L{most} bytes.
        @raise struct.error: it is cut short.
        """
        content = self.content
        if content is None or self.missing:
            raise UnexpectedFrame("a content header came unexpectedly")
        klass, _, size = CONTENT_HEADER.unpack_from(payload)
        if klass != CLASS_BASIC:
            text = f"expected content header for class {CLASS_BASIC}, got one for"
            raise UnexpectedFrame(f"{text} class {klass} instead")
        if size > self.most:
            raise ContentTooLarge(size, self.most)
        content.encoded_properties = payload[CONTENT_HEADER.size :]
        self.missing = size
        if not size:
            self.content = None
            content.body = b""
            self.completed(content)

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
        if missing or begun is not None:  # seldom
            if begun is None:
                # It has room for all of it at once, and hands it over without a copy:
                # one of 3 MiB takes 1.5 ms, in which all else waits.
                room = min(missing + len(payload), _ROOM)
                begun = self._begun = BytesIO(bytes(room))
            begun.write(payload)
            if missing:
                return
            self._begun, payload = None, begun.getvalue()
        content, self.content = self.content, None
        content.body = payload
        self.completed(content)

    def end(self) -> None:
        """
        The channel is closed: let go of what has come, which may be much, and of the
        channel, which has this reader.
        """
        self.content, self.missing, self._begun = None, 0, None
        self.completed = _nothing


def _nothing(content: object) -> None:
    """
    Nobody waits for a content any more.
    """


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
