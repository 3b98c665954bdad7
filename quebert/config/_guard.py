"""
The tables of a configuration file that say what tasks may reach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from quebert.config import _kinds as kinds
from quebert.config._problems import Wrong
from quebert.config._table import Table
from quebert.errors import ConfigError
from quebert.guard import Guard, Place

__all__ = ["guard"]


def _place(value: object) -> Place:
    try:
        return Place.parse(kinds.text(value))
    except ConfigError as e:
        raise Wrong(f"{e}, not {kinds.shown(value)}") from None


def _proxy(value: object) -> Place:
    try:
        return Place.of_proxy(kinds.text(value))
    except ConfigError as e:
        raise Wrong(f"{e}, not {kinds.shown(value)}") from None


def _some(of: Callable[[Any], Any], example: str) -> Callable[[Any], Any]:
    """
    An array that is not empty.
    """

    def read(value: object) -> tuple[Any, ...]:
        if value == []:
            raise Wrong(f"must have an element at least, like {example}")
        return kinds.array(of)(value)

    return read


_KEYS: dict[str, Callable[[Any], Any]] = {
    "private": kinds.choice("allow", "refuse"),
    "allow": kinds.array(_place),
    "deny": kinds.array(_place),
    "schemes": _some(kinds.choice("http", "https"), '["https"]'),
    "proxy": _proxy,
    "ports": _some(kinds.number(1, 65_535), "[80, 443]"),
}


def guard(table: Table, default: Guard) -> Guard:
    """
    What a table C{guard} says.

    @param default: where it says nothing.
    """
    given = table.given(**_KEYS)
    table.end()
    return attrs.evolve(default, **given)
