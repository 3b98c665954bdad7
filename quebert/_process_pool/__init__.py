"""
A pool of warm Python processes that run functions: what one of them does harms its own
task alone.  The parent, L{pool<quebert._process_pool.pool>}, knows no task: it never
decodes one.

Theory of operation.  A process is started as C{__main__} and gets a
L{ProcessSettings} in its environment.  Its standard input is a pipe of tasks, which it
moves away from there, and descriptor 3 one of answers; L{PoolFrame}s go over
both.  What it and its functions print comes by a third pipe, to which standard output
and error lead, so that nothing they print breaks the frames.  A process is in one of
these states, as the parent sees it (C{_child_process}):

  - STARTING: it imports the functions.
  - IDLE: it waits for a task.
  - BUSY: it has a task.
  - ENDING: it has been told to end, or killed.
  - GONE: it has ended, and its pipes are closed.

It ends when the pipe of tasks closes.  If the parent is killed, Linux kills it
(C{PR_SET_PDEATHSIG}); on other systems it ends after its task.  It leads a group of
processes, which is killed with it: what a function has started and left behind does not
outlive it.

Why this and no library.  C{ampoule} (24.10.0 is of October 2024) is Twisted's: its
processes run a reactor, so that a function which blocks them cannot even see that the
parent has gone; AMP's values have 64 KB; and it has neither a limit of memory nor of
waiting tasks, nor knows which task an output belongs to.  C{concurrent.futures} gives
up the whole pool when one process dies, C{multiprocessing.Pool} never answers the task
of a process that died, and neither kills a process that takes too long.

What changes together: a limit is in L{PoolLimits}, in C{executor/_runner_options}, and
in C{docs/executors.rst}.  Something more that a task tells its process, or an answer
the parent: C{_frames}, C{_child}, C{_child_process}.
"""

from quebert._process_pool._frames import (
    FrameKind,
    FrameParser,
    MalformedFrame,
    PoolFrame,
    read_frame,
)
from quebert._process_pool._limits import PoolLimits
from quebert._process_pool._settings import ENVIRONMENT, ProcessSettings

__all__ = [
    "ENVIRONMENT",
    "FrameKind",
    "FrameParser",
    "MalformedFrame",
    "PoolFrame",
    "PoolLimits",
    "ProcessSettings",
    "read_frame",
]
