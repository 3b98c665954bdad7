"""
Bytes read as a series of choices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["Choices", "pieces"]

T = TypeVar("T")

#: Where arithmetic goes wrong.
_EDGES = (0, 1, 2, 7, 127, 255, 4_096, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63)


class Choices:
    """
    Reads choices from bytes, the first ones first.  Behind the last byte there are
    zeros.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """
        Whether there are bytes left.
        """
        return self._at < len(self._data)

    def octet(self) -> int:
        """
        A number from 0 to 255.
        """
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def flag(self) -> bool:
        """
        Yes or no.
        """
        return self.octet() % 2 == 1

    def pick(self, some: Sequence[T]) -> T:
        """
        One of at most 256 things.
        """
        return some[self.octet() % len(some)]

    def number(self) -> int:
        """
        A number from 0 to 2**64 - 1.
        """
        kind = self.octet()
        if kind < 128:
            return kind
        if kind < 192:
            return _EDGES[kind % len(_EDGES)]
        return int.from_bytes(self.take(8), "big")

    def take(self, size: int) -> bytes:
        """
        The next bytes, at most C{size}.
        """
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def short(self) -> bytes:
        """
        Up to 255 bytes.
        """
        return self.take(self.octet())

    def text(self) -> str:
        """
        Up to 255 bytes as text.
        """
        return self.short().decode("utf-8", "replace")

    def rest(self) -> bytes:
        """
        All that is left.
        """
        return self.take(len(self._data))


def pieces(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """
    C{data} cut into pieces of these sizes; the last one is what is left.
    """
    at = 0
    for size in sizes:
        if at + size >= len(data):
            break
        yield data[at : at + size]
        at += size
    yield data[at:]
