"""
The methods of AMQP 0-9-1 with RabbitMQ's extensions, from pamqp's tables, and
what a broker sends, as the contract's tests see it.  Pure.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import attrs
from pamqp import base, commands

from quebert._protocol.properties import decode_properties

__all__ = ["BY_NUMBER", "METHODS", "Close", "Closed", "Disconnected", "Event", "Method"]

# -- The methods, by name and by number


@attrs.frozen
class Method:
    """
    @ivar name: like C{"queue.declare-ok"}.
    @ivar defaults: its fields with the values of those that are not given.
    @ivar replies: names of the methods that answer it.
    """

    name: str
    number: tuple[int, int]
    types: tuple[str, ...]
    defaults: Mapping[str, Any]
    replies: tuple[str, ...]
    has_content: bool


_GROUPS = (
    commands.Connection,
    commands.Channel,
    commands.Exchange,
    commands.Queue,
    commands.Basic,
    commands.Confirm,
    commands.Tx,
)
_WITH_CONTENT = frozenset(
    {"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}
)


def _hyphenated(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"-\1", name).lower()


def _method(group: Any, command: type[base.Frame]) -> Method:
    name = _hyphenated(command.name)
    fields = command.attributes()
    types = {field: command.amqp_type(field) for field in fields}
    parameters = inspect.signature(command).parameters
    defaults = {
        field: {} if type == "table" else parameters[field].default
        for field, type in types.items()
    }
    return Method(
        name,
        (group.frame_id, command.frame_id),
        tuple(types.values()),
        defaults,
        tuple(map(_hyphenated, command.valid_responses)),
        name in _WITH_CONTENT,
    )


METHODS = {
    method.name: method
    for method in (
        _method(group, command)
        for group in _GROUPS
        for command in vars(group).values()
        if isinstance(command, type) and issubclass(command, base.Frame)
    )
}
BY_NUMBER = {method.number: method for method in METHODS.values()}


# -- What the broker says


@attrs.frozen
class Close:
    """
    How the broker closed something, and for what.

    @ivar what: C{"channel"} or C{"connection"}.
    @ivar method: the method that it was for, by its name; empty for none.
    """

    what: str
    code: int
    text: str
    method: str = ""

    def begins(self, what: str, code: int, text: str, method: str = "") -> bool:
        """
        Whether it is this, with anything behind the text.
        """
        cut = attrs.evolve(self, text=self.text[: len(text)])
        return cut == Close(what, code, text, method)


class Closed(Exception):
    """
    The broker has closed the channel, or the connection.
    """

    def __init__(self, close: Close) -> None:
        super().__init__(f"{close.what} closed: {close.code} {close.text}")
        self.close = close


class Disconnected(Exception):
    """
    The TCP connection ended.
    """


@attrs.frozen
class Event:
    """
    A method that the broker sent.

    @ivar encoded: the properties as they came, behind the body's size.
    """

    name: str
    arguments: Mapping[str, Any]
    encoded: bytes = b"\0\0"
    body: bytes = b""

    def __getitem__(self, argument: str) -> Any:
        """
        One of its arguments.
        """
        return self.arguments[argument]

    @property
    def properties(self) -> dict[str, Any]:
        """
        Those that are there, under their AMQP names.
        """
        return decode_properties(self.encoded)

    @property
    def headers(self) -> dict[str, Any]:
        """
        The headers among the properties.
        """
        headers: dict[str, Any] = self.properties["headers"]
        return headers
