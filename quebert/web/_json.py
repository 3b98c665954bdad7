"""
From the values of L{quebert.web._views} to JSON.  Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import attrs

from quebert.web._views import (
    AttemptGap,
    QueueDetail,
    SeriesView,
    TaskDetail,
    WhyView,
)

__all__ = ["encoded", "plain"]

#: Names that Python, or another field, does not leave to us.
_NAMES: Mapping[tuple[type[Any], str], str] = {
    (AttemptGap, "begin"): "from",
    (AttemptGap, "end"): "to",
    (SeriesView, "tasks_in"): "in",
    (WhyView, "every"): "all",
}
#: Fields whose own fields stand in place of them.
_SPREAD = {(QueueDetail, "queue"), (TaskDetail, "task"), (WhyView, "first")}
_known: dict[type[Any], tuple[tuple[str, str | None], ...]] = {}


def _fields(kind: type[Any]) -> tuple[tuple[str, str | None], ...]:
    """
    The fields of a class, with their names in JSON; C{None} for one that is spread.
    """
    if kind not in _known:
        names = [field.name for field in attrs.fields(kind)]
        told = (
            None if (kind, n) in _SPREAD else _NAMES.get((kind, n), n) for n in names
        )
        _known[kind] = tuple(zip(names, told, strict=True))
    return _known[kind]


def plain(value: Any) -> Any:
    """
    A value as JSON can have it: C{None} stands for C{NaN} and infinity.
    """
    if isinstance(value, float):
        return value if isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    return _object(value)


def _object(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, told in _fields(type(value)):
        inner = plain(getattr(value, name))
        if told is None:
            found.update(inner)
        else:
            found[told] = inner
    return found


def encoded(value: Any, **more: Any) -> bytes:
    """
    A value as JSON in UTF-8, on one line.

    @param more: further fields of an object.
    """
    shown = plain(value)
    if more:
        shown = {**shown, **plain(more)}
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate, which JSON can hold and UTF-8 cannot.
    return text.encode("utf-8", "replace")
