"""
From the tasks of a mediator that have ended to columns.  Pure.

All is looked at together, and nearly always that is enough: uuids and URLs are made
presentable one by one only where one of them needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, assert_never

from quebert._text import one_line, one_line_url, printable_lines
from quebert.events._columns import Columns
from quebert.events._records import ANSWER
from quebert.outcome import (
    CANCELLED,
    DISCARDED,
    EXPIRED,
    Bury,
    Discard,
    Done,
    Outcome,
    Retry,
)
from quebert.task_events import EndedTask

__all__ = ["BRIEF", "columns_of"]

#: Seconds: a task that comes back sooner, without an attempt, has no record of that.
BRIEF = 1.0
# Characters of uuids, URLs and reasons that are kept.
_LONGEST = 400
_MOST_STATUS = 2**16
# Where none of these is in a URL, there is nothing to hide.
_SECRETS = frozenset("@?#")
_DISCARDS = (DISCARDED, EXPIRED, CANCELLED)


def columns_of(ended: Mapping[str, Sequence[EndedTask]]) -> Columns:
    """
    The columns of tasks.

    @param ended: by the queues that they came from.
    """
    parts = {queue: _told(tasks) for queue, tasks in ended.items()}
    tasks = [task for part in parts.values() for task in part]
    retry_at: list[float | None]
    count, outcomes = len(tasks), [task.outcome for task in tasks]
    if set(map(type, outcomes)) <= {Done}:  # nearly always
        outcome, reason = ["done"] * count, [""] * count
        answer, retry_at = reason, [None] * count
    else:
        outcome = [_name(each) for each in outcomes]
        reason = _each(_line, [task.why for task in tasks])
        answer = _each(_answer, [task.answer for task in tasks])
        retry_at = [_retry_at(task) for task in tasks]
    return Columns(
        uuid=_uuids([task.uuid for task in tasks]),
        queue=[queue for queue, part in parts.items() for _ in part],
        url=_each(_url, [task.url for task in tasks]),
        number=[task.number for task in tasks],
        added=[task.added for task in tasks],
        due=[task.due for task in tasks],
        started=[task.started for task in tasks],
        ended=[task.started + task.seconds for task in tasks],
        status=_each(_status, [task.status for task in tasks]),
        outcome=outcome,
        reason=reason,
        answer=answer,
        retry_at=retry_at,
    )


def _told(tasks: Sequence[EndedTask]) -> Sequence[EndedTask]:
    """
    Those that have a record.
    """
    if set(map(type, [task.outcome for task in tasks])) <= {Done}:
        return tasks
    return [task for task in tasks if not _is_brief(task.outcome)]


def _is_brief(outcome: Outcome) -> bool:
    return (
        isinstance(outcome, Retry) and not outcome.attempted and outcome.after < BRIEF
    )


def _name(outcome: Outcome) -> str:
    """
    One of L{OUTCOMES<quebert.events.OUTCOMES>}.
    """
    match outcome:
        case Done():
            return "done"
        case Retry(attempted=attempted):
            return "retry" if attempted else "postponed"
        case Discard(kind=kind):
            return kind if kind in _DISCARDS else DISCARDED
        case Bury():
            return "buried"
        case _:
            assert_never(outcome)


def _retry_at(task: EndedTask) -> float | None:
    if isinstance(task.outcome, Retry):
        return task.started + task.seconds + task.outcome.after
    return None


def _each(clean: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
    """
    The values, each different one of which is cleaned once.
    """
    cleaned = {value: clean(value) for value in set(values)}
    return [cleaned[value] for value in values]


def _url(url: object) -> str:
    if not isinstance(url, str):
        return "?"
    plain = url.isascii() and url.isprintable() and len(url) < _LONGEST
    if plain and _SECRETS.isdisjoint(url):
        return url
    return one_line_url(url, _LONGEST)


def _line(text: str) -> str:
    return one_line(text, _LONGEST)


def _answer(text: str) -> str:
    return printable_lines(text[:ANSWER])


def _status(status: int | None) -> int | None:
    if isinstance(status, int) and 0 < status < _MOST_STATUS:
        return status
    return None


def _uuids(uuids: list[Any]) -> list[str]:
    try:
        joined = "".join(uuids)
    except TypeError:
        joined = "\n"
    usual = joined.isascii() and joined.isprintable()
    if usual and max(map(len, uuids), default=0) <= _LONGEST:
        return uuids
    return ["" if uuid is None else _uuid(uuid) for uuid in uuids]


def _uuid(uuid: object) -> str:
    try:
        return one_line(str(uuid), _LONGEST)
    except ValueError:  # a number with too many digits
        return "?"
