"""
twistd's pid file, and whether it has gone to the background.
"""

from __future__ import annotations

from typing import Any

from twisted.python.usage import Options

__all__ = ["is_daemon", "no_default_pid_file"]


#: The pid file that twistd writes and checks where C{--pidfile} names no other.
DEFAULT_PID_FILE = "twistd.pid"


def no_default_pid_file(options: Options) -> None:
    """
    Have twistd neither write nor check its default pid file in the foreground.

    The pid file is how a daemon is found and stopped.  In the foreground nobody
    needs it, and it keeps twistd from starting: a second twistd in the same
    folder is refused, and so is a restart in a container after a C{kill -9}, as
    the process id in the file that is left over, 1, is that of the new process.

    @param options: those of a plugin, while twistd parses them: twistd looks at its
        own options, their C{parent}, later.  Without a parent nothing happens.
    """
    of_twistd: Any = options.parent
    if of_twistd is None or of_twistd.get("pidfile") != DEFAULT_PID_FILE:
        return
    if of_twistd["nodaemon"] or of_twistd["debug"]:  # --debug implies --nodaemon
        of_twistd["pidfile"] = ""


def is_daemon(options: Options) -> bool:
    """
    Whether twistd goes to the background.  An error that a service raises as it starts
    is then told by the process that waits in the foreground, which exits with 1.

    @param options: those of a plugin.
    """
    of_twistd: Any = options.parent
    return of_twistd is not None and not of_twistd.get("nodaemon", True)
