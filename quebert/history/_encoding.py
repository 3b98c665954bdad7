"""
Records as rows of the database, and back.  Pure.

A uuid is 17 bytes; times are microseconds since the epoch; an outcome is a number.
Mediators choose texts and numbers freely, so whatever does not fit is cut to what does:
no record may keep its batch from being written.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Any

from quebert.events import ANSWER, OUTCOMES, AttemptRecord, was_requested
from quebert.history._values import BUCKETS, LIVES, LifeRecord, PastAttempt

__all__ = [
    "ATTEMPTS",
    "DONE",
    "LARGEST",
    "MINUTE",
    "NO_REQUEST",
    "NUMBERS",
    "OUTCOME_OF",
    "attempt",
    "attempt_row",
    "bucket_of",
    "bucket_of_attempt",
    "life",
    "life_row",
    "micros",
    "packed",
    "prefix_ranges",
    "seconds",
    "shortened",
    "unpacked",
]

#: In place of a bucket, of what was decided without a request.
NO_REQUEST = -1
#: The greatest number that a column takes.
LARGEST = 2**63 - 1
#: Microseconds of a minute.
MINUTE = 60_000_000
#: The numbers of outcomes; they are never changed, and new ones come at the end.
ATTEMPTS = dict(zip(OUTCOMES, range(16), strict=False))
_LIVES = {name: 16 + number for number, name in enumerate(LIVES)}
#: The numbers of all names; an attempt and a life may have the same name.
NUMBERS = {
    name: tuple(table[name] for table in (ATTEMPTS, _LIVES) if name in table)
    for name in (*OUTCOMES, *LIVES)
}
#: The number of C{"done"}.
DONE = ATTEMPTS["done"]
#: Names of the numbers.
OUTCOME_OF = {n: name for table in (ATTEMPTS, _LIVES) for name, n in table.items()}

_UUID = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_DASHES = 8, 13, 18, 23
_INT = 2**31 - 1
# Bytes of a text that can be looked up; the index of PostgreSQL takes 2,704.
_INDEXED = 2000
# Characters of a reason.
_REASON = 1000


def micros(time: float | None) -> int | None:
    """
    A time as microseconds; C{None} for anything else, and for a time out of all bounds.
    """
    if time is None:
        return None
    try:
        value = int(time * 1e6)
    except (OverflowError, TypeError, ValueError):
        return None
    return value if -LARGEST <= value <= LARGEST else None


def seconds(value: int | None) -> float | None:
    """
    The reverse of L{micros}.
    """
    return None if value is None else value / 1e6


def packed(uuid: str) -> bytes:
    """
    A uuid as bytes: a 0 and its 16 for one that is written as usual, a 1 and the text
    for another.
    """
    if _UUID.fullmatch(uuid):
        return bytes.fromhex("00" + uuid.replace("-", ""))
    return b"\1" + uuid.encode("utf-8", "replace")[:1000] if uuid else b""


def unpacked(raw: bytes) -> str:
    """
    The reverse of L{packed}.
    """
    if raw[:1] == b"\0":
        digits = raw[1:].hex()
        parts = digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]
        return "-".join(parts)
    return raw[1:].decode("utf-8", "replace")


def prefix_ranges(prefix: str) -> list[tuple[bytes, bytes]]:
    """
    Where the uuids are that begin with a text: each range has its first and its last
    value.
    """
    raw = prefix.encode("utf-8", "replace")[:1000]
    # Texts have no byte 255.
    found = [(b"\1" + raw, b"\1" + raw + b"\xff")]
    pattern = "00000000-0000-0000-0000-000000000000"[len(prefix) :]
    digits = prefix.lower() + pattern
    if len(prefix) <= len(digits) == 36 and _UUID.fullmatch(digits):
        last = prefix.lower() + pattern.replace("0", "f")
        found.insert(0, (packed(digits), packed(last)))
    return found


def shortened(text: str, limit: int = _INDEXED) -> str:
    """
    A text that every database takes, of up to C{limit} bytes.
    """
    if text.isascii() and "\0" not in text:
        return text[:limit]
    raw = text.replace("\0", "\ufffd").encode("utf-8", "replace")
    return raw[:limit].decode("utf-8", "ignore")


def bucket_of(duration: float) -> int:
    """
    Which of L{BUCKETS} counts a duration; their number, if none does.
    """
    return bisect_left(BUCKETS, duration)


def bucket_of_attempt(
    outcome: int, started: int, ended: int, status: int | None
) -> int:
    """
    Which of L{BUCKETS} counts the request of an attempt; L{NO_REQUEST} for none.

    @param outcome: with the times and the status as a row has them.
    """
    duration = (ended - started) / 1e6
    if status is None and not was_requested(None, OUTCOME_OF[outcome], duration):
        return NO_REQUEST
    return bucket_of(duration)


def attempt_row(
    record: AttemptRecord, queue: int, url: int, mediator: int
) -> tuple[Any, ...]:
    """
    The columns of an attempt, without its id.

    @raise ValueError: its outcome is unknown, or it has no times.
    @raise TypeError: something has a wrong type.
    """
    outcome = ATTEMPTS.get(record.outcome)
    started, ended = micros(record.started), micros(record.ended)
    if outcome is None or started is None or ended is None:
        raise ValueError("no outcome, or no time")
    status = record.status
    return (
        packed(record.uuid),
        queue,
        url,
        outcome,
        max(1, min(record.number, _INT)),
        micros(record.added),
        micros(record.due),
        started,
        ended,
        status if status is None else max(0, min(status, 32_767)),
        shortened(record.reason, _REASON) if record.reason else None,
        shortened(record.answer[:ANSWER], 4 * ANSWER) if record.answer else None,
        micros(record.retry_at),
        mediator,
    )


def life_row(record: LifeRecord, queue: int, url: int) -> tuple[Any, ...]:
    """
    The same of something else that happened to a task.

    @raise ValueError: its state is none that is known, or it has no time.
    @raise TypeError: something has a wrong type.
    """
    state, at = _LIVES.get(record.state), micros(record.at)
    if state is None or at is None:
        raise ValueError("no state, or no time")
    due = micros(record.due)
    reason = shortened(record.reason, _REASON) if record.reason else None
    times = micros(record.added), due, at, at
    return (
        packed(record.uuid),
        queue,
        url,
        state,
        0,
        *times,
        None,
        reason,
        None,
        due,
        None,
    )


def is_life(row: Any) -> bool:
    """
    Whether a row is no attempt.
    """
    return bool(row.number == 0)


def attempt(row: Any) -> PastAttempt:
    """
    The attempt of a row, which has the names of queue, URL and mediator, too.
    """
    return PastAttempt(
        uuid=unpacked(bytes(row.uuid)),
        queue=row.queue or "",
        url=row.url or "",
        number=row.number,
        added=seconds(row.added),
        due=seconds(row.due),
        started=row.started / 1e6,
        ended=row.ended / 1e6,
        status=row.status,
        outcome=OUTCOME_OF.get(row.outcome, ""),
        reason=row.reason or "",
        answer=row.answer or "",
        retry_at=seconds(row.retry_at),
        mediator=row.mediator or "",
    )


def life(row: Any) -> LifeRecord:
    """
    Read an event in the life of a task from a row.
    """
    return LifeRecord(
        uuid=unpacked(bytes(row.uuid)),
        queue=row.queue or "",
        url=row.url or "",
        state=OUTCOME_OF.get(row.outcome, ""),
        at=row.ended / 1e6,
        added=seconds(row.added),
        due=seconds(row.due),
        reason=row.reason or "",
    )
