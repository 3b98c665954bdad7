"""
The rows that a group of requests touches, and what becomes of them.  Pure.

Theory of operation.  The rows that any request of the group may be about are read from
the database first.  The requests are then carried out on these, in memory, one after
the other.  What differs in the end is written in one go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from quebert.created_tasks import (
    CHANGES,
    NEW,
    CreatedTask,
    NewTask,
    TaskChange,
    is_changed_by,
)

__all__ = ["Difference", "TouchedRows"]

_Name = tuple[str, str]


@attrs.frozen
class Difference:
    """
    What is to be written, in this order.

    @ivar gone: the numbers of rows that are not there any more.
    @ivar changed: rows that are no longer what they were, with their numbers.
    @ivar added: new rows, with their numbers.
    """

    gone: Sequence[int]
    changed: Sequence[tuple[int, CreatedTask]]
    added: Sequence[tuple[int, CreatedTask]]


class TouchedRows:
    """
    Rows by their uuids and their names.

    @param found: what the database has, with their numbers.
    @param last: the greatest number that a row ever had.
    @ivar last: the same.
    """

    def __init__(self, found: Iterable[tuple[int, CreatedTask]], last: int) -> None:
        self.last = last
        self._found = dict(found)
        self._rows: dict[str, tuple[int, CreatedTask]] = {}
        self._names: dict[_Name, str] = {}
        for number, row in self._found.items():
            self._put(number, row)

    def add(self, task: NewTask, now: float) -> CreatedTask | None:
        """
        Add a row; see L{quebert.created_tasks.TaskRows}.
        """
        ended = []
        name = _name(task)
        for uuid in (task.uuid, None if name is None else self._names.get(name)):
            if uuid is not None and uuid in self._rows:
                row = self._rows[uuid][1]
                if not 0 < row.held_until <= now:
                    return row
                ended.append(row)
        for row in ended:
            self._remove(row)
        self.last += 1
        self._put(self.last, CreatedTask(task=task, state=NEW))
        return None

    def change(self, change: TaskChange) -> CreatedTask | None:
        """
        Change a row.
        """
        number, row = self._rows.get(change.uuid, (0, None))
        wanted = CHANGES[change.event]
        if row is None or not is_changed_by(row, change):
            return None
        if wanted.to is None:
            self._remove(row)
            return row
        task = _without_body(row.task) if change.held_until else row.task
        row = CreatedTask(
            task=task,
            state=wanted.to,
            end=change.end or row.end,
            held_until=max(row.held_until, change.held_until),
        )
        self._rows[change.uuid] = number, row
        return row

    def find(self, uuid: str) -> CreatedTask | None:
        """
        The row of a task.
        """
        return self._rows.get(uuid, (0, None))[1]

    def difference(self) -> Difference:
        """
        What the database has to write.
        """
        now = dict(self._rows.values())
        found = self._found
        return Difference(
            gone=[number for number in found if number not in now],
            changed=[
                (number, row)
                for number, row in now.items()
                if number in found and found[number] is not row
            ],
            added=[each for each in now.items() if each[0] not in found],
        )

    def _put(self, number: int, row: CreatedTask) -> None:
        self._rows[row.task.uuid] = number, row
        name = _name(row.task)
        if name is not None:
            self._names[name] = row.task.uuid

    def _remove(self, row: CreatedTask) -> None:
        self._rows.pop(row.task.uuid, None)
        name = _name(row.task)
        if name is not None:
            self._names.pop(name, None)


def _name(task: NewTask) -> _Name | None:
    return None if task.name is None else (task.queue, task.name)


def _without_body(task: NewTask) -> NewTask:
    """
    As C{attrs.evolve} makes it, in a fifth of the time.
    """
    return NewTask(
        queue=task.queue,
        uuid=task.uuid,
        body=b"",
        created=task.created,
        due=task.due,
        name=task.name,
        digest=task.digest,
    )
