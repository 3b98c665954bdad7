"""
amqp091-go and net/http: C{go/worker.go}.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from _common import TIMEOUT, Settings, main, put

#: Where C{make bench} has built it.
PROGRAM = Path(sys.prefix, "bench-go", "worker")


def work(settings: Settings) -> None:
    """
    Become the worker.
    """
    how = settings.amqp, settings.queue, str(settings.concurrency), str(int(TIMEOUT))
    os.execv(PROGRAM, [str(PROGRAM), *how])


if __name__ == "__main__":
    main(work, put)
