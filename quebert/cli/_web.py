"""
C{quebert web} and C{quebert token}: the web server of a cluster, and who may use it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import attrs
import click
from twisted.logger import globalLogBeginner

from quebert._log import print_safely
from quebert._log_output import LevelFilter, stream_observer
from quebert._twistd import allow_many_connections, calm_garbage_collector, on_sighup
from quebert.cli._config_file import read_or_exit
from quebert.cli._looking import chosen_management_url, management_option
from quebert.cli._operating import amqp_url_option
from quebert.cli._running import one_line, run, told_to_end
from quebert.cli._terminal import echo, echo_object, echo_word, json_option
from quebert.config import (
    EMPTY_AMQP_URL,
    LOG_FORMATS,
    TLS,
    CloudTasksAPI,
    ClusterWeb,
    Listen,
    Settings,
    chosen_amqp_url,
    read,
    seconds,
)
from quebert.errors import ConfigError, QuebertError
from quebert.operations import BrokerAccess

__all__ = ["token", "web"]

_RIGHTS = ("read", "operate", "add")


@click.command()
@click.option(
    "--config",
    metavar="FILE.toml",
    type=click.Path(),
    help="A configuration file: its [broker], the names of its [queues], and"
    " [web.cluster], of which the other options change something.",
)
@amqp_url_option
@management_option
@click.option(
    "--listen",
    metavar="[ADDRESS:]PORT",
    help="Where it listens; by default 127.0.0.1:8080. 0.0.0.0:8080 lets in others than"
    " this machine, who need a token.",
)
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(),
    help="The file of tokens, to which quebert token adds a line; without one, nobody"
    " may change anything. SIGHUP has it read again.",
)
@click.option(
    "--history",
    metavar="FILE|URL",
    help="Where the history is kept: a file of SQLite, or postgresql://USER@HOST/NAME;"
    " by default .quebert/history.sqlite.",
)
@click.option(
    "--history-age",
    metavar="TIME",
    help="How long it is kept, such as 12h or 30d; by default 7d.",
)
@click.option(
    "--tasks",
    metavar="FILE|URL",
    help="Where the tasks are kept that are created over HTTP, like the history; by"
    " default .quebert/tasks.sqlite.",
)
@click.option(
    "--grpc",
    metavar="[ADDRESS:]PORT",
    help="Serve the Cloud Tasks API, over REST beside the rest, and over gRPC there;"
    " gRPC needs the extra [grpc].",
)
@click.option(
    "--audit",
    metavar="FILE",
    type=click.Path(),
    help="A file that gets a line for each change that somebody makes.",
)
@click.option(
    "--queue",
    "queues",
    metavar="QUEUE",
    multiple=True,
    help="A queue to show, although no mediator tells of it; repeatable.",
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A name of this machine by which its users may read without a token;"
    " repeatable.",
)
@click.option(
    "--closed",
    is_flag=True,
    help="Let nobody read without a token, even from here. Give it behind a proxy.",
)
@click.option(
    "--certfile",
    metavar="FILE",
    type=click.Path(),
    help="A certificate in PEM, to serve by https; with its key, unless --keyfile has"
    " it.",
)
@click.option("--keyfile", metavar="FILE", type=click.Path(), help="The key in PEM.")
@click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default="text",
    show_default=True,
    help="How it logs, to standard error.",
)
def web(
    *,
    config: str | None,
    amqp_url: str | None,
    management_url: str | None,
    log_format: str,
    **options: Any,
) -> None:
    """
    Serve the live page and the HTTP API of all mediators, and keep the history.

    It stays in the foreground; Ctrl-C and SIGTERM end it. Mediators do not need it.
    """
    settings = None if config is None else read_or_exit(lambda: read(config))
    try:
        asked = _asked(settings, options)
        access = _access(settings, amqp_url, management_url)
        queues = () if settings is None else tuple(settings.queues)
        _log(log_format)
        run(
            lambda reactor: _serve(
                reactor, attrs.evolve(access, reactor=reactor), asked, queues
            )
        )
    except QuebertError as e:
        raise click.ClickException(one_line(str(e))) from None


def _log(log_format: str) -> None:
    """
    Log to standard error from now on, with the lines of the audit log.
    """
    print_safely()
    stream = sys.stderr or open(os.devnull, "w")  # noqa: SIM115  # it may be closed
    observer = LevelFilter().before(stream_observer(stream, log_format))
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def _asked(settings: Settings | None, options: dict[str, Any]) -> ClusterWeb:
    """
    What the file says, and the options.
    """
    asked = ClusterWeb() if settings is None else settings.cluster_web
    found: dict[str, Any] = {
        name: options[name]
        for name in ("tokens", "history", "tasks", "audit", "queues", "hosts")
        if options[name]
    }
    if options["listen"] is not None:
        try:
            found["listen"] = Listen.parse(options["listen"])
        except ConfigError as e:
            raise click.UsageError(f"--listen {e}") from None
    if options["grpc"] is not None:
        try:
            grpc = Listen.parse(options["grpc"])
        except ConfigError as e:
            raise click.UsageError(f"--grpc {e}") from None
        api = asked.cloud_tasks or CloudTasksAPI()
        found["cloud_tasks"] = attrs.evolve(api, grpc=grpc)
    if options["history_age"] is not None:
        try:
            age = seconds(options["history_age"], ClusterWeb.LEAST_AGE)
            found["history_age"] = age
        except ConfigError as e:
            raise click.UsageError(f"--history-age {e}") from None
    if options["closed"]:
        found["open_reading"] = False
    if options["certfile"] is not None:
        found["tls"] = TLS(certfile=options["certfile"], keyfile=options["keyfile"])
    elif options["keyfile"] is not None:
        raise click.UsageError("--keyfile needs --certfile")
    return attrs.evolve(asked, **found)


def _access(
    settings: Settings | None, amqp_url: str | None, management: str | None
) -> BrokerAccess:
    if amqp_url == "":
        raise click.UsageError(EMPTY_AMQP_URL)
    management = chosen_management_url(settings, amqp_url, management)
    configured = None
    if settings is not None and not amqp_url:
        configured = settings.broker
    return BrokerAccess(None, chosen_amqp_url(amqp_url), management, configured)


async def _serve(
    reactor: Any, access: BrokerAccess, asked: ClusterWeb, queues: tuple[str, ...]
) -> None:
    from quebert.web.cluster import WebService

    allow_many_connections()
    told = told_to_end(reactor)
    access = attrs.evolve(access, reactor=reactor)
    service = WebService(reactor, access, asked, queues)
    await service.start()
    try:
        on_sighup(reactor, service.reload)
        calm_garbage_collector()
        echo_word("page", None, 10, service.url)
        await told
    finally:
        await service.stop()


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("name")
@click.option(
    "--right",
    "rights",
    type=click.Choice(_RIGHTS),
    multiple=True,
    default=["read"],
    show_default=True,
    help="What it allows: to read, which the page needs; to operate on queues and"
    " tasks; to add tasks. Repeatable.",
)
@click.option(
    "--queue",
    "queues",
    metavar="PATTERN",
    multiple=True,
    default=["*"],
    show_default=True,
    help="The queues that it is for, such as mail*; repeatable. For some queues it"
    " shows no hosts, mediators or metrics.",
)
@json_option
def token(
    *,
    file: Path,
    name: str,
    rights: tuple[str, ...],
    queues: tuple[str, ...],
    as_json: bool,
) -> None:
    """
    Make a token of quebert web for NAME, print it once, and add its hash to FILE.

    quebert web reads the file again at a SIGHUP.
    """
    from quebert.web import Tokens, new_token, token_line

    made = new_token()
    try:
        line = token_line(name, rights, queues, made)
        if file.exists() and any(g.name == name for g in Tokens.read(file).grants):
            raise ConfigError(
                f"{file} has a token of {name} already: delete its line to make another"
            )
        _append(file, line)
    except ConfigError as e:
        raise click.ClickException(one_line(str(e))) from None
    if as_json:
        echo_object({"name": name, "token": made})
    else:
        echo(made)


def _append(file: Path, line: str) -> None:
    """
    Add a line, also where the last one has no end.
    """
    try:
        before = file.read_bytes() if file.exists() else b""
        start = "" if not before or before.endswith(b"\n") else "\n"
        opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(opened, "a", encoding="utf-8") as output:
            output.write(f"{start}{line}\n")
    except OSError as e:
        raise ConfigError(f"{file} cannot be written: {e.strerror}") from None
