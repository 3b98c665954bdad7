"""
The executor side: a web server that runs a function for each task.

What changes together, each with C{docs/executors.rst}:

 - Another limit: L{ExecutorLimits}; who heeds it: C{_channel} (times, bytes and fields
   of one connection), C{_connections} with C{_crowd} (connections), or C{_web} with
   C{_request} and C{_memory} (bodies and tasks); and, if it is an option of C{twistd
   quexecutor}, C{optParameters}, C{limits} and C{_LIMITS} in C{_options}.
 - Another authentication of requests: a class beside C{SignedOnly} in
   L{quebert.functions.admission}, which L{ExecutorResource} makes, and C{_receiver}
   there; an option in C{_options}, with its file read again at a SIGHUP.  The
   mediator's side: L{quebert.signatures}.
 - Another place where functions run: a L{Runner} beside C{_in_threads}, and its
   options in C{_runner_options}.
 - Another limit of processes: L{quebert._process_pool}.
 - Another stage of a connection: C{_channel}.
 - Another answer to mediators: L{quebert.functions}.
"""

from quebert._process_pool import PoolLimits
from quebert.executor._connections import (
    BoundedConnection,
    BoundedResource,
    Connections,
    Stage,
)
from quebert.executor._in_processes import InProcesses
from quebert.executor._in_reactor import InReactor
from quebert.executor._in_threads import InThreads
from quebert.executor._limits import ExecutorLimits
from quebert.executor._memory import Transit
from quebert.executor._options import ExecutorOptions, makeService
from quebert.executor._runner import Runner, TaskRequest
from quebert.executor._service import ExecutorService
from quebert.executor._site import ExecutorSite
from quebert.executor._web import ExecutorResource

#: What C{twistd} looks for under this name.
Options = ExecutorOptions

__all__ = [
    "BoundedConnection",
    "BoundedResource",
    "Connections",
    "ExecutorLimits",
    "ExecutorOptions",
    "ExecutorResource",
    "ExecutorService",
    "ExecutorSite",
    "InProcesses",
    "InReactor",
    "InThreads",
    "Options",
    "PoolLimits",
    "Runner",
    "Stage",
    "TaskRequest",
    "Transit",
    "makeService",
]
