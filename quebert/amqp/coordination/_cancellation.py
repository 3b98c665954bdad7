"""
A task that somebody has cancelled, as mediators know it and as the broker keeps it.
Pure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from quebert._text import one_line

__all__ = ["KEPT", "MOST", "Cancellation", "from_plain", "merged", "to_plain"]

#: Seconds for which it is known that a task was cancelled.
KEPT = 30 * 86_400.0
#: How many cancelled tasks of one queue are known at most.
MOST = 10_000
# Characters of a name.
_LONGEST = 100


def _name(text: str) -> str:
    return one_line(text, _LONGEST)


@attrs.frozen
class Cancellation:
    """
    A task is cancelled.

    @ivar uuid: of the task.
    @ivar at: when, in seconds since the epoch.
    @ivar by: who did it, on one line; empty if nobody tells.
    """

    uuid: str
    at: float
    by: str = attrs.field(default="", converter=_name)

    @property
    def until(self) -> float:
        """
        When it is forgotten, in seconds since the epoch.
        """
        return self.at + KEPT

    @property
    def reason(self) -> str:
        """
        Why the task is not attempted.
        """
        return f"cancelled by {self.by}" if self.by else "cancelled"


Cancellations = Mapping[str, Cancellation]


def merged(some: Iterable[Cancellation], now: float) -> dict[str, Cancellation]:
    """
    Those that are not forgotten yet, by their uuids; of several of one task the latest.
    """
    found: dict[str, Cancellation] = {}
    for each in some:
        known = found.get(each.uuid)
        if each.until > now and (known is None or known.at < each.at):
            found[each.uuid] = each
    return found


def to_plain(some: Iterable[Cancellation]) -> bytes:
    """
    The body of a message that tells of them.
    """
    plain = [[each.uuid, each.at, each.by] for each in some]
    return json.dumps({"cancelled": plain}, separators=(",", ":")).encode()


def from_plain(body: bytes) -> list[Cancellation]:
    """
    What such a body tells: what can be read of it.
    """
    try:
        given: Any = json.loads(body)
    except (ValueError, RecursionError):
        return []
    some = given.get("cancelled") if isinstance(given, dict) else None
    found = map(_read, some if isinstance(some, list) else ())
    return [each for each in found if each is not None]


def _read(plain: Any) -> Cancellation | None:
    match plain:
        case [str(uuid), float() | int() as at, str(by)] if math.isfinite(at):
            return Cancellation(uuid, float(at), by)
    return None
