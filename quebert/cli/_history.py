"""
C{quebert history}: the whole life of a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from quebert.cli._life_text import life_lines
from quebert.cli._looking import settings_of
from quebert.cli._operating import tell_of_beginning
from quebert.cli._past import past_of, past_options
from quebert.cli._running import one_line, run
from quebert.cli._terminal import echo, echo_object, json_option
from quebert.errors import QuebertError

__all__ = ["history"]


@click.command()
@click.argument("uuid")
@click.option(
    "--config",
    type=click.Path(),
    metavar="FILE",
    help="The configuration file of quebert web, which says where the history is.",
)
@past_options
@json_option
def history(
    *,
    uuid: str,
    config: str | None,
    database: str | None,
    web: str | None,
    as_json: bool,
) -> None:
    """
    Show the life of the task UUID: each attempt, and what else has happened to it.

    It needs a history, which quebert web and quebert dev keep.
    """
    settings = settings_of(config, as_json)
    try:
        past = past_of(database, web, settings)
        if past is None:
            raise click.UsageError("give --config FILE, --history URL or --web URL")
        asked = past

        async def work(reactor: Any) -> Mapping[str, Any] | None:
            return await asked(reactor, uuid)

        life = run(work)
    except QuebertError as e:
        raise click.ClickException(one_line(str(e))) from None
    if life is None:
        tell_of_beginning(uuid)
        raise click.ClickException(f"the history knows no task {one_line(uuid)}")
    if as_json:
        echo_object(dict(life))
        return
    for line in life_lines(life):
        echo(line)
