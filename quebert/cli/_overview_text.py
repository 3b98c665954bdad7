"""
What is printed of an L{Overview}: lines of one queue, a table of several, or JSON.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from quebert.amqp.delays import arrivals_of
from quebert.cli._columns import columns
from quebert.cli._moments import moment
from quebert.operations import Due, Overview, Status

__all__ = ["HEAD", "cells", "lines", "plain", "problems"]

# What is told of each queue, by the names of L{Status}: in lines, and over the columns
# of a table.
_NAMES = {
    "ready": "waiting",
    "running": "running",
    "retrying": "retrying",
    "delayed": "delayed",
    "dead": "dead",
    "paused": "paused",
    "consumers": "consumers",
    "rate_in": "in/s",
    "rate_out": "out/s",
}
_DUE = {"minute": "<1min", "hour": "<1h", "day": "<1d", "later": "later"}
#: The heads of the columns, but for the name of the queue.
HEAD = (*(n for n in _NAMES.values() if n != "delayed"), *_DUE.values())


def problems(found: Overview) -> Iterator[str]:
    """
    A sentence for all that could not be seen, and for each queue that is not there.
    """
    yield from found.problems
    yield from _missing(found)
    for now in found.queues.values():
        yield from now.problems


def _missing(found: Overview) -> Iterator[str]:
    """
    A sentence for each queue that does not exist, and of which nothing is left.
    """
    for name, now in found.queues.items():
        rest = now.dead or now.paused or now.arrived or now.problems
        if now.exists is False and not rest:
            yield f"there is no queue {name}"


def plain(found: Overview) -> dict[str, Any]:
    """
    All of it, as JSON has it.
    """
    elsewhere = None
    if found.elsewhere is not None:
        elsewhere = {**attrs.asdict(found.elsewhere), "exact": found.exact}
    return {
        "queues": [_plain_queue(*each) for each in found.queues.items()],
        "elsewhere": elsewhere,
        "unclaimed": found.unclaimed,
        "management": found.management,
        "problems": [*found.problems],
    }


def _plain_queue(name: str, now: Status) -> dict[str, Any]:
    keys = {"ready": "waiting"}
    told = attrs.asdict(now, filter=lambda field, value: field.name != "unclaimed")
    unknown = {keys.get(name, name): why for name, why in now.unknown.items()}
    shown = {keys.get(name, name): value for name, value in told.items()}
    return {"queue": name, "exists": now.exists, **shown, "unknown": unknown}


def lines(found: Overview) -> Iterator[str]:
    """
    All of it for people: one queue in lines, several in a table.
    """
    if len(found.queues) == 1:
        ((queue, now),) = found.queues.items()
        if now.exists is not False or not any(_missing(found)):
            yield from _lines_of_one(queue, now)
    else:
        rows = [(q, *cells(now)) for q, now in found.queues.items()]
        yield from columns([("queue", *HEAD), *rows])
        for queue, now in found.queues.items():
            yield from _arrived(queue, now, f"{queue}: ")
    if found.elsewhere is not None and found.elsewhere.total and not found.exact:
        due = _due(found.elsewhere)
        yield f"elsewhere  {found.elsewhere.total} of all queues, at the latest: {due}"
    if found.unclaimed:
        where = "due, of all queues that were not there then; see quebert doctor"
        yield f"unclaimed  {found.unclaimed} ({where})"
    yield from _reasons(found.queues)


def _lines_of_one(queue: str, now: Status) -> Iterator[str]:
    for name in ("ready", "running", "retrying"):
        yield f"{_NAMES[name]:10} {_told(now, name)}"
    due = "" if now.delayed is None or not now.delayed.total else _due(now.delayed)
    yield f"delayed    {_told(now, 'delayed')}{due and f': {due}'}"
    yield f"dead       {_told(now, 'dead')}"
    yield f"paused     {_told(now, 'paused')}{_who_paused(now)}"
    yield f"consumers  {_told(now, 'consumers')}"
    rates = _told(now, "rate_in"), _told(now, "rate_out")
    yield f"rate       {rates[0]} in, {rates[1]} out a second"
    yield from _arrived(queue, now, "")


def _who_paused(now: Status) -> str:
    if now.paused_since is None:
        return ""
    by = f" by {now.paused_by}" if now.paused_by else ""
    return f",{by} since {moment(now.paused_since)}"


def _arrived(queue: str, now: Status, prefix: str) -> Iterator[str]:
    if now.arrived:
        why = "the queue takes none for now" if now.consumers else "nobody consumes"
        where = f"due, in {arrivals_of(queue)}: {why}"
        yield f"{prefix}arrived    {now.arrived} ({where})"


def cells(now: Status) -> Iterator[str]:
    """
    A row of the table.
    """
    for name in _NAMES:
        if name != "delayed":
            yield _told(now, name).replace("unknown", "?")
    for name in _DUE:
        yield "?" if now.delayed is None else str(getattr(now.delayed, name))


def _due(due: Due) -> str:
    return (
        f"{due.minute} within a minute, {due.hour} within an hour, {due.day} within a"
        f" day, {due.later} later"
    )


def _told(now: Status, name: str) -> str:
    value = getattr(now, name)
    if name == "ready" and now.exists is False:
        return "0"
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value.total if isinstance(value, Due) else value)


def _reasons(queues: Mapping[str, Status]) -> Iterator[str]:
    """
    Why something is unknown: each reason once, with what it is the reason for.
    """
    reasons: dict[str, dict[str, None]] = {}
    for now in queues.values():
        for name, why in now.unknown.items():
            reasons.setdefault(why, {})[_NAMES[name]] = None
    for why, names in reasons.items():
        yield f"unknown: {', '.join(names)}: {why}"
