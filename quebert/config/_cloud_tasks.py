"""
The table C{[web.cluster.cloud_tasks]}: the Cloud Tasks API of C{quebert web}.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from quebert.config import _kinds as kinds
from quebert.config._problems import Wrong
from quebert.config._table import Table
from quebert.config._web import Listen, listen

__all__ = ["CloudTasksAPI", "cloud_tasks_api"]

_HOUR = 3_600.0
_HOME = re.compile(r"[A-Za-z0-9:.-]{1,100}/[A-Za-z0-9-]{1,63}", re.ASCII)
# Bytes, tasks a second, and tasks at once that are a mistake beyond.
_MOST_SIZE, _MOST_RATE, _MOST_AT_ONCE = 16 * 2**20, 1_000_000, 65_535


@attrs.frozen(kw_only=True)
class CloudTasksAPI:
    """
    The Cloud Tasks API.

    @ivar home: C{PROJECT/LOCATION}, whose queues have plain names in RabbitMQ; empty
        for none.
    @ivar projects: patterns of the projects that there are.
    @ivar grpc: where gRPC listens; C{None} for nowhere.
    @ivar queue_type: of new queues: C{"classic"} or C{"quorum"}; C{None} leaves it to
        RabbitMQ.
    @ivar longest_schedule: seconds that a task may be scheduled ahead.
    @ivar largest_task: bytes that a task may have, as Google would keep it.
    @ivar most_rate: tasks of a queue in a second.
    @ivar most_concurrency: tasks of a queue at once.
    """

    home: str = ""
    projects: tuple[str, ...] = ("*",)
    grpc: Listen | None = None
    queue_type: str | None = None
    longest_schedule: float = 720 * _HOUR
    largest_task: int = 1_048_569
    most_rate: float = 500.0
    most_concurrency: int = 5_000


def cloud_tasks_api(table: Table) -> CloudTasksAPI:
    """
    What the table says.
    """
    fields: dict[str, Any] = table.given(
        home=_home,
        projects=kinds.array(kinds.text),
        grpc=listen,
        queue_type=kinds.choice("classic", "quorum"),
        longest_schedule=kinds.duration(_HOUR),
        largest_task=kinds.number(1_000, _MOST_SIZE),
        most_rate=kinds.real(1, _MOST_RATE),
        most_concurrency=kinds.number(1, _MOST_AT_ONCE),
    )
    table.end()
    return CloudTasksAPI(**fields)


def _home(value: object) -> str:
    text = kinds.text(value)
    if not _HOME.fullmatch(text):
        raise Wrong('must be a project and a location, like "shop/europe-west1"')
    return text
