"""
quebert with a hook that computes for a millisecond.
"""

from __future__ import annotations

import os
import time
from typing import Any

from _common import Settings, main
from quebert_mediator import become_twistd, publish, watching

from quebert.mediator import DelayOnErrorMediator


def compute(task: dict[str, Any]) -> None:
    """
    A pre-hook.
    """
    end = time.perf_counter() + 0.001
    while time.perf_counter() < end:
        pass


def config(options: dict[str, Any]) -> Any:
    """
    What C{twistd quebert --config} calls.
    """
    mediator = DelayOnErrorMediator()
    mediator.add_prehook(compute)
    return watching(options, mediator)


def work(settings: Settings) -> None:
    """
    Watch the queue by way of L{config}.
    """
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    become_twistd(settings, "--config=quebert_busy_hook.config")


if __name__ == "__main__":
    main(work, publish)
