"""
The C{quebert} command.

What a command does to queues is a function of L{quebert.operations}, for programs, too.
C{_status}, C{_queue_commands} and C{_dead_commands} have the commands that call these
functions; C{_main} has the list of all commands, and those that have no module of their
own.  The command line of twistd is in C{service/_options.py}.  C{docs/commands.rst} is
made from them by C{python -m quebert.test.command_reference}.

To add a command: a module with a C{click.command} here, and a line in the list in
C{_main}; what it does, in a room below (L{quebert.operations}, L{quebert.doctor});
whatever it prints, by C{_terminal}, which has C{--json}, too, and how the reactor runs,
by C{_running} or C{_operating}; C{docs/commands.rst}, made anew, and the keys of its
JSON in C{docs/operating.rst}; a line in C{LINES} of
C{quebert/test/test_cli_streams.py}.
"""

from quebert.cli._main import main

__all__ = ["main"]
