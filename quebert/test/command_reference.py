"""
C{docs/commands.rst}: the help of all commands, as they print it.  This prints it anew::

    python -m quebert.test.command_reference > docs/commands.rst
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from textwrap import indent

import click

from quebert.cli import main
from quebert.executor import ExecutorOptions
from quebert.service import Options as MediatorOptions

__all__ = ["WIDTH", "commands", "reference"]

#: The columns of a help text.
WIDTH = 80

_BEGINNING = """\
The commands
============

This is what each command prints with ``--help``. Other pages tell how to use them:

* ``dev`` and ``broker``: `quebert dev, and the embedded broker <dev.rst>`_
* ``add``: `one task <dev.rst#quebert-add>`_, or `those of a file <bulk.rst>`_
* ``run``: `logs, systemd and containers <logs.rst>`_
* ``check``: `the configuration file <configuration.rst>`_
* ``dead``, ``pause``, ``resume``, ``purge``, ``status`` and ``doctor``:
  `operating queues <operating.rst>`_
* ``queues``: `queues without a file <made_queues.rst>`_
* ``web`` and ``token``: `the page, and the API <web.rst>`_
* ``cancel`` and ``run-now``: `cancelling tasks, and running them now <cancel.rst>`_
* ``secret``: `signed requests <signatures.rst>`_
* ``twistd quebert``: `several processes <processes.rst>`_
* ``twistd quexecutor``: `where functions run <runners.rst>`_, and `limits for clients
  <executors.rst>`_

.. This page is made from the commands: python -m quebert.test.command_reference
"""

_TWISTD = """\
The services
------------

A mediator and an executor are services of Twisted's ``twistd``. Its own options stand
before the name of the service, such as ``-n`` (stay in the foreground), ``--pidfile``
and ``--logfile``. There, ``--help`` lists them all.
"""

_SERVICES = (
    ("quebert", MediatorOptions, MediatorOptions.synopsis),
    ("quexecutor", ExecutorOptions, ExecutorOptions.synopsis),
)


def commands(
    command: click.Command, path: Sequence[str] = ("quebert",)
) -> Iterator[tuple[Sequence[str], click.Command]]:
    """
    A command, and all below it, with the words that call it.
    """
    yield path, command
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from commands(each, (*path, name))


def reference() -> str:
    """
    The whole page.
    """
    parts = [_BEGINNING]
    for path, command in commands(main):
        level = "-" if len(path) == 1 else "~"
        parts.append(_section(" ".join(path), level, _click_help(path, command)))
    parts.append(_TWISTD)
    for name, options, synopsis in _SERVICES:
        text = f"Usage: twistd [options] {name} {synopsis}\n{options().getUsage(WIDTH)}"
        parts.append(_section(f"twistd {name}", "~", text))
    return "\n".join(parts)


def _section(title: str, level: str, text: str) -> str:
    block = indent(text.strip("\n"), "    ")
    return f"{title}\n{level * len(title)}\n\n.. code-block:: text\n\n{block}\n"


def _click_help(path: Sequence[str], command: click.Command) -> str:
    context = click.Context(
        command,
        info_name=" ".join(path),
        terminal_width=WIDTH - 2,
        help_option_names=["-h", "--help"],
    )
    return command.get_help(context)


if __name__ == "__main__":
    sys.stdout.write(reference())
