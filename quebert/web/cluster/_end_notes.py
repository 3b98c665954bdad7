"""
Reads the notes of ends and deletions (L{quebert.task_ends}), and notes in the rows of
created tasks that these have ended, or are deleted.

Of several processes one reads at a time, in the order of the queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp import Message
from quebert.operations import BrokerAccess
from quebert.task_ends import ENDED, DeletionNote, EndNote, decode_note
from quebert.web.cluster._queue_reader import QueueReader

__all__ = ["EndNoteReader", "EndingTasks"]

#: Notes in a group, of messages as they are; a message has up to a hundred.
MOST_NOTES = 500


class EndingTasks(Protocol):
    """
    L{CreatedTasks<quebert.created_tasks.CreatedTasks>}.
    """

    async def ended(self, notes: Sequence[EndNote | DeletionNote]) -> None:
        """
        Tasks have ended, or are deleted; returns once the rows say so.

        @raise TaskStoreError: the database does not answer.
        """


class EndNoteReader:
    """
    @param broker: where the queue is.
    @param tasks: are told of the notes.
    @ivar unreadable: how many notes could not be read.
    """

    log = Logger()

    def __init__(self, broker: BrokerAccess, tasks: EndingTasks) -> None:
        self.unreadable = 0
        self._tasks = tasks
        self._reader = QueueReader(
            broker, ENDED, self._take, self.log, "Ends of tasks", exclusive=True
        )
        self.start = self._reader.start
        self._bad = RepeatedWarning(
            self.log,
            lambda: broker.reactor,
            "An end note cannot be read, and is dropped",
            "End notes can be read",
        )

    @property
    def problem(self) -> str:
        """
        Why notes are not read now; empty if they are, here or by another process.
        """
        return self._reader.problem

    async def stop(self) -> None:
        """
        Read no more; a group that has begun is ended first.
        """
        await self._reader.stop()
        self._bad.end()

    async def _take(self, messages: Sequence[Message]) -> int:
        taken = 0
        notes: list[EndNote | DeletionNote] = []
        for each in messages:
            if len(notes) >= MOST_NOTES:
                break
            taken += 1
            notes += self._notes(each)
        if notes:
            await self._tasks.ended(notes)
        return taken

    def _notes(self, message: Message) -> Iterator[EndNote | DeletionNote]:
        for line in message.body.split(b"\n"):
            try:
                yield decode_note(line)
            except ValueError as e:
                self.unreadable += 1
                self._bad.met(str(e))
