"""
From records to batches of tasks, as they go to the broker.  Pure.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from quebert._protocol.properties import encode_properties
from quebert.bulk._formats import FileFormat, checked_item
from quebert.bulk._records import TaskRecord
from quebert.bulk._rejects import Refusal
from quebert.errors import BadTask
from quebert.producer.letters import Letter, item_letter

__all__ = [
    "BATCH",
    "BATCH_BYTES",
    "Batch",
    "Digest",
    "RecordReader",
    "TaskEntry",
    "uuid_of",
]

#: Records of a batch at most, and about so many bytes.
BATCH = 2_000
BATCH_BYTES = 4 * 2**20


@attrs.frozen
class TaskEntry:
    """
    A record, and the task that it says.

    @ivar properties: those of the letter, encoded: while the broker carries out the
        batch before, there is time for that.
    """

    record: TaskRecord
    letter: Letter
    properties: bytes


@attrs.define
class Batch:
    """
    What is sent together.

    @ivar behind: lines of the file before the batch.
    @ivar read: how many records there are in it.
    @ivar lines: lines of the file, up to the end of the batch.
    @ivar digest: of these.
    """

    behind: int = 0
    entries: list[TaskEntry] = attrs.field(factory=list)
    refusals: list[Refusal] = attrs.field(factory=list)
    read: int = 0
    size: int = 0
    lines: int = 0
    digest: str = ""

    @property
    def room(self) -> int:
        """
        How many more records go into it.
        """
        return BATCH - self.read if self.size < BATCH_BYTES else 0


class Digest:
    """
    Of lines, however many.
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, raw: bytes) -> None:
        """
        One more.
        """
        self._hash.update(raw)
        self._hash.update(b"\n")

    def __str__(self) -> str:
        return self._hash.hexdigest()


def uuid_of(id: uuid.UUID, line: int) -> str:
    """
    The uuid of the task in a line: the same each time, and one of version 5 (RFC 9562,
    section 5.5).  C{uuid.uuid5} makes the same, and takes ten times as long.
    """
    digest = hashlib.sha1(id.bytes + b"%d" % line, usedforsecurity=False)
    hexes = digest.hexdigest()
    variant = "89ab"[int(hexes[16], 16) & 3]
    return (
        f"{hexes[:8]}-{hexes[8:12]}-5{hexes[13:16]}"
        f"-{variant}{hexes[17:20]}-{hexes[20:32]}"
    )


class RecordReader:
    """
    Makes tasks of records.

    @param id: that the uuids of tasks are made of, unless records say them.
    @param defaults: what holds where records do not say it.
    @param check_url: raises L{BadTask} for a URL, of the field that it is told, that is
        not meant so.
    """

    def __init__(
        self,
        format: FileFormat,
        id: uuid.UUID,
        defaults: Mapping[str, Any],
        check_url: Callable[[object, str], None],
        now: Callable[[], float],
    ) -> None:
        self.format = format
        self._id = id
        self._defaults = defaults
        self._check_url = check_url
        self._now = now

    def add(self, record: TaskRecord, batch: Batch) -> None:
        """
        Add a record to a batch.

        @raise ConfigError: it is the header, and wrong.
        """
        if not self.format.takes(record):
            return
        batch.read += 1
        batch.size += len(record.raw)
        try:
            letter = self._letter(record)
            properties = encode_properties(letter.properties)
            batch.entries.append(TaskEntry(record, letter, properties))
        except BadTask as e:
            batch.refusals.append(Refusal(record, str(e)))

    def _letter(self, record: TaskRecord) -> Letter:
        if record.too_long:
            raise BadTask(record.too_long)
        item = checked_item(self.format.item(record), self._defaults)
        for field in ("url", "callback_url"):
            self._check_url(item.get(field), field)
        if item.get("uuid") is None:
            item["uuid"] = uuid_of(self._id, record.line)
        return item_letter(item, self._now())[1]
