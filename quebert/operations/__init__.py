"""
What an operator does to queues while tasks go through them: pause them, purge them, see
how they are, and deal with dead letters.  The commands of C{cli/_queue_commands.py} and
C{cli/_dead_commands.py} only parse options, call these functions and print.  Each
operation makes a connection of its own::

    async def mend(reactor):
        broker = BrokerAccess(reactor, "amqp://guest:guest@localhost:5672/")
        await pause(broker, "tasks")
        print(await status(broker, "tasks"))
        await redrive(broker, "tasks", [Match.parse("kind=exhausted")])
        await resume(broker, "tasks")

    twisted.internet.task.react(mend)

Queues that stand in RabbitMQ, and not in a file, are made with L{make_queue}; who
serves them is told of them by a L{MadeQueueReader}.

What happens meanwhile is seen by L{live} (C{_live} composes; C{_live_fold}, C{_seen}
and C{_series} are pure), L{follow} and L{why} (C{_task_search} looks for a task, and
C{_reasons} decides, with C{_obstacles}).

Printing is done by L{quebert.cli}.

To add an operation: a module here, and its command (L{quebert.cli}); the permissions
that it needs, in C{docs/operating.rst}.  To add a field by which dead letters are
found: L{DeadLetter}, C{_FIELDS} in C{_matching}, and the text of C{--match} in
C{cli/_dead_commands}.  To add a line of C{quebert status}: L{Status}; C{_status} for
what AMQP tells of a queue, C{_elsewhere} for the delay ladder, C{_management} for
RabbitMQ's management API; and C{cli/_overview_text}.  To add a reason why a task waits:
C{REASONS} in C{_why_values}, with the facts that it needs; C{_reasons}, or
C{_obstacles}; its heading on the page, C{WORDS} in C{format.js}; and the table in
C{docs/live.rst}.  To add a figure of a queue to C{quebert top} and the page:
L{LiveQueue}, C{_live_fold}, and C{cli/_top_columns}; the rest is in
L{quebert.web._views}.
"""

from quebert.operations._access import BrokerAccess
from quebert.operations._cancelled import (
    CANCELLED,
    MARKED,
    NOT_FOUND,
    TOO_LATE,
    Cancelled,
)
from quebert.operations._cancelling import cancel
from quebert.operations._cancelling_all import CancelledAll, cancel_all
from quebert.operations._dead_letter import DeadLetter
from quebert.operations._dead_letters import browse, discard, find, redrive
from quebert.operations._deletions import Deletions
from quebert.operations._elsewhere import Due
from quebert.operations._following import AttemptFilter, follow
from quebert.operations._live import live
from quebert.operations._live_fold import LiveFold
from quebert.operations._live_values import Live, LiveHost, LiveMediator, LiveQueue
from quebert.operations._made_queue_reader import MadeQueueReader
from quebert.operations._made_queues import (
    QUEUE_CHANGED,
    QUEUE_DELETED,
    QUEUE_EXISTED,
    QUEUE_EXISTS,
    QUEUE_MADE,
    QUEUE_OUTDATED,
    QUEUE_UNKNOWN,
    QueueChange,
    change_queue,
    delete_queue,
    made_queues,
    make_queue,
)
from quebert.operations._matching import Match, check_waiting
from quebert.operations._overview import Overview, observing, overview, status
from quebert.operations._pausing import pause, resume
from quebert.operations._progress import Progress
from quebert.operations._purging import purge
from quebert.operations._running_now import NOT_DELAYED, RUNS_NOW, RunNow, run_now
from quebert.operations._status import Status, held_by_others
from quebert.operations._taking import MOST
from quebert.operations._why import why
from quebert.operations._why_values import Why, WhyReason

__all__ = [
    "CANCELLED",
    "MARKED",
    "MOST",
    "NOT_DELAYED",
    "NOT_FOUND",
    "QUEUE_CHANGED",
    "QUEUE_DELETED",
    "QUEUE_EXISTED",
    "QUEUE_EXISTS",
    "QUEUE_MADE",
    "QUEUE_OUTDATED",
    "QUEUE_UNKNOWN",
    "RUNS_NOW",
    "TOO_LATE",
    "AttemptFilter",
    "BrokerAccess",
    "Cancelled",
    "CancelledAll",
    "DeadLetter",
    "Deletions",
    "Due",
    "Live",
    "LiveFold",
    "LiveHost",
    "LiveMediator",
    "LiveQueue",
    "MadeQueueReader",
    "Match",
    "Overview",
    "Progress",
    "QueueChange",
    "RunNow",
    "Status",
    "Why",
    "WhyReason",
    "browse",
    "cancel",
    "cancel_all",
    "change_queue",
    "check_waiting",
    "delete_queue",
    "discard",
    "find",
    "follow",
    "held_by_others",
    "live",
    "made_queues",
    "make_queue",
    "observing",
    "overview",
    "pause",
    "purge",
    "redrive",
    "resume",
    "run_now",
    "status",
    "why",
]
