"""
The state file: how far the lines of a file are added, so that a run which was killed
can be gone on with.

It is a journal of JSON Lines that is only appended to.  The first line has the id, of
which the uuids of tasks and the name of the queue with the token are made.  Each batch
has two lines: one before it is sent, with what will be so if RabbitMQ carries it out,
and one when RabbitMQ has.  A line that was cut off by a kill or a full disk is ignored.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from quebert._text import what_is_wrong
from quebert.errors import ConfigError

__all__ = ["LoadState", "Position", "close_quietly"]

_VERSION = 1
# Bytes of the largest state file that is read.
_MOST = 2**30


@attrs.frozen
class Position:
    """
    How far it has come.

    @ivar batch: the number of the last batch that was sent.
    @ivar lines: lines of the file, from its beginning.
    @ivar digest: of these, in hexadecimal digits.
    @ivar read: the records in them: those added, and those refused.
    @ivar refused: the latter.
    @ivar rejects: bytes of the file with those.
    """

    batch: int = 0
    lines: int = 0
    digest: str = ""
    read: int = 0
    refused: int = 0
    rejects: int = 0


@attrs.define(eq=False)
class LoadState:
    """
    @ivar id: of all runs that go on with each other.
    @ivar done: what is known to be done.
    @ivar sending: what is so if the last batch was carried out; C{None} if no batch is
        on its way.
    @ivar is_unsure: whether it may have been carried out in part.
    """

    id: uuid.UUID
    done: Position = Position()
    sending: Position | None = None
    is_unsure: bool = False
    _file: BinaryIO | None = None

    @classmethod
    def nowhere(cls) -> LoadState:
        """
        A state that is kept nowhere.
        """
        return cls(uuid.uuid4())

    @classmethod
    def open(cls, path: Path, target: str) -> LoadState:
        """
        The state in a file, which is made if it is not there.

        @param target: where tasks go to, without a password.
        @raise ConfigError: the file cannot be read or written, is none of these, is of
            another target, or is in use.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            file = os.fdopen(descriptor, "rb+")
        except OSError as e:
            raise ConfigError(f"the state file {path}: {what_is_wrong(e)}") from None
        try:
            return cls._read(file, path, target)
        except BaseException:
            close_quietly(file)
            raise

    @classmethod
    def _read(cls, file: BinaryIO, path: Path, target: str) -> LoadState:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = f"the state file {path} is in use by another quebert add"
            raise ConfigError(text) from None
        try:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST:
                raise ValueError  # a device may have no end
            first, *lines = file.read().split(b"\n")
            if not first and not lines:
                state = cls(uuid.uuid4(), file=file)
                head = {"quebert": _VERSION, "id": state.id.hex, "target": target}
                state._write(head)
                return state
            head = json.loads(first)
            if head["quebert"] != _VERSION:
                raise ValueError
            state = cls(uuid.UUID(head["id"]), file=file)
            state._replay(lines)
            there = head["target"]
        except OSError as e:
            raise ConfigError(f"the state file {path}: {what_is_wrong(e)}") from None
        except ConfigError:  # a ValueError, too
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            text = f"{path} is no state file of quebert add"
            raise ConfigError(text) from None
        if there != target:
            raise ConfigError(
                f"the state file {path} is of tasks for {there}, not for {target}"
            )
        return state

    def _replay(self, lines: list[bytes]) -> None:
        assert self._file is not None
        last = lines.pop() if lines else b""
        if last:  # cut off
            self._file.truncate(self._file.tell() - len(last))
            self._file.seek(0, os.SEEK_END)
        for line in lines:
            found = json.loads(line)
            if found.get("unsure"):
                self.is_unsure = True
            elif "sending" in found:
                self.sending, self.is_unsure = Position(**found["sending"]), False
            else:
                self.done, self.sending = Position(**found["done"]), None
                self.is_unsure = False

    def begin(self, position: Position) -> None:
        """
        A batch is about to be sent.
        """
        self.sending, self.is_unsure = position, False
        self._write({"sending": attrs.asdict(position)})

    def end(self, position: Position) -> None:
        """
        It is known what is done.
        """
        self.done, self.sending, self.is_unsure = position, None, False
        self._write({"done": attrs.asdict(position)})

    def unsure(self) -> None:
        """
        The last batch may have been carried out in part.
        """
        self.is_unsure = True
        self._write({"unsure": True})

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as e:
            text = f"the state file cannot be written: {what_is_wrong(e)}"
            raise ConfigError(text) from None

    def close(self) -> None:
        """
        Let others use it.
        """
        if self._file is not None:
            close_quietly(self._file)


def close_quietly(file: BinaryIO) -> None:
    """
    Close a file.  Where a write has failed, it tries to write the same again, and it
    has been told already that this fails.
    """
    with suppress(OSError):
        file.close()
