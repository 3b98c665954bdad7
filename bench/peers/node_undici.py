"""
amqplib and undici, on Node.js: C{node/worker.js}.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from _common import TIMEOUT, Settings, main, put

#: Where C{make bench} has installed it, beside its packages.
PROGRAM = Path(sys.prefix, "bench-node", "worker.js")


def work(settings: Settings) -> None:
    """
    Become the worker.
    """
    how = settings.amqp, settings.queue, str(settings.concurrency), str(int(TIMEOUT))
    os.execvp("node", ["node", str(PROGRAM), *how])


if __name__ == "__main__":
    main(work, put)
