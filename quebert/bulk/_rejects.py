"""
The file of the records that were refused: a line of JSON for each, with its number, the
reason and the record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import attrs

from quebert._text import what_is_wrong
from quebert.bulk._records import TaskRecord
from quebert.bulk._state import close_quietly
from quebert.errors import ConfigError

__all__ = ["Refusal", "Rejects"]

# Bytes of a record that are kept.
_KEPT = 2**16


@attrs.frozen
class Refusal:
    """
    A record that is not added, and why.
    """

    record: TaskRecord
    reason: str


class Rejects:
    """
    The file, which is made when a record is refused.

    @param path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = 0  # bytes of it that stay, from earlier runs
        self._file: BinaryIO | None = None

    def write(self, refusals: Iterable[Refusal]) -> int:
        """
        Write some; return how many bytes the file has then.

        @raise ConfigError: it cannot be written.
        """
        lines = [_line(each) for each in refusals]
        if not lines and self._file is None:
            return self._kept
        try:
            file = self._file = self._file or self._opened()
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
        except OSError as e:
            text = f"the file of refused lines {self._path}: {what_is_wrong(e)}"
            raise ConfigError(text) from None

    def back_to(self, size: int) -> None:
        """
        Take back what was written behind so many bytes, also by an earlier run.
        """
        self._kept = size
        if self._file is not None:
            self._file.truncate(size)
            self._file.seek(size)

    def _opened(self) -> BinaryIO:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "rb+")
        kept = min(self._kept, os.fstat(descriptor).st_size)
        file.truncate(kept)
        file.seek(kept)
        return file

    def close(self) -> None:
        """
        Write nothing more.
        """
        if self._file is not None:
            close_quietly(self._file)


def _line(refusal: Refusal) -> bytes:
    record = refusal.record
    text = record.raw[:_KEPT].decode("utf-8", "replace")
    found = {"line": record.line, "error": refusal.reason, "text": text}
    if len(record.raw) > _KEPT:
        found["cut"] = True
    return json.dumps(found, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
