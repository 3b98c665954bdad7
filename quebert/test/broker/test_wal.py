"""
Tests for L{quebert.broker.store._wal}, with logs that are made here.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

import attrs
from twisted.trial.unittest import SynchronousTestCase

from quebert.broker.store._wal import Log, LogDamagedError, _checksum, read_log

SIZE = 512
SALTS = 7, 8


@attrs.frozen
class Page:
    """
    A frame that is to be written.

    @ivar number: of the page.
    @ivar commit: how many pages there are after the commit; 0 if it goes on.
    @ivar damaged: whether one octet of the page changes afterwards.
    """

    number: int
    commit: int = 0
    damaged: bool = False
    salts: tuple[int, int] = SALTS

    @property
    def content(self) -> bytes:
        """
        What is on the page.
        """
        return bytes([self.number]) * SIZE


def log_of(
    pages: Iterable[Page],
    *,
    magic: int = 0x377F0682,
    version: int = 3_007_000,
    page_size: int = SIZE,
) -> bytes:
    """
    A log, as SQLite writes it.
    """
    order = ">" if magic & 1 else "<"
    start = struct.pack(">6I", magic, version, page_size, 0, *SALTS)
    checksum = _checksum(start, (0, 0), order)
    written = [start, struct.pack(">2I", *checksum)]
    for page in pages:
        head = struct.pack(">2I", page.number, page.commit)
        checksum = _checksum(head, checksum, order)
        checksum = _checksum(page.content, checksum, order)
        content = b"\xff" + page.content[1:] if page.damaged else page.content
        written += [head, struct.pack(">4I", *page.salts, *checksum), content]
    return b"".join(written)


def read(log: bytes) -> Log:
    """
    What a log says.
    """
    return read_log(io.BufferedReader(io.BytesIO(log)))


class ReadingTests(SynchronousTestCase):
    """
    What is read from a log.
    """

    def damaged(self, log: bytes) -> str:
        """
        What is wrong with a log.
        """
        return str(self.assertRaises(LogDamagedError, read, log))

    def test_checksum(self) -> None:
        """
        A checksum is that of SQLite's documentation: two sums, which wrap.
        """
        words = struct.pack("<4I", 1, 2, 3, 4)
        self.assertEqual(_checksum(words, (0, 0), "<"), (7, 14))
        self.assertEqual(_checksum(words[:8], (5, 9), "<"), (15, 26))
        most = struct.pack("<2I", 0xFFFFFFFF, 0)
        self.assertEqual(_checksum(most, (1, 0), "<"), (0, 0))
        self.assertEqual(_checksum(b"\0\0\0\1\0\0\0\0", (0, 0), ">"), (1, 1))

    def test_nothing_in_it(self) -> None:
        """
        A log without a whole header, or without a frame, holds nothing.
        """
        header = log_of(())
        for log in (b"", header[:31], header, b"\0" * 32):
            self.assertEqual(read(log), Log())

    def test_header(self) -> None:
        """
        The two magic numbers are the orders of the checksums; all else is refused.
        """
        pages = [Page(1, 3)]
        for magic in (0x377F0682, 0x377F0683):
            self.assertEqual(read(log_of(pages, magic=magic)).pages, 3)
        wrong = "its header is wrong"
        self.assertEqual(self.damaged(log_of(pages, magic=0x377F0684)), wrong)
        self.assertEqual(self.damaged(log_of(pages, version=3_007_001)), wrong)
        for size in (256, 513, 1 << 17):
            self.assertEqual(self.damaged(log_of(pages, page_size=size)), wrong)
        whole = log_of(pages)
        for at in range(32):
            changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
            self.assertEqual(self.damaged(changed), wrong, at)

    def test_largest_page(self) -> None:
        """
        A page may have 64 KiB.
        """
        self.assertEqual(read(log_of([Page(1, 3)], page_size=1 << 16)), Log())

    def test_last_commit(self) -> None:
        """
        What counts is the last commit, and the first page as it was then.
        """
        pages = [Page(2), Page(3, 3), Page(1), Page(4, 4), Page(5, 5)]
        found = [read(log_of(pages[:n])) for n in range(6)]
        first = Page(1).content
        before, after = [Log()] * 2 + [Log(3)] * 2, [Log(4, first), Log(5, first)]
        self.assertEqual(found, before + after)

    def test_unfinished_transaction(self) -> None:
        """
        A last transaction that was written in part does not count, whichever part
        it is.
        """
        before = [Page(2, 2)]
        for n in range(3):
            pages = [Page(5, damaged=n == 0), Page(6, damaged=n == 1)]
            last = Page(7, 7, damaged=n == 2)
            found = read(log_of([*before, *pages, last]))
            self.assertEqual(found, Log(2), n)
        self.assertEqual(read(log_of([*before, Page(5), Page(6)])), Log(2))

    def test_cut_frame(self) -> None:
        """
        A frame that is cut short is none.
        """
        self.assertEqual(read(log_of([Page(2, 2), Page(3, 3)])[:-1]), Log(2))

    def test_page_zero(self) -> None:
        """
        There is no page of the number 0: such a frame ends the log.
        """
        self.assertEqual(read(log_of([Page(2, 2), Page(0, 3)])), Log(2))

    def test_changed_transaction(self) -> None:
        """
        A wrong frame before a commit that another frame continues is damage, wherever
        in its transaction it is.
        """
        for n in range(3):
            pages = [Page(5, damaged=n == 0), Page(6, damaged=n == 1)]
            pages += [Page(7, 7, damaged=n == 2), Page(8)]
            said = self.damaged(log_of([Page(2, 2), *pages]))
            self.assertEqual(said, "a transaction in it has changed")

    def test_older_frames(self) -> None:
        """
        Frames that were written before the log began anew count for nothing.
        """
        old = 6, 8
        older = [Page(3, 3, salts=old), Page(4, 4, salts=old), Page(5, salts=old)]
        self.assertEqual(read(log_of([Page(2, 2), *older])), Log(2))

    def test_newer_frame_behind_an_older_one(self) -> None:
        """
        A commit of an older log proves nothing of this one.
        """
        pages = [Page(2, 2), Page(3, 3, salts=(6, 8)), Page(4, 4)]
        self.assertEqual(read(log_of(pages)), Log(2))
