"""
The forms in JSON of values that JSON does not have: the same with orjson and without.
"""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from unittest import mock
from uuid import UUID

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.task import _json, decode, encode, encode_new
from quebert.test.checks import QUICK, refusal


class Colour(Enum):
    """
    An enumeration.
    """

    RED = "red"
    DEEP = (1, 2)


class Number(IntEnum):
    """
    One of integers.
    """

    ONE = 1


class Word(StrEnum):
    """
    One of texts.
    """

    HELLO = "hello"


@dataclasses.dataclass
class Money:
    """
    A dataclass.
    """

    amount: Decimal
    currency: str = "EUR"


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """
    A dataclass with slots.
    """

    what: Any


@attrs.frozen
class Person:
    """
    A class of attrs.
    """

    name: str
    born: date
    _secret: Any = None


Pair = namedtuple("Pair", "left right")

#: Values, and what is read of them.
FORMS: list[tuple[Any, Any]] = [
    (
        UUID("3f0e5d0a-7e0d-4a6b-9d8a-0123456789ab"),
        "3f0e5d0a-7e0d-4a6b-9d8a-0123456789ab",
    ),
    (datetime(2026, 11, 29, 1, 2, 3, 4), "2026-11-29T01:02:03.000004"),
    (datetime(2026, 11, 29, tzinfo=UTC), "2026-11-29T00:00:00+00:00"),
    (date(2026, 11, 29), "2026-11-29"),
    (time(1, 2), "01:02:00"),
    (Decimal("1.10"), "1.10"),
    (Decimal(10**30), "1" + "0" * 30),
    (Money(Decimal("0.1")), {"amount": "0.1", "currency": "EUR"}),
    (Line([Line(None)]), {"what": [{"what": None}]}),
    (
        Person("A", date(2000, 1, 2), Line(1)),
        {"name": "A", "born": "2000-01-02", "_secret": {"what": 1}},
    ),
    (Colour.RED, "red"),
    (Colour.DEEP, [1, 2]),
    (Number.ONE, 1),
    (Word.HELLO, "hello"),
    (Pair(1, Decimal(2)), [1, "2"]),
    (OrderedDict(a=UUID(int=0)), {"a": "00000000-0000-0000-0000-000000000000"}),
    ({1: "a", None: "b", 1.5: "d"}, {"1": "a", "null": "b", "1.5": "d"}),
    (2**70, 2**70),
    (1e16, 1e16),
]

#: What is refused.
REFUSED: list[Any] = [
    object(),
    {1},
    b"bytes",
    Money,  # the class, and no object
    Person,
    Decimal("NaN"),
    Decimal("Infinity"),
    Line(float("nan")),
    {UUID(int=1): 1},
    {1: "a", "1": "b"},
    {"a": {True: 1, "true": 2}},
    "\ud800",
    {"\udfff": 1},
    Person("A", date(2000, 1, 2), {1}),
]

_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.uuids()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.decimals()
    | st.sampled_from([*Colour, *Number, *Word])
    | st.binary(max_size=2)
)
_keys = st.text(max_size=3) | st.integers(0, 20) | st.booleans() | st.none()
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_keys, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Line, inner)
        | st.builds(Money, inner)
        | st.builds(Person, inner, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)


def both(write: Any, value: Any) -> list[Any]:
    """
    What is read of a value, with orjson and without; C{None} if it is refused.
    """
    told = []
    for library in (vars(_json)["orjson"], None):
        with mock.patch.object(_json, "orjson", library):
            try:
                told.append(json.loads(write({"params": value}))["params"])
            except (TypeError, ValueError):
                told.append(Refused)
    return told


class Refused:
    """
    Stands for a value that has no form.
    """


class FormTests(SynchronousTestCase):
    """
    Tests for L{encode} and L{encode_new}.
    """

    def test_forms(self) -> None:
        """
        Each has its form.
        """
        for value, wanted in FORMS:
            for write in (encode, encode_new):
                self.assertEqual(both(write, value), [wanted, wanted])

    def test_refused(self) -> None:
        """
        A new task has none of these in it.
        """
        for value in REFUSED:
            self.assertEqual(both(encode_new, value), [Refused, Refused])

    def test_told(self) -> None:
        """
        What is wrong is told.
        """
        self.assertIn("pair", refusal(ValueError, encode_new, {"a": "\ud800"}))
        twice = {"a": {1: 1, "1": 2}}
        self.assertIn("the key '1'", refusal(ValueError, encode_new, twice))
        self.assertIn("set", refusal(TypeError, encode_new, {"a": {1}}))

    def test_half_a_pair_of_another(self) -> None:
        """
        A mediator puts back what another producer has written.
        """
        task = decode(rb'{"a":"\ud800"}')
        self.assertEqual(decode(encode(task)), task)

    @QUICK
    @given(_values)
    def test_same(self, value: Any) -> None:
        """
        With orjson and without, the same is written, or the same refused.
        """
        with_orjson, without = both(encode_new, value)
        self.assertEqual(repr(with_orjson), repr(without))
