"""
Schemas of JSON (OpenAPI 3.1, JSON Schema 2020-12) of the values that the API shows, as
L{quebert.web._json} writes them, and of what clients send.  Pure.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Union

import attrs

from quebert._bounds import BOUNDS, SHORT_STRING
from quebert.web._json import fields_of
from quebert.web._problems import MEANINGS
from quebert.web._task_body import LONGEST_NAME, QUEUE

__all__ = [
    "MATCH",
    "MATCHES",
    "NEW_TASK",
    "PROBLEM_SCHEMA",
    "QUEUE_NAME",
    "Schema",
    "Schemas",
    "array",
    "closed",
    "opened",
]

#: A schema.
Schema = Mapping[str, Any]

_PLAIN: Mapping[Any, Schema] = {
    Any: {},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    int: {"type": "integer"},
    str: {"type": "string"},
    type(None): {"type": "null"},
}


def array(items: Any, **more: Any) -> Schema:
    """
    An array; its items may be of a class.
    """
    return {"type": "array", "items": items, **more}


def opened(**properties: Any) -> Schema:
    """
    An object with these fields; their values may be classes.
    """
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required}


def closed(*required: str, **properties: Any) -> Schema:
    """
    An object that may have no other fields.
    """
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def _text(least: int, most: int, **more: Any) -> Schema:
    return {"type": ["string", "null"], "minLength": least, "maxLength": most, **more}


def _seconds(description: str) -> Schema:
    return {"type": ["number", "null"], "description": description}


#: The name of a queue.
QUEUE_NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": SHORT_STRING,
    "examples": [QUEUE],
}
#: A condition for dead letters and tasks.
MATCH: Schema = {
    "type": "string",
    "maxLength": 2_048,
    "pattern": "^(answer|attempts|kind|reason|status|url|uuid)!?[=~]",
}
#: Several of them: all apply.
MATCHES = array(MATCH, maxItems=20, examples=[["kind=poison"]])
#: A task to create.
NEW_TASK = closed(
    "url",
    queue=_text(1, SHORT_STRING, default=QUEUE, description="The queue it goes to."),
    url={
        "type": "string",
        "minLength": 1,
        "maxLength": BOUNDS.url,
        "examples": ["http://localhost:8000/hello"],
    },
    params={"description": "Of the task; any JSON.", "examples": [{"name": "Ada"}]},
    name=_text(1, LONGEST_NAME, description="Unique in the queue."),
    delay=_seconds("Seconds until it may run."),
    run_at={
        "type": ["string", "number", "null"],
        "description": "When it may run: RFC 3339, or seconds since 1970.",
    },
    ttl=_seconds("Seconds until it expires; 0 for never."),
    timeout=_seconds("Seconds that a request may take; 0 leaves it to the mediator."),
    method=_text(1, BOUNDS.method, default="POST"),
    headers={
        "type": ["object", "null"],
        "additionalProperties": {"type": "string"},
        "maxProperties": BOUNDS.headers,
    },
    payload={
        "type": ["string", "null"],
        "contentEncoding": "base64",
        "description": "The body of the request, in place of the task.",
    },
    retry={"type": ["object", "null"], "description": "Terms of a retry policy."},
    filter={"type": ["boolean", "null"]},
    extra={"type": ["object", "null"], "description": "Fields of your own."},
    callback_url=_text(
        1, BOUNDS.url, description="Requested, by another task, when it has ended."
    ),
    uuid=_text(1, BOUNDS.uuid),
)
# The types of problems; their statuses are for people, and for pages.
_TYPES = [
    {"const": f"/problems/{kind}", "description": meaning, "x-status": status}
    for kind, (status, meaning) in MEANINGS.items()
]
#: What is wrong (RFC 9457).
PROBLEM_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "oneOf": _TYPES},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string"},
    },
    "required": ["title", "status", "detail"],
}


class Schemas:
    """
    Gathers the schemas of classes.

    @ivar known: the schemas, by the names of their classes.
    """

    def __init__(self) -> None:
        self.known: dict[str, Schema] = {}

    def of(self, kind: Any) -> Schema:
        """
        The schema of a class, of a type of the fields of one, or of a schema in which
        classes stand for theirs.
        """
        if isinstance(kind, Mapping):
            return {name: self._within(each) for name, each in kind.items()}
        if kind in _PLAIN:
            return _PLAIN[kind]
        if attrs.has(kind):
            return self._of_class(kind)
        origin, given = typing.get_origin(kind), typing.get_args(kind)
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(each) for each in given]}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(given[1])}
        if isinstance(origin, type) and issubclass(origin, Sequence):
            return {"type": "array", "items": self.of(given[0])}
        return {}

    def _within(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._within(each) for each in value]
        if isinstance(value, (Mapping, type)):
            return self.of(value)
        return value

    def _of_class(self, kind: type[Any]) -> Schema:
        name = kind.__name__
        if name not in self.known:
            self.known[name] = {}  # it may have itself within
            self.known[name] = self._object(kind)
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, kind: type[Any]) -> Schema:
        properties: dict[str, Any] = {}
        for name, told in fields_of(kind):
            hint = typing.get_type_hints(kind)[name]
            if told is None:  # its fields stand here
                self.of(hint)
                properties.update(self.known[hint.__name__]["properties"])
                continue
            outer, _, within = told.partition(".")
            if within:
                inner = properties.get(outer, {}).get("properties", {})
                properties[outer] = opened(**inner, **{within: self.of(hint)})
            else:
                properties[told] = self.of(hint)
        return opened(**properties)
