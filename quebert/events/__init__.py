"""
Events: what all mediators do.  Mediators publish attempts in batches, and their own
state, to the exchange C{quebert.events}; the history, the page, the metrics and
C{quebert top} read them there.

On the way out: a L{Recorder} keeps the tasks that have ended (L{EndedTask
<quebert.task_events.EndedTask>}); C{_ended_tasks} makes L{Columns} of them, and
C{_batch_encoder} bytes; they wait in C{_outbox}, and L{EventPublisher} publishes them.
On the way in: C{_event_queue} has them delivered; L{EventReader} asks C{_positions}
what is missing, and passes them on.

To add a field to L{AttemptRecord}: C{_records}, C{_columns}, C{_ended_tasks}, and
C{_batch_encoder} and C{_batch_decoder}, with another C{VERSION} in C{_batch_format};
L{EndedTask<quebert.task_events.EndedTask>} and C{mediator/_observation}, if the
mediator has to tell it.  To add a field to a state: C{_records}, with a default,
C{_CHECKS} in C{_state_codec}, if it is of another type, and C{service/_watch_events}.
To add a kind of event: a routing key in C{_names}, its codec, L{EventPublisher} and
L{EventReader}.
The exchange, L{EXCHANGE}, is declared and published to by L{EventPublisher}, and bound
by C{_event_queue}; C{operations/_cancel_events} publishes to it, too.
To add an outcome: L{OUTCOMES}; L{FINAL}, if the task is over; L{was_requested};
C{_name} in C{_ended_tasks}; C{_STATES} in C{history/_rows}; C{_ENDS} in
C{operations/_reasons}; C{cli/_tail}; on the page, C{format.js}, C{tasks_view.js},
C{life_line.js} and C{story.js}; the tables in C{docs/events.rst} and
C{docs/metrics.rst}.

Another way for events to leave a mediator, such as HTTP: a listener, as
C{service/_own_view} is one (C{listeners} of C{service/_watch_events} and of
L{EventPublisher}).  L{quebert.web} sends them to browsers (C{_hub} there).
"""

from quebert.events._batch_decoder import decode_batch
from quebert.events._batch_encoder import encode_batch
from quebert.events._batch_format import UnreadableEvents
from quebert.events._columns import Columns
from quebert.events._names import ATTEMPTS, EXCHANGE, HISTORY, MEDIATORS
from quebert.events._publisher import EventPublisher
from quebert.events._reader import EventHandler, EventReader, reading
from quebert.events._recorder import Recorder
from quebert.events._records import (
    ANSWER,
    CLOCKS,
    FINAL,
    OUTCOMES,
    AttemptBatch,
    AttemptRecord,
    Gap,
    MediatorState,
    OriginState,
    WatchState,
    clock_ahead,
    was_requested,
)
from quebert.events._state_codec import decode_state, encode_state

__all__ = [
    "ANSWER",
    "ATTEMPTS",
    "CLOCKS",
    "EXCHANGE",
    "FINAL",
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
    "clock_ahead",
    "decode_batch",
    "decode_state",
    "encode_batch",
    "encode_state",
    "reading",
    "was_requested",
]
