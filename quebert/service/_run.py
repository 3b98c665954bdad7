"""
C{quebert run}: the service in the foreground, without C{twistd}, for containers and for
systemd.  No pid file, no change of folder or user; the log goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys

from twisted.application.service import IService
from twisted.logger import globalLogBeginner

from quebert._log_output import stream_observer
from quebert._twistd import Systemd, exit_cleanly_on_sigterm
from quebert.service._options import Options
from quebert.service._service import makeService

__all__ = ["run"]


def run(options: Options) -> None:
    """
    Run what C{options} say, until SIGTERM or SIGINT; SIGHUP has the file read again.
    If the service cannot start, the process ends with status 1.
    """
    # After twistd's, so that a plugin that chooses a reactor may do so.
    from twisted.internet import reactor

    lifecycle = Systemd.from_environment(os.environ, reactor)
    service = IService(makeService(options, lifecycle))
    stream = sys.stderr or open(os.devnull, "w")  # noqa: SIM115  # it may be closed
    observer = stream_observer(stream, options["settings"].service.log_format)
    globalLogBeginner.beginLoggingTo([options.log_level.before(observer)])
    exit_cleanly_on_sigterm(reactor, signal.SIGINT)
    service.privilegedStartService()
    service.startService()
    running: object = reactor
    running.addSystemEventTrigger("before", "shutdown", service.stopService)  # type: ignore[attr-defined]
    running.run()  # type: ignore[attr-defined]
