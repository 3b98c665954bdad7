"""
C{quebert add --from}: the tasks of a file, with a bar, a summary and an exit status.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import click

from quebert._text import what_is_wrong
from quebert._twistd import calm_garbage_collector
from quebert.bulk import FORMATS, Count, Load, load
from quebert.cli._add_one import client_of
from quebert.cli._meant_url import check_url
from quebert.cli._running import one_line, run, told_to_end
from quebert.cli._terminal import echo, is_terminal
from quebert.errors import QuebertError

__all__ = ["Many", "add_many", "format_of"]

#: The exit status of a command that Ctrl-C has ended.
INTERRUPTED = 130


@attrs.frozen
class Many:
    """
    What C{quebert add --from} was asked for.

    @ivar wait: as for L{client_of}.
    @ivar as_json: whether the summary is to be JSON.
    @ivar source: the name of the file, or C{-}.
    """

    amqp_url: str
    wait: float
    as_json: bool
    source: str
    format: str
    rejects: Path
    state: Path | None
    exchange: str
    key: str | None
    defaults: Mapping[str, Any]

    def check(self) -> None:
        """
        @raise click.UsageError: a file is given twice; one would overwrite the other.
            Or refused lines cannot be taken back from what is no file.
        """
        if self.rejects.exists() and not self.rejects.is_file():
            raise click.UsageError(f"--rejects {self.rejects} is not a regular file")
        given = [self.rejects, Path(self.source)]
        if self.state is not None:
            given.append(self.state)
        if len({each.resolve() for each in given}) < len(given):
            text = "--from, --state and --rejects must be different files"
            raise click.UsageError(text)


@contextmanager
def _opened(source: str) -> Iterator[int]:
    """
    The descriptor of a file.

    @raise click.ClickException: it cannot be opened.
    """
    if source == "-":
        if sys.stdin is None:
            raise click.ClickException("--from -: standard input is closed")
        yield sys.stdin.fileno()
        return
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise click.ClickException(f"--from {source}: {what_is_wrong(e)}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def format_of(path: str, format: str | None) -> str:
    """
    The format of a file.

    @param format: what the command line says.
    @raise click.UsageError: nobody says.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix in ("json", "ndjson"):
        suffix = "jsonl"
    found = format or suffix
    if found in FORMATS:
        return found
    names = " or ".join(f"--format={each}" for each in FORMATS)
    raise click.UsageError(f"--from {path} does not say its format: add {names}")


class _Bar:
    """
    A bar of the bytes that are read, where somebody sees it.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._at = 0

    def __call__(self, count: Count, size: int) -> None:
        """
        So far it has come.
        """
        if self._bar is None and size and is_terminal(sys.stderr):
            self._bar = click.progressbar(
                length=size, label="added", file=sys.stderr, show_percent=True
            )
        if self._bar is not None:
            self._bar.update(min(count.consumed, size) - self._at)
            self._at = min(count.consumed, size)

    def end(self) -> None:
        """
        No more.
        """
        if self._bar is not None:
            self._bar.render_finish()


def add_many(many: Many) -> int:
    """
    Add the tasks of a file, and tell what came of it.

    @return: the exit status: 0 if all are added, by this run or an earlier one.
    """
    many.check()
    with _opened(many.source) as descriptor:
        return _add_all(many, descriptor)


def _add_all(many: Many, descriptor: int) -> int:
    bar, count, error = _Bar(), Count(), ""
    asked = Load(
        "standard input" if many.source == "-" else many.source,
        descriptor,
        many.format,
        many.rejects,
        many.state,
        many.exchange,
        many.key,
        many.defaults,
        check_url,
        lambda text: echo(text, err=True),
        bar,
    )

    async def start(reactor: Any) -> None:
        told = told_to_end(reactor)
        calm_garbage_collector()
        client = client_of(reactor, many.amqp_url, many.wait)
        try:
            await load(client, asked, count, told)
        finally:
            await client.stop(0)

    try:
        run(start)
    except QuebertError as e:
        error = one_line(str(e))
    finally:
        bar.end()
    if many.as_json:
        echo(json.dumps(_object(asked, count, error)))
    elif count.read or not error:
        echo(_summary(asked, count))
    for line in _remarks(asked, count, error):
        echo(line, err=True)
    if count.ended:
        return 1 if count.refused else 0
    return 1 if error else INTERRUPTED


def _object(asked: Load, count: Count, error: str) -> dict[str, Any]:
    return {
        "read": count.read,
        "added": count.added,
        "already_there": count.there,
        "refused": count.refused,
        "maybe_twice": count.again,
        "rejects": str(asked.rejects) if count.refused else None,
        "ended": count.ended,
        "error": error or None,
    }


def _summary(asked: Load, count: Count) -> str:
    see = f" (see {asked.rejects})" if count.refused else ""
    return (
        f"read {count.read}: {count.added} added, {count.there} already there,"
        f" {count.refused} refused{see}"
    )


def _remarks(asked: Load, count: Count, error: str) -> list[str]:
    remarks = []
    if count.again:
        remarks.append(
            f"{count.again} tasks may be there twice, with the same uuids: nobody could"
            " tell whether they had been added when they were sent again"
        )
    if error:
        remarks.append(f"Error: {error}")
    if count.ended or (error and not count.read):
        return remarks
    if asked.state is not None:
        remarks.append("the rest is not added: run the same command again to go on")
    else:
        remarks.append("the rest is not added; with --state FILE one can go on")
    return remarks
