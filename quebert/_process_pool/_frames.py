"""
The frames in which a pool and its processes talk.  Pure.

A frame is its kind (a byte), the lengths of its head and of its body (4 bytes each, big
endian), the head, which is JSON, and the body, which is any bytes.
"""

from __future__ import annotations

import json
from enum import Enum
from struct import Struct
from typing import Any, BinaryIO

import attrs

__all__ = ["FrameKind", "FrameParser", "MalformedFrame", "PoolFrame", "read_frame"]

_PREFIX = Struct(">cII")
#: Bytes of the head of an answer.  What is logged of a task has up to 30,000
#: characters, of which JSON in ASCII makes 360,000 bytes.
MOST_OF_HEAD = 2**19


class FrameKind(Enum):
    """
    What a frame says.

     - TASK: do this.  Head: the URI, path, host and headers of its request, and
       when it came, by C{time.monotonic}; body: the task.
     - READY: the functions are imported.
     - BROKEN: they cannot be imported.  Head: why, in a sentence.
     - BEGUN: a function is called next.  Head: the name of the task.
     - ANSWER: the answer to a task.  Head: status, headers, what is to be logged
       (levels of C{logging} with texts), and whether the process ends now.
    """

    TASK = b"T"
    READY = b"R"
    BROKEN = b"X"
    BEGUN = b"B"
    ANSWER = b"A"


class MalformedFrame(Exception):
    """
    What has come is no frame, or too large a one.
    """


@attrs.frozen
class PoolFrame:
    """
    @ivar head: whatever JSON can hold.
    """

    kind: FrameKind
    head: Any = None
    body: bytes = b""

    def parts(self) -> tuple[bytes, bytes]:
        """
        Its bytes, of which the second are the body, uncopied.
        """
        head = json.dumps(self.head).encode("ascii")
        prefix = _PREFIX.pack(self.kind.value, len(head), len(self.body))
        return prefix + head, self.body


def _read_prefix(prefix: bytes) -> tuple[FrameKind, int, int]:
    code, head, body = _PREFIX.unpack(prefix)
    try:
        kind = FrameKind(code)
    except ValueError:
        raise MalformedFrame(f"there is no frame of the kind {code!r}") from None
    return kind, head, body


def _read_head(head: bytes) -> Any:
    try:
        return json.loads(head)
    except (ValueError, RecursionError):
        raise MalformedFrame("the head of a frame is not JSON") from None


class FrameParser:
    """
    Makes frames of pieces of any size.

    @param most: bytes that a body may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: list[bytes] = []
        self._size = 0
        self._needed = _PREFIX.size
        self._prefix: tuple[FrameKind, int, int] | None = None

    def feed(self, data: bytes) -> list[PoolFrame]:
        """
        The frames that are whole now.

        @raise MalformedFrame: it is no frame; nothing more can be read.
        """
        self._pieces.append(data)
        self._size += len(data)
        frames = []
        while self._size >= self._needed:
            if self._prefix is None:
                prefix = _read_prefix(self._take(_PREFIX.size))
                self._check(*prefix)
                self._prefix, self._needed = prefix, prefix[1] + prefix[2]
            else:
                kind, head, body = self._prefix
                frame = PoolFrame(kind, _read_head(self._take(head)), self._take(body))
                self._prefix, self._needed = None, _PREFIX.size
                frames.append(frame)
        return frames

    def _check(self, kind: FrameKind, head: int, body: int) -> None:
        if head > MOST_OF_HEAD:
            raise MalformedFrame(f"the head of a frame has {head} bytes")
        if body > self._most:
            raise MalformedFrame(f"the body of a frame has {body} bytes")

    def _take(self, size: int) -> bytes:
        whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = [whole[size:]]
        self._size -= size
        return whole[:size]


def read_frame(file: BinaryIO) -> PoolFrame | None:
    """
    Wait for the next frame of a file, however large; C{None} at its end, even within a
    frame.

    @raise MalformedFrame: something else has come.
    """
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        return None
    kind, head, body = _read_prefix(prefix)
    read_head, read_body = file.read(head), file.read(body)
    if len(read_head) < head or len(read_body) < body:
        return None
    return PoolFrame(kind, _read_head(read_head), read_body)
