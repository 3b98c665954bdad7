"""
How much a process may have, and how it is told to look again.
"""

from __future__ import annotations

import gc
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["allow_many_connections", "calm_garbage_collector", "on_sighup"]


def calm_garbage_collector() -> None:
    """
    Have Python look less often for garbage in cycles, of which tasks make none,
    and never again through all that was there when it began: that is a tenth of
    what a task costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)


def allow_many_connections() -> None:
    """
    Raise this process's limit of open files as far as it may be: each connection
    is one, and the limit that is common, 1,024, was made for other programs.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems have a lower one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def on_sighup(reactor: Any, call: Callable[[], object]) -> None:
    """
    Have SIGHUP call C{call} from now on, once C{reactor} runs.
    """
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(call))
