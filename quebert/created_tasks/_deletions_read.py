"""
Waits until the note of a deletion is read.

Theory of operation.  A mediator publishes the end of a task, and then acknowledges the
message.  Until then it tells whoever asks that it is settling the task.  So when all
have answered, and none is settling it, the end of a task that was done before is in the
queue of notes, maybe unread.  The note of the deletion is published behind that end.
Notes are read in their order, by one process.  Once the note of the deletion is
read, the row says what has become of the task.

Another process may be the one that reads the notes.  So the row is looked at from time
to time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from quebert._waiters import another_waiter
from quebert.created_tasks._boundaries import TaskRows
from quebert.created_tasks._states import DELETING
from quebert.created_tasks._values import CreatedTask

__all__ = ["DeletionsRead"]

#: Seconds for which a note is waited for, and between two looks at the row.
PATIENCE, PACE = 5.0, 0.25


class DeletionsRead:
    """
    The deletions of this process whose notes are not read.  Where one was waited for in
    vain, others are not waited for as long, until a note is read.

    @param clock: gives the time.
    """

    def __init__(self, rows: TaskRows, clock: IReactorTime) -> None:
        self._rows = rows
        self._clock = clock
        self._unread: dict[str, Deferred[None]] = {}
        self._in_vain = False

    @contextmanager
    def awaited(self, uuid: str) -> Iterator[None]:
        """
        The note of the deletion of a task is about to be published.
        """
        self._unread[uuid] = Deferred()
        try:
            yield
        finally:
            del self._unread[uuid]

    def read(self, uuids: Iterable[str]) -> None:
        """
        The rows say what the notes of the deletions of some tasks say.
        """
        self._in_vain = False
        for uuid in uuids:
            unread = self._unread.get(uuid)
            if unread is not None and not unread.called:
                unread.callback(None)

    async def row(self, uuid: str) -> CreatedTask | None:
        """
        The row of a task once the note is read, or C{PATIENCE} is over (C{PACE}, where
        another note was waited for in vain): then it is C{DELETING} still.

        @raise TaskStoreError: the database does not answer.
        """
        patience = PACE if self._in_vain else PATIENCE
        deadline = self._clock.seconds() + patience
        read = self._unread[uuid]
        while True:
            with suppress(TimeoutError):
                await another_waiter(read).addTimeout(PACE, self._clock)
            row = await self._rows.find(uuid)
            if row is None or row.state != DELETING or read.called:
                self._in_vain = False
                return row
            if self._clock.seconds() >= deadline:
                self._in_vain = True
                return row
