"""
Any events, for tests of properties.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from quebert.events import (
    OUTCOMES,
    AttemptBatch,
    AttemptRecord,
    MediatorState,
    OriginState,
    WatchState,
)

__all__ = ["BATCHES", "RECORDS", "STATES", "UUIDS", "record"]

_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_TEXTS = st.text(_CHARACTERS)
_QUEUES = st.text(_CHARACTERS, max_size=63)  # of up to 255 bytes
_TIMES = st.floats(allow_nan=False, allow_infinity=False)
_COUNTS = st.integers(0, 2**53)
_SECONDS = st.floats(0, 1e9)
#: In the usual form, and nearly in it.
UUIDS = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda uuid: str(uuid).upper()),
    st.uuids().map(lambda uuid: uuid.hex),
    _TEXTS,
)

#: Any record.
RECORDS: st.SearchStrategy[AttemptRecord] = st.builds(
    AttemptRecord,
    uuid=UUIDS,
    queue=_QUEUES,
    url=_TEXTS,
    number=st.integers(0, 2**32 - 1),
    added=st.none() | _TIMES,
    due=st.none() | _TIMES,
    started=_TIMES,
    ended=_TIMES,
    status=st.none() | st.integers(1, 2**16 - 1),
    outcome=st.sampled_from(OUTCOMES),
    reason=_TEXTS,
    answer=_TEXTS,
    retry_at=st.none() | _TIMES,
)

#: Any batch.
BATCHES: st.SearchStrategy[AttemptBatch] = st.builds(
    AttemptBatch,
    mediator=_TEXTS,
    sequence=_COUNTS,
    at=_TIMES,
    records=st.lists(RECORDS, max_size=5).map(tuple),
    dropped=_COUNTS,
    total=_COUNTS,
)

#: Any state.
STATES: st.SearchStrategy[MediatorState] = st.builds(
    MediatorState,
    mediator=_TEXTS,
    host=_TEXTS,
    pid=_COUNTS,
    version=_TEXTS,
    started=_TIMES,
    at=_TIMES,
    queues=st.dictionaries(
        _QUEUES,
        st.builds(
            WatchState,
            consuming=st.booleans(),
            paused=st.booleans(),
            prefetch=_COUNTS,
            received=_COUNTS,
            priority=_TEXTS,
            rate=st.none() | _SECONDS,
        ),
        max_size=3,
    ),
    origins=st.dictionaries(
        _TEXTS,
        st.builds(
            OriginState,
            breaker=st.sampled_from(["", "closed", "open", "half-open"]),
            open_until=st.none() | _TIMES,
            limit=st.none() | _SECONDS,
            in_flight=_COUNTS,
            rate=st.none() | _SECONDS,
        ),
        max_size=3,
    ),
    settings=st.dictionaries(_TEXTS, _TEXTS, max_size=3),
    lag=_SECONDS,
    cpu=_SECONDS,
    memory=_COUNTS,
    reconnects=_COUNTS,
    unconfirmed=_COUNTS,
)


def record(**fields: Any) -> AttemptRecord:
    """
    An ordinary record, but for some fields.
    """
    usual = {
        "uuid": "6f1c1f6e-6f5c-4f0e-9d6b-2f5a3c1d2e4f",
        "queue": "tasks",
        "url": "http://localhost:8000/a",
        "number": 1,
        "added": 1796000000.25,
        "started": 1796000001.0,
        "ended": 1796000001.5,
        "status": 200,
        "outcome": "done",
    }
    return AttemptRecord(**{**usual, **fields})
