"""
The tables of a configuration file that are about hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from quebert.config import _kinds as kinds
from quebert.config._problems import Wrong
from quebert.config._queue import MOST
from quebert.config._settings import EVERY, Host
from quebert.config._table import Table
from quebert.errors import ConfigError
from quebert.limits import AdaptiveSettings, BreakerSettings

__all__ = ["host"]

T = TypeVar("T")

_BREAKER: dict[str, Callable[[Any], Any]] = {
    "failures": kinds.number(1, MOST),
    "pause": kinds.duration(0.001),
    "longest_pause": kinds.duration(0.001),
}
_ADAPTIVE: dict[str, Callable[[Any], Any]] = {
    "floor": kinds.number(1, MOST),
    "ceiling": kinds.number(1, MOST),
    "start": kinds.number(1, MOST),
    "latency": kinds.duration(0.001),
    "decrease": kinds.real(0.01, 0.99),
}


def host(name: str, table: Table) -> Host:
    """
    What a table of C{[hosts]} says.
    """
    fields = table.given(
        rate=kinds.rate,
        burst=kinds.number(1, MOST),
        concurrency=kinds.number(1, 65_535),
    )
    fields["breaker"] = _switch(table, "breaker", BreakerSettings, _BREAKER)
    fields["adaptive"] = _switch(table, "adaptive", AdaptiveSettings, _ADAPTIVE)
    table.end()
    if "burst" in table and "rate" not in table:
        table.wrong("burst", "is of no use without a rate")
    if name != EVERY and not _is_host(name):
        text = 'must be a host, host:port or "*", like [hosts."example.com"]'
        table.document.wrong(table.path, text)
    return Host(name=name.lower(), **fields)


def _switch(
    table: Table,
    key: str,
    settings: Callable[..., T],
    fields: dict[str, Callable[[Any], Any]],
) -> T | None:
    """
    What can be on, off, or on with settings of its own.
    """
    if not table.has_table(key):
        return settings() if table.get(key, _flag_or_table, True) else None
    inner = table.table(key)
    given = inner.given(**fields)
    inner.end()
    try:
        return settings(**given)
    except ConfigError as e:  # two of them do not fit
        table.wrong(key, f"does not fit: {e}")
        return None


def _flag_or_table(value: object) -> bool:
    try:
        return kinds.flag(value)
    except Wrong:
        text = f"must be true, false or a table, not {kinds.shown(value)}"
        raise Wrong(text) from None


def _is_host(name: str) -> bool:
    try:
        kinds.http_url(f"http://{name}/")
    except Wrong:
        return False
    return not set(name) & set("/?#@")
