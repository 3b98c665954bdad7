"""
C{quebert check}: whether a configuration file is right.
"""

from __future__ import annotations

import click

from quebert.amqp._tls import creator
from quebert.cli._running import one_line
from quebert.config import BadConfig, read
from quebert.errors import ConfigError

__all__ = ["check"]

# By the value of quorum_delays.
_DELAYS = {
    None: "quorum queues if RabbitMQ has them (3.10 and newer)",
    True: "quorum queues, as configured",
    False: "classic queues, as configured: RabbitMQ may lose some when it stops",
}


@click.command()
@click.argument("file", type=click.Path())
def check(*, file: str) -> None:
    """
    Check a configuration FILE, and do nothing else.

    Tells all that is wrong, a line each, and exits with 1. Hooks are imported, and
    secrets and certificates looked for, but no broker is asked.
    """
    from quebert.service._mediators import find_hook

    try:
        settings = read(file, find=find_hook)
        if settings.broker.tls is not None:
            creator(settings.broker.tls, settings.broker.addresses[0].host)
    except BadConfig as e:
        for each in e.problems:
            click.echo(one_line(str(each)), err=True)
        raise SystemExit(1) from None
    except ConfigError as e:
        click.echo(one_line(f"{file}: broker.tls is wrong: {e}"), err=True)
        raise SystemExit(1) from None
    count = len(settings.queues)
    names = ", ".join(settings.queues)
    click.echo(one_line(f"fine: {count} queue{'s' * (count != 1)}: {names}"))
    click.echo(f"delayed tasks wait in {_DELAYS[settings.quorum_delays]}")
