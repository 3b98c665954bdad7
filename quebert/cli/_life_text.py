"""
The life of a task as lines.  Pure, but for the time zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from quebert._text import cut, printable
from quebert.cli._amounts import duration
from quebert.cli._columns import columns
from quebert.cli._moments import moment

__all__ = ["life_lines"]

_LONGEST = 300


def life_lines(life: Mapping[str, Any]) -> Iterator[str]:
    """
    All that the history tells of it.

    @param life: as the API gives it at C{/v1/tasks/UUID}.
    """
    for name in ("uuid", "state", "queue", "url"):
        yield f"{name:9} {_text(life.get(name))}"
    for name in ("added", "due", "retry_at"):
        if when := moment(life.get(name)):
            yield f"{name.replace('_', ' '):9} {when}"
    attempts = _objects(life.get("attempts"))
    if attempts:
        head = ("", "started", "took", "status", "outcome", "mediator", "reason")
        yield ""
        yield from columns([head, *map(_attempt, attempts)])
    for each in attempts[-1:]:
        if each.get("answer"):
            yield ""
            yield f"last answer: {_text(each['answer'])}"
    lives = _objects(life.get("lives"))
    if lives:
        rows: list[tuple[str, ...]] = [
            (moment(e.get("at")), _text(e.get("state")), _text(e.get("reason")))
            for e in lives
        ]
        yield ""
        yield from columns(rows)
    gaps = [each for each in _objects(life.get("gaps")) if _missing(each) != 0]
    if gaps:
        yield ""
    for each in gaps:
        count = _missing(each)
        start, end = (
            each.get("start", each.get("from")),
            each.get("end", each.get("to")),
        )
        yield (
            f"gap: {'some' if count is None else _text(count)} attempts of mediator"
            f" {_text(each.get('mediator'))} are not in the history, from"
            f" {moment(start) or 'some time'} to {moment(end) or 'some time'}"
        )


def _missing(gap: Mapping[str, Any]) -> object:
    return gap.get("records", gap.get("count"))


def _attempt(each: Mapping[str, Any]) -> tuple[str, ...]:
    started, ended = each.get("started"), each.get("ended")
    numbers = isinstance(started, (int, float)) and isinstance(ended, (int, float))
    return (
        f"#{_text(each.get('number'))}",
        moment(started),
        duration(max(0.0, ended - started)) if numbers else "",  # type: ignore[operator]
        "-" if each.get("status") is None else _text(each["status"]),
        _text(each.get("outcome")),
        _text(each.get("mediator")),
        _text(each.get("reason")),
    )


def _objects(given: object) -> Sequence[Mapping[str, Any]]:
    if not isinstance(given, (list, tuple)):
        return ()
    return [each for each in given if isinstance(each, Mapping)]


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    return printable(cut(str(value), _LONGEST))
