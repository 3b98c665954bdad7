"""
The table C{[web.cluster.cloud_tasks]}: how C{quebert web} serves the Cloud Tasks API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from quebert.config import _kinds as kinds
from quebert.config._problems import Wrong
from quebert.config._table import Table
from quebert.config._web import Listen, listen

__all__ = ["CloudTasksAPI", "cloud_tasks"]

_HOME = re.compile(r"projects/[A-Za-z0-9:.-]{1,100}/locations/[A-Za-z0-9-]{1,63}")
_MOST = 2**31 - 1


@attrs.frozen(kw_only=True)
class CloudTasksAPI:
    """
    How the Cloud Tasks API is served.

    @ivar grpc: where it is served over gRPC; C{None} for REST alone.
    @ivar projects: patterns of the projects that there are.
    @ivar home: the project and location whose queues have their IDs as names in
        RabbitMQ, as C{projects/shop/locations/here}; C{None} for none.
    @ivar queue_type: of new queues: C{"classic"}, C{"quorum"}, or C{None} for what
        RabbitMQ makes.
    @ivar limits: those that are not Google's: C{schedule} in hours, C{task} in bytes,
        C{rate} per second, and C{concurrency}.
    """

    grpc: Listen | None = None
    projects: tuple[str, ...] = ("*",)
    home: str | None = None
    queue_type: str | None = None
    limits: Mapping[str, Any] = attrs.field(factory=dict)


def cloud_tasks(table: Table) -> CloudTasksAPI:
    """
    What the table says.
    """
    fields = table.given(
        grpc=listen,
        projects=kinds.array(kinds.text),
        home=_home,
        queue_type=kinds.choice("classic", "quorum"),
    )
    limits = table.table("limits")
    fields["limits"] = limits.given(
        schedule=kinds.number(1, 100 * 366 * 24),
        task=kinds.number(1, _MOST),
        rate=kinds.real(1, _MOST),
        concurrency=kinds.number(1, _MOST),
    )
    limits.end()
    table.end()
    return CloudTasksAPI(**fields)


def _home(value: object) -> str:
    text = kinds.text(value)
    if not _HOME.fullmatch(text):
        raise Wrong(f'must be like "projects/shop/locations/here", not {text!r:.60}')
    return text
