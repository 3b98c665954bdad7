"""
Processes, seen from outside: what one and all of its descendants have used, and
how to end them.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs

# A process or thread may end while it is read.
_GONE = (FileNotFoundError, ProcessLookupError)
#: Seconds that a process may take to end when it is asked to.
PATIENCE = 30.0


@attrs.frozen
class Memory:
    """
    @ivar rss: resident bytes, those shared by several processes of the tree
        counted for each.
    @ivar pss: the same with each shared page divided among those who share it.
    """

    rss: int
    pss: int


def tree(pid: int) -> list[int]:
    """
    A process and all of its descendants.
    """
    found = [pid]
    for each in found:  # it grows meanwhile
        found.extend(_children(each))
    return found


def _children(pid: int) -> Iterator[int]:
    for thread in _threads(pid):
        with suppress(*_GONE):
            yield from map(int, (thread / "children").read_text().split())


def _threads(pid: int) -> list[Path]:
    with suppress(*_GONE):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def cpu(pid: int) -> int:
    """
    Nanoseconds of CPU, user and kernel, that all living threads of a process
    and its descendants have used.

    The kernel's scheduler keeps these exactly, unlike the hundredths of a second
    of C{times()}.
    """
    return sum(_spent(thread) for process in tree(pid) for thread in _threads(process))


def _spent(thread: Path) -> int:
    with suppress(*_GONE):
        return int((thread / "schedstat").read_text().split()[0])
    return 0


def memory(pid: int) -> Memory:
    """
    What a process and its descendants hold.
    """
    rolled = [_rolled_up(each) for each in tree(pid)]
    rss = sum(each.get("Rss", 0) for each in rolled)
    pss = sum(each.get("Pss", 0) for each in rolled)
    return Memory(rss * 1024, pss * 1024)


def _rolled_up(pid: int) -> dict[str, int]:
    with suppress(*_GONE):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        fields = (line.split() for line in lines)
        return {field[0].rstrip(":"): int(field[1]) for field in fields}
    return {}


def end(process: subprocess.Popen[bytes]) -> None:
    """
    End a process that leads a session of its own, and with it all that it
    started; first by asking.
    """
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
