"""
What the contract's tests wait by, and names and tables that they make.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

from quebert._protocol.values import encode_shortstr

__all__ = ["PATIENCE", "fresh", "typed_table", "until"]

#: Seconds: far more than anything takes, for what is waited for.
PATIENCE = 60.0

T = TypeVar("T")

_numbers = itertools.count(1)


def fresh(kind: str) -> str:
    """
    A name that no other test has.
    """
    return f"{kind}-{next(_numbers)}"


def until(
    condition: Callable[[], T | None],
    expected: Callable[[], str] = lambda: "it did not come true",
    patience: float = PATIENCE,
) -> T:
    """
    Wait until C{condition()} is true, and give what it returned.

    @param expected: tells what was waited for, if that does not come true.
    @param patience: seconds.
    """
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not in {patience:g} s: {expected()}"
        time.sleep(0.005)
    return value


def typed_table(*fields: tuple[str, bytes, bytes]) -> bytes:
    """
    The fields of a table, of types that the codec does not write: of each the
    name, the type's letter, and the value's bytes.
    """
    return b"".join(encode_shortstr(name) + type + raw for name, type, raw in fields)
