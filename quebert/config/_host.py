"""
The tables of a configuration file that are about hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from quebert._url import absolute, without_dot
from quebert.config import _kinds as kinds
from quebert.config._outside import Outside
from quebert.config._problems import Wrong
from quebert.config._queue import MOST
from quebert.config._settings import EVERY, Host
from quebert.config._table import Table
from quebert.config._tls import tls_files
from quebert.errors import ConfigError
from quebert.limits import AdaptiveSettings, BreakerSettings

__all__ = ["hosts"]

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


def hosts(tables: Mapping[str, Table], outside: Outside) -> dict[str, Host]:
    """
    The tables of C{[hosts]}, by the names that requests have for the hosts.

    @param outside: finds files.
    """
    found: dict[str, Host] = {}
    names: dict[str, str] = {}
    for name, table in tables.items():
        each = _host(name, table, outside)
        first = names.setdefault(each.name, name)
        if first != name and first.lower() != name.lower():  # which is told elsewhere
            text = f"is the same host as {kinds.shown(first)}"
            table.document.wrong(table.path, text)
        found[each.name] = each
    return found


def _host(name: str, table: Table, outside: Outside) -> Host:
    fields = table.given(
        rate=kinds.rate,
        burst=kinds.number(1, MOST),
        concurrency=kinds.number(1, 65_535),
        connections=kinds.number(1, 65_535),
        idle=kinds.duration(),
        slowest=kinds.real(0, 1e9),
    )
    fields["breaker"] = _switch(table, "breaker", BreakerSettings, _BREAKER)
    fields["adaptive"] = _switch(table, "adaptive", AdaptiveSettings, _ADAPTIVE)
    fields["tls"] = tls_files(table, outside)
    table.end()
    if "burst" in table and "rate" not in table:
        table.wrong("burst", "needs a rate beside it")
    return Host(name=_as_requested(name, table), **fields)


def _as_requested(name: str, table: Table) -> str:
    """
    The host, and its port unless it is the usual one, as requests have them.
    """
    if name == EVERY:
        return name
    try:
        kinds.http_url(f"http://{name}/")
        if set(name) & set("/?#@"):
            raise Wrong("")
    except Wrong:
        text = 'must be a host, host:port or "*", like [hosts."example.com"]'
        table.document.wrong(table.path, text)
        return name
    requested = absolute(f"http://{name}/", "")[0].split("/")[2].lower()
    requested = without_dot(requested)
    if requested.endswith((":80", ":443")):
        text = "must be without the port, which is the usual one of its scheme"
        table.document.wrong(table.path, text)
    return requested


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
