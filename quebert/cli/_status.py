"""
C{quebert status}: from its options to looks at queues, and the ways to write what they
tell.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import click
from twisted.internet.task import deferLater

from quebert import operations
from quebert.cli._looking import looked_at, looking_options
from quebert.cli._operating import run_operation, tell_problems
from quebert.cli._overview_text import HEAD, cells, lines, plain, problems
from quebert.cli._terminal import (
    echo,
    echo_object,
    is_terminal,
    json_option,
    redraw,
)
from quebert.errors import BrokerError
from quebert.operations import BrokerAccess, Overview

__all__ = ["status"]

# Seconds between two looks.
_AGAIN = 1.0


@click.command()
@looking_options
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
    seen = looked_at(queues, config, amqp_url, management_url, as_json)
    names = seen.queues
    if not names:
        raise click.UsageError("name a QUEUE, or give --config FILE for all of its")
    writer = _writer(watch, as_json)

    def work(broker: BrokerAccess) -> Coroutine[Any, Any, Overview]:
        if watch:
            return _watch(broker, names, writer)
        return operations.overview(broker, names)

    try:
        found = run_operation(amqp_url, work, seen.broker, seen.management_url)
    except KeyboardInterrupt:
        if watch:  # that is how it ends
            return
        raise
    writer.show(found)
    tell_problems([*problems(found)])


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


# -- The ways to write


class _Writer:
    """
    Writes an overview for people, once.
    """

    def show(self, found: Overview) -> None:
        """
        Write it.
        """
        for line in lines(found):
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
        wrong = (f"Error: {each}" for each in problems(found))
        redraw([f"{_now()}, until Ctrl-C", "", *lines(found), *wrong])

    def fail(self, error: BrokerError) -> None:
        """
        Write this in place of it.
        """
        redraw([f"{_now()}, until Ctrl-C", "", f"Error: {error}"])


class _PlainLines(_Writer):
    """
    Writes a line for each queue, and for each problem.
    """

    def show(self, found: Overview) -> None:
        """
        Write them.
        """
        for queue, now in found.queues.items():
            pairs = (f"{n}={v}" for n, v in zip(HEAD, cells(now), strict=True))
            echo(f"{_now()} {queue} {' '.join(pairs)}")
        for each in problems(found):
            echo(f"{_now()} Error: {each}")

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
        echo_object({"time": _now(), **plain(found)})

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
    return _Redrawing() if is_terminal(sys.stdout) else _PlainLines()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
