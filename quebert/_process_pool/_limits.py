"""
What a pool lets its processes take.
"""

from __future__ import annotations

import attrs

from quebert.errors import ConfigError

__all__ = ["PoolLimits", "in_mib"]


@attrs.frozen(kw_only=True)
class PoolLimits:
    """
    What the processes of a pool may take.

    @ivar processes: how many of them there are.
    @ivar seconds: that a task may take in a process, which is killed then.  By default
        as long as a mediator waits at most.
    @ivar memory: bytes of memory that a process may have for its data; C{None} for any
        number.  It is Linux's C{RLIMIT_DATA}.  The other limit, C{RLIMIT_AS}, counts
        what is reserved, too: with eight idle threads, a Python process that had 29
        MB of data was seen to have 625 MB of address space.
    @ivar tasks: after so many a process is replaced; C{None} for never.
    @ivar result: bytes of the largest answer.
    @ivar patience: seconds that a task waits for a process.
    @ivar kill_on_hang_up: kill the process whose client has gone.
    @ivar start_time: seconds in which a process must have imported the functions.
    @raise ConfigError: one is not a number of its kind.
    """

    processes: int
    seconds: float = 1_500.0
    memory: int | None = 2**30
    tasks: int | None = None
    result: int = 64 * 2**20
    patience: float = 30.0
    kill_on_hang_up: bool = False
    start_time: float = 60.0

    def __attrs_post_init__(self) -> None:
        for name in ("processes", "memory", "tasks", "result"):
            value = getattr(self, name)
            if value is None and name in ("memory", "tasks"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(
                    f"{name} must be a whole number from 1 on, not {value!r:.40}"
                )
        for name in ("seconds", "patience", "start_time"):
            value = getattr(self, name)
            kind = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not kind or not 0 < value < float("inf"):
                raise ConfigError(
                    f"{name} must be a number of seconds, more than 0, not"
                    f" {value!r:.40}"
                )


def in_mib(size: int) -> str:
    """
    A number of bytes in words.
    """
    if size < 2**20:
        return f"{size:,} bytes"
    return f"{size / 2**20:,.1f}".removesuffix(".0") + " MiB"
