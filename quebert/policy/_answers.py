"""
What an answer says about when to come again: reads C{Retry-After}, and our own
C{Quebert-Outcome}.  L{Rules<quebert.policy.Rules>} decides how much that counts beside
the backoff.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

import attrs

from quebert._text import one_line

__all__ = ["Directive", "directive", "retry_after"]

_DIRECTIVE = re.compile(
    r"(?P<verb>discard|bury|retry-after[ \t]*=[ \t]*(?P<seconds>[0-9]+(?:\.[0-9]*)?))"
    r"[ \t]*(?:;(?P<reason>.*))?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_REASON_LIMIT = 400


@attrs.frozen
class Directive:
    """
    What an answer wants done with its task.

    @ivar verb: C{"retry-after"}, C{"discard"} or C{"bury"}.
    @ivar seconds: with the first, when.
    @ivar reason: why, on one line; may be empty.
    """

    verb: str
    seconds: float = 0.0
    reason: str = ""


def directive(value: str) -> Directive:
    """
    What the value of C{Quebert-Outcome} says: C{retry-after=30}, C{discard} or
    C{bury}, each of which may be followed by C{; and the reason}.

    @raise ValueError: nothing of the kind.
    """
    found = _DIRECTIVE.fullmatch(value.strip(" \t"))
    if found is None:
        raise ValueError("it must be retry-after=SECONDS, discard or bury")
    reason = one_line(found["reason"] or "", _REASON_LIMIT)
    if found["seconds"] is None:
        return Directive(found["verb"].lower(), reason=reason)
    return Directive("retry-after", float(found["seconds"]), reason)


def retry_after(value: str, now: float) -> float | None:
    """
    Seconds from C{now} (since the epoch) that the value of C{Retry-After} asks
    to wait, a number of them or a date (RFC 9110, section 10.2.3); C{None}
    where it is neither.
    """
    value = value.strip(" \t")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:  # as it is for the form of asctime()
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
