"""
C{quebert dead}: the commands for dead letters, from options to what is asked for, and
from what came of it to words.
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from quebert import operations
from quebert.amqp.queues import dead_letters_of
from quebert.cli._dead import Listing, plain, whole
from quebert.cli._operating import (
    amqp_url_option,
    confirmed,
    needs_yes,
    queue_argument,
    run_operation,
    yes_option,
)
from quebert.cli._progress_bar import counting, tell_unseen
from quebert.cli._terminal import Groups, echo, echo_object, json_option
from quebert.errors import ConfigError
from quebert.operations import Match, Progress

__all__ = ["dead"]


def _parse(
    context: click.Context, option: click.Parameter, texts: Iterable[str]
) -> list[Match]:
    try:
        return [Match.parse(text) for text in texts]
    except ConfigError as e:
        raise click.UsageError(f"--match {e}") from None


_matches = click.option(
    "--match",
    "matches",
    metavar="FIELD=TEXT",
    multiple=True,
    callback=_parse,
    help="Only dead letters that match. If given several times, all must match. FIELD"
    " is kind, reason, status, answer, attempts, uuid or url. = compares the whole"
    " text, where * stands for anything; ~ looks for a part; != and !~ negate.",
)


@click.group(cls=Groups)
def dead() -> None:
    """
    What was given up: list, show, redrive or discard it.

    QUEUE is the queue that it was in; it is in QUEUE.dead now.
    """


@dead.command("list")
@queue_argument
@_matches
@click.option(
    "--first",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How many of them are shown.",
)
@amqp_url_option
@json_option
def list_(
    *,
    queue: str,
    matches: list[Match],
    first: int,
    amqp_url: str | None,
    as_json: bool,
) -> None:
    """
    Count what is dead of QUEUE by kind and reason, and show the first ones.
    """
    listing = Listing(first)
    progress = run_operation(
        amqp_url,
        lambda broker: operations.browse(broker, queue, matches, listing.add),
    )
    if as_json:
        unseen = max(0, progress.total - progress.seen)
        echo_object({"queue": queue, **listing.plain, "unseen": unseen})
    else:
        if not listing.kinds and not progress.others:
            echo(f"nothing {_that(matches)}is dead in {dead_letters_of(queue)}")
        for line in listing.lines() if listing.kinds else ():
            echo(line)
        tell_unseen(progress)
    if progress.others:
        raise click.ClickException(operations.held_by_others(dead_letters_of(queue)))


@dead.command()
@queue_argument
@_matches
@click.option(
    "--secrets",
    is_flag=True,
    help="Show Authorization and the like, and passwords in URLs, too.",
)
@amqp_url_option
@json_option
def show(
    *,
    queue: str,
    matches: list[Match],
    secrets: bool,
    amqp_url: str | None,
    as_json: bool,
) -> None:
    """
    Show the first that is dead of QUEUE, and matches, whole.
    """
    progress = Progress()
    letter = run_operation(
        amqp_url, lambda broker: operations.find(broker, queue, matches, progress)
    )
    if letter is None and progress.others:
        raise click.ClickException(operations.held_by_others(dead_letters_of(queue)))
    if letter is None:
        raise click.ClickException(
            f"nothing {_that(matches)}is dead in {dead_letters_of(queue)}"
        )
    if as_json:
        echo_object({"queue": queue, **plain(letter, secrets)})
        return
    for line in whole(letter, secrets):
        echo(line)


@dead.command()
@queue_argument
@_matches
@amqp_url_option
@json_option
def redrive(
    *, queue: str, matches: list[Match], amqp_url: str | None, as_json: bool
) -> None:
    """
    Put what is dead of QUEUE, and matches, back into it, to begin anew.

    It takes what is there when it begins. It may be ended at any time, and run
    again for the rest.
    """
    with counting("redriven", queue, as_json) as progress:
        run_operation(
            amqp_url,
            lambda broker: operations.redrive(broker, queue, matches, progress),
        )


@dead.command()
@queue_argument
@_matches
@yes_option
@amqp_url_option
@json_option
def discard(
    *,
    queue: str,
    matches: list[Match],
    yes: bool,
    amqp_url: str | None,
    as_json: bool,
) -> None:
    """
    Drop what is dead of QUEUE, and matches, for ever.

    It asks first, unless --yes is given. With --json it needs --yes.
    """
    needs_yes(yes, as_json)
    dead, declined = dead_letters_of(queue), False

    def sure(count: int) -> bool:
        nonlocal declined
        declined = not confirmed(f"Discard {count} of {dead} for ever?")
        return not declined

    with counting("discarded", queue, as_json) as progress:
        ask = None if yes else sure
        run_operation(
            amqp_url,
            lambda broker: operations.discard(broker, queue, matches, progress, ask),
        )
        if declined:
            raise click.Abort
    if progress.missing and not as_json:
        echo(f"{progress.missing} more are not there any more")


def _that(matches: list[Match]) -> str:
    return "that matches " if matches else ""
