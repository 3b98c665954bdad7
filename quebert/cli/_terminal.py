"""
What the C{quebert} commands write to a terminal.

All of it goes through this module, since tasks, answers and brokers choose parts of it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from quebert._log import traceback_of
from quebert._text import printable
from quebert.cli._running import one_line

__all__ = ["Commands", "confirm", "echo", "echo_word"]


def echo(line: str, err: bool = False) -> None:
    """
    Write a line, of any length.

    @param err: to standard error.
    """
    click.echo(printable(line), err=err)


def echo_word(word: str, colour: str | None, columns: int, line: str) -> None:
    """
    Write a word in colour, and a line after it.

    @param columns: that the word takes at least.
    """
    with suppress(OSError):  # whoever read it may have gone
        coloured = click.style(f"{printable(word):{columns}}", fg=colour)
        click.echo(f"{coloured} {printable(line)}")


def confirm(question: str) -> bool:
    """
    Ask, and wait for the answer.

    @raise click.Abort: there is none.
    """
    return click.confirm(printable(question))


class Commands(click.Group):
    """
    The commands, with whatever they fail with told so that it can be printed.
    """

    def invoke(self, context: click.Context) -> Any:
        """
        Call a command.

        @raise click.ClickException: it failed, and says why.
        """
        try:
            return super().invoke(context)
        except click.UsageError as e:
            raise click.UsageError(one_line(e.format_message()), e.ctx) from None
        except click.ClickException as e:
            raise click.ClickException(one_line(e.format_message())) from None
        except (click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise  # which click knows
        except Exception as e:
            click.echo(traceback_of(e), err=True, nl=False)
            raise SystemExit(1) from None
