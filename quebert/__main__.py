"""
The command C{quebert}, and C{python -m quebert}.
"""

from __future__ import annotations

import signal

__all__ = ["main"]


def main() -> None:
    """
    Run the command.  Ctrl-C ends it without a traceback also while modules are imported
    that take some tenths of a second.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:  # and not ignored, as by nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from quebert.cli import main as command

    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


if __name__ == "__main__":
    main()
