"""
What the C{quebert} commands write to a terminal.

All of it goes through this module, since tasks, answers and brokers choose parts of it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from textwrap import wrap
from traceback import walk_tb
from typing import Any, NoReturn, TextIO

import click

from quebert._log import traceback_of
from quebert._text import printable
from quebert.cli._running import OutputLost, one_line

__all__ = [
    "Commands",
    "Groups",
    "confirm",
    "echo",
    "echo_object",
    "echo_word",
    "is_terminal",
    "json_option",
    "redraw",
    "wants_colour",
]

#: For every command that tells something.
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Write JSON: one object in a line. An error is one on standard error.",
)
# Has a terminal forget what it shows, and go to its upper left corner.
_CLEAR = "\x1b[2J\x1b[H"
# Characters of a summary in a list of commands, which may take several lines.
_LONGEST_SUMMARY = 300


def echo(line: str, err: bool = False) -> None:
    """
    Write a line, of any length.

    @param err: to standard error, and go on if that takes nothing.
    @raise OutputLost: standard output takes nothing.
    """
    with suppress(*([OutputLost] if err else [])), _written_to(err):
        click.echo(printable(line), err=err, color=_colour())


def echo_object(told: dict[str, Any]) -> None:
    """
    Write an object of JSON in a line, in ASCII alone.

    @raise OutputLost: standard output takes nothing.
    """
    echo(json.dumps(told, default=str))


def echo_word(
    word: str, colour: str | None, columns: int, line: str, needed: bool = False
) -> None:
    """
    Write a word in colour, and a line after it.

    @param columns: that the word takes at least.
    @param needed: whether the command is for nothing if nobody reads it.
    @raise OutputLost: it is needed, and standard output takes nothing.
    """
    with suppress(*([] if needed else [OutputLost])), _written_to(err=False):
        coloured = click.style(f"{printable(word):{columns}}", fg=colour)
        click.echo(f"{coloured} {printable(line)}", color=_colour())


def redraw(lines: Sequence[str]) -> None:
    """
    Have the terminal show these lines, as far as it has room, and nothing else.

    @raise OutputLost: it takes nothing.
    """
    columns, rows = shutil.get_terminal_size()
    wrapped = [wrap(printable(each), columns) or [""] for each in lines]
    shown = [*chain.from_iterable(wrapped)][: rows - 1]
    with _written_to(err=False):
        click.echo(_CLEAR + "\n".join(shown))


def confirm(question: str) -> bool:
    """
    Ask, and wait for the answer.

    @raise click.Abort: there is none.
    @raise OutputLost: standard output takes no question.
    """
    if sys.stdin is None or sys.stdout is None:  # it is closed
        raise click.Abort
    with _written_to(err=False):
        try:
            return click.confirm(printable(question))
        finally:
            sys.stdout.flush()  # the question, if nobody has read it


def is_terminal(stream: TextIO | None) -> bool:
    """
    Whether a person sees what is written to a standard stream.

    @param stream: C{None} if it is closed.
    """
    return stream is not None and stream.isatty()


def wants_colour() -> bool:
    """
    Whether standard output is a terminal, and the user wants colours.
    """
    return _colour() is None and is_terminal(sys.stdout)


def _colour() -> bool | None:
    """
    C{False} where U{NO_COLOR<https://no-color.org>} is set; else it is for click to
    find out whether there is a terminal.
    """
    return False if os.environ.get("NO_COLOR") else None


@contextmanager
def _written_to(err: bool) -> Iterator[None]:
    """
    Notice that a stream takes nothing more.

    @raise OutputLost: it does not.
    """
    try:
        yield
    except OSError as e:
        _abandon(sys.stderr if err else sys.stdout)
        raise OutputLost(e) from None


def _abandon(stream: Any) -> None:
    """
    Have the stream write to nowhere what it has, since Python would try it again at its
    end, and complain.
    """
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _ErrorAsJSON(click.ClickException):
    """
    An error of a command that writes JSON.
    """

    def __init__(self, error: click.ClickException) -> None:
        super().__init__(one_line(error.format_message()))
        self.exit_code: int = error.exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """
        Write it.
        """
        echo(json.dumps({"error": self.message}), err=True)


class Groups(click.Group):
    """
    Commands whose summaries are whole sentences in a help text, where click cuts them.
    """

    def format_commands(self, ctx: Any, formatter: click.HelpFormatter) -> None:
        """
        Write the list of commands.
        """
        rows = [
            (name, command.get_short_help_str(_LONGEST_SUMMARY))
            for name, command in sorted(self.commands.items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Commands(Groups):
    """
    The commands, with whatever they fail with told so that it can be printed.
    """

    def main(self, *args: Any, **how: Any) -> Any:
        """
        Run the command line.
        """
        try:
            return super().main(*args, **how)
        except OSError as e:  # click could not write a help text, or an error
            _end_without_output(OutputLost(e))
        except OutputLost as e:
            _end_without_output(e)

    def invoke(self, context: click.Context) -> Any:
        """
        Call a command.

        @raise click.ClickException: it failed, and says why.
        """
        as_json = "--json" in context.args
        try:
            return super().invoke(context)
        except click.ClickException as e:
            if as_json:
                raise _ErrorAsJSON(e) from None
            text = one_line(e.format_message())
            if isinstance(e, click.UsageError):
                raise click.UsageError(text, e.ctx) from None
            raise click.ClickException(text) from None
        except click.Abort:
            if as_json:
                raise _ErrorAsJSON(click.ClickException("aborted")) from None
            raise
        except (click.exceptions.Exit, BrokenPipeError, OutputLost):
            raise  # which click and main know
        except Exception as e:
            if isinstance(e, OSError) and _was_click_writing(e):
                raise OutputLost(e) from None
            for line in traceback_of(e).splitlines():
                echo(line, err=True)
            raise SystemExit(1) from None


def _was_click_writing(error: OSError) -> bool:
    """
    Whether click itself could not write, such as the help text of a command.
    """
    *_, (last, _) = walk_tb(error.__traceback__)
    return last.f_globals.get("__name__") == "click.utils"


def _end_without_output(lost: OutputLost) -> NoReturn:
    """
    Say why, unless the reader of a pipe has gone, which is common.
    """
    _abandon(sys.stdout)
    if lost.error.errno != errno.EPIPE:
        echo(f"Error: {lost}", err=True)
    raise SystemExit(1)
