"""
AMQP 0-9-1 with RabbitMQ's extensions, as the C{Spec} that txamqp works by.

No XML is shipped, and C{confirm}, C{basic.nack} and C{connection.blocked} exist.  Knows
no frames.
"""

from __future__ import annotations

from collections.abc import Iterator

from txamqp import spec

from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
)
from quebert._protocol.methods import METHODS, MethodLayout

__all__ = ["SPEC"]

# By these names txamqp's own reader and writer of frames know them.
_CONSTANTS = {
    "frame-method": FRAME_METHOD,
    "frame-header": FRAME_HEADER,
    "frame-body": FRAME_BODY,
    "frame-heartbeat": FRAME_HEARTBEAT,
    "frame-end": FRAME_END,
}
_CLASSES = ("connection", "channel", "exchange", "queue", "basic", "confirm", "tx")


def _layouts(name: str) -> Iterator[MethodLayout]:
    return (each for each in METHODS.values() if each.name.startswith(f"{name}."))


def _method(klass: spec.Class, layout: MethodLayout) -> spec.Method:
    _, name = layout.name.split(".")
    responses = [each.split(".")[1] for each in layout.responses]
    method = spec.Method(
        klass, name, layout.numbers[1], layout.has_content, responses,
        bool(responses), "", [],
    )  # fmt: skip
    for place, (field, type) in enumerate(
        zip(layout.fields, layout.types, strict=True)
    ):
        method.fields.add(spec.Field(field, place, type, []))
    method.layout = layout
    return method


def _class(whole: spec.Spec, name: str) -> spec.Class:
    layouts = list(_layouts(name))
    klass = spec.Class(whole, name, layouts[0].numbers[0], None, [])
    for layout in layouts:
        klass.methods.add(_method(klass, layout))
    for method in klass.methods:
        method.responses = [klass.methods.byname[name] for name in method.responses]
        for response in method.responses:
            response.response = True
    return klass


def _build() -> spec.Spec:
    whole = spec.Spec(0, 9, "AMQP 0-9-1")
    for name, number in _CONSTANTS.items():
        whole.constants.add(spec.Constant(whole, name, number, None, []))
    for name in _CLASSES:
        whole.classes.add(_class(whole, name))
    whole.post_load()
    return whole


#: The methods of AMQP 0-9-1, with RabbitMQ's confirms, as txamqp wants them.
SPEC = _build()
