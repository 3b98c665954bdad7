"""
A task that somebody has cancelled, as mediators know it and as the broker keeps it; for
how long it is remembered (L{REMEMBERED}, L{REMEMBERED_AFTER_MET}), and how many are
(L{MOST_CANCELLED}).  Pure.

A message has cancelled tasks in three lists of the same length: C{cancelled} with the
uuid, the time and the user of each, C{kept} and C{sent_by}.  Mediators of the version
before read the first one alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol

import attrs

from quebert._text import one_line

__all__ = [
    "MOST_CANCELLED",
    "REMEMBERED",
    "REMEMBERED_AFTER_MET",
    "Cancellation",
    "Merged",
    "from_plain",
    "to_plain",
]

#: Seconds for which a cancelled task is remembered, unless a mediator meets it, and so
#: drops it.  They count from when it was cancelled; if it was created over HTTP, and is
#: due later, from then.
REMEMBERED = 30 * 86_400.0
#: Seconds for which it is remembered still when a mediator has met it.
REMEMBERED_AFTER_MET = 86_400.0
#: How many cancelled tasks of one queue are remembered at most.
MOST_CANCELLED = 200_000
# Characters of a name.
_LONGEST = 100


@lru_cache(1_000)
def _same_name(text: str) -> str:
    return one_line(text, _LONGEST)


def _name(text: str) -> str:
    return _same_name(text)  # one object for all tasks of a user


class _SentMessage(Protocol):
    """
    What a L{Message<quebert.boundaries.Message>} has of this.
    """

    @property
    def properties(self) -> Mapping[str, Any]:
        """
        Its properties.
        """


@attrs.frozen
class Cancellation:
    """
    A task is cancelled: a L{CancelMark<quebert.boundaries.CancelMark>}.

    @ivar uuid: of the task.
    @ivar at: when, in seconds since the epoch.
    @ivar by: who did it, on one line; empty if nobody tells.
    @ivar kept: seconds after C{at} for which it is known.
    @ivar sent_by: seconds since the epoch: a message that was sent later has another
        task with the same uuid.  C{None} where all messages have the cancelled one.
    @ivar several: whether it stands for several times at which the uuid was cancelled.
    """

    uuid: str
    at: float
    by: str = attrs.field(default="", converter=_name)
    kept: float = REMEMBERED
    sent_by: float | None = None
    several: bool = False

    @property
    def until(self) -> float:
        """
        When it is forgotten, in seconds since the epoch.
        """
        return self.at + self.kept

    @property
    def reason(self) -> str:
        """
        Why the task is not attempted.
        """
        return f"cancelled by {self.by}" if self.by else "cancelled"

    def covers(self, message: _SentMessage) -> bool:
        """
        See L{CancelMark.covers<quebert.boundaries.CancelMark.covers>}.
        """
        if self.sent_by is None:
            return True
        try:
            sent_at = message.properties.get("timestamp")
        except ValueError:
            return True
        is_later = isinstance(sent_at, (int, float)) and sent_at > self.sent_by
        return not is_later

    def and_another(self, other: Cancellation) -> Cancellation:
        """
        Both together, which were cancelled at different times: they may mean two tasks
        with the same uuid, one after the other.
        """
        latest = max(self, other, key=lambda each: each.at)
        sent_by = None
        if self.sent_by is not None and other.sent_by is not None:
            sent_by = max(self.sent_by, other.sent_by)
        kept = max(self.until, other.until) - latest.at
        return attrs.evolve(latest, kept=kept, sent_by=sent_by, several=True)

    def met(self, now: float) -> Cancellation:
        """
        The same when a mediator has met the task: it is forgotten
        L{REMEMBERED_AFTER_MET} seconds later, if not before.
        """
        kept = min(self.kept, now - self.at + REMEMBERED_AFTER_MET)
        return attrs.evolve(self, kept=max(0.0, kept))


class Merged:
    """
    Any number of them, each once: of several of one task and one time, the one that is
    forgotten first, since the task was met.  Those of other times stay: they may mean
    an earlier task with the same uuid.

    @ivar count: how many were added.
    """

    def __init__(self, some: Iterable[Cancellation] = ()) -> None:
        self.count = 0
        self._first: dict[str, Cancellation] = {}
        self._others: dict[tuple[str, float], Cancellation] = {}  # seldom
        self.add(some)

    def add(self, some: Iterable[Cancellation]) -> None:
        """
        Add these, in any order and however often.
        """
        for each in some:
            self.count += 1
            known = self._first.setdefault(each.uuid, each)
            if known.at != each.at:
                key = each.uuid, each.at
                known = self._others.setdefault(key, each)
                if each.kept < known.kept:
                    self._others[key] = each
            elif each.kept < known.kept:
                self._first[each.uuid] = each

    def living(self, now: float) -> list[Cancellation]:
        """
        Those that are not forgotten yet.
        """
        both = chain(self._first.values(), self._others.values())
        return [each for each in both if each.until > now]


def to_plain(some: Iterable[Cancellation]) -> bytes:
    """
    The body of a message that tells of them.
    """
    plain: dict[str, list[Any]] = {"cancelled": [], "kept": [], "sent_by": []}
    for each in some:
        plain["cancelled"].append([each.uuid, each.at, each.by])
        plain["kept"].append(each.kept)
        plain["sent_by"].append(each.sent_by)
    return json.dumps(plain, separators=(",", ":")).encode()


def from_plain(body: bytes) -> list[Cancellation]:
    """
    What such a body tells: what can be read of it.
    """
    try:
        given: Any = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if not isinstance(given, dict):
        return []
    some = given.get("cancelled")
    if not isinstance(some, list):
        return []
    more = [_column(given, name, len(some)) for name in ("kept", "sent_by")]
    found = map(_read, some, *more)
    return [each for each in found if each is not None]


def _column(given: Mapping[str, Any], name: str, length: int) -> Sequence[Any]:
    column = given.get(name)
    same = isinstance(column, list) and len(column) == length
    return column if same and isinstance(column, list) else [None] * length


def _read(plain: Any, kept: Any, sent_by: Any) -> Cancellation | None:
    # There may be hundreds of thousands: to match takes twice as long.
    if not isinstance(plain, list) or len(plain) != 3:
        return None
    uuid, at, by = plain
    if not (_is_number(at) and isinstance(uuid, str) and isinstance(by, str)):
        return None
    until = float(kept) if _is_number(kept) else REMEMBERED
    sent = float(sent_by) if _is_number(sent_by) else None
    return Cancellation(uuid, float(at), by, until, sent)


def _is_number(plain: Any) -> bool:
    return type(plain) in (int, float) and math.isfinite(plain)
