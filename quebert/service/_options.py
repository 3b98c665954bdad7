"""
What C{twistd quebert} takes, and what it says.
"""

from __future__ import annotations

import os
from typing import Any

import attrs
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from quebert._log_output import LevelFilter
from quebert._twistd import (
    LOG_PARAMETERS,
    check_log_options,
    find_hook,
    load,
    no_default_pid_file,
    number,
    seconds,
    write_log,
)
from quebert._url import default_option
from quebert._workers import report_objects, supervised
from quebert.config import (
    DEFAULT_URL,
    EMPTY_AMQP_URL,
    MOST_PROCESSES,
    Broker,
    Listen,
    Service,
    Settings,
    Watch,
    chosen_amqp_url,
    read,
    settings_of,
)
from quebert.errors import ConfigError

__all__ = ["Options"]

#: Options that the supervisor of several processes does not pass on: what is
#: its own, and what does not belong into a list of processes.
_KEPT = ("amqp-url", "processes", "with_syslog_prefix")
_YES_OR_NO = {"yes": True, "no": False}


class Options(UsageOptions):
    """
    What C{twistd quebert} takes.

    @ivar log_level: lets pass what is logged; a reload may change it.
    """

    synopsis = "[--config=FILE.toml] [--watch=exchange:queue:key:prefetch ...]"
    longdesc = (
        "Takes tasks from the queues of a RabbitMQ and requests their URLs, again"
        " and again with growing delays, until they are done. Of each queue that"
        " is watched, prefetch tasks run at once: 100 where it is left out, 0 for"
        " no limit."
    )
    optParameters = [
        [
            "config",
            "c",
            None,
            "The configuration, as FILE.toml; or a function that sets up"
            " mediators, as module.function: it is called with these options, and"
            " may return a function to call at the end, a service, or a Deferred of"
            " either.",
        ],
        [
            "amqp-url",
            "a",
            None,
            "Where the broker is, as amqp://user:password@host:port/vhost; by"
            " default $QUEBERT_AMQP_URL, or guest at localhost.",
        ],
        [
            "default-url",
            "u",
            None,
            f"What completes the partial URLs of tasks; by default {DEFAULT_URL}.",
        ],
        [
            "grace",
            "g",
            None,
            "Seconds that running requests get to finish when the process is"
            f" stopped, by default {Service().grace:g}; the tasks of the rest go back"
            " to their queues.",
        ],
        [
            "processes",
            None,
            None,
            "How many processes do all this, by default 1, each with as many tasks"
            " at once; with several, one more process restarts those that end.",
        ],
        [
            "web",
            None,
            None,
            "Where metrics and health are shown over HTTP, as a port of 127.0.0.1, or"
            " as address:port; by default what the file of --config says, or nowhere.",
        ],
        [
            "with_syslog_prefix",
            None,
            None,
            "Log to syslog, too, with this prefix.",
        ],
        *LOG_PARAMETERS,
        [
            "log-tasks",
            None,
            None,
            "Whether the log has a line for each task that is done: yes (the default)"
            " or no.",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["watch"] = []
        self.log_level = LevelFilter()

    def opt_watch(self, text: str) -> None:
        """
        Watch a queue, as exchange:queue:key:prefetch; repeatable.
        """
        try:
            self["watch"].append(Watch.parse(text))
        except ConfigError as e:
            raise UsageError(str(e)) from None

    opt_w = opt_watch

    def postOptions(self) -> None:
        """
        Check what can be checked before anything is started.
        """
        no_default_pid_file(self)
        check_log_options(self)
        if self["log-tasks"] not in (None, *_YES_OR_NO):
            raise UsageError(f"--log-tasks={self['log-tasks']} must be yes or no")
        if self["web"] is not None:
            try:
                self["web"] = Listen.parse(str(self["web"]))
            except ConfigError as e:
                raise UsageError(f"--web={self['web']} {e}") from None
        if self["processes"] is not None:
            self["processes"] = number(
                str(self["processes"]), "--processes", MOST_PROCESSES
            )
        if self.has_file:
            self._read_file()
        else:
            self._take_options()
        service = self["settings"].service
        self.log_level.level = service.log_level
        if supervised():  # the supervisor writes what is reported
            report_objects(service.log_format == "json")
            write_log(self, self.log_level, "text")
        else:
            write_log(self, self.log_level, service.log_format)

    @property
    def has_file(self) -> bool:
        """
        Whether C{--config} names a file, which says all and can be read again.
        """
        return (self["config"] or "").endswith(".toml")

    def _read_file(self) -> None:
        """
        Take all from a file.
        """
        for name in ("amqp-url", "default-url", "grace", "watch"):
            if self[name] not in (None, []):
                raise UsageError(
                    f"--{name} and --config={self['config']} exclude each other: set"
                    " it in the file"
                )
        self["config"] = os.path.abspath(self["config"])  # twistd may go elsewhere
        try:
            settings = self.read_settings()
        except ConfigError as e:
            raise UsageError(str(e)) from None
        self["settings"] = settings
        self["processes"] = self["processes"] or settings.service.processes

    def read_settings(self) -> Settings:
        """
        What the file of C{--config} says now.

        @raise ConfigError: it cannot be used.
        """
        settings = read(self["config"], find=find_hook)
        service = attrs.evolve(settings.service, **self._log_settings())
        return self._shown(attrs.evolve(settings, service=service))

    def _shown(self, settings: Settings) -> Settings:
        return settings if self["web"] is None else settings.shown_at(self["web"])

    def _log_settings(self) -> dict[str, Any]:
        """
        What options say of the log: more than the file does.
        """
        said = {"log_level": self["log-level"], "log_format": self["log-format"]}
        found = {name: value for name, value in said.items() if value is not None}
        if self["log-tasks"] is not None:
            found["log_tasks"] = _YES_OR_NO[self["log-tasks"]]
        return found

    def _take_options(self) -> None:
        grace = Service().grace if self["grace"] is None else self["grace"]
        self["grace"] = seconds(str(grace), "--grace")
        self["processes"] = self["processes"] or 1
        if self["default-url"] is None:
            self["default-url"] = DEFAULT_URL
        try:
            default_option("--default-url", self["default-url"])
        except ConfigError as e:
            raise UsageError(str(e)) from None
        if self["amqp-url"] == "":
            raise UsageError(EMPTY_AMQP_URL)
        self["amqp-url"] = chosen_amqp_url(self["amqp-url"])
        try:
            broker = Broker.from_url(self["amqp-url"])
        except ConfigError as e:
            raise UsageError(f"--amqp-url: {e}") from None
        if not self["config"] and not self["watch"]:
            raise UsageError(
                "nothing to do: give --config=FILE.toml, --config=module.function, or"
                " at least one --watch=exchange:queue:key:prefetch"
            )
        service = Service(grace=self["grace"], **self._log_settings())
        self["settings"] = self._shown(
            settings_of(self["watch"], broker, self["default-url"], service)
        )
        if self["config"]:
            self["function"] = load(self["config"], "--config")

    def arguments(self) -> list[str]:
        """
        What says the same again on a command line, for one process, whatever the
        file of C{--config} says, and but for C{--amqp-url}, which may hold a password.
        """
        parameters: Any = self.optParameters
        names = {each[0] for each in parameters}.difference(_KEPT)
        said = [f"--{n}={self[n]}" for n in sorted(names) if self[n] is not None]
        watched = [f"--watch={each}" for each in self["watch"]]
        return [*said, *watched, "--processes=1"]
