"""
Requests to a database of created tasks, as values; and the Protocol of such a database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Union

import attrs

from quebert.created_tasks import Change, NewTask, RowQuery, Standing, TaskChange
from quebert.errors import TaskStoreClosed
from quebert.task_store._touched_rows import Difference

__all__ = [
    "AddRequest",
    "ChangeRequest",
    "FindRequest",
    "PageRequest",
    "PublishedRequest",
    "Request",
    "RowValues",
    "StandingRequest",
    "Statements",
    "SweepRequest",
    "TaskDatabase",
    "TaskStoreInUse",
    "TaskStoreRefused",
    "WantedRows",
    "WorkRequest",
]

#: The values of a row, in the order of C{_schema.COLUMNS}.
RowValues = Sequence[Any]


class TaskStoreRefused(TaskStoreClosed):
    """
    The database is another program's, of a newer version, in use, or cannot be made.
    """


class TaskStoreInUse(TaskStoreRefused):
    """
    Another process has the database, which may end at any time.
    """


@attrs.frozen
class AddRequest:
    """
    Rows to add.
    """

    tasks: Sequence[NewTask]
    now: float


@attrs.frozen
class ChangeRequest:
    """
    Rows to change.
    """

    changes: Sequence[TaskChange]


@attrs.frozen
class PublishedRequest:
    """
    Rows of tasks that RabbitMQ has confirmed.
    """

    uuids: Sequence[str]


@attrs.frozen
class FindRequest:
    """
    A row to find.
    """

    uuid: str


@attrs.frozen
class PageRequest:
    """
    Rows to list.  A reader does that, once all is written that was asked for before.
    """

    query: RowQuery


@attrs.frozen
class SweepRequest:
    """
    Rows to remove, whose hold has ended.
    """

    now: float


@attrs.frozen
class StandingRequest:
    """
    What this process is among those that have the rows.
    """


@attrs.frozen
class WantedRows:
    """
    Rows that a group may be about.

    @ivar without_body: their uuids; bodies are to be empty.
    @ivar uuids: their uuids.
    @ivar names: their queues and names.
    """

    without_body: Sequence[bytes]
    uuids: Sequence[bytes]
    names: Sequence[tuple[bytes, bytes]]


class Statements(Protocol):
    """
    Statements of SQL in a transaction; C{?} stands for a value.
    """

    def execute(self, query: str, values: Sequence[Any]) -> Sequence[RowValues]:
        """
        The rows that a query gives.
        """

    def change(self, statement: str, values: Sequence[Any]) -> int:
        """
        Change rows, and tell how many.
        """


@attrs.frozen
class WorkRequest:
    """
    What is done by statements of its own, such as all that is about leases.

    @ivar work: does it, and gives the result.
    """

    work: Callable[[Statements], Any]


Request = Union[
    AddRequest,
    ChangeRequest,
    FindRequest,
    WorkRequest,
    PageRequest,
    PublishedRequest,
    StandingRequest,
    SweepRequest,
]


class TaskDatabase(Statements, Protocol):
    """
    A database of created tasks.  One thread writes, others read.  All methods raise the
    errors of its driver.

    @ivar where: the place, without a password.
    """

    where: str

    def open(self) -> None:
        """
        Make the tables, or bring them up to date.  Keep other processes out, unless
        this kind of database lets several have the rows.

        @raise TaskStoreInUse: another process has it.
        @raise TaskStoreRefused: it is not to be used.
        """

    def writing(self) -> AbstractContextManager[int]:
        """
        A transaction, which is durable once this is left; gives the greatest number
        that a row ever had.  It opens the database where that is not open, or no more.
        """

    def rows_of(self, wanted: WantedRows) -> Sequence[RowValues]:
        """
        Rows that are wanted for any reason; the last one of a number has all that is
        wanted of it.
        """

    def write(self, difference: Difference, last: int) -> None:
        """
        Write what has changed.

        @param last: the greatest number that a row ever had.
        """

    def move(self, uuids: Sequence[bytes], change: Change) -> None:
        """
        Change the states of rows, and nothing else of them, without looking at them.

        @param change: one after which they are there still.
        """

    def standing(self) -> Standing:
        """
        What this process is among those that have the rows.
        """

    def sweep(self, now: float, most: int) -> int:
        """
        Remove so many rows at most whose hold has ended, and tell how many.
        """

    def page(self, query: RowQuery) -> tuple[Sequence[RowValues], bool]:
        """
        Rows in order, and whether there are more.  There may be fewer than the query
        asks for although there are more, where their bodies are long.
        """

    def is_of_the_values(self, error: BaseException) -> bool:
        """
        Whether a request is the cause of an error, so that it would fail again.
        """

    def abort(self) -> None:
        """
        End the statement that runs now.  Any thread may call this.
        """

    def close(self) -> None:
        """
        Close all connections, and let other processes in.
        """
