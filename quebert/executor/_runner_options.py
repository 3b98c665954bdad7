"""
The options of C{twistd quexecutor} that say where functions run.
"""

from __future__ import annotations

import attrs
from twisted.python.usage import Options, UsageError

from quebert._named import look_here
from quebert._process_pool import PoolLimits
from quebert._twistd import number, seconds
from quebert.errors import ConfigError
from quebert.executor._in_processes import InProcesses
from quebert.executor._in_reactor import InReactor
from quebert.executor._in_threads import InThreads
from quebert.executor._runner import Runner
from quebert.functions.loading import load_functions

__all__ = ["RUNNER_FLAGS", "RUNNER_PARAMETERS", "runner"]

_DEFAULT = PoolLimits(processes=1)

#: Options with a value.
RUNNER_PARAMETERS = [
    [
        "subconfig",
        None,
        None,
        "Call functions as the first quebert did: function(body, uri, host, conf), with"
        " the body in bytes, path and query, the header Host, and this text.",
    ],
    [
        "threads",
        None,
        None,
        "Run functions in so many threads, which may block; a task waits for one for"
        " 30 s, and is answered with 503 then.",
    ],
    [
        "processes",
        None,
        None,
        "Run functions in so many processes, which a function can block or crash"
        " without harm to other tasks; a task waits for one for 30 s, and is answered"
        " with 503 then.",
    ],
    [
        "max-seconds",
        None,
        None,
        "With --processes: seconds that a function may take; then its process is"
        f" killed. [default: {_DEFAULT.seconds:g}]",
    ],
    [
        "max-process-memory",
        None,
        None,
        "With --processes: bytes of memory that a process may take for its data; 0"
        f" for any number. [default: {_DEFAULT.memory}]",
    ],
    [
        "max-tasks",
        None,
        None,
        "With --processes: replace a process after so many tasks.",
    ],
]
#: Those without.
RUNNER_FLAGS = [
    [
        "kill-on-hang-up",
        None,
        "With --processes: kill a process whose client has gone.",
    ],
]
_OF_PROCESSES = ("max-seconds", "max-process-memory", "max-tasks", "kill-on-hang-up")
_MOST = 10_000


def runner(options: Options) -> Runner:
    """
    What runs the functions that C{options} name.

    @raise UsageError: the options contradict each other, or one is wrong.
    """
    functions, subconfig = options["functions"], options["subconfig"]
    if options["processes"] is not None:
        if options["threads"] is not None:
            raise UsageError("give --threads or --processes, not both")
        look_here()  # twistd may be elsewhere when processes start
        return InProcesses(functions, _limits(options), subconfig=subconfig)
    for name in _OF_PROCESSES:
        if options[name]:
            raise UsageError(f"--{name} is of no use without --processes")
    try:
        function = load_functions(functions, subconfig)
    except ConfigError as e:
        raise UsageError(str(e)) from e.__cause__
    if options["threads"] is not None:
        threads = number(str(options["threads"]), "--threads", _MOST)
        return InThreads(function, threads, subconfig=subconfig)
    return InReactor(function, subconfig=subconfig)


def _limits(options: Options) -> PoolLimits:
    processes = number(str(options["processes"]), "--processes", _MOST)
    limits = PoolLimits(
        processes=processes, kill_on_hang_up=bool(options["kill-on-hang-up"])
    )
    if (text := options["max-seconds"]) is not None:
        limit = seconds(text, "--max-seconds")
        if not limit:
            raise UsageError("--max-seconds must be more than 0")
        limits = attrs.evolve(limits, seconds=limit)
    if (text := options["max-process-memory"]) is not None:
        memory = None if text == "0" else number(text, "--max-process-memory", 2**60)
        limits = attrs.evolve(limits, memory=memory)
    if (text := options["max-tasks"]) is not None:
        limits = attrs.evolve(limits, tasks=number(text, "--max-tasks", 10**9))
    return limits
