"""
What the commands for onlookers share: the options that say where to look, and at what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

from quebert.cli._config_file import read_or_exit
from quebert.cli._operating import amqp_url_option
from quebert.config import BadConfig, Broker, Settings, management_url, read
from quebert.errors import ConfigError

__all__ = [
    "LookedAt",
    "chosen_management_url",
    "config_option",
    "looked_at",
    "looking_options",
    "management_option",
    "settings_of",
]

Command = TypeVar("Command", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    type=click.Path(),
    metavar="FILE",
    help="The configuration file of the mediator: its broker, and all its queues unless"
    " some are named.",
)


def _management(
    context: click.Context, option: click.Parameter, text: str | None
) -> str | None:
    try:
        return None if text is None else management_url(text)
    except ConfigError as e:
        raise click.UsageError(f"--management-url {e}") from None


management_option = click.option(
    "--management-url",
    metavar="URL",
    callback=_management,
    help="Where RabbitMQ's management API is; by default as FILE says, unless there is"
    " an --amqp-url, or on the usual port beside AMQP.",
)


def looking_options(command: Command) -> Command:
    """
    The options of a command that looks at queues.
    """
    for option in (management_option, amqp_url_option, config_option):
        command = option(command)
    return click.argument("queues", metavar="[QUEUE]...", nargs=-1)(command)


@attrs.frozen
class LookedAt:
    """
    What is looked at.

    @ivar queues: their names; none where none is named.
    @ivar broker: that of the file, if there is one.
    """

    queues: tuple[str, ...]
    broker: Broker | None = None
    management_url: str | None = None
    settings: Settings | None = None


def looked_at(
    queues: tuple[str, ...],
    config: str | None,
    amqp_url: str | None,
    management_url: str | None,
    as_json: bool,
) -> LookedAt:
    """
    What options ask for.

    @raise click.ClickException: the file is wrong.
    """
    settings = settings_of(config, as_json)
    if settings is None:
        return LookedAt(queues, None, management_url)
    return LookedAt(
        queues or tuple(settings.queues),
        settings.broker,
        chosen_management_url(settings, amqp_url, management_url),
        settings,
    )


def chosen_management_url(
    settings: Settings | None, amqp_url: str | None, management_url: str | None
) -> str | None:
    """
    Where the management API is: as the option says, or the file.  That of the file must
    not get a password that is meant for another broker, which C{amqp_url} names.
    """
    if management_url is not None or settings is None or amqp_url:
        return management_url
    return settings.management_url


def settings_of(config: str | None, as_json: bool) -> Settings | None:
    """
    What a file says, if one is given.
    """
    if config is None:
        return None
    if not as_json:
        return read_or_exit(lambda: read(config))
    try:
        return read(config)
    except BadConfig as e:
        raise click.ClickException("; ".join(map(str, e.problems))) from None
