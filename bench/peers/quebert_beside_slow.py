"""
quebert, which watches a second queue, too: L{SLOW}.
"""

from __future__ import annotations

from _common import Settings, main
from quebert_mediator import become_twistd, publish, watch_option

#: The queue of tasks whose requests are never answered.
SLOW = "bench-slow"


def work(settings: Settings) -> None:
    """
    Watch both.
    """
    become_twistd(
        settings, watch_option(settings), f"--watch=:{SLOW}::{settings.concurrency}"
    )


if __name__ == "__main__":
    main(work, publish)
