"""
AMQP 0-9-1 with RabbitMQ's extensions, as the C{Spec} that txamqp works by.

It is built from pamqp's commands, so no XML is shipped, and C{confirm},
C{basic.nack} and C{connection.blocked} exist.  Knows no frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pamqp import base, commands, constants
from txamqp import spec

__all__ = ["SPEC"]

_CLASSES = (
    commands.Connection,
    commands.Channel,
    commands.Exchange,
    commands.Queue,
    commands.Basic,
    commands.Confirm,
)
_WITH_CONTENT = frozenset({"publish", "return", "deliver", "get-ok"})


def _hyphenated(name: str) -> str:
    return re.sub(r"(?<=.)([A-Z])", r"-\1", name).lower()


def _methods(group: type) -> Iterator[type[base.Frame]]:
    for member in vars(group).values():
        if isinstance(member, type) and issubclass(member, base.Frame):
            yield member


def _method(klass: spec.Class, command: type[base.Frame]) -> spec.Method:
    name = _hyphenated(command.__name__)
    content = klass.name == "basic" and name in _WITH_CONTENT
    responses = [_hyphenated(r.split(".")[1]) for r in command.valid_responses]
    method = spec.Method(
        klass, name, command.frame_id, content, responses, command.synchronous, "", []
    )
    for place, field in enumerate(command.attributes()):
        type_name = command.amqp_type(field)
        method.fields.add(spec.Field(field, place, type_name, []))
    method.types = tuple(field.type for field in method.fields)
    return method


def _class(whole: spec.Spec, group: type) -> spec.Class:
    name = group.__name__.lower()
    klass = spec.Class(whole, name, group.frame_id, None, [])  # type: ignore[attr-defined]
    for command in _methods(group):
        klass.methods.add(_method(klass, command))
    for method in klass.methods:
        method.responses = [klass.methods.byname[name] for name in method.responses]
        for response in method.responses:
            response.response = True
    return klass


def _build() -> spec.Spec:
    whole = spec.Spec(*constants.VERSION[:2], "AMQP 0-9-1")
    for name in ("METHOD", "HEADER", "BODY", "HEARTBEAT", "END"):
        number = getattr(constants, f"FRAME_{name}")
        constant = spec.Constant(whole, f"frame-{name.lower()}", number, None, [])
        whole.constants.add(constant)
    for group in _CLASSES:
        whole.classes.add(_class(whole, group))
    whole.post_load()
    return whole


#: The methods of AMQP 0-9-1, with RabbitMQ's confirms, as txamqp wants them.
SPEC = _build()
