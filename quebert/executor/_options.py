"""
C{twistd quexecutor}: its options, and the service they ask for.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.application.service import MultiService
from twisted.internet.error import CannotListenError
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from quebert._bounds import AT_WORK, BOUNDS, MESSAGE
from quebert._log import Logger, print_safely
from quebert._log_output import LevelFilter
from quebert._twistd import (
    LOG_PARAMETERS,
    allow_many_connections,
    check_log_options,
    exit_cleanly_on_sigterm,
    is_daemon,
    log_to_syslog,
    no_default_pid_file,
    number,
    on_sighup,
    seconds,
    stop_on_signal,
    write_log,
)
from quebert.clock import use_monotonic_clock
from quebert.errors import ConfigError
from quebert.executor._limits import MOST_CONNECTIONS, ExecutorLimits
from quebert.executor._runner_options import (
    RUNNER_FLAGS,
    RUNNER_PARAMETERS,
    runner,
)
from quebert.executor._service import GRACE, INTERFACE, PORT, ExecutorService
from quebert.functions.admission import host_name
from quebert.functions.loading import parse_name
from quebert.signatures import Key, Verifier, read_keys

__all__ = ["ExecutorOptions", "ProcessService", "makeService"]

Option = TypeVar("Option", bound=Callable[..., None])


def _in_one_line(option: Option) -> Option:
    """
    Have the help show the docstring of an option without its indentation.
    """
    option.__doc__ = " ".join(str(option.__doc__).split())
    return option


class ExecutorOptions(UsageOptions):
    """
    What C{twistd quexecutor} takes.  Once parsed, numbers are numbers, and C{runner} is
    the L{Runner<quebert.executor._runner.Runner>} of the functions.

    @ivar log_level: lets pass what is logged.
    """

    synopsis = "--function=module.function [--port=8000]"
    longdesc = (
        "A web server that calls a function for each task that is POSTed to it,"
        " with the task as a dict, and answers with the function's result."
    )
    optParameters = [
        ["port", "p", PORT, "The TCP port to listen on; 0 for any that is free."],
        [
            "interface",
            "i",
            INTERFACE,
            "The IP address to listen on. Whoever reaches it can have tasks run: to"
            " let others in than this machine, give 0.0.0.0, or :: for IPv6, and"
            " --verify-secret-file.",
        ],
        [
            "grace",
            "g",
            GRACE,
            "Seconds that running calls get to finish when the process is stopped.",
        ],
        [
            "verify-secret-file",
            None,
            None,
            "A file with secrets (whsec_...) or public keys (whpk_...), one a line."
            " Only requests that were signed with one of them are let in. SIGHUP has"
            " it read again.",
        ],
        [
            "max-body",
            None,
            BOUNDS.body,
            "Bytes that a task may have at most.",
        ],
        [
            "max-memory",
            None,
            AT_WORK,
            "Bytes that tasks may take together while they come, and as much again"
            " while they are worked on; a larger one is taken alone. Those beyond wait,"
            " or are answered with 503.",
        ],
        [
            "max-connections",
            None,
            None,
            f"Connections at most: {MOST_CONNECTIONS}, or three quarters of the files"
            " that the process may open, if these are fewer.",
        ],
        [
            "max-connections-per-address",
            None,
            None,
            "Connections from one address at most, or from one IPv6 network of 64 bits:"
            " half of --max-connections. If a proxy connects for all clients, give as"
            " many as --max-connections.",
        ],
        *RUNNER_PARAMETERS,
        ["with_syslog_prefix", None, None, "Log to syslog, too, with this prefix."],
        *LOG_PARAMETERS,
    ]
    optFlags = RUNNER_FLAGS

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["hosts"] = []
        self["functions"] = []
        self.log_level = LevelFilter()

    @_in_one_line
    def opt_function(self, given: str) -> None:
        """
        What to call for each task, as module.function; the module may be in the current
        directory. It returns the result, or a Deferred of it, or is a coroutine. May be
        given several times, as /path=module.function; without a path it is called for
        all other paths. A module alone stands for its functions with @task.
        """
        try:
            self["functions"].append(parse_name(given))
        except ConfigError as e:
            raise UsageError(str(e)) from None

    opt_f = opt_function

    def opt_allow_host(self, name: str) -> None:
        """
        A name that requests may have as their host, beside localhost, addresses and
        names without a dot; or * for any. May be given several times.
        """
        try:
            self["hosts"].append(host_name(name))
        except ConfigError as e:
            raise UsageError(f"--allow-host={e}") from None

    def read_keys(self) -> tuple[Key, ...]:
        """
        What C{--verify-secret-file} has; nothing without it.

        @raise ConfigError: the file cannot be used.
        """
        path = self["verify-secret-file"]
        return read_keys(path, signing=False) if path else ()

    def limits(self) -> ExecutorLimits:
        """
        How much to take of clients.
        """
        given = {
            "body": self["max-body"],
            "memory": self["max-memory"],
            "connections": self["max-connections"],
            "connections_per_address": self["max-connections-per-address"],
        }
        return ExecutorLimits(**{k: v for k, v in given.items() if v is not None})

    def postOptions(self) -> None:
        """
        Check what can be checked before anything is started.
        """
        no_default_pid_file(self)
        check_log_options(self)
        self.log_level.level = self["log-level"] or "info"
        write_log(self, self.log_level, self["log-format"] or "text")
        if not self["functions"]:
            raise UsageError(
                "--function is missing: it must be module.function, such as"
                " --function=executor.execute"
            )
        self["port"] = _port(str(self["port"]))
        self["grace"] = seconds(str(self["grace"]), "--grace")
        for name, most in _LIMITS.items():
            if self[name] is not None:
                self[name] = number(str(self[name]), f"--{name}", most)
        self["runner"] = runner(self)
        if path := self["verify-secret-file"]:
            # SIGHUP may come when twistd is in another folder.
            self["verify-secret-file"] = os.path.abspath(path)
        try:
            keys = self.read_keys()
        except ConfigError as e:
            raise UsageError(f"--verify-secret-file: {e}") from None
        if keys and self["hosts"]:
            raise UsageError(
                "--allow-host is of no use beside --verify-secret-file: signed requests"
                " may have any host"
            )
        # Whatever an earlier process has let in, nobody remembers.
        self["verifier"] = Verifier(keys, since=time.time()) if keys else None


#: The largest number that options with a number may have.
_LIMITS = {
    "max-body": MESSAGE,
    "max-memory": 2**40,
    "max-connections": 10**6,
    "max-connections-per-address": 10**6,
}


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 65536:
        return int(text)
    raise UsageError(f"--port={text} must be a number from 0 to 65535")


class ProcessService(MultiService):
    """
    An executor that has a process to itself.

    @ivar executor: the L{ExecutorService}.
    """

    log = Logger()

    def __init__(self, options: ExecutorOptions, reactor: Any = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._options = options
        self._verifier: Verifier | None = options["verifier"]
        self._syslog_prefix = options["with_syslog_prefix"]
        self.executor = ExecutorService(
            options["runner"],
            options["port"],
            options["interface"],
            grace=options["grace"],
            verifier=options["verifier"],
            hosts=options["hosts"],
            limits=options.limits(),
            reactor=reactor,
        )
        self.executor.setServiceParent(self)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """
        Listen, or end with one sentence.
        """
        # Whoever finds the port open may stop the process before the reactor runs.
        stop_on_signal(signal.SIGTERM, self.executor.reactor)
        try:
            super().privilegedStartService()  # type: ignore[no-untyped-call]
        except CannotListenError as e:
            if is_daemon(self._options):
                raise ConfigError(str(e)) from None  # which twistd tells
            raise SystemExit(f"quexecutor: {e}") from None

    def startService(self) -> None:
        """
        See to the process's log and its end, then start the executor.
        """
        exit_cleanly_on_sigterm(self.executor.reactor)
        if self._syslog_prefix:
            log_to_syslog(self._syslog_prefix, self._options.log_level)
        if self._verifier is not None:
            on_sighup(self.executor.reactor, self.reload)
        super().startService()  # type: ignore[no-untyped-call]

    def reload(self) -> None:
        """
        Read the file of secrets again, or go on as it was if it cannot be used.
        """
        if self._verifier is None:
            return
        try:
            self._verifier.change_keys(self._options.read_keys())
        except ConfigError as e:
            self.log.error("Not reloaded: --verify-secret-file: {why}", why=e)
        else:
            self.log.info("Reloaded --verify-secret-file.")


def makeService(options: ExecutorOptions) -> ProcessService:
    """
    What twistd calls.
    """
    print_safely()
    allow_many_connections()
    use_monotonic_clock()
    return ProcessService(options)
