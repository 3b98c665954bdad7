"""
What happens in all mediators, for those who look on: attempts and states, published in
batches to the exchange C{quebert.events}.
"""

from quebert.events._batch_codec import (
    UnreadableEvents,
    decode_batch,
    encode_batch,
)
from quebert.events._columns import Columns
from quebert.events._names import ATTEMPTS, EXCHANGE, HISTORY, MEDIATORS
from quebert.events._publisher import EventPublisher
from quebert.events._reader import EventHandler, EventReader, reading
from quebert.events._recorder import Recorder
from quebert.events._records import (
    ANSWER,
    OUTCOMES,
    AttemptBatch,
    AttemptRecord,
    Gap,
    MediatorState,
    OriginState,
    WatchState,
)
from quebert.events._state_codec import decode_state, encode_state

__all__ = [
    "ANSWER",
    "ATTEMPTS",
    "EXCHANGE",
    "HISTORY",
    "MEDIATORS",
    "OUTCOMES",
    "AttemptBatch",
    "AttemptRecord",
    "Columns",
    "EventHandler",
    "EventPublisher",
    "EventReader",
    "Gap",
    "MediatorState",
    "OriginState",
    "Recorder",
    "UnreadableEvents",
    "WatchState",
    "decode_batch",
    "decode_state",
    "encode_batch",
    "encode_state",
    "reading",
]
