"""
From the keywords of C{add_task} to a task as JSON, and from many to batches.  Pure.

The API checks what the fields say; here they only get a form in JSON.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from quebert.errors import BadTask, QuebertError
from quebert.producer import TaskResult

__all__ = [
    "MOST_BYTES",
    "MOST_TASKS",
    "OnTaskResult",
    "TaskBatch",
    "batch_body",
    "batches",
    "task_json",
]

#: Called with the result of each task, in the order of the tasks.
OnTaskResult = Callable[[TaskResult], object]
#: Tasks of a batch.
MOST_TASKS = 1_000
#: Bytes of a request.
MOST_BYTES = 2 * 2**20
_BEGIN, _END = b'{"tasks":[', b"]}"


def task_json(fields: Mapping[str, Any]) -> bytes:
    """
    A task as the API takes it.

    @param fields: those of the API, but C{payload} in bytes, and C{run_at} may be a
        datetime.  Those that are C{None} are left out.
    @raise BadTask: it has no form in JSON, or is larger than the API takes.
    """
    told = {name: each for name, each in fields.items() if each is not None}
    payload, run_at = told.get("payload"), told.get("run_at")
    if payload is not None:
        if not isinstance(payload, (bytes, bytearray, memoryview)):
            raise BadTask(f"payload must be bytes, not {type(payload).__name__}")
        told["payload"] = b64encode(payload).decode("ascii")
    if isinstance(run_at, datetime):
        told["run_at"] = run_at.isoformat()
    for name in ("headers", "retry", "extra"):
        if isinstance(told.get(name), Mapping):
            told[name] = dict(told[name])
    try:
        body = json.dumps(told, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as e:
        raise BadTask(f"the task cannot be written as JSON: {e}") from None
    if len(_BEGIN) + len(body) + len(_END) > MOST_BYTES:
        text = f"the task takes {len(body)} bytes as JSON; the API takes {MOST_BYTES}"
        raise BadTask(text)
    return body


def batch_body(tasks: Sequence[bytes]) -> bytes:
    """
    The body of a request that creates tasks.
    """
    return b"".join((_BEGIN, b",".join(tasks), _END))


@attrs.frozen
class TaskBatch:
    """
    Some items of many, in their order.

    @ivar number: of the batch, from 0.
    @ivar items: each with its place among all, and its task as JSON or what is wrong
        with it.
    """

    number: int
    items: Sequence[tuple[int, Mapping[str, Any], bytes | BadTask]]

    @property
    def tasks(self) -> list[bytes]:
        """
        The tasks that can be sent.
        """
        return [each for _, _, each in self.items if isinstance(each, bytes)]

    def results(
        self, told: Iterable[str | QuebertError] | QuebertError
    ) -> Iterator[TaskResult]:
        """
        The result of each item.

        @param told: the uuid, or the error, of each task that was sent; or the error of
            all.
        """
        told = told if isinstance(told, QuebertError) else iter(told)
        for index, item, task in self.items:
            if isinstance(task, BadTask):
                yield TaskResult.without_task(index, item, task)
                continue
            result = told if isinstance(told, QuebertError) else next(told)
            if isinstance(result, QuebertError):
                yield TaskResult.without_task(index, item, result)
            else:
                yield TaskResult(index, item, result)


def batches(items: Iterable[Mapping[str, Any]]) -> Iterator[TaskBatch]:
    """
    The batches of some items: the same of the same items.

    @raise Exception: what C{items} has raised, once there is a batch of those before.
    """
    number, size, raised = 0, 0, None
    found: list[tuple[int, Mapping[str, Any], bytes | BadTask]] = []
    given = enumerate(items)
    while True:
        try:
            index, item = next(given)
        except StopIteration:
            break
        except Exception as e:
            raised = e
            break
        task = _task_or_problem(item)
        more = len(task) + 1 if isinstance(task, bytes) else 0
        full = len(_BEGIN) + size + more + len(_END) > MOST_BYTES
        if found and (full or len(found) == MOST_TASKS):
            yield TaskBatch(number, found)
            number, size, found = number + 1, 0, []
        found.append((index, item, task))
        size += more
    if found:
        yield TaskBatch(number, found)
    if raised is not None:
        raise raised


def _task_or_problem(item: object) -> bytes | BadTask:
    try:
        if not isinstance(item, Mapping):
            kind = type(item).__name__
            raise BadTask(f"an item must be a mapping, not of type {kind}")
        return task_json(item)
    except BadTask as e:
        return e
