"""
Several processes that do the same: a supervisor and its workers, each a twistd
of its own.  Knows processes, pipes and logs, and nothing of tasks.

The two sides meet in few places.  A worker is started as L{__main__
<quebert._workers.__main__>}, with what L{QUEBERT_WORKER<ENVIRONMENT>} needs to
find the same modules.  Its standard input is a pipe into which nobody writes,
and which closes when the supervisor is gone, however it went.  Descriptor 3 is
a pipe for L{reports<Report>}, lines of JSON: a log event, that it has read its
configuration, how it is doing, or that it is up.  It gets no SIGHUP before it has said
that it reads its configuration again at one: the signal would end it.
Standard output and standard error are what Python itself has to say, and what
the programs say that a worker starts.

To have workers report something more: a field of L{Report} and its C{line} and
C{parse}; a function like L{started} in C{_worker}; C{_heard} in C{_worker_process}; and
a method of C{WorkerOwner}, which is L{Supervisor
<quebert._workers.supervisor.Supervisor>}; C{docs/processes.rst}.  What only the service
understands goes through L{tell} to an L{Onlooker}.  When a worker starts
again, how soon, and when it is killed: C{_monitor}.  A new reason to end one:
L{quebert._workers.supervisor}.  An option for that: L{quebert.service}.
"""

from quebert._workers._onlooker import Onlooker
from quebert._workers._pipes import ENVIRONMENT, LIFELINE, REPORTS, Report
from quebert._workers._worker import (
    Lifeline,
    configured,
    is_heard,
    report_log,
    report_objects,
    started,
    supervised,
    tell,
)

__all__ = [
    "ENVIRONMENT",
    "LIFELINE",
    "REPORTS",
    "Lifeline",
    "Onlooker",
    "Report",
    "configured",
    "is_heard",
    "report_log",
    "report_objects",
    "started",
    "supervised",
    "tell",
]
