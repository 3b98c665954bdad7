"""
SQLite's write-ahead log (C{broker.sqlite-wal}): looked at before SQLite opens it.

SQLite reads a log up to the first frame whose checksum is wrong.  It takes that frame
for one that a crash left half written, and forgets the rest without a word; when it
closes the database it removes the log.  That is right for the last transaction, which
was never confirmed if a crash cut it short.  It is wrong for a log that was damaged
later: transactions that were confirmed are lost.

The two can be told apart, because the broker has each transaction on the disk before
the next one begins (C{PRAGMA synchronous = FULL}).  A frame that continues a commit
proves that the commit was whole once.  If such a frame comes after the first wrong
checksum, the log was damaged.

Damage that reaches the last transaction looks like a crash, and so does a log that was
cut, unless later pages are in the database already.

Source: U{https://www.sqlite.org/fileformat2.html#the_write_ahead_log}.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Self

import attrs

__all__ = ["Log", "LogDamagedError", "read_log"]

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
#: Magic numbers, and the order of bytes in which the log's checksums are computed.
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_FORMAT = 3_007_000
_PAGE_SIZES = [1 << n for n in range(9, 17)]

_Checksum = tuple[int, int]


class LogDamagedError(Exception):
    """
    The log was damaged: it has lost transactions that were committed.
    """


@attrs.frozen
class Log:
    """
    The committed transactions of a log.

    @ivar pages: how many pages the database has after the last commit; 0 if
        there is no commit in the log.
    @ivar first_page: the newest first page of the database; empty if the log has
        none.
    """

    pages: int = 0
    first_page: bytes = b""


@attrs.frozen
class _Frame:
    """
    A page, as it was written by a transaction.

    @ivar page: the number of the page, from 1.
    @ivar commit: pages of the database, if the frame is the last one of a
        transaction; else 0.
    @ivar salts: those of the log's header when the frame was written.
    @ivar checksum: that of the log up to the end of this frame, as the frame says.
    @ivar start: the part of the frame's header that the checksum covers.
    @ivar content: the page itself.
    """

    page: int
    commit: int
    salts: tuple[int, int]
    checksum: _Checksum
    start: bytes
    content: bytes


@attrs.frozen
class _LogReader:
    """
    Reads the frames of a log.

    @ivar order: C{"<"} or C{">"}, the order of bytes in which checksums are computed.
    @ivar salts: two numbers that SQLite changes when it begins the log anew.
    @ivar seed: the checksum of the log's header.
    """

    file: BinaryIO
    order: str
    page_size: int
    salts: tuple[int, int]
    seed: _Checksum

    @classmethod
    def opened(cls, file: BinaryIO, header: bytes) -> Self:
        """
        A reader of the frames that follow C{header} in C{file}.

        @raise LogDamagedError: the header is wrong.
        """
        words = _HEADER.unpack(header)
        magic, version, page_size, _, *rest = words
        order = _MAGIC.get(magic, "<")
        seed = _checksum(header[:24], (0, 0), order)
        right = magic in _MAGIC and version == _FORMAT and page_size in _PAGE_SIZES
        if not right or seed != tuple(rest[2:]):
            raise LogDamagedError("its header is wrong")
        return cls(file, order, page_size, (rest[0], rest[1]), seed)

    def frames(self) -> Iterator[_Frame]:
        """
        All frames that are whole.  Some may be older than the header: SQLite writes
        the log from its beginning again when all of it is in the database.
        """
        size = _FRAME.size + self.page_size
        while len(data := self.file.read(size)) == size:
            page, commit, *rest = _FRAME.unpack_from(data)
            salts, checksum = (rest[0], rest[1]), (rest[2], rest[3])
            yield _Frame(page, commit, salts, checksum, data[:8], data[_FRAME.size :])

    def continues(self, frame: _Frame, before: _Checksum) -> bool:
        """
        Whether C{frame} was written next after the frame with the checksum C{before}.
        """
        if frame.salts != self.salts or not frame.page:
            return False
        checksum = _checksum(frame.start, before, self.order)
        return _checksum(frame.content, checksum, self.order) == frame.checksum


def read_log(file: BinaryIO) -> Log:
    """
    Read a log from its beginning.

    @raise LogDamagedError: it was damaged after something was committed.
    """
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not file.peek(1):  # type: ignore[attr-defined]
        return Log()  # the header is on the disk before the first frame
    reader = _LogReader.opened(file, header)
    frames = reader.frames()
    log = Log()
    first_page, checksum = b"", reader.seed
    for frame in frames:
        if not reader.continues(frame, checksum):
            _check_later_frames(reader, frame, frames)
            break
        checksum = frame.checksum
        if frame.page == 1:
            first_page = frame.content
        if frame.commit:
            log = Log(frame.commit, first_page)
    return log


def _check_later_frames(
    reader: _LogReader, frame: _Frame, later: Iterator[_Frame]
) -> None:
    """
    Check that nothing was committed after the first frame with a wrong checksum.

    @param frame: that frame.
    @param later: the frames after it.
    @raise LogDamagedError: a frame continues a commit, which was whole once.
    """
    for following in later:
        committed = frame.commit and frame.salts == reader.salts
        if committed and reader.continues(following, frame.checksum):
            raise LogDamagedError("a transaction in it has changed")
        frame = following


def _checksum(data: bytes, start: _Checksum, order: str) -> _Checksum:
    a, b = start
    for x, y in struct.iter_unpack(f"{order}II", data):
        a = a + x + b & 0xFFFFFFFF
        b = b + y + a & 0xFFFFFFFF
    return a, b
