"""
From the values of the API (L{quebert.web._views}) to JSON.  Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import attrs

from quebert.created_tasks import EndNote
from quebert.operations import LiveQueue
from quebert.web._views import AttemptGap, QueueDetail, TaskDetail, WhyView

__all__ = ["encoded", "fields_of", "plain"]

#: Fields with another name in JSON.  Behind a dot, it is the name in an inner object.
_NAMES: Mapping[tuple[type[Any], str], str] = {
    (AttemptGap, "begin"): "from",
    (AttemptGap, "end"): "to",
    (LiveQueue, "series_in"): "series.in",
    (LiveQueue, "series_out"): "series.out",
    (WhyView, "every"): "all",
}
#: Fields that the JSON does not have.
_HIDDEN = {
    (LiveQueue, "paused_by"),
    (LiveQueue, "paused_since"),
    (EndNote, "uuid"),
    (EndNote, "queue"),
}
#: Fields whose own fields stand in place of them.
_SPREAD = {(QueueDetail, "queue"), (TaskDetail, "task"), (WhyView, "first")}
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_known: dict[type[Any], tuple[tuple[str, str | None], ...]] = {}


def fields_of(kind: type[Any]) -> tuple[tuple[str, str | None], ...]:
    """
    The fields of a class, with their names in JSON; C{None} for one that is spread.
    """
    if kind not in _known:
        names = [f.name for f in attrs.fields(kind) if (kind, f.name) not in _HIDDEN]
        told = (
            None if (kind, n) in _SPREAD else _NAMES.get((kind, n), n) for n in names
        )
        _known[kind] = tuple(zip(names, told, strict=True))
    return _known[kind]


def plain(value: Any) -> Any:
    """
    A value as JSON can have it: C{None} stands for C{NaN} and infinity.
    """
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, (dict, Mapping)):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    return _object(value)


def _object(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, told in fields_of(type(value)):
        inner = plain(getattr(value, name))
        if told is None:
            found.update(inner)
            continue
        outer, _, within = told.partition(".")
        if within:
            found.setdefault(outer, {})[within] = inner
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
    # A lone surrogate, which JSON can hold and UTF-8 cannot.
    return _ENCODER.encode(shown).encode("utf-8", "replace")
