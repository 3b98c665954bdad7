"""
What happens in all mediators, for those who look on: attempts and states, published in
batches to the exchange C{quebert.events}.
"""

from quebert.events._records import (
    ANSWER,
    OUTCOMES,
    AttemptBatch,
    AttemptRecord,
    MediatorState,
    OriginState,
    WatchState,
)

__all__ = [
    "ANSWER",
    "OUTCOMES",
    "AttemptBatch",
    "AttemptRecord",
    "MediatorState",
    "OriginState",
    "WatchState",
]
