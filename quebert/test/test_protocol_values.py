"""
The encoding of values and tables of AMQP, and of properties.
"""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import (
    amend_properties,
    decode_properties,
    encode_properties,
)
from quebert._protocol.values import (
    CodecError,
    decode_arguments,
    decode_table,
    encode_arguments,
    encode_shortstr,
    encode_table,
)
from quebert.errors import QuebertError
from quebert.test.checks import QUICK, refusal

# -- Encoding by hand, so that nothing is tested with itself


def long(raw: bytes) -> bytes:
    """
    C{raw} behind its length in four octets.
    """
    return struct.pack(">I", len(raw)) + raw


def short(raw: bytes) -> bytes:
    """
    C{raw} behind its length in one octet.
    """
    return bytes((len(raw),)) + raw


def table(fields: Mapping[bytes, bytes]) -> bytes:
    """
    A table of values that are encoded already, with their types.
    """
    return long(b"".join(short(name) + value for name, value in fields.items()))


def properties(fields: Mapping[str, bytes]) -> bytes:
    """
    Properties that are encoded already, behind their flags.
    """
    present = [name for name in PROPERTIES if name in fields]
    flags = sum(0x8000 >> list(PROPERTIES).index(name) for name in present)
    return struct.pack(">H", flags) + b"".join(fields[name] for name in present)


def wrapped(opening: bytes, depth: int, value: bytes = b"V") -> bytes:
    """
    A value in a value, C{depth} times, each of which C{opening} begins.
    """
    for _ in range(depth):
        value = opening[:1] + long(opening[1:] + value)
    return value


#: In the order of their flags (AMQP 0-9-1, section 1.8).
PROPERTIES = {
    "content-type": "shortstr",
    "content-encoding": "shortstr",
    "headers": "table",
    "delivery-mode": "octet",
    "priority": "octet",
    "correlation-id": "shortstr",
    "reply-to": "shortstr",
    "expiration": "shortstr",
    "message-id": "shortstr",
    "timestamp": "timestamp",
    "type": "shortstr",
    "user-id": "shortstr",
    "app-id": "shortstr",
    "cluster-id": "shortstr",
}

MOMENT = datetime(2026, 11, 23, 20, 15, tzinfo=UTC)
_STAMP = int(MOMENT.timestamp()).to_bytes(8, "big")

#: Every type of RabbitMQ's, and what its bytes mean.
VALUES: list[tuple[bytes, Any]] = [
    (b"t\x00", False),
    (b"t\x01", True),
    (b"t\x80", True),
    (b"b\x7f", 127),
    (b"b\xff", -1),
    (b"B\xff", 255),
    (b"s\x01\x00", 256),
    (b"s\xff\xfe", -2),
    (b"u\xff\xfe", 65534),
    (b"I\x00\x00\x01\x00", 256),
    (b"I\xff\xff\xff\xfe", -2),
    (b"i\xff\xff\xff\xfe", 2**32 - 2),
    (b"l\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
    (b"L\x80\x00\x00\x00\x00\x00\x00\x00", -(2**63)),
    (b"f\x3f\xc0\x00\x00", 1.5),
    (b"f\xff\x80\x00\x00", -float("inf")),
    (b"d\x3f\xf8\x00\x00\x00\x00\x00\x00", 1.5),
    (b"d\x7f\xf8\x00\x00\x00\x00\x00\x00", float("nan")),
    (b"D\x02\x00\x00\x01\x3a", Decimal("3.14")),
    (b"D\x00\xff\xff\xff\xff", Decimal(-1)),
    (b"D\xff\x00\x00\x00\x01", Decimal("1E-255")),
    (b"S\x00\x00\x00\x03a\xc3\xa9", "aé"),
    (b"S\x00\x00\x00\x00", ""),
    (b"S\x00\x00\x00\x02a\xff", b"a\xff"),
    (b"x\x00\x00\x00\x02ab", b"ab"),
    (b"A\x00\x00\x00\x00", []),
    (b"A\x00\x00\x00\x04t\x01VV", [True, None, None]),
    (b"A\x00\x00\x00\x05A\x00\x00\x00\x00", [[]]),
    (b"T" + _STAMP, MOMENT),
    (b"T" + bytes(8), datetime(1970, 1, 1, tzinfo=UTC)),
    (b"T" + b"\xff" * 8, 2**64 - 1),
    (b"T\x00\x00\x00\xff\xff\xff\xff\xff", 0xFFFFFFFFFF),
    (b"F\x00\x00\x00\x00", {}),
    (b"F\x00\x00\x00\x04\x01at\x01", {"a": True}),
    (b"F\x00\x00\x00\x04\x01\xfft\x01", {"\udcff": True}),
    (b"V", None),
]

# -- What can be written, and comes back the same

NAMES = st.text(max_size=20)
SECONDS = st.integers(0, 253_402_300_799)
PLAIN: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.binary(),
    SECONDS.map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    st.builds(
        lambda mantissa, scale: Decimal(mantissa).scaleb(-scale),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(0, 255),
    ),
)
WRITABLE: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=15,
)
TABLES = st.dictionaries(NAMES, WRITABLE)

SHORT_TEXTS = st.text(max_size=60)
ARGUMENTS: dict[str, st.SearchStrategy[Any]] = {
    "bit": st.booleans(),
    "octet": st.integers(0, 2**8 - 1),
    "short": st.integers(0, 2**16 - 1),
    "long": st.integers(0, 2**32 - 1),
    "longlong": st.integers(0, 2**64 - 1),
    "timestamp": st.integers(0, 2**64 - 1),
    "shortstr": SHORT_TEXTS,
    "longstr": st.text(),
    "table": TABLES,
}
TYPES = st.sampled_from(["bit", *ARGUMENTS])

# -- What can be read, in bytes: more than we would write


def _sized(letters: str, size: int) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda letter, raw: letter.encode() + raw,
        st.sampled_from(letters),
        st.binary(min_size=size, max_size=size),
    )


RAW_NAMES = st.binary(max_size=8)
RAW_VALUES: st.SearchStrategy[bytes] = st.recursive(
    st.one_of(
        _sized("V", 0),
        _sized("tbB", 1),
        _sized("su", 2),
        _sized("Iif", 4),
        _sized("D", 5),
        _sized("lLdT", 8),
        st.binary(max_size=8).map(lambda raw: b"S" + long(raw)),
        st.binary(max_size=8).map(lambda raw: b"x" + long(raw)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda raw: b"A" + long(b"".join(raw))),
        st.dictionaries(RAW_NAMES, inner, max_size=4).map(lambda f: b"F" + table(f)),
    ),
    max_leaves=6,
)
RAW_HEADERS = st.dictionaries(RAW_NAMES, RAW_VALUES, max_size=5)
RAW_TYPES: dict[str, st.SearchStrategy[bytes]] = {
    "octet": st.binary(min_size=1, max_size=1),
    "timestamp": st.binary(min_size=8, max_size=8),
    "shortstr": st.binary(max_size=8).map(short),
    "table": RAW_HEADERS.map(table),
}
RAW_PROPERTIES = st.fixed_dictionaries(
    {}, optional={name: RAW_TYPES[type] for name, type in PROPERTIES.items()}
)


@st.composite
def _damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """
    Bytes that were all right until something was done to them.
    """
    data = draw(whole)
    at = draw(st.integers(0, len(data)))
    end = draw(st.integers(at, min(len(data), at + 4)))
    return data[:at] + draw(st.binary(max_size=4)) + data[end:]


def rubbish(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """
    Anything, often nearly right.
    """
    return st.one_of(st.binary(), st.binary().map(long), _damaged(whole))


class CodecTestCase(SynchronousTestCase):
    """
    What the tests of the codec share.
    """

    def check(self, found: object, wanted: object) -> None:
        """
        Both are the same, their types, their order and what is no number too.
        """
        self.assertEqual(ascii(found), ascii(wanted))

    def read(self, function: Callable[..., object], *args: object) -> None:
        """
        C{function} returns, or raises a L{CodecError} that says something.
        """
        try:
            function(*args)
        except CodecError as e:
            self.assertTrue(str(e))


class ReadTableTests(CodecTestCase):
    """
    L{decode_table} reads every type.
    """

    def test_values(self) -> None:
        """
        Bytes mean what RabbitMQ means by them.
        """
        for raw, value in VALUES:
            self.check(decode_table(table({b"k": raw})), {"k": value})

    def test_in_one_table(self) -> None:
        """
        Values of every type follow each other in a table, and in an array.
        """
        names = [f"{number}".encode() for number in range(len(VALUES))]
        raws, values = zip(*VALUES, strict=True)
        whole = table(dict(zip(names, raws, strict=True)))
        self.check(list(decode_table(whole).values()), list(values))
        array = table({b"k": b"A" + long(b"".join(raws))})
        self.check(decode_table(array), {"k": list(values)})

    def test_unknown_types(self) -> None:
        """
        Any other type is refused, as is none.
        """
        known = {raw[:1] for raw, _ in VALUES}
        self.assertEqual(known, {b"%c" % c for c in b"tbBsuIilLfdDSATFVx"})
        for letter in {bytes((n,)) for n in range(256)} - known:
            raw = table({b"k": letter + bytes(16)})
            self.assertIn(repr(letter), refusal(CodecError, decode_table, raw))
        refusal(CodecError, decode_table, long(b"\x01k"))

    def test_cut_short(self) -> None:
        """
        A table cut short anywhere is refused.
        """
        for raw, _ in VALUES:
            whole = table({b"k": raw})
            for size in range(len(whole)):
                refusal(CodecError, decode_table, whole[:size])

    def test_value_cut_short(self) -> None:
        """
        So is one that ends within a value, though its own length is right.
        """
        for raw, _ in VALUES:
            for size in range(len(raw)):
                refusal(CodecError, decode_table, table({b"k": raw[:size]}))

    def test_longer_than_the_rest(self) -> None:
        """
        A length beyond the end is refused, however large.
        """
        for letter in (b"S", b"x", b"A", b"F"):
            raw = table({b"k": letter + b"\xff\xff\xff\xffab"})
            refusal(CodecError, decode_table, raw)

    def test_more_behind(self) -> None:
        """
        What is behind the table is not its own.
        """
        raw = table({b"k": b"t\x01"}) + b"\xff\xff"
        self.check(decode_table(raw), {"k": True})

    def test_empty(self) -> None:
        """
        A table may be empty, and a name too.
        """
        self.check(decode_table(bytes(4)), {})
        self.check(decode_table(table({b"": b"V"})), {"": None})

    def test_nested(self) -> None:
        """
        Tables and arrays nest as deeply as anybody needs.
        """
        for opening, inner in ((b"A", list), (b"F\x01a", dict)):
            value = decode_table(table({b"k": wrapped(opening, 50)}))["k"]
            for _ in range(50):
                self.assertIsInstance(value, inner)
                value = value[0] if inner is list else value["a"]
            self.assertIsNone(value)

    def test_nested_too_deeply(self) -> None:
        """
        What nests more deeply than can be read is refused, and no crash.
        """
        for opening in (b"A", b"F\x01a"):
            headers = table({b"k": wrapped(opening, 3000)})
            raw = properties({"headers": headers})
            refusal(CodecError, decode_table, headers)
            refusal(CodecError, decode_properties, raw)
            refusal(CodecError, decode_arguments, ["table"], headers, 0)

    def test_nested_in_little_memory(self) -> None:
        """
        What is nested is not copied for each level: 100 KB in 200 levels are no 20 MB.
        """
        large = b"x" + long(bytes(100_000))
        for opening in (b"A", b"F\x01a"):
            raw = table({b"k": wrapped(opening, 200, large)})
            tracemalloc.start()
            try:
                decode_table(raw)
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertLess(most, 5 * len(raw))

    def test_longer_than_its_table(self) -> None:
        """
        A value that goes on behind the end of its array or table is refused.
        """
        for nested in (
            b"A" + long(b"I\0"),
            b"F" + long(b"\x01aI\0"),
            b"F" + long(b"\x09"),
        ):
            raw = table({b"k": nested, b"l": b"S" + long(b"behind it")})
            refusal(CodecError, decode_table, raw)

    def test_nested_is_kept(self) -> None:
        """
        However deep it is, it is kept as it came where other headers are changed.
        """
        for opening in (b"A", b"F\x01a"):
            headers = table({b"k": wrapped(opening, 3000)})
            raw = properties({"headers": headers})
            self.assertEqual(amend_properties(raw, changes={}, headers={}), raw)
            added = amend_properties(raw, changes={}, headers={"CC": "b"})
            removed = amend_properties(added, changes={}, headers={}, dropped=["CC"])
            self.assertEqual(removed, raw)

    def test_error(self) -> None:
        """
        The refusal is one of ours, and a ValueError too.
        """
        for kind in (QuebertError, ValueError):
            refusal(kind, decode_table, b"")

    @QUICK
    @given(RAW_HEADERS)
    def test_anything_right(self, fields: dict[bytes, bytes]) -> None:
        """
        Whatever is well formed is read, each name once.
        """
        names = [name.decode("utf-8", "surrogateescape") for name in fields]
        self.check(list(decode_table(table(fields))), names)

    @QUICK
    @given(rubbish(RAW_HEADERS.map(table)))
    def test_anything(self, data: bytes) -> None:
        """
        Whatever the bytes, they are read or refused.
        """
        self.read(decode_table, data)


class WriteTableTests(CodecTestCase):
    """
    L{encode_table} writes what L{decode_table} reads.
    """

    def written(self, value: object) -> bytes:
        """
        The bytes of a value, its type before them.
        """
        raw = encode_table({"k": value})
        self.assertEqual(raw[:6], struct.pack(">I", len(raw) - 4) + b"\x01k")
        return raw[6:]

    def test_values(self) -> None:
        """
        Each value is written as the type that fits it best.
        """
        cases: list[tuple[object, bytes]] = [
            (None, b"V"),
            (True, b"t\x01"),
            (False, b"t\x00"),
            ("aé", b"S\x00\x00\x00\x03a\xc3\xa9"),
            (b"a\xff", b"x\x00\x00\x00\x02a\xff"),
            (bytearray(b"a"), b"x\x00\x00\x00\x01a"),
            (memoryview(b"a"), b"x\x00\x00\x00\x01a"),
            (1.5, b"d\x3f\xf8\x00\x00\x00\x00\x00\x00"),
            (Decimal("3.14"), b"D\x02\x00\x00\x01\x3a"),
            (Decimal("-1E+2"), b"D\x00\xff\xff\xff\x9c"),
            (MOMENT, b"T" + _STAMP),
            ([True, None], b"A\x00\x00\x00\x03t\x01V"),
            ((True, None), b"A\x00\x00\x00\x03t\x01V"),
            ({"a": True}, b"F\x00\x00\x00\x04\x01at\x01"),
        ]
        for value, raw in cases:
            self.assertEqual(self.written(value), raw, value)

    def test_integers(self) -> None:
        """
        An integer takes four octets where it fits, and else eight.
        """
        cases = {
            0: b"I" + bytes(4),
            -1: b"I\xff\xff\xff\xff",
            2**31 - 1: b"I\x7f\xff\xff\xff",
            -(2**31): b"I\x80\x00\x00\x00",
            2**31: b"l\x00\x00\x00\x00\x80\x00\x00\x00",
            -(2**31) - 1: b"l\xff\xff\xff\xff\x7f\xff\xff\xff",
            2**63 - 1: b"l\x7f" + b"\xff" * 7,
            -(2**63): b"l\x80" + bytes(7),
        }
        self.assertEqual({value: self.written(value) for value in cases}, cases)

    def test_times(self) -> None:
        """
        A time is written in whole seconds of UTC; a naive one is UTC.
        """
        zone = timezone(timedelta(hours=-5))
        times = (
            MOMENT.replace(tzinfo=None),
            MOMENT.astimezone(zone),
            MOMENT + timedelta(microseconds=999_999),
        )
        for moment in times:
            self.assertEqual(self.written(moment), b"T" + _STAMP)

    def test_limits(self) -> None:
        """
        What its type cannot hold is refused, with the name of its field.
        """
        values = (
            2**63, -(2**63) - 1, 10**30, Decimal(2**31), Decimal("1E-256"),
            Decimal("1E+20"), datetime(1969, 12, 31, tzinfo=UTC), "\ud800",
            [2**63], [["\udfff"]], float("nan"), [float("-inf")],
        )  # fmt: skip
        for value in values:
            text = refusal(CodecError, encode_table, {"name": value})
            self.assertIn("name: ", text)

    def test_out_of_range(self) -> None:
        """
        Every Python says in the same words that a number is out of range.
        """
        for value in (2**63, -(2**63) - 1, Decimal(2**31), Decimal("1E-256"), [2**63]):
            text = refusal(CodecError, encode_table, {"name": value})
            self.assertEqual(
                text, f"name: {value!r} cannot be written: a number is out of range"
            )

    def test_endless_integer(self) -> None:
        """
        So is an integer of more digits than Python shows.
        """
        refusal(CodecError, encode_table, {"name": 10**5000})
        refusal(CodecError, encode_table, {"name": [-(10**5000)]})

    def test_no_decimals(self) -> None:
        """
        A decimal that is not finite, or out of all proportion, is refused.
        """
        for text in ("NaN", "sNaN", "Infinity", "-Infinity", "1E-5000000"):
            refusal(CodecError, encode_table, {"name": Decimal(text)})

    def test_no_values(self) -> None:
        """
        What has no type in AMQP is refused, wherever it is.
        """
        for value in ({1}, object(), 1j, range(3), str, timedelta(1)):
            for table in ({"k": value}, {"k": [value]}, {"k": {"k": value}}):
                text = refusal(CodecError, encode_table, table)
                self.assertIn(type(value).__name__, text)

    def test_names(self) -> None:
        """
        A name takes 255 bytes of UTF-8 at most.
        """
        for name in ("a" * 255, "é" * 127, ""):
            self.check(decode_table(encode_table({name: 1})), {name: 1})
        for name in ("a" * 256, "é" * 128, "\ud800"):
            refusal(CodecError, encode_table, {name: 1})
            refusal(CodecError, encode_table, {"k": {name: 1}})

    def test_nested_too_deeply(self) -> None:
        """
        What nests more deeply than can be written is refused.
        """
        value: dict[str, Any] = {}
        for _ in range(5000):
            value = {"a": value}
        refusal(CodecError, encode_table, value)

    @QUICK
    @given(TABLES)
    def test_round_trip(self, fields: dict[str, Any]) -> None:
        """
        What is written is read as it was.
        """
        self.check(decode_table(encode_table(fields)), fields)

    @QUICK
    @given(RAW_HEADERS)
    def test_rewritten(self, fields: dict[bytes, bytes]) -> None:
        """
        What is read can be written, and is read the same again.
        """
        try:
            values = decode_table(table(fields))
            rewritten = encode_table(values)
        except CodecError as e:  # no datetime and no int64, or not finite
            self.assertRegex(str(e), "a number is out of range|not finite")
        else:
            self.check(decode_table(rewritten), values)

    @QUICK
    @given(st.dictionaries(st.text(st.characters(), max_size=300), st.decimals()))
    def test_any_decimal(self, fields: dict[str, Decimal]) -> None:
        """
        A decimal is written exactly, or refused.
        """
        try:
            raw = encode_table(fields)
        except CodecError:
            return
        self.assertEqual(decode_table(raw), fields)


class ShortStringTests(CodecTestCase):
    """
    L{encode_shortstr} writes up to 255 bytes.
    """

    def test_limit(self) -> None:
        """
        The limit is in bytes, not in characters.
        """
        self.assertEqual(encode_shortstr(""), b"\x00")
        self.assertEqual(encode_shortstr("é"), b"\x02\xc3\xa9")
        self.assertEqual(encode_shortstr(b"\xff"), b"\x01\xff")
        self.assertEqual(encode_shortstr("a" * 255), b"\xff" + b"a" * 255)
        for text in ("a" * 256, "é" * 128, b"a" * 256):
            said = refusal(CodecError, encode_shortstr, text)
            self.assertIn("longer than 255 bytes", said)
            self.assertLess(len(said), 400)

    def test_escaped(self) -> None:
        """
        Bytes that were read as surrogate escapes are written as they were.
        """
        self.assertEqual(encode_shortstr("a\udcff"), b"\x02a\xff")

    def test_no_text(self) -> None:
        """
        Half a surrogate pair is no text.
        """
        refusal(CodecError, encode_shortstr, "\ud800")

    @QUICK
    @given(st.binary(max_size=255))
    def test_any_bytes(self, raw: bytes) -> None:
        """
        Whatever bytes are read are written as they were.
        """
        (text,) = decode_arguments(["shortstr"], short(raw), 0)
        self.assertEqual(encode_shortstr(text), short(raw))


class ArgumentTests(CodecTestCase):
    """
    L{encode_arguments} and L{decode_arguments}.
    """

    def test_by_hand(self) -> None:
        """
        C{queue.declare} looks as in the specification.
        """
        types = ["short", "shortstr", *["bit"] * 5, "table"]
        values = [0, "q", False, True, False, False, True, {"a": True}]
        data = b"\x00\x00\x01q\x12\x00\x00\x00\x04\x01at\x01"
        self.assertEqual(encode_arguments(types, values), data)
        self.check(decode_arguments(types, b"head" + data, 4), values)

    def test_bits(self) -> None:
        """
        Bits that follow each other share an octet, the lowest first; others
        do not.
        """
        cases: list[tuple[str, list[Any], bytes]] = [
            ("b", [True], b"\x01"),
            ("bb", [False, True], b"\x02"),
            ("bbbbbbbb", [True] * 8, b"\xff"),
            ("bbbbbbbbb", [False] * 8 + [True], b"\x00\x01"),
            ("bob", [True, 7, True], b"\x01\x07\x01"),
            ("obbo", [5, False, True, 6], b"\x05\x02\x06"),
        ]
        for letters, values, data in cases:
            types = [{"b": "bit", "o": "octet"}[letter] for letter in letters]
            self.assertEqual(encode_arguments(types, values), data)
            self.check(decode_arguments(types, data, 0), values)

    def test_other_bits(self) -> None:
        """
        Bits of an octet that mean nothing are not looked at.
        """
        self.check(decode_arguments(["bit", "bit"], b"\xfe", 0), [False, True])

    def test_none(self) -> None:
        """
        A method may have no arguments.
        """
        self.assertEqual(encode_arguments([], []), b"")
        self.assertEqual(decode_arguments([], b"", 0), [])

    def test_strings(self) -> None:
        """
        Strings may be given as bytes, and are read as text where they are.
        """
        types = ["shortstr", "longstr", "longstr"]
        data = encode_arguments(types, [b"a", b"b", b"\xff"])
        self.check(decode_arguments(types, data, 0), ["a", "b", b"\xff"])

    def test_wrong_values(self) -> None:
        """
        What does not fit its type is refused, and the type told.
        """
        cases: dict[str, list[Any]] = {
            "octet": [256, -1, 1.5, "1", None, b"a"],
            "short": [2**16, -1, None],
            "long": [2**32, -1, None],
            "longlong": [2**64, -1, None],
            "timestamp": [2**64, -1, None, []],
            "shortstr": [None, 5, ["a"], "\ud800"],
            "longstr": [None, "\ud800"],
            "table": [None, 5, "a", ["a"]],
        }
        for type, values in cases.items():
            for value in values:
                text = refusal(CodecError, encode_arguments, [type], [value])
                self.assertIn(f"no {type}", text)
        refusal(CodecError, encode_arguments, ["shortstr"], ["a" * 256])
        refusal(CodecError, encode_arguments, ["table"], [{"a": object()}])

    def test_no_timestamps(self) -> None:
        """
        A timestamp is a moment or a number of seconds, nothing else.
        """
        for value in ("now", "5", float("nan"), float("inf"), 10**5000):
            refusal(CodecError, encode_arguments, ["timestamp"], [value])

    def test_no_long_strings(self) -> None:
        """
        A long string is text or bytes, nothing else.
        """
        for value in (5, [1, 2], 1.5):
            refusal(CodecError, encode_arguments, ["longstr"], [value])

    @QUICK
    @given(st.data(), st.lists(TYPES, max_size=24))
    def test_round_trip(self, data: st.DataObject, types: list[str]) -> None:
        """
        What is written is read as it was, wherever it begins.
        """
        values = [data.draw(ARGUMENTS[type]) for type in types]
        raw = b"head" + encode_arguments(types, values)
        self.check(decode_arguments(types, raw, 4), values)
        self.check(decode_arguments(types, raw + b"more", 4), values)

    @QUICK
    @given(st.lists(TYPES, max_size=8), st.binary(), st.integers(0, 20))
    def test_anything(self, types: Sequence[str], data: bytes, at: int) -> None:
        """
        Whatever the bytes, they are read or refused.
        """
        self.read(decode_arguments, types, data, at)


class PropertyTests(CodecTestCase):
    """
    L{encode_properties} and L{decode_properties}.
    """

    def test_each(self) -> None:
        """
        Each property has its flag and its type.
        """
        values: dict[str, tuple[object, bytes]] = {
            "shortstr": ("aé", b"\x03a\xc3\xa9"),
            "octet": (2, b"\x02"),
            "timestamp": (256, b"\x00\x00\x00\x00\x00\x00\x01\x00"),
            "table": ({"a": True}, b"\x00\x00\x00\x04\x01at\x01"),
        }
        for name, type in PROPERTIES.items():
            value, raw = values[type]
            data = properties({name: raw})
            self.check(encode_properties({name: value}), data)
            self.check(decode_properties(data), {name: value})

    def test_all(self) -> None:
        """
        All are written in the order of the specification, however given.
        """
        values = {"shortstr": "a", "octet": 1, "timestamp": 5, "table": {}}
        whole = {name: values[type] for name, type in PROPERTIES.items()}
        data = encode_properties(dict(reversed(whole.items())))
        self.assertEqual(data[:2], b"\xff\xfc")
        self.check(decode_properties(data), whole)

    def test_none(self) -> None:
        """
        Properties that are C{None} are as ones that are missing.
        """
        self.assertEqual(encode_properties({}), b"\x00\x00")
        self.assertEqual(encode_properties(dict.fromkeys(PROPERTIES)), b"\x00\x00")
        self.assertEqual(decode_properties(b"\x00\x00"), {})

    def test_falsy(self) -> None:
        """
        Empty and zero are values.
        """
        values = {"content-type": "", "headers": {}, "priority": 0, "timestamp": 0}
        self.check(decode_properties(encode_properties(values)), values)

    def test_moment(self) -> None:
        """
        A timestamp may be given as a datetime, and is read in seconds.
        """
        data = encode_properties({"timestamp": MOMENT})
        self.check(decode_properties(data), {"timestamp": int(MOMENT.timestamp())})

    def test_unknown(self) -> None:
        """
        A property that is none is refused by its name.
        """
        for name in ("content_type", "Priority", "x", ""):
            text = refusal(CodecError, encode_properties, {name: None, "type": "a"})
            self.assertIn(repr(name), text)

    def test_wrong_values(self) -> None:
        """
        A value of the wrong type is refused by the property's name.
        """
        cases: dict[str, list[Any]] = {
            "content-type": [5, ["a"], "a" * 256],
            "headers": ["a", 5, [("a", 1)], {"a": object()}, {"a" * 256: 1}, {1: 1}],
            "delivery-mode": ["2", 256, -1, 2.0],
            "priority": ["high", 1.5],
            "expiration": [60_000],
            "timestamp": [-1, 2**64, [], "now", float("nan"), float("inf")],
        }
        for name, values in cases.items():
            for value in values:
                text = refusal(CodecError, encode_properties, {name: value})
                self.assertIn(f"{name}: ", text)

    def test_cut_short(self) -> None:
        """
        Properties cut short anywhere are refused.
        """
        values = {"content-type": "a", "headers": {"a": [1]}, "timestamp": 5}
        whole = encode_properties(values)
        for size in range(len(whole)):
            refusal(CodecError, decode_properties, whole[:size])

    @QUICK
    @given(
        st.fixed_dictionaries(
            {}, optional={name: ARGUMENTS[type] for name, type in PROPERTIES.items()}
        )
    )
    def test_round_trip(self, values: dict[str, Any]) -> None:
        """
        What is written is read as it was.
        """
        read = decode_properties(encode_properties(values))
        self.check(sorted(read.items()), sorted(values.items()))

    @QUICK
    @given(rubbish(RAW_PROPERTIES.map(properties)))
    def test_anything(self, data: bytes) -> None:
        """
        Whatever the bytes, they are read or refused, and so they are amended.
        """
        self.read(decode_properties, data)
        self.read(
            lambda: amend_properties(
                data, changes={"user-id": None}, headers={"a": 1}, dropped=["b"]
            )
        )


class AmendTests(CodecTestCase):
    """
    L{amend_properties} leaves alone what it is not told to change.
    """

    def test_untouched(self) -> None:
        """
        Values of types that we would not write stay byte for byte.
        """
        headers = {str(n).encode(): raw for n, (raw, _) in enumerate(VALUES)}
        data = properties({"headers": table(headers), "type": short(b"\xff")})
        amended = amend_properties(data, changes={"priority": 5}, headers={"k": None})
        wanted = {
            "headers": table(headers),
            "priority": b"\x05",
            "type": short(b"\xff"),
        }
        self.assertEqual(amended, properties(wanted))

    def test_headers(self) -> None:
        """
        Headers are set, replaced and removed.
        """
        fields = {b"a": b"t\x01", b"b": b"s\x00\x05", b"c": b"V", b"d": b"V"}
        data = properties({"headers": table(fields)})
        amended = amend_properties(
            data, changes={}, headers={"a": 7, "c": None, "e": "é"}, dropped=["d", "x"]
        )
        wanted = {
            b"b": b"s\x00\x05",
            b"a": b"I\x00\x00\x00\x07",
            b"e": b"S\x00\x00\x00\x02\xc3\xa9",
        }
        self.assertEqual(amended, properties({"headers": table(wanted)}))

    def test_first_header(self) -> None:
        """
        A header is set where there were none.
        """
        amended = amend_properties(b"\x00\x00", changes={}, headers={"a": None, "b": 1})
        headers = table({b"b": b"I\x00\x00\x00\x01"})
        self.assertEqual(amended, properties({"headers": headers}))

    def test_last_header(self) -> None:
        """
        When the last header is removed none is left.
        """
        data = properties({"headers": table({b"a": b"V"}), "priority": b"\x05"})
        amended = amend_properties(data, changes={}, headers={"a": None})
        read = {"headers": {}, **decode_properties(amended)}
        self.check(read, {"headers": {}, "priority": 5})

    def test_properties(self) -> None:
        """
        Properties are set, replaced and removed.
        """
        data = encode_properties({"type": "a", "user-id": "b", "priority": 1})
        changes = {"delivery-mode": 2, "priority": 9, "user-id": None, "app-id": None}
        amended = amend_properties(data, changes=changes, headers={})
        wanted = encode_properties({"type": "a", "delivery-mode": 2, "priority": 9})
        self.assertEqual(amended, wanted)

    def test_impossible(self) -> None:
        """
        A change that has no bytes is refused.
        """
        changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({"priority": 256}, {}),
            ({"type": "a" * 256}, {}),
            ({}, {"a": 2**63}),
            ({}, {"a" * 256: 1}),
        ]
        for changed, headers in changes:
            options = {"changes": changed, "headers": headers}
            refusal(CodecError, amend_properties, b"\x00\x00", **options)

    @QUICK
    @given(RAW_PROPERTIES)
    def test_nothing_changed(self, fields: dict[str, bytes]) -> None:
        """
        Where nothing is to be changed nothing is, an empty table neither.
        """
        data = properties(fields)
        self.assertEqual(amend_properties(data, changes={}, headers={}), data)

    @QUICK
    @given(
        RAW_PROPERTIES,
        RAW_HEADERS,
        st.integers(1, 2**31 - 1),
        st.none() | st.floats(0, 1e12),
    )
    def test_anything_put_back(
        self,
        fields: dict[str, bytes],
        others: dict[bytes, bytes],
        errors: int,
        due: float | None,
    ) -> None:
        """
        Whatever a message came with goes back byte for byte, beside our
        headers and without what copies it.
        """
        stale = {b"quebert-errors": b"B\x01", b"quebert-not-before": b"V"}
        copying = {b"CC": b"A" + long(b"S" + long(b"a")), b"BCC": b"V"}
        came = {**stale, **others, **copying}
        data = properties({**fields, "headers": table(came)})
        amended = amend_properties(
            data,
            changes={"delivery-mode": 2, "user-id": None},
            headers={"quebert-errors": errors, "quebert-not-before": due},
            dropped=("CC", "BCC"),
        )
        left = {k: raw for k, raw in others.items() if k not in {*stale, *copying}}
        left[b"quebert-errors"] = b"I" + struct.pack(">i", errors)
        if due is not None:
            left[b"quebert-not-before"] = b"d" + struct.pack(">d", due)
        wanted = {**fields, "headers": table(left), "delivery-mode": b"\x02"}
        wanted.pop("user-id", None)
        self.assertEqual(amended, properties(wanted))
