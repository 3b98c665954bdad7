"""
C{quebert pause}, C{resume}, C{purge} and C{status}: from options to what is asked for,
and from what came of it to words.
"""

from __future__ import annotations

import click

from quebert import operations
from quebert.amqp.coordination import AGAIN
from quebert.amqp.delays import arrivals_of
from quebert.cli._operating import (
    amqp_url_option,
    confirmed,
    queue_argument,
    run_operation,
    tell_problems,
    yes_option,
)
from quebert.cli._progress_bar import ProgressBar
from quebert.cli._terminal import echo
from quebert.operations import Progress, Status

__all__ = ["pause", "purge", "resume", "status"]


@click.command()
@queue_argument
@amqp_url_option
def pause(*, queue: str, amqp_url: str | None) -> None:
    """
    Have nothing more of QUEUE begun, by any mediator, until it is resumed.

    What runs may finish. Tasks can be added all the while, and wait.
    """
    now = run_operation(amqp_url, lambda broker: operations.pause(broker, queue))
    if now.paused is False:
        raise click.ClickException(f"somebody has resumed {queue} meanwhile")
    echo(f"paused, {_waiting(queue, now)}")
    problems = [*now.problems]
    if now.consumers:
        problems.append(
            f"{now.consumers} consumers of {queue} have not stopped yet; mediators that"
            f" may not be told stop within {AGAIN:.0f} seconds, and those that are no"
            " mediators of quebert will not stop"
        )
    tell_problems(problems)


@click.command()
@queue_argument
@amqp_url_option
def resume(*, queue: str, amqp_url: str | None) -> None:
    """
    Have QUEUE go on after a pause.
    """
    before = run_operation(amqp_url, lambda broker: operations.resume(broker, queue))
    word = "was not paused" if before.paused is False else "resumed"
    echo(f"{word}, {_waiting(queue, before)}")
    tell_problems(before.problems)


@click.command()
@queue_argument
@yes_option
@amqp_url_option
def purge(*, queue: str, yes: bool, amqp_url: str | None) -> None:
    """
    Drop what waits in QUEUE, for ever.

    Not what runs, nor what waits elsewhere for its time. It asks first, and then drops
    as many tasks as it has said, the oldest ones, one by one; with --yes it drops all
    that wait, at once.
    """

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
        if progress.ended or progress.done:
            echo(f"purged {progress.done} of {queue}")


@click.command()
@queue_argument
@amqp_url_option
def status(*, queue: str, amqp_url: str | None) -> None:
    """
    Show the state of QUEUE: messages, consumers, pause and dead letters.
    """
    now = run_operation(amqp_url, lambda broker: operations.status(broker, queue))
    missing = now.ready is None and now.consumers is not None
    nothing = not (now.dead or now.paused or now.arrived or now.problems)
    if missing and nothing:
        _tell_unclaimed(now)
        raise click.ClickException(f"there is no queue {queue}")
    echo(f"waiting    {_known(0 if missing else now.ready)}")
    echo(f"consumers  {_known(now.consumers)}")
    echo(f"paused     {_known(now.paused)}")
    echo(f"dead       {_known(now.dead)}")
    if now.arrived:
        why = "the queue takes none for now" if now.consumers else "nobody consumes"
        where = f"due, in {arrivals_of(queue)}: {why}"
        echo(f"arrived    {now.arrived} ({where})")
    _tell_unclaimed(now)
    tell_problems(now.problems)


def _tell_unclaimed(now: Status) -> None:
    if now.unclaimed:
        where = "due, of all queues that were not there then; see quebert doctor"
        echo(f"unclaimed  {now.unclaimed} ({where})")


def _known(value: int | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)


def _waiting(queue: str, now: Status) -> str:
    if now.consumers is None:
        return f"an unknown number waiting in {queue}"
    if now.ready is None:
        return f"there is no queue {queue} yet"
    return f"{now.ready} waiting in {queue}"
