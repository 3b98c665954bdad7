"""
Signals in words.  Pure.
"""

from __future__ import annotations

import signal

__all__ = ["signal_in_words", "signal_name"]


def signal_name(number: int) -> str:
    """
    What a signal is called: C{SIGTERM}, or C{signal 40} if it has no name, as those for
    real time.
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def signal_in_words(number: int) -> str:
    """
    The same with what the system says of it: C{SIGSEGV (segmentation fault)}.
    """
    name = signal_name(number)
    told = signal.strsignal(number) if name.startswith("SIG") else None
    if told is None:
        return name
    return f"{name} ({told[0].lower()}{told[1:]})"
