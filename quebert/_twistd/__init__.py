"""
What our twistd plugins share: naming functions, syslog, and how to end.
"""

from quebert._twistd._ending import (
    exit_cleanly_on_sigterm,
    exit_with_failure,
    stop,
    stop_on_signal,
)
from quebert._twistd._lifecycle import Lifecycle, Systemd
from quebert._twistd._log_options import (
    LOG_FORMATS,
    LOG_PARAMETERS,
    check_log_options,
    write_log,
)
from quebert._twistd._named import find_hook, load
from quebert._twistd._numbers import number, seconds
from quebert._twistd._pid_file import is_daemon, no_default_pid_file
from quebert._twistd._process import (
    allow_many_connections,
    calm_garbage_collector,
    on_sighup,
)
from quebert._twistd._syslog import log_to_syslog

__all__ = [
    "LOG_FORMATS",
    "LOG_PARAMETERS",
    "Lifecycle",
    "Systemd",
    "allow_many_connections",
    "calm_garbage_collector",
    "check_log_options",
    "exit_cleanly_on_sigterm",
    "exit_with_failure",
    "find_hook",
    "is_daemon",
    "load",
    "log_to_syslog",
    "no_default_pid_file",
    "number",
    "on_sighup",
    "seconds",
    "stop",
    "stop_on_signal",
    "write_log",
]
