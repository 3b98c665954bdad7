"""
C{quebert doctor}: from its options to an examination, and from its findings to lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from twisted.logger import LogLevel

from quebert._twistd import find_hook
from quebert.cli._running import log_problems, one_line, run
from quebert.cli._terminal import echo_object, echo_word, json_option
from quebert.config import (
    EMPTY_AMQP_URL,
    BadConfig,
    Broker,
    Settings,
    chosen_amqp_url,
    read,
)
from quebert.errors import ConfigError

if TYPE_CHECKING:
    from quebert.doctor import Finding

__all__ = ["doctor"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_STATUS = {"warn": 1, "fail": 2}


@click.command()
@click.argument("config", type=click.Path(), required=False)
@click.option(
    "--amqp-url",
    metavar="URL",
    help="Where the broker is; by default as CONFIG says, or $QUEBERT_AMQP_URL, or"
    " guest at localhost.",
)
@click.option(
    "--wait",
    type=click.FloatRange(1.0),
    default=2.0,
    show_default=True,
    help="Seconds that a delayed probe may wait.",
)
@json_option
def doctor(
    *, config: str | None, amqp_url: str | None, wait: float, as_json: bool
) -> None:
    """
    Tell whether the broker, its queues and the configuration file CONFIG are sound.

    Changes nothing but probes of its own, which it removes. Exits with 0 if all is
    well, with 1 if something may do harm, with 2 if something does.
    """
    if amqp_url == "":
        raise click.UsageError(EMPTY_AMQP_URL)
    log_problems(level=LogLevel.critical)
    found = _examined(config, amqp_url, wait)
    worst = max((_STATUS.get(each.level.value, 0) for each in found), default=0)
    if as_json:
        echo_object({"status": worst, "findings": [*map(_plain, found)]})
    else:
        for each in found:
            _tell(each)
    raise SystemExit(worst)


def _examined(config: str | None, amqp_url: str | None, wait: float) -> list[Finding]:
    from quebert.doctor import Finding, Level, examine

    try:
        settings = None if config is None else read(config, find=find_hook)
        broker = _broker(settings, amqp_url)
    except BadConfig as e:
        remedy = f"mend the file; quebert check {config} reads it again"
        return [
            Finding(Level.FAIL, "configuration", str(each), remedy)
            for each in e.problems
        ]
    except ConfigError as e:
        return [Finding(Level.FAIL, "configuration", str(e), "mend it")]
    return run(lambda reactor: examine(reactor, broker, settings, wait))


def _broker(settings: Settings | None, amqp_url: str | None) -> Broker:
    if amqp_url is None and settings is not None:
        return settings.broker
    return Broker.from_url(chosen_amqp_url(amqp_url))


def _plain(finding: Finding) -> dict[str, str]:
    return {
        "level": finding.level.value,
        "about": finding.about,
        "text": finding.text,
        "remedy": finding.remedy,
    }


def _tell(finding: Finding) -> None:
    level = finding.level.value
    text = one_line(f"{finding.about}: {finding.text}")
    echo_word(level, _COLOURS.get(level), 8, text, needed=True)
    if finding.remedy:
        echo_word("", None, 8, one_line(f"→ {finding.remedy}"), needed=True)
