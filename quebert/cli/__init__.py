"""
The C{quebert} command.

What a command does to queues is a function of L{quebert.operations}, for programs, too.
C{_operating} has the commands that call these functions, C{_main} all others; the
command line of twistd is in C{service/_options.py}.  C{docs/commands.rst} is made from
them by C{python -m quebert.test.command_reference}.
"""

from quebert.cli._main import main

__all__ = ["main"]
