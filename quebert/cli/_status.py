"""
C{quebert status}: from its options to a look at queues, and from an L{Overview} to
lines, to a table or to JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

import attrs
import click
from twisted.internet.task import deferLater

from quebert import operations
from quebert.amqp.delays import arrivals_of
from quebert.cli._columns import columns
from quebert.cli._operating import (
    amqp_url_option,
    run_operation,
    tell_problems,
)
from quebert.cli._terminal import echo, echo_object, json_option, redraw
from quebert.config import BadConfig, Settings, management_url, read
from quebert.errors import BrokerError, ConfigError
from quebert.operations import BrokerAccess, Due, Overview, Status

__all__ = ["status"]

# Seconds between two looks.
_AGAIN = 1.0
# What is told of each queue, by the names of L{Status}: in lines, and over the columns
# of a table.
_NAMES = {
    "ready": "waiting",
    "running": "running",
    "retrying": "retrying",
    "delayed": "delayed",
    "dead": "dead",
    "paused": "paused",
    "consumers": "consumers",
    "rate_in": "in/s",
    "rate_out": "out/s",
}
_DUE = {"minute": "<1min", "hour": "<1h", "day": "<1d", "later": "later"}


def _management(
    context: click.Context, option: click.Parameter, text: str | None
) -> str | None:
    try:
        return None if text is None else management_url(text)
    except ConfigError as e:
        raise click.UsageError(f"--management-url {e}") from None


@click.command()
@click.argument("queues", metavar="[QUEUE]...", nargs=-1)
@click.option(
    "--config",
    type=click.Path(),
    metavar="FILE",
    help="The configuration file of the mediator: its broker, and all its queues unless"
    " some are named.",
)
@amqp_url_option
@click.option(
    "--management-url",
    metavar="URL",
    callback=_management,
    help="Where RabbitMQ's management API is; by default as FILE says, or on the usual"
    " port beside AMQP.",
)
@click.option(
    "--watch", is_flag=True, help="Look again every second, until Ctrl-C ends it."
)
@json_option
def status(
    *,
    queues: tuple[str, ...],
    config: str | None,
    amqp_url: str | None,
    management_url: str | None,
    watch: bool,
    as_json: bool,
) -> None:
    """
    Show the state of queues: tasks that wait, run or are dead, pauses, rates.

    What nobody tells is unknown, with the reason.
    """
    settings = None if config is None else _read(config)
    names = queues or (() if settings is None else tuple(settings.queues))
    if not names:
        raise click.UsageError("name a QUEUE, or give --config FILE for all of its")
    writer = _writer(watch, as_json)

    def work(broker: BrokerAccess) -> Coroutine[Any, Any, Overview]:
        if watch:
            return _watch(broker, names, writer)
        return operations.overview(broker, names)

    broker = None if settings is None else settings.broker
    configured = None if settings is None else settings.management_url
    try:
        found = run_operation(amqp_url, work, broker, management_url or configured)
    except KeyboardInterrupt:
        if watch:  # that is how it ends
            return
        raise
    writer.show(found)
    problems = [*found.problems, *_missing(found)]
    tell_problems([*problems, *(p for s in found.queues.values() for p in s.problems)])


def _read(config: str) -> Settings:
    try:
        return read(config)
    except BadConfig as e:
        raise click.ClickException("; ".join(map(str, e.problems))) from None


async def _watch(
    broker: BrokerAccess, names: Sequence[str], writer: _Writer
) -> Overview:
    """
    Look and write, until it is cancelled.
    """
    async with operations.observing(broker, names) as look:
        writer.show(await look())
        while True:
            await deferLater(broker.reactor, _AGAIN)
            try:
                writer.show(await look())
            except BrokerError as e:  # it may come back
                writer.fail(e)


def _missing(found: Overview) -> Iterator[str]:
    for name, now in found.queues.items():
        rest = now.dead or now.paused or now.arrived or now.problems
        if now.exists is False and not rest:
            yield f"there is no queue {name}"


# -- The ways to write


class _Writer:
    """
    Writes an overview for people, once.
    """

    def show(self, found: Overview) -> None:
        """
        Write it.
        """
        for line in _lines(found):
            echo(line)

    def fail(self, error: BrokerError) -> None:
        """
        Write why there is none.
        """
        echo(f"Error: {error}", err=True)


class _Redrawing(_Writer):
    """
    Writes them on a terminal, one over the other.
    """

    def show(self, found: Overview) -> None:
        """
        Write it in place of the one before.
        """
        redraw([f"{_now()}, until Ctrl-C", "", *_lines(found), *_missing(found)])

    def fail(self, error: BrokerError) -> None:
        """
        Write this in place of it.
        """
        redraw([f"{_now()}, until Ctrl-C", "", f"Error: {error}"])


class _PlainLines(_Writer):
    """
    Writes a line for each queue.
    """

    def show(self, found: Overview) -> None:
        """
        Write them.
        """
        for queue, now in found.queues.items():
            pairs = (f"{n}={v}" for n, v in zip(_HEAD, _cells(now), strict=True))
            echo(f"{_now()} {queue} {' '.join(pairs)}")

    def fail(self, error: BrokerError) -> None:
        """
        Write why there are none.
        """
        echo(f"{_now()} Error: {error}")


class _JSON(_Writer):
    """
    Writes an object.
    """

    def show(self, found: Overview) -> None:
        """
        Write it.
        """
        echo_object({"time": _now(), **_plain(found)})

    def fail(self, error: BrokerError) -> None:
        """
        Write one with the error.
        """
        echo_object({"time": _now(), "error": str(error)})


def _writer(watch: bool, as_json: bool) -> _Writer:
    if as_json:
        return _JSON()
    if not watch:
        return _Writer()
    return _Redrawing() if sys.stdout.isatty() else _PlainLines()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


# -- What is written


def _plain(found: Overview) -> dict[str, Any]:
    elsewhere = None
    if found.elsewhere is not None:
        elsewhere = {**attrs.asdict(found.elsewhere), "exact": found.exact}
    return {
        "queues": [_plain_queue(*each) for each in found.queues.items()],
        "elsewhere": elsewhere,
        "unclaimed": found.unclaimed,
        "management": found.management,
        "problems": [*found.problems],
    }


def _plain_queue(name: str, now: Status) -> dict[str, Any]:
    keys = {"ready": "waiting"}
    told = attrs.asdict(now, filter=lambda field, value: field.name != "unclaimed")
    unknown = {keys.get(name, name): why for name, why in now.unknown.items()}
    shown = {keys.get(name, name): value for name, value in told.items()}
    return {"queue": name, "exists": now.exists, **shown, "unknown": unknown}


def _lines(found: Overview) -> Iterator[str]:
    if len(found.queues) == 1:
        ((queue, now),) = found.queues.items()
        if now.exists is not False or not any(_missing(found)):
            yield from _lines_of_one(queue, now)
    else:
        rows = [(q, *_cells(now)) for q, now in found.queues.items()]
        yield from columns([("queue", *_HEAD), *rows])
        for queue, now in found.queues.items():
            yield from _arrived(queue, now, f"{queue}: ")
    if found.elsewhere is not None and found.elsewhere.total and not found.exact:
        due = _due(found.elsewhere)
        yield f"elsewhere  {found.elsewhere.total} of all queues, at the latest: {due}"
    if found.unclaimed:
        where = "due, of all queues that were not there then; see quebert doctor"
        yield f"unclaimed  {found.unclaimed} ({where})"
    yield from _reasons(found.queues)


def _lines_of_one(queue: str, now: Status) -> Iterator[str]:
    for name in ("ready", "running", "retrying"):
        yield f"{_NAMES[name]:10} {_told(now, name)}"
    due = "" if now.delayed is None or not now.delayed.total else _due(now.delayed)
    yield f"delayed    {_told(now, 'delayed')}{due and f': {due}'}"
    for name in ("dead", "paused", "consumers"):
        yield f"{_NAMES[name]:10} {_told(now, name)}"
    rates = _told(now, "rate_in"), _told(now, "rate_out")
    yield f"rate       {rates[0]} in, {rates[1]} out a second"
    yield from _arrived(queue, now, "")


def _arrived(queue: str, now: Status, prefix: str) -> Iterator[str]:
    if now.arrived:
        why = "the queue takes none for now" if now.consumers else "nobody consumes"
        where = f"due, in {arrivals_of(queue)}: {why}"
        yield f"{prefix}arrived    {now.arrived} ({where})"


_HEAD = (*(n for n in _NAMES.values() if n != "delayed"), *_DUE.values())


def _cells(now: Status) -> Iterator[str]:
    """
    A row of the table.
    """
    for name in _NAMES:
        if name != "delayed":
            yield _told(now, name).replace("unknown", "?")
    for name in _DUE:
        yield "?" if now.delayed is None else str(getattr(now.delayed, name))


def _due(due: Due) -> str:
    return (
        f"{due.minute} within a minute, {due.hour} within an hour, {due.day} within a"
        f" day, {due.later} later"
    )


def _told(now: Status, name: str) -> str:
    value = getattr(now, name)
    if name == "ready" and now.exists is False:
        return "0"
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value.total if isinstance(value, Due) else value)


def _reasons(queues: Mapping[str, Status]) -> Iterator[str]:
    """
    Why something is unknown: each reason once, with what it is the reason for.
    """
    reasons: dict[str, dict[str, None]] = {}
    for now in queues.values():
        for name, why in now.unknown.items():
            reasons.setdefault(why, {})[_NAMES[name]] = None
    for why, names in reasons.items():
        yield f"unknown: {', '.join(names)}: {why}"
