"""
C{quebert tail}: from its options to attempts, and from these to lines.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress

import attrs
import click

from quebert import operations
from quebert._text import cut, printable
from quebert.cli._amounts import duration
from quebert.cli._looking import config_option, settings_of
from quebert.cli._operating import amqp_url_option, run_operation
from quebert.cli._paced_output import PacedOutput
from quebert.cli._running import one_line
from quebert.cli._terminal import echo, json_option, wants_colour
from quebert.errors import BrokerError, ConfigError
from quebert.events import OUTCOMES, AttemptRecord, Gap
from quebert.operations import AttemptFilter, BrokerAccess

__all__ = ["line", "tail"]

_COLOURS = {
    "done": "green",
    "retry": "yellow",
    "postponed": "cyan",
    "expired": "red",
    "discarded": "red",
    "buried": "red",
    "cancelled": "magenta",
}
# Characters of a URL and of a reason in a line.
_LONGEST = 300


@click.command()
@click.option(
    "--queue", "queues", metavar="QUEUE", multiple=True, help="Only of QUEUE."
)
@click.option(
    "--status",
    "statuses",
    metavar="STATUS",
    multiple=True,
    help="Only with this status of the answer, such as 503 or 5xx; none for no answer.",
)
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice(OUTCOMES),
    multiple=True,
    help="Only with this outcome.",
)
@click.option("--url", metavar="TEXT", default="", help="Only with TEXT in the URL.")
@config_option
@amqp_url_option
@json_option
def tail(
    *,
    queues: tuple[str, ...],
    statuses: tuple[str, ...],
    outcomes: tuple[str, ...],
    url: str,
    config: str | None,
    amqp_url: str | None,
    as_json: bool,
) -> None:
    """
    Write a line for each attempt of all mediators, as it ends, until Ctrl-C.

    The options --queue, --status and --outcome can be given several times. If the
    lines are read too slowly, it tells how many attempts are missing.
    """
    settings = settings_of(config, as_json)
    if settings is not None:
        queues = queues or tuple(settings.queues)
    try:
        wanted = AttemptFilter(queues, statuses, outcomes, url)
    except ConfigError as e:
        raise click.UsageError(str(e)) from None

    def say() -> None:
        if not as_json:  # nor to whoever reads the lines
            which = ", ".join(queues) or "all queues"
            echo(f"attempts of {which}, until Ctrl-C", err=True)

    def tell(why: BrokerError | None) -> None:
        text = "attempts are read again" if why is None else f"no attempts now: {why}"
        echo(one_line(text), err=True)

    async def work(broker: BrokerAccess) -> None:
        writer = _AttemptWriter(PacedOutput(broker.reactor), as_json, wants_colour())
        await operations.follow(broker, writer, wanted, say, tell)

    configured = None if settings is None else settings.broker
    with suppress(KeyboardInterrupt):  # that is how it ends
        run_operation(amqp_url, work, configured)


class _AttemptWriter:
    """
    Writes attempts.
    """

    def __init__(self, output: PacedOutput, as_json: bool, colours: bool) -> None:
        self._output = output
        self._as_json = as_json
        self._colours = colours

    async def __call__(
        self, mediator: str, records: list[AttemptRecord], gap: Gap | None
    ) -> None:
        lines = [self._line(mediator, each) for each in records]
        if gap is not None:
            lines.insert(0, self._gap(mediator, gap))
        await self._output.write("".join(f"{each}\n" for each in lines))

    def _line(self, mediator: str, record: AttemptRecord) -> str:
        if self._as_json:
            fields = attrs.asdict(record, recurse=False)
            return json.dumps({**fields, "mediator": mediator})
        return line(record, self._colours)

    def _gap(self, mediator: str, gap: Gap) -> str:
        if self._as_json:
            told = {"missing": gap.count, "since": gap.since, "until": gap.until}
            return json.dumps({**told, "mediator": mediator})
        return printable(f"--- {gap.count} attempts of mediator {mediator} are missing")


def line(record: AttemptRecord, colours: bool = False) -> str:
    """
    One attempt on one line.
    """
    word = f"{record.outcome:9}"
    if colours:
        word = click.style(word, fg=_COLOURS.get(record.outcome))
    status = "-" if record.status is None else str(record.status)
    took = duration(max(0.0, record.ended - record.started))
    names = (record.uuid or "-", record.url, record.queue)
    uuid, url, queue = (printable(cut(each, _LONGEST)) for each in names)
    text = (
        f"{_clock(record.ended)} {word} {status:>3} {took:>6}"
        f" #{record.number} {queue} {uuid} {url}"
    )
    if record.reason:
        text += f" {printable(cut(record.reason, _LONGEST))}"
    if record.retry_at is not None:
        text += f"; again at {_clock(record.retry_at)}"
    return text


def _clock(when: float) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(when))
    except (ValueError, OverflowError, OSError):
        return "?"
