"""
C{quebert why}: why a task waits, or what has become of it.
"""

from __future__ import annotations

import click
from twisted.internet.task import deferLater

from quebert import operations
from quebert.cli._looking import config_option, settings_of
from quebert.cli._operating import (
    amqp_url_option,
    run_operation,
    tell_of_beginning,
)
from quebert.cli._past import attempts_in, past_of, past_options, tolerant
from quebert.cli._running import one_line
from quebert.cli._terminal import echo, echo_object, json_option
from quebert.errors import QuebertError
from quebert.operations import BrokerAccess, Live, Why

__all__ = ["why"]

# Seconds in which each mediator has told of itself once.
_HEARD = 2.5


@click.command()
@click.argument("uuid")
@click.option(
    "--queue",
    metavar="QUEUE",
    help="The queue that it is of. Without it, all are looked at of which mediators"
    " tell.",
)
@config_option
@amqp_url_option
@past_options
@json_option
def why(
    *,
    uuid: str,
    queue: str | None,
    config: str | None,
    amqp_url: str | None,
    database: str | None,
    web: str | None,
    as_json: bool,
) -> None:
    """
    Tell why the task UUID waits, or what has become of it.

    Each reason that applies is told, that which decides first. It takes some seconds,
    in which mediators tell of themselves.
    """
    settings = settings_of(config, as_json)
    try:
        past = past_of(database, web, settings)
    except QuebertError as e:
        raise click.ClickException(one_line(str(e))) from None

    async def work(broker: BrokerAccess) -> tuple[Why, str]:
        life, problem = None, ""
        if past is not None:
            life, problem = await tolerant(past, broker.reactor, uuid)
        seen = await _heard(broker, (queue,) if queue else ())
        found = await operations.why(
            broker, uuid, queue, seen=seen, attempts=attempts_in(life)
        )
        return found, problem

    found, problem = run_operation(
        amqp_url, work, None if settings is None else settings.broker
    )
    unseen = [*found.unseen, *([problem] if problem else [])]
    if as_json:
        echo_object({**found.plain, "unseen": unseen})
        return
    for each in found.reasons:
        echo(f"{each.reason:16} {one_line(each.text)}")
    if found.reasons[0].reason == "not_found":
        tell_of_beginning(uuid)
    for sentence in unseen:
        echo(f"{'not seen:':16} {one_line(sentence)}")


async def _heard(broker: BrokerAccess, queues: tuple[str, ...]) -> Live:
    """
    What mediators tell of themselves.
    """
    async with operations.live(broker, queues) as view:
        await view()
        await deferLater(broker.reactor, _HEARD)
        return await view()
