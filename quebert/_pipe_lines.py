"""
Lines of what another process writes into a pipe.
"""

from __future__ import annotations

__all__ = ["PipeLines"]


class PipeLines:
    """
    Makes lines of what comes over a pipe.

    @param limit: bytes after which a line ends that does not; C{None} for none.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []  # of a line without its end
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """
        The lines that have come to their end.
        """
        first, *others = data.split(b"\n")
        lines = []
        self._keep(first)
        for piece in others:
            lines.append(self.end())
            self._keep(piece)
        if self._limit is not None and self._size > self._limit:
            lines.append(self.end())
        return lines

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)

    def end(self) -> bytes:
        """
        What has come of a line without its end.
        """
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return line
