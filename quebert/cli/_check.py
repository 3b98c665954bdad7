"""
C{quebert check}: whether a configuration file is right.
"""

from __future__ import annotations

import click

from quebert.cli._running import one_line
from quebert.config import BadConfig, read
from quebert.service._mediators import find_hook

__all__ = ["check"]


@click.command()
@click.argument("file", type=click.Path())
def check(*, file: str) -> None:
    """
    Check a configuration FILE, and do nothing else.

    Tells all that is wrong, a line each, and exits with 1. Hooks are imported, and
    secrets looked for, but no broker is asked.
    """
    try:
        settings = read(file, find=find_hook)
    except BadConfig as e:
        for each in e.problems:
            click.echo(one_line(str(each)), err=True)
        raise SystemExit(1) from None
    count = len(settings.queues)
    names = ", ".join(settings.queues)
    click.echo(one_line(f"fine: {count} queue{'s' * (count != 1)}: {names}"))
