"""
quebert with hooks: one before the request, an C{async} one after it, both of
which count; the tasks have a time limit each.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from _common import Settings, main
from quebert_mediator import become_twistd, watching
from quebert_mediator import publish as publish_task

from quebert.mediator import DelayOnErrorMediator

metrics: Counter[str] = Counter()


def count(task: dict[str, Any]) -> None:
    """
    A pre-hook.
    """
    metrics["begun"] += 1


async def record(task: dict[str, Any], result: Any) -> None:
    """
    A post-hook.
    """
    metrics["done" if result["ok"] else "odd"] += 1


def config(options: dict[str, Any]) -> Any:
    """
    What C{twistd quebert --config} calls.
    """
    mediator = DelayOnErrorMediator()
    mediator.add_prehook(count)
    mediator.add_posthook(record)
    return watching(options, mediator)


def work(settings: Settings) -> None:
    """
    Watch the queue by way of L{config}.
    """
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    become_twistd(settings, "--config=quebert_hooks.config")


def publish(settings: Settings, task: dict[str, Any]) -> None:
    """
    Add a task with a time limit.
    """
    publish_task(settings, {**task, "timeout": 30})


if __name__ == "__main__":
    main(work, publish)
