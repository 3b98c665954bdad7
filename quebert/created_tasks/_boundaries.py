"""
The roles that created tasks need from a database and from RabbitMQ, as Protocols.  The
doubles are in C{quebert.test.created_tasks.doubles}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from quebert.created_tasks._values import (
    CreatedTask,
    NewTask,
    RowQuery,
    Standing,
    TaskChange,
)
from quebert.errors import BrokerError
from quebert.operations import Cancelled, RunNow

__all__ = ["TaskBroker", "TaskRows"]


class TaskRows(Protocol):
    """
    The rows of created tasks.  Each method raises L{TaskStoreError
    <quebert.errors.TaskStoreError>} where the database does not answer; then nobody
    knows whether the change was made.
    """

    def add(
        self, tasks: Sequence[NewTask], now: float
    ) -> Awaitable[Sequence[CreatedTask | None]]:
        """
        Write a row for each task, C{NEW}; all outlive a power cut once this returns.

        @param now: rows whose hold has ended by then are in nobody's way.
        @return: for each task C{None}, or the row that has its uuid, or its name in its
            queue, already.
        """

    def change(
        self, changes: Sequence[TaskChange]
    ) -> Awaitable[Sequence[CreatedTask | None]]:
        """
        Change rows, each as L{CHANGES<quebert.created_tasks.CHANGES>} says.

        @return: for each change the row after it, or as it was last where it goes;
            C{None} where nothing was changed.
        """

    def note_published(self, uuids: Sequence[str]) -> Awaitable[None]:
        """
        Note that RabbitMQ has confirmed tasks: C{PUBLISH} for each.  There may be
        thousands a second, and nobody waits for that: so this tells nothing of the
        rows, and may take its time, but not beyond the next of the other methods.
        """

    def find(self, uuid: str) -> Awaitable[CreatedTask | None]:
        """
        The row of a task, however long ago it has ended, as long as it is there.
        """

    def page(self, query: RowQuery) -> Awaitable[tuple[Sequence[CreatedTask], int]]:
        """
        Rows, in the order in which they were added, and the position for
        L{RowQuery.after}: 0 where there are no more.  A page may be shorter although
        there are more, where bodies are long.
        """

    def queues(self) -> Awaitable[Sequence[str]]:
        """
        The names of the queues of tasks that live.
        """

    def standing(self) -> Awaitable[Standing]:
        """
        What this process is among those that have the rows.
        """

    def sweep(self, now: float) -> Awaitable[int]:
        """
        Remove some rows whose hold has ended.

        @return: how many.
        """


class TaskBroker(Protocol):
    """
    RabbitMQ, for created tasks.
    """

    def publish(
        self, tasks: Sequence[NewTask]
    ) -> Awaitable[Sequence[BrokerError | None]]:
        """
        Publish tasks to their queues.

        @return: for each C{None} once RabbitMQ has confirmed it, or why not: the
            C{added} of the error is C{False} where RabbitMQ has not got it for certain.
        """

    def has_queue(self, name: str) -> Awaitable[bool]:
        """
        Whether there is such a queue, as far as the user may see.

        @raise BrokerError: RabbitMQ does not answer.
        """

    def cancel(self, task: NewTask, by: str) -> Awaitable[Cancelled]:
        """
        Have mediators drop a task, and then publish a L{DeletionNote
        <quebert.task_ends.DeletionNote>}.

        @raise BrokerError: nobody knows whether they will, or whether the note is
            published.
        """

    def run_now(self, queue: str, uuid: str) -> Awaitable[RunNow]:
        """
        Have a task that waits for its time run now.

        @raise BrokerError: nobody knows whether it does.
        """
