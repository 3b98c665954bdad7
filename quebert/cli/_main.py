"""
The C{quebert} command: from its options to what is asked for.

A command imports what it alone needs when it is called: C{quebert status} needs neither
the broker nor the executor, and starts sooner without them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from quebert._url import default_option
from quebert.cli import (
    _add,
    _check,
    _dead_commands,
    _doctor,
    _history,
    _made_queue_commands,
    _queue_commands,
    _run_command,
    _secret,
    _status,
    _tail,
    _task_commands,
    _top,
    _web,
    _why,
)
from quebert.cli._config_file import read_or_exit
from quebert.cli._passwords import users_of
from quebert.cli._running import OutputLost, log_problems, one_line, run
from quebert.cli._terminal import Commands, echo_object, echo_word, json_option
from quebert.cli._version import version_option
from quebert.config import Broker
from quebert.errors import ConfigError, QuebertError, StoreError

__all__ = ["main"]

T = TypeVar("T")

PORT = click.IntRange(0, 65535)
FOLDER = click.Path(file_okay=False, path_type=Path)
#: Of the project in whose folder one is, whose tasks are no other's.
DATA = Path(".quebert")

_COLOURS = {
    "done": "green",
    "retry": "yellow",
    "waiting": "cyan",
    "discarded": "red",
    "broken": "red",
    "reloaded": "green",
    "buried": "red",
}


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)
@version_option
def main() -> None:
    """
    A task queue where a task is an HTTP request.

    The services for deployment are quebert run, twistd quebert and twistd quexecutor.
    """


@main.command()
@click.option(
    "--amqp-port",
    type=PORT,
    default=5672,
    show_default=True,
    help="Where the broker listens; 0 for any free port.",
)
@click.option(
    "--http-port",
    type=PORT,
    default=8000,
    show_default=True,
    help="Where the executor listens; 0 for any free port.",
)
@click.option(
    "--web-port",
    type=PORT,
    help="Where the page listens; 0 for any free port. By default 8080, or another if"
    " that is in use.",
)
@click.option("--no-page", is_flag=True, help="Serve no page, and keep no history.")
@click.option(
    "--data",
    type=FOLDER,
    help=f"The folder that tasks are kept in.  [default: {DATA}]",
)
@click.option("--memory", is_flag=True, help="Keep tasks nowhere but in memory.")
@click.option(
    "--exchange",
    default="flow",
    show_default=True,
    help="The exchange that tasks are published to.",
)
@click.option(
    "--queue", default="tasks", show_default=True, help="The queue they wait in."
)
@click.option(
    "--key",
    default="tasks.#",
    show_default=True,
    help="The routing key that brings them there.",
)
@click.option(
    "--config",
    metavar="FILE.toml",
    type=click.Path(),
    help="A configuration file, in place of the last three; the embedded broker is used"
    " in place of its [broker].",
)
@click.option(
    "--function",
    "functions",
    metavar="MODULE.FUNCTION",
    multiple=True,
    help="What the executor calls for each task; it echoes by default. When its code"
    " changes, it is loaded again. Repeatable, as /path=MODULE.FUNCTION; a MODULE alone"
    " stands for its functions with @task.",
)
@click.option(
    "--default-url",
    metavar="URL",
    callback=lambda context, option, url: _http_url(url),
    help="A web server that takes the tasks, in place of the executor.",
)
@click.pass_context
def dev(
    context: click.Context,
    /,
    *,
    amqp_port: int,
    data: Path | None,
    memory: bool,
    config: str | None,
    functions: tuple[str, ...],
    default_url: str | None,
    no_page: bool,
    **options: Any,
) -> None:
    """
    Run a broker, an executor, a mediator and the page in this terminal.

    For this machine alone: all listen on the loopback. Tells what becomes of each
    task.
    """
    from quebert.cli import _broker, _dev, _dev_asked, _echo

    if functions and default_url is not None:
        raise click.UsageError("give --function or --default-url, not both")
    if config is not None:
        for name in ("exchange", "queue", "key"):
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise click.UsageError(f"--{name} and --config exclude each other")
    if functions:
        options["function"] = _reloading(functions)
        options["function_name"] = ", ".join(functions)
    broker = _broker.Served(
        port=amqp_port, data=_data(data, memory), port_option="--amqp-port"
    )
    asked = _dev_asked.Dev(
        broker,
        command=context.find_root().info_name or "quebert",
        config=config,
        default_url=default_url,
        page=not no_page,
        **options,
    )
    with _one_sentence():
        read_or_exit(
            lambda: asked.settings(Broker.from_url(broker.url(amqp_port or 5672)))
        )
    log_problems(
        _echo.AskedToFail, StoreError, level=LogLevel.warn, told=_dev.TOLD_OTHERWISE
    )
    _run(lambda reactor: _dev.dev(reactor, asked, _say))


@main.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The IP address to listen on; 0.0.0.0 lets in others than this machine.",
)
@click.option(
    "--port",
    type=PORT,
    default=5672,
    show_default=True,
    help="Where it listens; 0 for any free port.",
)
@click.option(
    "--data",
    type=FOLDER,
    help=f"The folder that messages are kept in.  [default: {DATA}]",
)
@click.option("--memory", is_flag=True, help="Keep messages nowhere but in memory.")
@click.option(
    "--vhost",
    "vhosts",
    multiple=True,
    default=["/"],
    show_default=True,
    help="A virtual host; repeatable.",
)
@click.option(
    "--user",
    "users",
    metavar="NAME:PASSWORD",
    multiple=True,
    envvar="QUEBERT_BROKER_USERS",
    help="Who is let in; repeatable; guest:guest by default. In the environment"
    " variable QUEBERT_BROKER_USERS, with spaces between, nobody sees it in a list"
    " of processes.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="Who is let in, too: a file that other users cannot read, with a line"
    " NAME:PASSWORD for each.",
)
@json_option
def broker(
    *,
    data: Path | None,
    memory: bool,
    vhosts: tuple[str, ...],
    users: tuple[str, ...],
    password_file: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """
    Run the embedded AMQP broker alone.

    For laptops, tests and small single machines; RabbitMQ is what one deploys.
    """
    from quebert.cli import _broker

    known = dict(map(_user, users))
    with _one_sentence():
        if password_file is not None:
            known |= users_of(password_file)
        if known:
            options["users"] = known
        served = _broker.Served(data=_data(data, memory), vhosts=vhosts, **options)
        served.check()
    log_problems(level=LogLevel.critical)
    say = _say_json if as_json else _say
    _run(lambda reactor: _broker.serve(reactor, served, say))


for command in (
    _add.add,
    _run_command.run,
    _check.check,
    _doctor.doctor,
    _secret.secret,
    _dead_commands.dead,
    _queue_commands.pause,
    _queue_commands.resume,
    _queue_commands.purge,
    _made_queue_commands.queues,
    _task_commands.cancel,
    _task_commands.run_now,
    _status.status,
    _tail.tail,
    _top.top,
    _history.history,
    _why.why,
    _web.web,
    _web.token,
):
    main.add_command(command)


# -- From texts to what they mean


def _data(data: Path | None, memory: bool) -> Path | None:
    if not memory:
        return data or DATA
    if data is not None:
        raise click.UsageError("give --data or --memory, not both")
    return None


def _http_url(url: str | None) -> str | None:
    try:
        return None if url is None else default_option("--default-url", url)
    except ConfigError as e:
        raise click.UsageError(str(e)) from None


def _reloading(given: tuple[str, ...]) -> Any:
    from quebert.cli._reloading import ReloadingFunctions

    with _one_sentence():
        return ReloadingFunctions(given)


def _user(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        raise click.UsageError("--user must be name:password")
    return name, password


# -- Running


def _say(word: str, text: str) -> None:
    echo_word(word, _COLOURS.get(word), 10, text)


def _say_json(word: str, text: str) -> None:
    with suppress(OutputLost):  # as the other does
        echo_object({word: text})


def _run(start: Callable[[Any], Coroutine[Deferred[Any], Any, T]]) -> T:
    with _one_sentence():
        return run(start)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """
    Exit with 1 and one sentence for whatever is not our fault.
    """
    try:
        yield
    except QuebertError as e:
        raise click.ClickException(one_line(str(e))) from None
