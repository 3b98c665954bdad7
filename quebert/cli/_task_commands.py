"""
C{quebert cancel} and C{run-now}: from options to what is asked for, and from what came
of it to words.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import click

from quebert import operations
from quebert.cli._operating import (
    amqp_url_option,
    confirmed,
    needs_yes,
    queue_argument,
    run_operation,
    tell_of_beginning,
    tell_problems,
    whoami,
    yes_option,
)
from quebert.cli._progress_bar import ProgressBar
from quebert.cli._terminal import echo, echo_object, json_option
from quebert.errors import ConfigError
from quebert.operations import BrokerAccess, Match, Progress, check_waiting

__all__ = ["cancel", "run_now"]

_WORDS = {
    operations.CANCELLED: "cancelled",
    operations.MARKED: "marked",
    operations.NOT_FOUND: "not found",
    operations.TOO_LATE: "too late",
    operations.RUNS_NOW: "running",
    operations.NOT_DELAYED: "not delayed",
}
# With these, a task is as it was asked for.
_DONE = {operations.CANCELLED, operations.MARKED, operations.RUNS_NOW}


_most = click.option(
    "--most",
    type=click.IntRange(0),
    default=operations.MOST,
    show_default=True,
    help="How many delayed tasks are looked at, of all queues, for each UUID.",
)


def _parse(
    context: click.Context, option: click.Parameter, texts: Iterable[str]
) -> list[Match]:
    try:
        matches = [Match.parse(text) for text in texts]
        check_waiting(matches)
        return matches
    except ConfigError as e:
        raise click.UsageError(f"--match {e}") from None


@click.command()
@queue_argument
@click.argument("uuids", metavar="[UUID]...", nargs=-1)
@click.option(
    "--match",
    "matches",
    metavar="FIELD=TEXT",
    multiple=True,
    callback=_parse,
    help="All tasks that match, in place of UUIDs. If given several times, all must"
    " match. FIELD is uuid, url, attempts or status (of the last answer). = compares"
    " the whole text, where * stands for anything; ~ looks for a part; != and !~"
    " negate.",
)
@_most
@yes_option
@amqp_url_option
@json_option
def cancel(
    *,
    queue: str,
    uuids: tuple[str, ...],
    matches: list[Match],
    most: int,
    yes: bool,
    amqp_url: str | None,
    as_json: bool,
) -> None:
    """
    Have no mediator begin an attempt at tasks of QUEUE.

    For each UUID it says "cancelled" if the task was not attempted, or is not tried
    again; "too late" if a mediator is attempting it, which is the last attempt then;
    "marked" if nobody knows whether it was attempted before; and "not found".

    With --match it asks first, unless --yes is given. With --json it needs --yes then.
    """
    if bool(uuids) == bool(matches):
        raise click.UsageError("give UUIDs or --match, and not both")
    if matches:
        _cancel_all(queue, matches, yes, amqp_url, as_json)
        return
    results: set[str] = set()

    async def cancel_each(broker: BrokerAccess) -> None:
        for uuid in uuids:
            told = await operations.cancel(broker, queue, uuid, by=whoami(), most=most)
            _tell(queue, told, as_json)
            results.add(told.result)

    run_operation(amqp_url, cancel_each)
    if results - _DONE:
        raise SystemExit(1)


def _cancel_all(
    queue: str, matches: list[Match], yes: bool, amqp_url: str | None, as_json: bool
) -> None:
    needs_yes(yes, as_json)
    if not yes and not confirmed(f"Cancel all tasks of {queue} that match?"):
        raise click.Abort
    bar = ProgressBar("looked at")
    progress = Progress(watch=bar)
    try:
        told = run_operation(
            amqp_url,
            lambda broker: operations.cancel_all(
                broker, queue, matches, by=whoami(), progress=progress
            ),
        )
    finally:
        bar.end()
    if as_json:
        echo_object({"queue": queue, **attrs.asdict(told), "seen": progress.seen})
    else:
        echo(f"cancelled {told.cancelled} of {queue}")
        if told.too_late:
            echo(f"{told.too_late} are being attempted, and are not tried again")
    tell_problems(told.problems)


@click.command("run-now")
@queue_argument
@click.argument("uuid")
@_most
@amqp_url_option
@json_option
def run_now(
    *, queue: str, uuid: str, most: int, amqp_url: str | None, as_json: bool
) -> None:
    """
    Have the task UUID of QUEUE run, although its time has not come.

    It was delayed, or waits to be tried again. Pauses, rates and other limits hold it
    up as any other task.
    """
    told = run_operation(
        amqp_url, lambda broker: operations.run_now(broker, queue, uuid, most=most)
    )
    _tell(queue, told, as_json)
    if told.result not in _DONE:
        raise SystemExit(1)


def _tell(
    queue: str, told: operations.Cancelled | operations.RunNow, as_json: bool
) -> None:
    if as_json:
        echo_object({"queue": queue, **attrs.asdict(told)})
        return
    echo(f"{_WORDS[told.result]}: {told.uuid}: {told.text}")
    if told.result == operations.NOT_FOUND:
        tell_of_beginning(told.uuid)
    for problem in told.problems:
        echo(problem, err=True)
