"""
The composition root: C{twistd quebert}, its service.  It may
import anything; nothing but the plugin imports it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import (
    Deferred,
    FirstError,
    gatherResults,
    maybeDeferred,
    succeed,
)
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions

from quebert._log import Logger, print_safely
from quebert._log_output import LevelFilter
from quebert._reactor import given_or_global
from quebert._twistd import (
    Lifecycle,
    allow_many_connections,
    calm_garbage_collector,
    exit_cleanly_on_sigterm,
    exit_with_failure,
    is_daemon,
    log_to_syslog,
    on_sighup,
)
from quebert._workers import Lifeline, configured, started, supervised
from quebert.clock import use_monotonic_clock
from quebert.config import BadConfig, Settings, Web
from quebert.errors import ConfigError, QuebertError
from quebert.metrics import Readiness, readiness_of
from quebert.service._options import Options
from quebert.service._own_view import OwnView
from quebert.service._served_queues import ServedQueues
from quebert.service._soundness import check_settings
from quebert.service._watch_events import WatchEvents
from quebert.service._watches import Watches
from quebert.service._workers_view import WorkersView
from quebert.telemetry.mediating import OFF, Telemetry, telemetry_of

__all__ = ["MediatorService", "Options", "makeService"]


class MediatorService(MultiService):
    """
    Runs what L{Options} say, for as long as the process lives.

    @param lifecycle: is told how it is doing: that it has started, once nothing can
        happen any more that L{makes it end<exit_with_failure>}; and that it is
        configured, with C{service.grace}, when a configuration file has been read, and
        each time that it has been read again.
    """

    log = Logger()

    def __init__(
        self,
        options: Options,
        reactor: Any = None,
        lifecycle: Lifecycle | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._options = options
        self._reactor = reactor
        self._lifecycle = lifecycle or Lifecycle()
        self._watches: ServedQueues | None = None
        self._telemetry: Telemetry = OFF
        self._settings: Settings = options["settings"]
        self._stoppers: list[Callable[[], object]] = []
        self._starting: Deferred[None] = succeed(None)
        self._started = False
        self._stopping = False
        self._failed: QuebertError | None = None
        self._view: OwnView | None = None

    @property
    def reactor(self) -> Any:
        """
        The reactor, the global one unless another was given.
        """
        return given_or_global(self._reactor)

    def startService(self) -> None:
        """
        Begin; connections are made from here on, after twistd has forked.
        """
        exit_cleanly_on_sigterm(self.reactor)
        if self._options["with_syslog_prefix"]:
            prefix = self._options["with_syslog_prefix"]
            log_to_syslog(prefix, self._options.log_level)
        super().startService()  # type: ignore[no-untyped-call]
        self._lifecycle.watch(self._alive)
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._cannot_start)
        if self._failed is not None and is_daemon(self._options):
            raise self._failed  # which twistd tells, and exits with 1

    async def _start(self) -> None:
        events = WatchEvents()
        self._view = OwnView(events, self.readiness, self._alive, self.reactor)
        self._view.start(self._settings.web)
        if self._options.has_file:
            on_sighup(self.reactor, self.reload)
            self._lifecycle.configured(self._settings.service.grace)
        elif self._options["config"]:
            await self._adopt(self._options["function"](self._options))
        if self._settings.queues or self._options.has_file:
            self._telemetry = telemetry_of(self._reactor)
            watches = Watches(self._reactor, events=events, telemetry=self._telemetry)
            self._watches = ServedQueues(watches, self.reactor)
            await self._watches.start(self._settings)
        calm_garbage_collector()
        self._started = True
        self._lifecycle.started()

    def readiness(self) -> Readiness:
        """
        Whether all is consumed that should be.
        """
        queues = {} if self._watches is None else self._watches.health()
        return readiness_of(queues, started=self._started, stopping=self._stopping)

    def _alive(self) -> bool:
        return self._failed is None

    def reload(self) -> None:
        """
        Read the file again, and do as it says from now on; or go on as it was, if
        it cannot be used.
        """
        if self._stopping or self._watches is None or not self._options.has_file:
            return
        self._lifecycle.reloading()
        try:
            self._reload(self._watches)
        finally:
            self._lifecycle.reloaded()

    def _reload(self, watches: ServedQueues) -> None:
        assert self._view is not None
        try:
            settings = self._options.read_settings()
            self._view.count(settings.web)  # before it is settled what is recorded
            watches.change(settings)
        except ConfigError as e:
            self._view.count(self._settings.web)
            problems = e.problems if isinstance(e, BadConfig) else [e]
            for each in problems:
                self.log.error("Not reloaded: {problem}", problem=each)
            return
        changes = self._settings.changes(settings)
        self._settings = settings
        self._show(settings.web)
        self._options.log_level.level = settings.service.log_level
        self._lifecycle.configured(settings.service.grace)
        self.log.info("Reloaded; changes: {count}.", count=len(changes))
        for change in changes:
            self.log.info("{change}{note}", change=change, note=_remark_on(change))

    def _show(self, web: Web) -> None:
        assert self._view is not None
        try:
            self._view.change(web)
        except ConfigError as e:
            self.log.error("Metrics and health are not shown: {error}", error=e)

    async def _adopt(self, made: Any) -> None:
        """
        Take over what the function of C{--config} has made.
        """
        result: Any = await maybeDeferred(lambda: made)
        if IService.providedBy(result):
            result.setServiceParent(self)
        elif callable(result):
            self._stoppers.append(result)
        elif result is not None:
            raise ConfigError(
                f"--config={self._options['config']} must return None, a function or a"
                f" service, or a Deferred of them, not {type(result).__name__}"
            )

    def _cannot_start(self, failure: Failure) -> None:
        """
        End the process: nothing it could wait for would mend this.
        """
        error = failure.value
        if isinstance(error, FirstError):  # what gatherResults wraps
            failure, error = error.subFailure, error.subFailure.value
        if self._stopping:
            return
        if isinstance(error, QuebertError):
            self._failed = error
            self.log.critical("Cannot start: {error}", error=error)
        else:
            self._failed = QuebertError(f"{type(error).__name__}: {error}")
            self.log.failure("Cannot start.", failure)
        exit_with_failure(self.reactor)

    def stopService(self) -> Deferred[None]:
        """
        Consume no more, let running requests finish, give the rest back.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        self._lifecycle.stopping()
        self._starting.cancel()
        stopping: list[Deferred[Any]] = [maybeDeferred(stop) for stop in self._stoppers]
        if self._watches is not None:
            ending = self._watches.stop(self._settings.service.grace)
            stopping.append(Deferred.fromCoroutine(ending))
        for each in stopping:
            each.addErrback(
                lambda f: self.log.failure("Stopping the service failed.", f)
            )
        await gatherResults(stopping)
        await self._telemetry.stop()
        if self._view is not None:
            await self._view.stop()
        await maybeDeferred(super().stopService)


def _remark_on(change: str) -> str:
    """
    What is to be said of a change that does not do all that one could think.  A setting
    that the supervisor alone heeds, or that takes a restart, has a line here.
    """
    if change.startswith(("service.log_format ", "service.processes ")):
        return ", which takes a restart"
    if re.match(r"queues\..*\.(exchange|key) ", change):
        return "; the broker keeps the old binding, too"
    return ""


def makeService(options: Options, lifecycle: Lifecycle | None = None) -> Service:
    """
    What twistd calls.

    @param lifecycle: is told how the service is doing.
    @raise SystemExit: it cannot be made; twistd has not gone to the background yet.
    """
    try:
        check_settings(options["settings"])
    except ConfigError as e:
        raise SystemExit(f"quebert: {e}") from None
    print_safely()
    use_monotonic_clock(log_jumps=not supervised())  # the supervisor logs them
    if options["processes"] > 1:
        return _supervisor(options, lifecycle)
    allow_many_connections()
    if not supervised():
        return MediatorService(options, lifecycle=lifecycle)
    lifecycle = WorkerLifecycle(options.log_level)
    service = MediatorService(options, lifecycle=lifecycle)
    Lifeline().setServiceParent(service)  # type: ignore[no-untyped-call]
    return service


class WorkerLifecycle(Lifecycle):
    """
    Tells our own supervisor.

    @param level: lets pass what this worker logs.
    """

    def __init__(self, level: LevelFilter) -> None:
        self._level = level

    def configured(self, grace: float) -> None:
        """
        This worker reads its configuration again at a SIGHUP from now on.
        """
        configured(grace, self._level.level)

    def started(self) -> None:
        """
        This worker is up.
        """
        started()


def _supervisor(options: Options, lifecycle: Lifecycle | None) -> Service:
    # It imports the global reactor.
    from twisted.internet import reactor

    from quebert._workers.supervisor import Supervisor

    count = options["processes"]
    view = WorkersView(count, partial(_web, options), reactor)
    if lifecycle is not None:
        lifecycle.watch(view.alive)
    return Supervisor(
        count,
        [*_reactor_option(options.parent), "quebert", *options.arguments()],
        {} if options.has_file else {"QUEBERT_AMQP_URL": options["amqp-url"]},
        grace=options["settings"].service.grace,
        syslog_prefix=options["with_syslog_prefix"],
        log_level=options.log_level,
        reloads=options.has_file,
        lifecycle=lifecycle,
        onlooker=view,
        is_daemon=is_daemon(options),
    )


def _web(options: Options) -> Web:
    """
    What is to be shown now.

    @raise ConfigError: the file cannot be used.
    """
    return (options.read_settings() if options.has_file else options["settings"]).web


def _reactor_option(parent: UsageOptions | None) -> list[str]:
    """
    The reactor that was chosen with the options of C{twistd}, or of C{twist}.
    """
    chosen: Mapping[str, Any] = parent or {}
    name = chosen.get("reactorName") or chosen.get("reactor")
    return [f"--reactor={name}"] if name else []
