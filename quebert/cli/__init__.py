"""
The C{quebert} command.

What a command does to queues is a function of L{quebert.operations}, for programs, too.
C{_queue_commands} and C{_dead_commands} have the commands that call these functions;
C{_main} has the list of all commands, and those that have no module of their own.  The
command line of twistd is in C{service/_options.py}.  C{docs/commands.rst} is made from
them by C{python -m quebert.test.command_reference}.
"""

from quebert.cli._main import main

__all__ = ["main"]
