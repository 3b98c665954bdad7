"""
Descriptors: attributes of an object that are those of one of its parts.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

__all__ = ["of_part"]


def of_part(path: str) -> Any:
    """
    An attribute that is read from a part, and written to it.

    @param path: the name of the part, a dot, and the name that the part has for the
        attribute.
    """
    part, _, name = path.partition(".")

    def write(whole: Any, value: object) -> None:
        setattr(getattr(whole, part), name, value)

    return property(attrgetter(path), write)
