"""
Where the records of a file come from: an open file, a pipe or a terminal, which may
have nothing to read for now.
"""

from __future__ import annotations

import os
import select
import stat
from collections import deque
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from quebert._text import what_is_wrong
from quebert.bulk._records import RecordSplitter, TaskRecord
from quebert.errors import ConfigError

__all__ = ["Source"]

_CHUNK = 2**20


@implementer(IReadDescriptor)
class _Readable:
    """
    Fires when a descriptor can be read.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self.readable: Deferred[None] = Deferred(lambda _: self._stop())
        reactor.addReader(self)

    def fileno(self) -> int:
        """
        What is waited for.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        What the reactor calls it.
        """
        return "quebert"

    def doRead(self) -> None:
        """
        It can be read.
        """
        self._stop()
        self.readable.callback(None)

    def connectionLost(self, reason: object) -> None:
        """
        The end can be read, too.
        """
        self.doRead()

    def _stop(self) -> None:
        self._reactor.removeReader(self)


class Source:
    """
    The records of a descriptor, in their order.

    @ivar name: what a sentence calls it.
    @ivar consumed: bytes that were read.
    @ivar ready: records that were read, and not taken.
    """

    def __init__(
        self, reactor: Any, name: str, descriptor: int, records: RecordSplitter
    ) -> None:
        self.name = name
        self.consumed = 0
        self.ready: deque[TaskRecord] = deque()
        self._reactor = reactor
        self._descriptor = descriptor
        self._records = records
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._has_ended = False

    @property
    def is_quick(self) -> bool:
        """
        Whether L{fill} does not wait for anybody.
        """
        return self._is_file or bool(self.ready)

    async def fill(self) -> bool:
        """
        Wait until there are records that are ready.

        @return: whether there are; at the end there are none.
        @raise ConfigError: it cannot be read.
        """
        while not self.ready and not self._has_ended:
            if not self._is_file:
                await self._readable()
            self.ready.extend(self._read())
        return bool(self.ready)

    def _read(self) -> Iterator[TaskRecord]:
        left = _CHUNK
        while left > 0:
            try:
                data = os.read(self._descriptor, left)
            except OSError as e:
                text = f"{self.name} cannot be read: {what_is_wrong(e)}"
                raise ConfigError(text) from None
            if not data:
                self._has_ended = True
                yield from self._records.end()
                return
            self.consumed += len(data)
            left -= len(data)
            yield from self._records.feed(data)
            if not (self._is_file or select.select([self._descriptor], [], [], 0)[0]):
                return

    async def _readable(self) -> None:
        await _Readable(self._reactor, self._descriptor).readable
