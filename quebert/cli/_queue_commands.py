"""
C{quebert pause}, C{resume} and C{purge}: from options to what is asked for,
and from what came of it to words.
"""

from __future__ import annotations

from typing import Any

import click

from quebert import operations
from quebert.amqp.coordination import AGAIN
from quebert.cli._operating import (
    amqp_url_option,
    confirmed,
    needs_yes,
    queue_argument,
    run_operation,
    tell_problems,
    whoami,
    yes_option,
)
from quebert.cli._progress_bar import ProgressBar
from quebert.cli._terminal import echo, echo_object, json_option
from quebert.operations import Progress, Status

__all__ = ["pause", "purge", "resume"]


@click.command()
@queue_argument
@click.option(
    "--missing-ok",
    is_flag=True,
    help="Pause it also if it does not exist: its mediators then begin with a pause.",
)
@amqp_url_option
@json_option
def pause(*, queue: str, missing_ok: bool, amqp_url: str | None, as_json: bool) -> None:
    """
    Have mediators begin nothing more of QUEUE, until it is resumed.

    What runs may finish. Tasks can be added all the while, and wait.
    """
    now = run_operation(
        amqp_url,
        lambda broker: operations.pause(
            broker, queue, missing_ok=missing_ok, by=whoami()
        ),
    )
    if now.paused is False:
        raise click.ClickException(f"somebody has resumed {queue} meanwhile")
    problems = [*now.problems]
    if now.consumers:
        problems.append(
            f"{now.consumers} consumers of {queue} have not stopped yet; mediators that"
            f" may not be told stop within {AGAIN:.0f} seconds, and those that are no"
            " mediators of quebert will not stop"
        )
    if as_json:
        echo_object({**_plain(queue, now), "paused": True, "problems": problems})
    else:
        echo(f"paused, {_waiting(queue, now)}")
    tell_problems(problems)


@click.command()
@queue_argument
@amqp_url_option
@json_option
def resume(*, queue: str, amqp_url: str | None, as_json: bool) -> None:
    """
    Have QUEUE go on after a pause.
    """
    before = run_operation(amqp_url, lambda broker: operations.resume(broker, queue))
    if before.exists is False and before.paused is False:
        raise click.ClickException(f"there is no queue {queue}, nor a pause of it")
    if as_json:
        told = {"paused": False, "was_paused": before.paused}
        echo_object({**_plain(queue, before), **told, "problems": [*before.problems]})
    else:
        word = "was not paused" if before.paused is False else "resumed"
        echo(f"{word}, {_waiting(queue, before)}")
    tell_problems(before.problems)


@click.command()
@queue_argument
@yes_option
@amqp_url_option
@json_option
def purge(*, queue: str, yes: bool, amqp_url: str | None, as_json: bool) -> None:
    """
    Drop what waits in QUEUE, for ever.

    Not what runs, nor what waits elsewhere for its time. It asks first, and then drops
    as many tasks as it has said, the oldest ones, one by one; with --yes it drops all
    that wait, at once. With --json it needs --yes.
    """
    needs_yes(yes, as_json)

    def sure(now: Status) -> bool:
        return confirmed(f"{_waiting(queue, now)}: drop it for ever?")

    bar = ProgressBar("purged")
    progress = Progress(watch=bar)
    ask = None if yes else sure
    try:
        purged = run_operation(
            amqp_url, lambda broker: operations.purge(broker, queue, progress, ask)
        )
        if not purged:
            raise click.Abort
    finally:
        bar.end()
        if as_json:
            echo_object({"queue": queue, "purged": progress.done})
        elif progress.ended or progress.done:
            echo(f"purged {progress.done} of {queue}")


def _plain(queue: str, now: Status) -> dict[str, Any]:
    return {"queue": queue, "waiting": now.ready, "consumers": now.consumers}


def _waiting(queue: str, now: Status) -> str:
    if now.consumers is None:
        return f"an unknown number waiting in {queue}"
    if now.ready is None:
        return f"there is no queue {queue} yet"
    return f"{now.ready} waiting in {queue}"
