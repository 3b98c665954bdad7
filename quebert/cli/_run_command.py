"""
C{quebert run}: the mediators of a configuration file, in the foreground.
"""

from __future__ import annotations

from typing import Any

import click
from twisted.python.usage import UsageError

from quebert.cli._running import one_line
from quebert.cli._terminal import echo
from quebert.config import LOG_FORMATS, LOG_LEVELS, MOST_PROCESSES

__all__ = ["run"]


@click.command()
@click.argument("file", type=click.Path(), metavar="FILE.toml")
@click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    metavar="N",
    help="How many processes do it; by default as many as the file says, or 1.",
)
@click.option(
    "--web",
    metavar="[ADDRESS:]PORT",
    help="Where metrics and health are shown over HTTP; by default where the file says,"
    " or nowhere.",
)
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    help="How much is logged; by default what the file says, or info.",
)
@click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    help="How; by default what the file says, or text.",
)
@click.option(
    "--log-tasks/--no-log-tasks",
    default=None,
    help="Log a line for each task that is done, or none; by default what the file"
    " says, or a line.",
)
def run(*, file: str, log_tasks: bool | None, **said: Any) -> None:
    """
    Run the mediators of a configuration file, for containers and systemd.

    It stays in the foreground and logs to standard error. SIGTERM and Ctrl-C end it,
    when running requests have ended; SIGHUP has the file read again.
    """
    from quebert.service import Options
    from quebert.service import run as run_service

    if not file.endswith(".toml"):
        raise click.UsageError("FILE must be a configuration file, FILE.toml")
    if log_tasks is not None:
        said["log_tasks"] = "yes" if log_tasks else "no"
    options: Any = Options()
    given = {name.replace("_", "-"): value for name, value in said.items()}
    arguments = [f"--{name}={value}" for name, value in given.items() if value]
    try:
        options.parseOptions([f"--config={file}", *arguments])
    except UsageError as e:  # a line for each thing that is wrong with the file
        for line in str(e).splitlines():
            echo(one_line(line), err=True)
        raise SystemExit(1) from None
    run_service(options)
