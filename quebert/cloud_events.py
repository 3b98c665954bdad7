"""
Requests as events by CloudEvents 1.0, in the binary mode of its HTTP binding.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import uuid4

import attrs

from quebert.errors import ConfigError

__all__ = ["CloudEvents"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# CloudEvents' HTTP binding, section 3.1.3.2.
_ENCODED = re.compile(r"[^!#$&-~]")


def _text(_: object, field: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        raise ConfigError(f"the {field.name} of an event must be a text on one line")


@attrs.frozen
class CloudEvents:
    """
    Makes an event of each request.

    @ivar source: where events are from, a URI or a path such as C{/shop}.
    @ivar type: of the events, such as C{com.example.task}.
    @raise ConfigError: one of these is no text on one line.
    """

    source: str = attrs.field(validator=_text)
    type: str = attrs.field(validator=_text)

    def added(self, headers: Mapping[str, str], uuid: object) -> dict[str, str]:
        """
        C{headers} of a request, and those of an event that they do not have.

        @param uuid: of the task; its attempts are the same event.  C{None} makes
            another event of each.
        """
        own = {name.lower() for name in headers}
        ours = {
            "ce-specversion": "1.0",
            "ce-id": _encoded(str(uuid4() if uuid in (None, "") else uuid)),
            "ce-source": _encoded(self.source),
            "ce-type": _encoded(self.type),
        }
        return {**{k: v for k, v in ours.items() if k not in own}, **headers}


def _encoded(text: str) -> str:
    return _ENCODED.sub(_percent, text)


def _percent(found: re.Match[str]) -> str:
    data = found[0].encode("utf-8", "backslashreplace")
    return "".join(f"%{byte:02X}" for byte in data)
