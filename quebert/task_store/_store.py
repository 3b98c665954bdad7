"""
Carries out groups of requests, each in one transaction.  All of it is for threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from quebert._text import one_line, what_is_wrong
from quebert.created_tasks import CHANGES, PUBLISH, CreatedTask, RowQuery
from quebert.errors import TaskStoreError
from quebert.task_store._boundaries import (
    AddRequest,
    ChangeRequest,
    FindRequest,
    PageRequest,
    PublishedRequest,
    Request,
    StandingRequest,
    SweepRequest,
    TaskDatabase,
    WantedRows,
    WorkRequest,
)
from quebert.task_store._encoding import decode_row, raw
from quebert.task_store._touched_rows import TouchedRows

__all__ = ["TaskStore"]

#: Rows that a sweep removes at most.
SWEPT = 500
# What is done by statements of its own, in its turn.
_ALONE = WorkRequest, StandingRequest, SweepRequest
# Characters of what the database says.
_LIMIT = 200


class TaskStore:
    """
    @ivar where: the place of the database, without a password.
    """

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database
        self.where = database.where
        self.abort = database.abort
        self.close = database.close

    def carry_out(self, requests: Sequence[Request]) -> list[Any]:
        """
        Carry out requests, in order.  They are durable once this returns.

        @return: for each what L{quebert.created_tasks.TaskRows} says, or the
            L{TaskStoreError} of one that no database takes.
        @raise Exception: nobody knows whether any was carried out.
        """
        try:
            return self._transact(requests)
        except Exception as e:
            if not self._database.is_of_the_values(e):
                raise
            if len(requests) == 1:
                return [self.problem_of(e)]
        half = len(requests) // 2
        return self.carry_out(requests[:half]) + self.carry_out(requests[half:])

    def page(self, query: RowQuery) -> tuple[list[CreatedTask], int]:
        """
        See L{quebert.created_tasks.TaskRows}.
        """
        found, has_more = self._database.page(query)
        rows = [decode_row(each) for each in found]
        return [row for _, row in rows], rows[-1][0] if has_more else 0

    def problem_of(self, error: BaseException) -> TaskStoreError:
        """
        An error as one sentence, without a statement and its values.
        """
        if isinstance(error, TaskStoreError):
            return error
        said = what_is_wrong(error).partition("\n")[0]
        what = one_line(said, _LIMIT) or type(error).__name__
        return TaskStoreError(f"the tasks in {self.where}: {what}")

    def _transact(self, requests: Sequence[Request]) -> list[Any]:
        results: list[Any] = []
        with self._database.writing() as last:
            self._note_published(requests)
            some: list[Request] = []
            for each in requests:
                if not isinstance(each, _ALONE):
                    some.append(each)
                    continue
                last = self._carry_out(some, last, results)
                some = []
                results.append(self._done_alone(each))
            self._carry_out(some, last, results)
        return results

    def _done_alone(self, request: WorkRequest | StandingRequest | SweepRequest) -> Any:
        match request:
            case WorkRequest(work):
                return work(self._database)
            case StandingRequest():
                return self._database.standing()
            case SweepRequest(now):
                return self._database.sweep(now, SWEPT)
            case _:
                assert_never(request)

    def _note_published(self, requests: Sequence[Request]) -> None:
        """
        Note which tasks are published, before all else: they were added by an earlier
        group.
        """
        noted = [r.uuids for r in requests if isinstance(r, PublishedRequest)]
        if noted:
            uuids = [raw(each) for some in noted for each in some]
            self._database.move(uuids, CHANGES[PUBLISH])

    def _carry_out(
        self, requests: Sequence[Request], last: int, results: list[Any]
    ) -> int:
        rows = TouchedRows(self._touched(requests), last)
        results += [_done(rows, each) for each in requests]
        difference = rows.difference()
        if difference.gone or difference.changed or difference.added:
            self._database.write(difference, rows.last)
        return rows.last

    def _touched(self, requests: Sequence[Request]) -> list[tuple[int, CreatedTask]]:
        wanted = _wanted(requests)
        return [decode_row(each) for each in self._database.rows_of(wanted)]


def _wanted(requests: Sequence[Request]) -> WantedRows:
    """
    The rows that requests may be about.  The body of a task that only ends is not read:
    it may be long, and is dropped.
    """
    ending: dict[str, None] = {}
    uuids: dict[str, None] = {}
    names: dict[tuple[str, str], None] = {}
    for request in requests:
        match request:
            case AddRequest(tasks):
                for task in tasks:
                    uuids[task.uuid] = None
                    if task.name is not None:
                        names[task.queue, task.name] = None
            case ChangeRequest(changes):
                for each in changes:
                    drops = each.held_until and CHANGES[each.event].to is not None
                    (ending if drops else uuids)[each.uuid] = None
            case FindRequest(uuid):
                uuids[uuid] = None
    return WantedRows(
        without_body=[raw(each) for each in ending if each not in uuids],
        uuids=[raw(each) for each in uuids],
        names=[(raw(queue), raw(name)) for queue, name in names],
    )


def _done(rows: TouchedRows, request: Request) -> Any:
    match request:
        case AddRequest(tasks, now):
            return [rows.add(each, now) for each in tasks]
        case ChangeRequest(changes):
            return [rows.change(each) for each in changes]
        case FindRequest(uuid):
            return rows.find(uuid)
        case PageRequest() | PublishedRequest():
            return None
        case WorkRequest() | StandingRequest() | SweepRequest():
            return None  # they are done alone
        case _:
            assert_never(request)
