"""
The task message: its JSON, its times, the request it asks for, its making.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from string import ascii_letters, digits
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert._bounds import BOUNDS, Bounds
from quebert._url import without_userinfo
from quebert.errors import BadTask, QuebertError
from quebert.task import (
    Request,
    Schedule,
    _json,
    _measure,
    check_size,
    decode,
    decode_bounded,
    encode,
    encode_finite,
    format_time,
    make,
    parse_time,
    read_part,
    request,
    schedule,
)
from quebert.task._keywords import FIELDS
from quebert.test.checks import QUICK, in_one_go, refusal
from quebert.test.mediating import raising

#: 2026-11-23T20:15:00Z
NOW = 1_795_464_900.0
#: The fields that mediators read.
READ = FIELDS - {"params", "traceback"}
DEFAULT = "http://localhost:8000/base/file?query"

# JSON has no way to keep the halves of a pair apart.
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
TEXTS = st.text(st.characters()).filter(lambda text: not _PAIR.search(text))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=15,
)


def nested(depth: int) -> list[Any]:
    """
    A list in a list, C{depth} times.
    """
    outer: list[Any] = []
    for _ in range(depth):
        outer = [outer]
    return outer


class DecodeTests(SynchronousTestCase):
    """
    L{decode} reads JSON in UTF-8, and nothing else.
    """

    def test_values(self) -> None:
        """
        Every kind of JSON value is read.
        """
        body = b' {"a": [1, -2.5, 1e3, true, false, null, "x"], "b": {}} \n'
        value = {"a": [1, -2.5, 1000.0, True, False, None, "x"], "b": {}}
        self.assertEqual(decode(body), value)

    def test_utf8(self) -> None:
        """
        Text outside ASCII is read, as it is and as escapes.
        """
        for body in ('"é€😀"'.encode(), b'"\\u00e9\\u20ac\\ud83d\\ude00"'):
            self.assertEqual(decode(body), "é€😀")

    def test_lone_surrogate(self) -> None:
        """
        Half a surrogate pair, as an escape, is read as what it is.
        """
        self.assertEqual(decode(b'"\\ud800"'), "\ud800")

    def test_large_integer(self) -> None:
        """
        An integer larger than any machine word keeps all its digits.
        """
        self.assertEqual(decode(b"1" + b"0" * 400), 10**400)

    def test_bounded(self) -> None:
        """
        The body of a message is decoded if it is small enough, within all other bounds,
        too; L{decode} takes one of any length.
        """
        bounds = Bounds(body=4, depth=2)
        self.assertEqual(decode_bounded(b"[[]]", bounds), [[]])
        check_size(b"[[]]", bounds)
        for refuse in (decode_bounded, check_size):
            text = refusal(BadTask, refuse, b"[[] ]", bounds)
            self.assertEqual(text, "the body must have at most 4 bytes, not 5")
        self.assertEqual(decode(b"[[] ]", bounds), [[]])
        self.patch(_json, "decode", raising(MemoryError))
        text = refusal(BadTask, decode_bounded, b"[[]]", bounds)
        self.assertIn("no memory", text)

    def test_bounded_levels(self) -> None:
        """
        So are its levels.
        """
        deep = Bounds(body=9, depth=2)
        self.assertIn("levels", refusal(BadTask, decode_bounded, b"[[[]]]", deep))

    def test_not_utf8(self) -> None:
        """
        Bytes that are not UTF-8 make the message a bad one.
        """
        texts = ('{"é": 1}',)
        bodies = [t.encode(code) for t in texts for code in ("latin-1", "utf-16")]
        for body in (*bodies, b"\xff", b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\xf5"'):
            self.assertIn("UTF-8", refusal(BadTask, decode, body))

    def test_byte_order_mark(self) -> None:
        """
        A byte order mark is no part of JSON (RFC 8259, section 8.1).
        """
        self.assertIn("JSON", refusal(BadTask, decode, b"\xef\xbb\xbf{}"))

    def test_not_json(self) -> None:
        """
        What is not JSON, or more than one value, makes the message a bad one.
        """
        bodies = (
            b"", b" ", b"\x00", b"{", b"{}{}", b"[1,]", b"01", b"1_0", b"'a'", b"+1",
            b'"a\nb"', b'{"a"}', b"{a: 1}", b"nul", b"0x10", b'"\\x41"', b"// c\n1",
        )  # fmt: skip
        for body in bodies:
            self.assertIn("JSON", refusal(BadTask, decode, body))

    def test_not_a_number(self) -> None:
        """
        NaN and the infinities, which Python would read, are not JSON.
        """
        for name in (b"NaN", b"Infinity", b"-Infinity"):
            for body in (name, b'{"ttl": ' + name + b"}"):
                self.assertIn("not JSON", refusal(BadTask, decode, body))

    def test_number_beyond_floats(self) -> None:
        """
        A number too large for a float does not become an infinity, which
        nobody could write again.
        """
        for body in (b"1e999", b'{"ttl": -1e999}', b"[1.5e400]"):
            self.assertEqual(decode(encode(decode(body))), decode(body))

    def test_endless_integer(self) -> None:
        """
        An integer of more digits than Python reads makes the message a bad one.
        """
        refusal(BadTask, decode, b"1" * 100_000)

    def test_too_many_values(self) -> None:
        """
        What would take far more memory than its bytes makes the message a bad one,
        before it is read; text does not, whatever is in it.
        """
        few, many, bounds = 10_000, 20_001, Bounds(values=20_000)
        for bomb in (
            b"[%b0]" % (b"[]," * many),
            b"[%b0]" % (b'"\\"[",' * many),
            b"{%b}" % b",".join(b'"%d":0' % n for n in range(many)),
            b"[" + b"1," * many + b'"' + b"x" * many,
        ):
            why = refusal(BadTask, decode, bomb, bounds)
            self.assertEqual(why, "the body is JSON of more than 20000 values")
        for body in (
            b"[%b0]" % (b'",",' * few),
            b'{"a": "%b"}' % (rb"[1,\"{" * many),
            b"[%b0]" % (b"10," * few),
        ):
            decode(body, bounds)

    def test_nested_too_deeply(self) -> None:
        """
        What is nested too deeply makes the message a bad one, and no crash.
        """
        for opening in (b"[", b'{"a":', b'[{"a":'):
            text = refusal(BadTask, decode, opening * 100_000)
            self.assertIn("nested too deeply", text)


class WithoutOrjsonTests(DecodeTests):
    """
    All that is so without orjson, too, which is quicker and not needed.
    """

    def setUp(self) -> None:
        """
        Have it not be there.
        """
        self.patch(_json, "orjson", None)


SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()
)
JSON_TEXTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
).map(json.dumps)
NUMBER_TEXTS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?"
)


class AnythingDecodedTests(SynchronousTestCase):
    """
    L{decode} does one of two things.
    """

    @QUICK
    @given(st.binary() | st.text('{}[]",:0123456789eE+-.\\u tfn').map(str.encode))
    def test_anything(self, body: bytes) -> None:
        """
        Whatever the body is, it is read or a bad message.
        """
        try:
            decode(body)
        except BadTask as e:
            self.assertTrue(str(e))


class OrjsonTests(SynchronousTestCase):
    """
    Nobody can tell from what is decoded whether orjson is there.
    """

    def both(self, body: bytes) -> tuple[str, str]:
        """
        What comes of a body, with orjson and without, in Python's notation.
        """
        with_orjson = self._decoded(body)
        undo = self.patch(_json, "orjson", None)
        without = self._decoded(body)
        undo.restore()
        return with_orjson, without

    def _decoded(self, body: bytes) -> str:
        try:
            return repr(decode(body))
        except BadTask as e:
            return str(e)

    def test_is_there(self) -> None:
        """
        The tests have it.
        """
        self.assertIsNotNone(vars(_json)["orjson"])

    @QUICK
    @given(JSON_TEXTS)
    def test_values(self, text: str) -> None:
        """
        Any value comes out the same.
        """
        self.assertEqual(*self.both(text.encode()))

    @QUICK
    @given(st.lists(NUMBER_TEXTS, min_size=1))
    def test_numbers(self, numbers: list[str]) -> None:
        """
        Any number comes out the same, whole or not, however long or large.
        """
        self.assertEqual(*self.both(f"[{','.join(numbers)}]".encode()))

    def test_long_numbers(self) -> None:
        """
        Numbers of about 64 bits keep all their digits.
        """
        for power in (53, 63, 64, 65):
            for n in range(2**power - 2, 2**power + 3):
                for number in (n, -n):
                    body = b'{"n": %d}' % number
                    self.assertEqual(decode(body), {"n": number})

    @QUICK
    @given(st.binary() | st.text('{}[]",:0123456789eE+-.\\u tfn').map(str.encode))
    def test_anything(self, body: bytes) -> None:
        """
        What is no JSON is refused in the same words.
        """
        self.assertEqual(*self.both(body))


NAMES = st.sampled_from(sorted(FIELDS)) | st.text(max_size=3)
#: What makes JSON of another kind, or none, wherever it is put.
PIECES = (
    b'"', b"\\", b'\\"', b",", b"[", b"]", b"{", b"}", b":", b"0", b"-", b".", b"e",
    b"+", b" ", b"\n", b"\x0b", b"\x00", b"\x7f", b"\xff", b"\xc3", b"\xed\xa0\x80",
    b"\\u12", b"\\ud800", b"\\udc00", b"\\x", b"NaN", b"-Infinity", b"nul", b"null",
    b"01", b"1.", b"1e999", b"1" * 25, b"9" * 4_400, b"//", b"'", b"\xef\xbb\xbf",
    b"{}", b"[" * 6 + b"]" * 6, b'"url":1,', b'"\\u0075rl":2,',
    b'"params":[[[[[[0]]]]]],"params":0,',
)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """
    Objects, of which some are spoiled.
    """
    members = draw(st.lists(st.tuples(NAMES, JSON_TEXTS), max_size=8))
    body = f"{{{','.join(f'{json.dumps(n)}:{value}' for n, value in members)}}}"
    raw = body.encode()
    for piece in draw(st.lists(st.sampled_from(PIECES), max_size=2)):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + piece + raw[at:]
    return raw


class PartTests(SynchronousTestCase):
    """
    Nobody can tell from the fields that mediators read whether all others are decoded.
    """

    def same(self, body: bytes, bounds: Bounds = BOUNDS) -> None:
        """
        What comes of a body is the same, but for the words of a refusal.
        """
        whole = self._told(lambda: decode(body, bounds))
        if "integer string conversion" in whole:
            return  # such a number may stand in a field that is not read
        part = self._told(lambda: in_one_go(read_part(body, bounds)))
        self.assertEqual(part.partition(":")[0], whole.partition(":")[0], body)

    def _told(self, reading: Callable[[], Any]) -> str:
        try:
            task = reading()
        except BadTask as e:
            return f"refused: {e}"
        if not isinstance(task, dict):
            return "refused"
        return repr([(name, task[name]) for name in sorted(READ & task.keys())])

    def test_left_out(self) -> None:
        """
        What a mediator does not read is not there.
        """
        body = (
            b'{"params": [1], "url": "/", "mine": {}, "traceback": "", "failures": 1}'
        )
        task = in_one_go(read_part(body))
        self.assertEqual(task, {"url": "/", "failures": 1})

    def test_surrogate_in_a_string(self) -> None:
        """
        A string is no task, also with half a surrogate pair in it.
        """
        for body in (rb'"url\ud800"', rb'["\uD800"]'):
            self.same(body)

    @QUICK
    @given(bodies())
    def test_objects(self, body: bytes) -> None:
        """
        Any object, and what is nearly one.
        """
        self.same(body)

    @QUICK
    @given(bodies(), st.integers(2, 8), st.integers(2, 30), st.integers(1, 40))
    def test_bounds(self, body: bytes, depth: int, values: int, step: int) -> None:
        """
        Any object, of more levels or values than it may have, or of fewer, in pieces of
        any size.
        """
        undo = self.patch(_measure, "PIECE", step)
        self.same(body, Bounds(depth=depth, values=values))
        undo.restore()

    @QUICK
    @given(st.binary() | st.text('{}[]",:0123456789eE+-.\\u tfn').map(str.encode))
    def test_anything(self, body: bytes) -> None:
        """
        Any bytes.
        """
        for each in (body, b'{"params":%b}' % body, b'{"url":%b}' % body):
            self.same(each)

    def test_levels(self) -> None:
        """
        Objects and arrays about as deep as they may be, beside many that are not, and
        strings that look like them.
        """
        beside = b'"b":[%b0],' % (b'{"[":"]]"},' * 500)
        for depth in (*range(395, 405), 1_000, 3_000):
            for opening, inner, end in ((b"[", b"0", b"]"), (b'{"[":', b"[]", b"}")):
                deep = opening * depth + inner + end * depth
                for more in (b"", beside, b'"b":"%b",' % (b"]" * 400)):
                    self.same(b'{%b"a":%b}' % (more, deep))
                self.same(b'{"a":%b,"a":0}' % deep)

    def test_large_field(self) -> None:
        """
        A field that a mediator reads is not decoded if it is larger than it may be.
        """
        body = b'{"url":"/","headers":[%b0]}' % (b"0," * 200_000)
        why = refusal(BadTask, in_one_go, read_part(body))
        self.assertEqual(why, "headers must have at most 393216 bytes, not 400003")

    def test_large_payload(self) -> None:
        """
        A payload may be as large as the body, if it is a string.
        """
        text = "QUJD" * 200_000
        task = in_one_go(read_part(b'{"url":"/","payload":"%b"}' % text.encode()))
        self.assertEqual(task["payload"], text)
        body = b'{"url":"/","payload":[%b0]}' % (b"0," * 200_000)
        why = refusal(BadTask, in_one_go, read_part(body))
        self.assertEqual(why, "payload must have at most 393216 bytes, not 400003")


class MeasureTests(SynchronousTestCase):
    """
    How many values a text has, and how deep they are, without reading it.
    """

    @QUICK
    @given(bodies(), st.integers(1, 40))
    def test_measured(self, body: bytes, step: int) -> None:
        """
        Both are exact, however the text is cut into pieces.
        """
        try:
            body.decode()
        except UnicodeDecodeError:
            return
        values, deepest = self._slowly(body)
        undo = self.patch(_measure, "PIECE", step)
        list(_measure.measure(body, Bounds(values=values, depth=deepest)))
        for less in ({"values": values - 1}, {"depth": deepest - 1}):
            if min(less.values()) >= 0:
                refusal(BadTask, list, _measure.measure(body, Bounds(**less)))
        undo.restore()

    def _slowly(self, body: bytes) -> tuple[int, int]:
        values = level = deepest = 0
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
        for text in body.split(b'"')[::2]:
            for mark in text:
                values += mark in b",[{"
                level += (mark in b"[{") - (mark in b"]}")
                deepest = max(deepest, level)
        return values, deepest


class EncodeTests(SynchronousTestCase):
    """
    L{encode} writes compact JSON in UTF-8.
    """

    def test_utf8(self) -> None:
        """
        Text is written in UTF-8, not as escapes.
        """
        self.assertEqual(encode({"é": ["😀", 1]}), '{"é":["😀",1]}'.encode())

    def test_lone_surrogate(self) -> None:
        """
        Half a surrogate pair is written as an escape, and comes back.
        """
        task = {"é\udfff": "\ud800 😀"}
        self.assertTrue(encode(task).isascii())
        self.assertEqual(decode(encode(task)), task)

    def test_impossible(self) -> None:
        """
        What JSON cannot say is refused.
        """
        circle: dict[str, Any] = {}
        circle["circle"] = circle
        refusal(ValueError, encode, circle)
        for number in (float("nan"), float("inf"), -float("inf")):
            refusal(ValueError, encode, {"a": number})
        for value in (b"bytes", {1}, object(), 1j):
            refusal(TypeError, encode, {"a": value})

    def test_nested_too_deeply(self) -> None:
        """
        What is nested too deeply is refused like anything else that has no
        form in JSON.
        """
        refusal(ValueError, encode, {"a": nested(100_000)})

    @QUICK
    @given(st.dictionaries(TEXTS, VALUES))
    def test_round_trip(self, task: dict[str, Any]) -> None:
        """
        What is written is read as it was.
        """
        self.assertEqual(decode(encode(task)), task)

    @QUICK
    @given(st.dictionaries(TEXTS, VALUES))
    def test_finite(self, task: dict[str, Any]) -> None:
        """
        Where all numbers are finite, nobody need look for others.
        """
        self.assertEqual(decode(encode_finite(task)), task)
        undo = self.patch(_json, "orjson", None)
        self.assertEqual(decode(encode_finite(task)), task)
        undo.restore()

    @QUICK
    @given(st.dictionaries(TEXTS, VALUES))
    def test_rewritten(self, task: dict[str, Any]) -> None:
        """
        What other producers write can be read, written again, and is the same.
        """
        self.assertEqual(decode(encode(decode(json.dumps(task).encode()))), task)


class TimeTests(SynchronousTestCase):
    """
    L{format_time} and L{parse_time}: seconds since the epoch and RFC 3339.
    """

    def test_format(self) -> None:
        """
        Times are written in UTC, with microseconds and a Z.
        """
        cases = {
            0.0: "1970-01-01T00:00:00.000000Z",
            NOW: "2026-11-23T20:15:00.000000Z",
            NOW + 0.25: "2026-11-23T20:15:00.250000Z",
            -0.5: "1969-12-31T23:59:59.500000Z",
        }
        self.assertEqual({when: format_time(when) for when in cases}, cases)

    def test_parse(self) -> None:
        """
        Offsets count, fractions too, and a naive time is UTC.
        """
        cases = {
            "2026-11-23T20:15:00Z": NOW,
            "2026-11-23t20:15:00Z": NOW,
            "2026-11-23 20:15:00Z": NOW,
            "2026-11-23T20:15:00": NOW,
            "2026-11-23T20:15:00+00:00": NOW,
            "2026-11-23T20:15:00-00:00": NOW,
            "2026-11-23T21:15:00+01:00": NOW,
            "2026-11-24T01:45:00+05:30": NOW,
            "2026-11-23T12:15:00-08:00": NOW,
            "2026-11-23T20:15:00.5Z": NOW + 0.5,
            "2026-11-23T20:15:00.250+00:00": NOW + 0.25,
            "2026-11-23T20:15:00.250000": NOW + 0.25,
            "2026-11-23": NOW - (20 * 60 + 15) * 60,
        }
        self.assertEqual({text: parse_time(text) for text in cases}, cases)

    def test_many_digits(self) -> None:
        """
        A fraction finer than microseconds is read.
        """
        text = "2026-11-23T20:15:00.123456789Z"
        self.assertAlmostEqual(parse_time(text), NOW + 0.123456, delta=2e-6)

    def test_small_letters(self) -> None:
        """
        The Z may be small, as the T may (RFC 3339, section 5.6).
        """
        self.assertEqual(parse_time("2026-11-23t20:15:00z"), NOW)

    def test_no_times(self) -> None:
        """
        What is no time is refused.
        """
        texts = (
            "", "now", "1795464900", "20:15:00Z", "2026-11-23T20:15:00Z\n",
            "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-23T25:00:00Z",
            "2026-11-23T20:15:00+24:00", "Mon, 23 Nov 2026 20:15:00 GMT", "\ud800",
            "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "٢٠٢٦-11-23",
        )  # fmt: skip
        for text in texts:
            refusal(ValueError, parse_time, text)

    @QUICK
    @given(st.integers(0, 4_102_444_800_000_000))
    def test_round_trip(self, microseconds: int) -> None:
        """
        A time that is written is read as it was, to the microsecond.
        """
        when = microseconds / 1e6
        self.assertAlmostEqual(parse_time(format_time(when)), when, delta=1e-6)

    @QUICK
    @given(
        st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)),
        st.integers(-14 * 60, 14 * 60),
    )
    def test_offsets(self, moment: datetime, minutes: int) -> None:
        """
        A moment is the same whatever offset it is told with.
        """
        zone = timezone(timedelta(minutes=minutes))
        aware = moment.replace(tzinfo=UTC)
        there = aware.astimezone(zone).isoformat()
        self.assertEqual(parse_time(there), aware.timestamp())
        self.assertEqual(parse_time(moment.isoformat()), aware.timestamp())


class ScheduleTests(SynchronousTestCase):
    """
    L{schedule} reads when a task may run.
    """

    TIMED = {"timestamp": "2026-11-23T20:15:00Z", "ttl": 60}

    def test_nothing(self) -> None:
        """
        A task that says nothing of it runs at once and never expires.
        """
        times = schedule({})
        self.assertEqual(times, Schedule(run_at=None, expires_at=None))
        self.assertEqual((times.early(0), times.expired(1e18)), (0.0, False))

    def test_null_is_missing(self) -> None:
        """
        A field that is null is as one that is missing.
        """
        nulls = dict.fromkeys(("ttl", "timestamp", "run_at"))
        self.assertEqual(schedule(nulls), schedule({}))
        self.assertEqual(schedule(nulls, sent_at=NOW), schedule({}, sent_at=NOW))

    def test_ttl(self) -> None:
        """
        The time to live counts from the timestamp, a fraction of a second too.
        """
        times = schedule({**self.TIMED, "ttl": 60.5}, sent_at=5)
        self.assertEqual(times.expires_at, NOW + 60.5)
        self.assertEqual(
            [times.expired(NOW + late) for late in (0, 60.25, 60.75)],
            [False, False, True],
        )

    def test_sent_at(self) -> None:
        """
        Where there is no timestamp, the time at which it was sent stands in.
        """
        self.assertEqual(schedule({"ttl": 60}, sent_at=NOW).expires_at, NOW + 60)
        self.assertEqual(schedule({"ttl": 60}, sent_at=0).expires_at, 60)

    def test_no_start(self) -> None:
        """
        With neither, the task does not expire.
        """
        self.assertIsNone(schedule({"ttl": 60}).expires_at)

    def test_no_ttl(self) -> None:
        """
        A time to live of nothing, or less, is none.
        """
        for ttl in (0, 0.0, -0.0, -1, -1e300, -(10**30), None):
            times = schedule({**self.TIMED, "ttl": ttl}, sent_at=NOW)
            self.assertFalse(times.expired(1e18), ttl)

    def test_huge_ttl(self) -> None:
        """
        A time to live of ages is one, unless no float can hold it.
        """
        self.assertFalse(schedule({**self.TIMED, "ttl": 1e308}).expired(1e18))
        text = refusal(BadTask, schedule, {**self.TIMED, "ttl": 10**400})
        self.assertIn("ttl", text)

    def test_run_at(self) -> None:
        """
        A task is early until its time has come.
        """
        times = schedule({"run_at": "2026-11-23T20:15:00Z"})
        self.assertEqual(times.run_at, NOW)
        early = [times.early(NOW + s) for s in (-10, -0.5, 0, 10)]
        self.assertEqual(early, [10, 0.5, 0, 0])

    def test_wrong_types(self) -> None:
        """
        A field of the wrong type is named, and so is its type.
        """
        kinds: list[tuple[Any, str]] = [
            (True, "true or false"),
            (False, "true or false"),
            ([], "an array"),
            ([1], "an array"),
            ({}, "an object"),
        ]
        fields = {
            "ttl": [*kinds, ("60", "a string"), ("", "a string")],
            "timestamp": [*kinds, (0, "a number"), (1.5, "a number")],
            "run_at": [*kinds, (0, "a number"), (1.5, "a number")],
        }
        for field, cases in fields.items():
            for value, kind in cases:
                text = refusal(BadTask, schedule, {field: value})
                self.assertTrue(text.startswith(f"{field} must be "), text)
                self.assertTrue(text.endswith(f", not {kind}"), text)

    def test_no_times(self) -> None:
        """
        A time that cannot be read is named with its field, and cut short.
        """
        for field in ("timestamp", "run_at"):
            for value in ("", "tomorrow", "x" * 10_000, "\ud800"):
                text = refusal(BadTask, schedule, {field: value})
                self.assertIn(f"{field} must be an RFC 3339 time", text)
                self.assertLess(len(text), 200)

    def test_no_object(self) -> None:
        """
        Only an object is a task; what else it is, is told.
        """
        cases: list[tuple[Any, str]] = [
            (None, "null"), (True, "true or false"), (1, "a number"),
            (1.5, "a number"), ("x", "a string"), ([{}], "an array"),
        ]  # fmt: skip
        for value, kind in cases:
            self.assertIn(f"not {kind}", refusal(BadTask, schedule, value))

    @QUICK
    @given(
        st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("ttl", "timestamp", "run_at"), VALUES)
        )
        | VALUES,
        st.none() | st.floats(0, 1e12),
    )
    def test_anything(self, task: Any, sent_at: float | None) -> None:
        """
        Whatever the task says, it has a schedule or is a bad one.
        """
        try:
            times = schedule(task, sent_at)
        except BadTask as e:
            self.assertTrue(str(e))
        else:
            self.assertGreaterEqual(times.early(NOW), 0)


#: What may stand in a path as it is (RFC 3986, section 3.3), and a percent sign.
PLAIN = ascii_letters + digits + "-._~!$&'()*+,;=:@/%"


def url_of(url: str, defaulturl: str = DEFAULT) -> str:
    """
    The URL that is requested for a task with C{url}.
    """
    return request({"url": url}, defaulturl).url


def authorization(url: str, defaulturl: str = DEFAULT) -> str | None:
    """
    The user and password that are sent, or C{None} for none.
    """
    header = request({"url": url}, defaulturl).headers.get("Authorization")
    if header is None:
        return None
    scheme, _, coded = header.partition(" ")
    assert scheme == "Basic", header
    return base64.b64decode(coded).decode("utf-8", "surrogateescape")


class RequestURLTests(SynchronousTestCase):
    """
    L{request} completes, encodes and checks the URL.
    """

    def test_absolute(self) -> None:
        """
        A URL of nothing unusual is requested exactly as it is.
        """
        urls = (
            "http://example.com",
            "http://example.com/",
            "https://example.com/a/b.c?d=e&f=g",
            "http://EXAMPLE.com/A",
            "http://localhost:8000/a",
            "http://my_service:8000/a_b",
            "http://10.0.0.1:1/",
            "http://example.com:65535/",
            "http://[::1]:8000/a?b",
            "http://[2001:db8::1]/",
            "http://h/@user/a:b;c=d,e!$&'()*+~",
            "http://h//a//b/../c/./d",
            "http://h/?a&b=&c==d&&e=f?g/h",
        )
        self.assertEqual([url_of(url) for url in urls], list(urls))

    def test_empty_path(self) -> None:
        """
        An empty path is a slash (RFC 9110, section 4.2.3).
        """
        cases = {
            "http://h?a=b": "http://h/?a=b",
            "http://h:81?a=b": "http://h:81/?a=b",
            "http://h?é": "http://h/?%C3%A9",
        }
        self.assertEqual({url: url_of(url) for url in cases}, cases)

    def test_partial(self) -> None:
        """
        A partial URL is completed from the default one.
        """
        cases = {
            "/": "http://localhost:8000/",
            "/a?b=c": "http://localhost:8000/a?b=c",
            "/a:b": "http://localhost:8000/a:b",
            "a": "http://localhost:8000/base/a",
            "../a": "http://localhost:8000/a",
            "?a": "http://localhost:8000/base/file?a",
            "//other/a": "http://other/a",
            "/é": "http://localhost:8000/%C3%A9",
            "a/b:c": "http://localhost:8000/base/a/b:c",
        }
        self.assertEqual({url: url_of(url) for url in cases}, cases)

    def test_scheme_of_default(self) -> None:
        """
        A partial URL gets the scheme, host and port of the default one.
        """
        cases = {
            "https://h": "https://h/a",
            "https://h:8443/": "https://h:8443/a",
            "http://[::1]:8000/": "http://[::1]:8000/a",
        }
        self.assertEqual({base: url_of("/a", base) for base in cases}, cases)

    def test_other_schemes(self) -> None:
        """
        Only http and https can be requested.
        """
        urls = (
            "ftp://h/", "file:///etc/passwd", "javascript:alert(1)", "data:,a",
            "mailto:a@b", "ws://h/", "httpx://h/", "h:8000/a", "amqp://h/", "gopher:",
        )  # fmt: skip
        for url in urls:
            text = refusal(BadTask, request, {"url": url}, DEFAULT)
            self.assertTrue(text.startswith("url "), text)

    def test_scheme_in_capitals(self) -> None:
        """
        A scheme may be in capitals.
        """
        self.assertEqual(url_of("HTTP://h/a").lower(), "http://h/a")
        self.assertEqual(url_of("HTTPS://h/é").lower(), "https://h/%c3%a9")

    def test_iri(self) -> None:
        """
        A URL outside ASCII is encoded: the host by IDNA, the rest as UTF-8.
        """
        cases = {
            "http://bücher.example/ü?ö=ß": (
                "http://xn--bcher-kva.example/%C3%BC?%C3%B6=%C3%9F"
            ),
            "http://BÜCHER.example/": "http://xn--bcher-kva.example/",
            "https://h:8443/😀": "https://h:8443/%F0%9F%98%80",
            "http://[::1]:8000/é": "http://[::1]:8000/%C3%A9",
            "http://h/%2Fé%20%e9?a=%26é&b=c+d": (
                "http://h/%2F%C3%A9%20%e9?a=%26%C3%A9&b=c+d"
            ),
            'http://h/"<>^`{|}': "http://h/%22%3C%3E%5E%60%7B%7C%7D",
        }
        self.assertEqual({url: url_of(url) for url in cases}, cases)

    def test_iri_is_ascii(self) -> None:
        """
        Letters outside ASCII that look or fold like ASCII ones are encoded.
        """
        for letter in "\u017f\u212a\u0131\u0130":  # long s, kelvin, Turkish i
            self.assertTrue(url_of(f"http://h/{letter}").isascii(), ascii(letter))
            self.assertTrue(url_of(f"http://{letter}x/").isascii(), ascii(letter))
            self.assertTrue(url_of(f"http{letter}://h/").isascii(), ascii(letter))

    def test_iri_is_not_composed(self) -> None:
        """
        What is encoded is what is there: no other form of the same letter
        (RFC 3987, section 3.1, step 1c).
        """
        self.assertEqual(url_of("http://h/e\u0301"), "http://h/e%CC%81")

    @QUICK
    @given(st.text(st.characters(min_codepoint=0xA1, categories=("Ll", "Lo", "Nd"))))
    def test_any_iri(self, text: str) -> None:
        """
        Any letters in path and query are encoded, and can be decoded.
        """
        for iri in (f"http://h/{text}", f"http://h/?a={text}&b"):
            self.assertTrue(url_of(iri).isascii())
            self.assertEqual(unquote(url_of(iri)), iri)

    def test_underscore_in_host(self) -> None:
        """
        A host with an underscore, as container networks have it, can be
        requested whatever the rest of the URL is.
        """
        cases = {
            "http://my_service/é": "http://my_service/%C3%A9",
            "http://my_service/a#b": "http://my_service/a",
            "http://user:password@my_service/": "http://my_service/",
        }
        self.assertEqual({url: url_of(url) for url in cases}, cases)

    def test_percent_encoding_is_kept(self) -> None:
        """
        What is percent-encoded stays as it is, and a stray percent sign too.
        """
        for tail in ("%2F%2f%41%7e", "a%20b?c=%26%3D", "%", "%zz", "100%25"):
            self.assertEqual(url_of(f"http://h/{tail}"), f"http://h/{tail}")
            self.assertEqual(url_of(f"http://h/{tail}#f"), f"http://h/{tail}")

    def test_fragment(self) -> None:
        """
        A fragment is not sent (RFC 9110, section 7.1).
        """
        for url in ("http://h/a?b#c", "http://h/a?b#", "http://h/a?b#é/?#"):
            self.assertEqual(url_of(url), "http://h/a?b")
        self.assertEqual(url_of("/a#b", "http://h/"), "http://h/a")

    @QUICK
    @given(st.text(PLAIN), st.text(PLAIN + "?", min_size=1))
    def test_fragment_alone(self, path: str, query: str) -> None:
        """
        Dropping a fragment changes nothing else.
        """
        for url in (f"http://h:81/{path}", f"http://h:81/{path}?{query}"):
            self.assertEqual(url_of(f"{url}#f"), url)

    def test_missing(self) -> None:
        """
        A task without a URL is a bad one.
        """
        for task in ({}, {"url": None}, {"url": ""}):
            self.assertIn("url", refusal(BadTask, request, task, DEFAULT))

    def test_no_string(self) -> None:
        """
        A URL that is no string is named.
        """
        for url in (True, 1, ["http://h/"], {"a": 1}, b"http://h/"):
            text = refusal(BadTask, request, {"url": url}, DEFAULT)
            self.assertIn("url must be a string", text)

    def test_controls_and_spaces(self) -> None:
        """
        A control character or space anywhere in a URL makes the task a bad one.
        """
        signs = (*map(chr, range(0x21)), "\x7f", "\x80", "\x85", "\x9f", "\xa0")
        urls = ("http://h/a{}b", "{}http://h/", "http://h/{}", "http://h{}/", "/a?{}")
        for sign in (*signs, "\u2028", "\u2029"):
            for url in urls:
                task = {"url": url.format(sign)}
                text = refusal(BadTask, request, task, DEFAULT)
                self.assertIn("space or control character", text)
                self.assertTrue(text.isprintable(), ascii(text))

    def test_ports(self) -> None:
        """
        A port from 1 to 65535 can be requested, no other.
        """
        for port in ("1", "80", "443", "8000", "65535"):
            self.assertEqual(url_of(f"http://h:{port}/"), f"http://h:{port}/")
        wrong = ("0", "65536", "99999", "1" * 30, "1" * 5000, "-1", "a", "8_0", "٨")
        for port in wrong:
            for url in (f"http://h:{port}/", f"http://h:{port}/é"):
                refusal(BadTask, request, {"url": url}, DEFAULT)

    def test_hosts(self) -> None:
        """
        A URL without a host, or with an impossible one, makes the task a bad one.
        """
        urls = (
            "http:", "http:/", "http://", "http:///a", "http://?a", "http://:80/",
            "http:a", "http://[::zz]/", "http://[::1/", "http://a]b/", "http://u@/",
            "http://\ud800/", "http://h/\ud800", "http://ü..ä/", "http://é\u2100/",
        )  # fmt: skip
        for url in urls:
            text = refusal(BadTask, request, {"url": url}, DEFAULT)
            self.assertTrue(text.startswith("url "), ascii(text))

    @QUICK
    @given(st.text(st.characters()) | st.text("htps:/@[]%#?.\\0129ab_-é\ud800"))
    def test_anything(self, text: str) -> None:
        """
        Whatever the URL, it can be requested or the task is a bad one.
        """
        for url in (text, f"http://{text}", f"http://h/{text}"):
            try:
                asked = request({"url": url}, DEFAULT)
            except BadTask as e:
                self.assertIn("url", str(e))
            else:
                self.assertTrue(asked.url.isascii(), ascii(asked.url))
                self.assertRegex(asked.url.lower(), "^https?://[^/?#@]")


class HostTests(SynchronousTestCase):
    """
    What the HTTP client can never request is found out where a task is read.
    """

    def refused(self, url: str) -> str:
        """
        What is said against a URL.
        """
        text = refusal(BadTask, request, {"url": url}, DEFAULT)
        self.assertTrue(text.startswith("url cannot be requested: "), text)
        return text

    def test_taken(self) -> None:
        """
        Names as networks have them, and addresses in their usual form, can be.
        """
        hosts = (
            "h", "localhost", "example.com", "example.com.", "EXAMPLE.com",
            "my_service", "_dmarc.example.com", "a-b", "a--b.c", "r3---sn.example",
            "foo-.example", "1.example.com", "123.456.com", "4u", "1e3", "0xyz",
            "a.0xg", "xn--bcher-kva", "127.0.0.1", "0.0.0.0", "255.255.255.255",
            "[::]", "[::1]", "[2001:db8::1]",
            "a" * 63, f"{'a' * 63}.b", ".".join(["a" * 62] * 4 + ["b"]),
            ".".join(["a" * 62] * 4 + ["b."]),
        )  # fmt: skip
        for host in hosts:
            for url in (f"http://{host}/", f"http://u:p@{host}:81/"):
                asked = url_of(url)
                self.assertEqual(asked, url.replace("u:p@", ""))

    def test_one_spelling(self) -> None:
        """
        An IPv6 address is requested in one spelling, so that others have its limits.
        """
        for host in ("[2001:DB8::1]", "[2001:0db8:0::1]", "[2001:db8:0:0:0:0:0.0.0.1]"):
            self.assertEqual(url_of(f"http://{host}:8/a"), "http://[2001:db8::1]:8/a")
        self.assertEqual(
            url_of("http://[0:0::ffff:127.0.0.1]/"), url_of("http://[::FFFF:7f00:1]/")
        )

    def test_names_in_certificates(self) -> None:
        """
        With https the name must be one that IDNA allows: no certificate is checked
        for another.
        """
        for host in ("example.com", "xn--bcher-kva", "127.0.0.1", "[::1]", "a.b."):
            self.assertEqual(url_of(f"https://{host}/"), f"https://{host}/")
        for host in ("my_service", "foo-.example", "a.-b", "r3---sn.example", "xn--a"):
            for url in (f"https://{host}/", f"https://u@{host}/é"):
                self.assertIn("a name that IDNA allows", self.refused(url))

    def test_no_names(self) -> None:
        """
        Labels that no resolver takes are refused.
        """
        hosts = (
            "{x}", "a|b", 'a"b', "a<b", "a>b", "a^b", "a`b", "a%41", "a!", "a*",
            "a..b", "-", "-a", ".a", ".", "..", "a..", "a" * 64, f"{'a' * 64}.b", "a,b",
            "a;b", "a=b", "a&b", "a'b", "(a)", "$a", "~a", "a+b",
        )  # fmt: skip
        for host in hosts:
            for scheme in ("http", "https"):
                for rest in ("", "/", ":80/é"):
                    refusal(
                        BadTask, request, {"url": f"{scheme}://{host}{rest}"}, DEFAULT
                    )
        for host in hosts[:5]:
            self.assertIn("letters, digits, hyphens", self.refused(f"http://{host}/"))
        self.assertIn("letters, digits, hyphens", self.refused("//{x}/a"))

    def test_numbers(self) -> None:
        """
        A host that ends in a number is an IPv4 address in its usual form, or none.
        """
        hosts = (
            "123456789012", "2130706433", "0", "127.1", "127.0.1", "0177.0.0.1",
            "127.0.0.01", "0x7f.0.0.1", "0x7f000001", "0x", "a.0x", "127.0.0.0x1",
            "127.0.0.1.", "256.0.0.1", "1.2.3.4.5", "a.1", "1.2.3", "127.0.0.1.0",
            "\uff11\uff12\uff17.1", "\u0661", "127\u30020\u30020\u30020",
            "\u2460",
        )  # fmt: skip
        for host in hosts:
            for scheme in ("http", "https"):
                text = self.refused(f"{scheme}://{host}/")
                if host.isascii():
                    self.assertIn("must be an IPv4 address such as 192.0.2.1", text)

    def test_brackets(self) -> None:
        """
        In brackets there is an IPv6 address.
        """
        for host in ("[127.0.0.1]", "[1]", "[:::]", "[::1", "[]", "[fe80::1%25a]"):
            self.refused(f"http://{host}/")
        self.assertIn("an IPv6 address such as", self.refused("http://[:::]/"))

    def test_backslashes(self) -> None:
        """
        Some programs take a backslash for a slash, and see another host than we do.
        """
        urls = (
            "http://h\\a/", "http://good\\@evil/", "http://u:\\@h/", "http://\\h/",
            "http://h:80\\a", "//good\\@evil/",
        )  # fmt: skip
        for url in urls:
            self.refused(url)
        self.assertEqual(url_of("http://h/a\\b?c\\d"), "http://h/a%5Cb?c%5Cd")
        self.assertEqual(url_of("/\\a"), "http://localhost:8000/%5Ca")

    def test_untold(self) -> None:
        """
        What is said against a URL does not quote it.
        """
        for url in ("http://secret{}/", "http://h/secret ", "secret:x", "x" * 9_000):
            text = self.refusal_of(url)
            self.assertNotIn("secret", text)
            self.assertNotIn("xxx", text)

    def refusal_of(self, url: str) -> str:
        """
        What is said against any URL.
        """
        return refusal(BadTask, request, {"url": url}, DEFAULT)


class CredentialTests(SynchronousTestCase):
    """
    L{request} sends a user and password as a header, and tells them nobody.
    """

    def test_sent(self) -> None:
        """
        User and password leave the URL for an Authorization header (RFC 7617).
        """
        url = "https://user:password@h:8443/a?b"
        self.assertEqual(url_of(url), "https://h:8443/a?b")
        cases = {
            "http://h/": None,
            "http://@h/": None,
            "http://user:password@h/": "user:password",
            "http://user:password@[::1]/": "user:password",
            "http://user@h/": "user:",
            "http://user:@h/": "user:",
            "http://:password@h/": ":password",
            "http://user:a:b@h/": "user:a:b",
            "http://us%3aer:p%40ss%2f%25@h/": "us:er:p@ss/%",
            "http://ü:%C3%BC@h/": "ü:ü",
            "http://user:a+b@h/": "user:a+b",
            "http://h/@b": None,
        }
        self.assertEqual({url: authorization(url) for url in cases}, cases)

    def test_bytes(self) -> None:
        """
        Percent-encoded bytes are sent as they are, UTF-8 or not.
        """
        self.assertEqual(authorization("http://user:%FF@h/"), "user:\udcff")

    def test_from_default(self) -> None:
        """
        A partial URL gets user and password of the default one.
        """
        default = "http://user:password@h:81/"
        self.assertEqual(url_of("/a", default), "http://h:81/a")
        self.assertEqual(authorization("/a", default), "user:password")
        self.assertIsNone(authorization("http://h:81/", default))
        self.assertIsNone(authorization("//h:81/", default))

    def test_header_wins(self) -> None:
        """
        A header of the task's own, in whatever case, replaces them.
        """
        headers = {"authorization": "Bearer x"}
        task = {"url": "http://user:password@h/", "headers": headers}
        sent = request(task, DEFAULT).headers
        self.assertEqual(sent, {"Content-Type": "application/json", **headers})

    def check_untold(self, *urls: str, default: str = DEFAULT) -> None:
        """
        Each of C{urls} is refused, without telling the hunter2 in it.
        """
        for url in urls:
            text = refusal(BadTask, request, {"url": url}, default)
            self.assertNotIn("hunter2", text)

    def test_untold(self) -> None:
        """
        The password is in no error's text.
        """
        self.check_untold(
            "http://user:hunter2@h/ ",
            "http://user:hunter2@h:0/",
            "http://user:hunter2@h:x/",
            "http://user:hunter2@[::zz]/",
            "http://user:hunter2@ü..ä/",
            "http://user:hunter2@/",
            "http://user:hunter2@h/\ud800",
            "http://user:hunter2 @h/",
            "http://user:hunter2\ud800@h/",
            "ftp://user:hunter2@h/",
            "//user:hunter2@h:x/",
        )

    def test_default_untold(self) -> None:
        """
        The default URL's password is in no error's text either.
        """
        default = "http://user:hunter2@h:x/"
        self.check_untold("/a", "a", "/é", "/ ", default=default)

    def test_long_one_untold(self) -> None:
        """
        Nor is a part of a password that is longer than what is told of a URL.
        """
        self.check_untold(
            f"http://user:hunter2{'x' * 100}@h/ ",
            f"http://user:hunter2{'x' * 100}@h:0/",
        )

    def test_undelimited_one_untold(self) -> None:
        """
        Nor is a password with characters that should have been encoded.
        """
        self.check_untold(
            "http://user:hunter2/x@h/",
            "http://user:hunter2?x@h/",
            "http://user:hunter2#x@h/",
            "http://user:x/hunter2@h/",
            "http://user:x?hunter2@h/",
            "http://user:x#hunter2@h/",
            "http://user:x@hunter2@h:0/",
            "http://user:x@hunter2@é:0/",
        )

    def test_schemeless_one_untold(self) -> None:
        """
        Nor is one in a URL whose beginning was forgotten.
        """
        self.check_untold("user:hunter2@h/", "http:/user:hunter2@h/")


class ShownURLTests(SynchronousTestCase):
    """
    L{without_userinfo} leaves out the user and password, and no more.
    """

    def test_shown(self) -> None:
        """
        An @ in a path or a query is no end of a password.
        """
        cases = {
            "http://h/notify?email=joe@example.org": None,
            "/notify?email=joe@example.org": None,
            "?email=joe@example.org": None,
            "http://u:p@h/@joe": "http://...@h/@joe",
            "http://u:p@q@h/": "http://...@h/",
            "//u:p@h/": "//...@h/",
            "u:p@h": "...@h",
            "http://u:p/q@h/": "http://...@h/",
        }
        for url, shown in cases.items():
            self.assertEqual(without_userinfo(url), shown or url)

    def test_ports(self) -> None:
        """
        A port is requested as it is counted.
        """
        asked = request({"url": "http://localhost:08080/x"}, DEFAULT)
        self.assertEqual(asked.url, "http://localhost:8080/x")


class LongURLTests(SynchronousTestCase):
    """
    Whoever publishes may write any URL: none takes more than linear time.
    """

    #: A quadratic function would take minutes for each of these.
    SIZE = 200_000
    PIECES = (
        "a", "@", ":", "/", "//", "?", "#", "[", "]", ".", "%", "-", "\N{SNOWMAN}", " ",
        "http://", "a@", "a:", "a.", "a/", "../", "./", "a:@", "@a", "xn--", "%zz",
    )  # fmt: skip

    def test_refused_unread(self) -> None:
        """
        A URL that is too long is not looked at; the sentence is short all the same.
        """
        for piece in self.PIECES:
            for start in ("", "http://", "http://h/", "data:", "http://a@"):
                url = start + piece * self.SIZE
                text = refusal(BadTask, request, {"url": url}, DEFAULT)
                self.assertLess(len(text), 200)

    def test_linear(self) -> None:
        """
        Where long ones are allowed, they take no more time a character than others.
        """
        for piece in self.PIECES:
            for start in ("", "http://", "http://h/", "data:", "http://a@"):
                url = start + piece * (self.SIZE // len(piece))
                try:
                    request({"url": url}, DEFAULT, Bounds(url=2 * self.SIZE))
                except BadTask as e:
                    self.assertLess(len(str(e)), 200)
                without_userinfo(url)

    def test_long_hosts(self) -> None:
        """
        A host is no longer than the DNS has them.
        """
        host = ".".join(["a" * 62] * 4)
        self.assertEqual(len(host), 251)
        request({"url": f"http://{host}.b/"}, DEFAULT)
        text = refusal(BadTask, request, {"url": f"http://{host}.bcé/"}, DEFAULT)
        self.assertIn("its host is longer than 253 characters", text)

    def test_long_labels(self) -> None:
        """
        Nor is a label, whatever its dots look like: IDNA takes more than linear time.
        """
        for dot in ".\u3002\uff0e\uff61":
            request({"url": f"http://{dot.join(['a' * 50 + 'é'] * 4)}/"}, DEFAULT)
            url = f"http://{dot.join(['a', chr(0x6F5) * 64, 'b'])}/"
            text = refusal(BadTask, request, {"url": url}, DEFAULT)
            self.assertIn("has more than 63 characters without a dot", text)
        for label in ("e\u0301" * 32, "a\u00ad" * 40):  # which becomes shorter
            request({"url": f"http://{label}.example/"}, DEFAULT)


class RequestTests(SynchronousTestCase):
    """
    L{request} reads method, headers and timeout.
    """

    def asked(self, **fields: Any) -> Request:
        """
        The request of a task with these C{fields}.
        """
        return request({"url": "/", **fields}, DEFAULT)

    def refused(self, **fields: Any) -> str:
        """
        What is said against these C{fields}.
        """
        return refusal(BadTask, self.asked, **fields)

    def test_defaults(self) -> None:
        """
        A task is posted as JSON; the mediator decides how long it may take.
        """
        headers = {"Content-Type": "application/json"}
        wanted = Request("POST", "http://localhost:8000/", headers, 0.0)
        self.assertEqual(self.asked(), wanted)
        self.assertEqual(self.asked(method=None, headers=None, timeout=None), wanted)

    def test_methods(self) -> None:
        """
        The methods are told in capitals; some have a body.
        """
        with_body = {"POST": True, "PUT": True, "PATCH": True}
        without = {"GET": False, "HEAD": False, "DELETE": False, "OPTIONS": False}
        for name, has_body in {**with_body, **without}.items():
            for method in (name, name.lower(), name.title()):
                asked = self.asked(method=method)
                self.assertEqual((asked.method, asked.sends_task), (name, has_body))

    def test_payload(self) -> None:
        """
        A payload is sent in place of the task, by any method that has a body, and
        nothing says its type unless the task does.
        """
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            asked = self.asked(method=method, payload="AP8=")
            self.assertEqual((asked.payload, asked.sends_task), (b"\x00\xff", False))
            self.assertEqual(asked.headers, {})
        asked = self.asked(payload="", headers={"content-type": "image/png"})
        self.assertEqual(asked.payload, b"")
        self.assertEqual(asked.headers, {"content-type": "image/png"})
        self.assertIsNone(self.asked(payload=None).payload)

    def test_no_payload(self) -> None:
        """
        A payload that is not base64, or cannot be sent, is refused in a sentence.
        """
        for wrong in ("A", "AP8", "AP8=\n", "AP-_", "é", "AP8= ", "=AP8", "\ud800"):
            text = self.refused(payload=wrong)
            why = "payload must be base64 with padding (RFC 4648, section 4)"
            self.assertEqual(text, why)
        text = self.refused(payload=[1])
        self.assertEqual(text, "payload must be base64 in a string, not an array")
        for method in ("GET", "HEAD"):
            text = self.refused(payload="", method=method)
            why = f"payload cannot be sent by {method}: choose another method"
            self.assertEqual(text, why)

    def test_no_methods(self) -> None:
        """
        Any other method is refused, with the ones that there are.
        """
        wrong: tuple[Any, ...] = (
            "",
            "TRACE",
            "CONNECT",
            "GET ",
            "GET\r\nA: b",
            1,
            True,
            [],
            {},
        )
        for method in wrong:
            text = self.refused(method=method)
            self.assertIn("method must be one of DELETE, GET, HEAD", text)

    def test_headers(self) -> None:
        """
        Headers are sent beside ours, any text in them.
        """
        headers = {"X-Custom": "a b\tc", "Accept": "", "X-Text": "é €😀\x80"}
        sent = self.asked(headers=headers).headers
        self.assertEqual(sent, {"Content-Type": "application/json", **headers})

    def test_replaced(self) -> None:
        """
        A header replaces ours of the same name in whatever case.
        """
        headers = {"content-TYPE": "text/plain"}
        self.assertEqual(self.asked(headers=headers).headers, headers)

    def test_task_is_untouched(self) -> None:
        """
        Reading a task changes nothing in it.
        """
        task = {"url": "http://u:p@h/", "headers": {"A": "b"}, "timeout": 5}
        copy = decode(encode(task))
        request(task, DEFAULT)
        self.assertEqual(task, copy)

    def test_no_headers(self) -> None:
        """
        Headers that are no object are refused.
        """
        cases: dict[str, Any] = {
            "an array": [["A", "b"]],
            "a string": "A: b",
            "a number": 1,
            "true or false": False,
        }
        for kind, headers in cases.items():
            text = self.refused(headers=headers)
            self.assertEqual(text, f"headers must be an object, not {kind}")

    def test_header_names(self) -> None:
        """
        Names that are none in HTTP are refused (RFC 9110, section 5.6.2).
        """
        for name in (
            "",
            " ",
            "A:",
            "A B",
            "A\r\nB",
            "A\n",
            "é",
            "\x00",
            "A" + "(" * 99,
        ):
            text = self.refused(headers={name: "x"})
            self.assertIn("is not a name of an HTTP header", text)
            self.assertTrue(text.isprintable(), ascii(text))

    def test_names_that_are_no_strings(self) -> None:
        """
        A hook can give a header a name that is no string: refused as well.
        """
        for name in (1, None, b"A"):
            self.assertIn("headers", self.refused(headers={name: "x"}))

    def test_framing(self) -> None:
        """
        What frames the request, or is about its connection, is not a task's to say
        (RFC 9112, sections 6 and 9); nor is another spelling that servers may take for
        it.
        """
        names = (
            "Content-Length", "content-length", "Transfer-Encoding", "Connection",
            "TE", "Trailer", "Upgrade", "Expect", "Keep-Alive", "Proxy-Connection",
            "Proxy-Authorization", "proxy-anything", "Proxy", "HTTP2-Settings",
            "content_length", "Transfer_Encoding", "KEEP_ALIVE", "proxy_connection",
        )  # fmt: skip
        for name in names:
            text = self.refused(headers={name: "x"})
            self.assertIn(f"headers: {name} is set by the mediator", text)

    def test_host(self) -> None:
        """
        A header Host must be the host of the task's URL: another would reach another
        site of the same server.
        """
        for url, host in (
            ("http://a.example/", "a.example"),
            ("http://A.example:81/x", "a.EXAMPLE:81"),
            ("http://user:word@a.example/", "a.example"),
            ("/partial", "localhost"),
        ):
            request({"url": url, "headers": {"Host": host}}, "http://localhost/")
        for name in ("Host", "host", "HOST"):
            for host in ("b.example", "a.example:80", "a.example.", "", "a.example,b"):
                text = self.refused(url="http://a.example/", headers={name: host})
                self.assertEqual(
                    text, f"headers: {name} is not the host of the task's url"
                )

    def test_header_values(self) -> None:
        """
        A value that is no string is refused, with the name of the header.
        """
        cases: dict[str, Any] = {
            "a number": 1,
            "null": None,
            "true or false": True,
            "an array": ["a"],
            "an object": {},
        }
        for kind, value in cases.items():
            text = self.refused(headers={"X-Custom": value})
            self.assertEqual(text, f"headers: X-Custom must be a string, not {kind}")

    def test_controls_in_headers(self) -> None:
        """
        A value cannot begin a new line or hold another control character, and
        is not told: it may be a secret.
        """
        signs = [chr(n) for n in range(0x20) if chr(n) != "\t"]
        for sign in (*signs, "\x7f", "\ud800"):
            text = self.refused(headers={"X-Custom": f"hunter2{sign}A: b"})
            self.assertIn("X-Custom contains a control character", text)
            self.assertNotIn("hunter2", text)

    def test_timeout(self) -> None:
        """
        A timeout is in seconds; nothing, or less, leaves it to the mediator.
        """
        cases = {5: 5.0, 0.25: 0.25, 0: 0.0, -1: 0.0, None: 0.0, 10**30: 1e30}
        for timeout, seconds in cases.items():
            self.assertEqual(self.asked(timeout=timeout).timeout, seconds)

    def test_no_timeouts(self) -> None:
        """
        A timeout that is no number is refused.
        """
        cases: dict[str, Any] = {
            "true or false": True,
            "a string": "5",
            "an array": [],
            "an object": {},
        }
        for kind, timeout in cases.items():
            text = self.refused(timeout=timeout)
            self.assertEqual(text, f"timeout must be a number of seconds, not {kind}")
        self.assertIn("timeout is too large", self.refused(timeout=10**400))

    @QUICK
    @given(
        st.fixed_dictionaries(
            {"url": st.just("/a") | VALUES},
            optional=dict.fromkeys(("method", "headers", "timeout"), VALUES),
        )
    )
    def test_anything(self, task: dict[str, Any]) -> None:
        """
        Whatever the fields hold, there is a request or the task is a bad one.
        """
        try:
            asked = request(task, DEFAULT)
        except BadTask as e:
            self.assertTrue(str(e))
        else:
            self.assertGreaterEqual(asked.timeout, 0)


class BoundsTests(SynchronousTestCase):
    """
    Each field of a task has a bound, and a longer one is refused by its name.
    """

    def read(self, bounds: Bounds, **fields: Any) -> None:
        """
        Read a task.
        """
        task = {"url": "http://h/", **fields}
        schedule(task, bounds=bounds)
        request(task, DEFAULT, bounds)

    def test_at_the_bound(self) -> None:
        """
        As much as is allowed is taken, and with one more the task is a bad one.
        """
        small = Bounds(
            url=12, uuid=5, method=4, time=20, headers=2, header_name=3,
            header_value=4, all_headers=10,
        )  # fmt: skip
        time = "2026-11-23T20:15:00Z"
        cases: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
            ("url", {"url": "http://h/abc"}, {"url": "http://h/abcd"}),
            ("uuid", {"uuid": "a" * 5}, {"uuid": "a" * 6}),
            ("uuid", {"uuid": 123456}, {"uuid": ["a"]}),
            ("uuid", {"uuid": None}, {"uuid": {}}),
            ("method", {"method": "POST"}, {"method": "PATCH"}),
            ("timestamp", {"timestamp": time, "ttl": 1}, {"timestamp": f"{time} "}),
            ("run_at", {"run_at": time}, {"run_at": time[:-1] + ".0Z"}),
            ("headers", {"headers": {"a": "", "b": ""}},
             {"headers": {"a": "", "b": "", "c": ""}}),
            ("headers", {"headers": {"abc": ""}}, {"headers": {"abcd": ""}}),
            ("headers", {"headers": {"abc": "1234"}}, {"headers": {"abc": "12345"}}),
            ("headers", {"headers": {"abc": "1234", "d": "23"}},
             {"headers": {"abc": "1234", "d": "234"}}),
        )  # fmt: skip
        for field, taken, refused in cases:
            self.read(small, **taken)
            text = refusal(BadTask, self.read, small, **{"ttl": 1, **refused})
            self.assertTrue(text.startswith(field), text)

    def test_not_quoted(self) -> None:
        """
        A text that is too long is in no sentence.
        """
        long = "x" * 100_000
        cases: tuple[dict[str, Any], ...] = (
            {"url": long}, {"uuid": long}, {"method": long}, {"headers": {long: ""}},
            {"run_at": long}, {"timestamp": long, "ttl": 1}, {"headers": {"a": long}},
            {"headers": {f"{n}{long}": "" for n in range(3)}},
        )  # fmt: skip
        for fields in cases:
            text = refusal(BadTask, self.read, Bounds(), **fields)
            self.assertNotIn("xx", text)
            self.assertLess(len(text), 200)


class MakeTests(SynchronousTestCase):
    """
    L{make} builds a task that a mediator takes.
    """

    TIME = "2026-11-23T20:15:00.000000Z"
    HOUR_LATER = "2026-11-23T21:15:00.000000Z"

    def make(self, url: str = "/a", *args: Any, **options: Any) -> dict[str, Any]:
        """
        A task, made now.
        """
        return make(NOW, url, *args, **options)

    def refused(self, url: str = "/a", **options: Any) -> str:
        """
        What is said against these arguments.
        """
        return refusal(BadTask, self.make, url, **options)

    def test_least(self) -> None:
        """
        A task has url, params, timestamp, ttl and uuid; the rest is left out.
        """
        task = self.make(uuid="u")
        wanted = {
            "url": "/a",
            "params": None,
            "timestamp": self.TIME,
            "ttl": 0,
            "uuid": "u",
        }
        self.assertEqual(task, wanted)

    def test_retry(self) -> None:
        """
        C{retry} is checked, which mediators with a policy read.
        """
        wanted = {"max_attempts": 5, "min_backoff": 1}
        self.assertEqual(self.make(retry=wanted)["retry"], wanted)
        text = self.refused(retry={"max_attempts": 0})
        self.assertIn("retry.max_attempts must be a whole number from 1", text)

    def test_payload(self) -> None:
        """
        Bytes become base64.  What the request would not have beside them is refused, as
        is a text.
        """
        for data in (b"\x00\xff", bytearray(b"\x00\xff"), memoryview(b"\x00\xff")):
            self.assertEqual(self.make(payload=data)["payload"], "AP8=")
        self.assertEqual(self.make(payload=b"")["payload"], "")
        self.assertNotIn("payload", self.make())
        text = refusal(BadTask, self.make, payload="AP8=")
        self.assertEqual(text, "payload must be bytes, not a string")
        text = refusal(BadTask, self.make, "/a", {}, payload=b"")
        why = "params would not be sent beside payload: give one of them"
        self.assertEqual(text, why)
        text = refusal(BadTask, self.make, payload=b"", method="GET")
        self.assertEqual(text, "payload cannot be sent by GET: choose another method")

    def test_left_out(self) -> None:
        """
        Arguments that say the same as nothing are left out, too.
        """
        task = self.make(
            uuid="u", run_at=None, delay=None, timeout=None, headers={}, method="POST"
        )
        self.assertEqual(task, self.make(uuid="u"))

    def test_most(self) -> None:
        """
        Every argument is found in the task, and fields of one's own as they are.
        """
        task = self.make(
            "https://h/é",
            {"a": [1]},
            ttl=7200,
            run_at="2026-11-23T22:15:00+01:00",
            timeout=30,
            uuid="u",
            headers={"X-Custom": "b"},
            method="PUT",
            timestamp="2026-11-23T20:15:00.000000Z",
            filter=False,
            failures=3,
            traceback="...",
            extra={"color": "green", "depth": {"x": None}, "now": "or never"},
        )
        wanted = {
            "url": "https://h/é",
            "params": {"a": [1]},
            "timestamp": self.TIME,
            "ttl": 7200,
            "run_at": self.HOUR_LATER,
            "timeout": 30,
            "uuid": "u",
            "headers": {"X-Custom": "b"},
            "method": "PUT",
            "filter": False,
            "failures": 3,
            "traceback": "...",
            "color": "green",
            "depth": {"x": None},
            "now": "or never",
        }
        self.assertEqual(task, wanted)
        self.assertEqual(decode(encode(task)), task)

    def test_extra(self) -> None:
        """
        A field of one's own has a name in text, and none that means something here.
        """
        cases: list[tuple[Any, str]] = [
            (
                {"ttl": 5},
                "extra: ttl is a field of quebert's: give it by itself",
            ),
            ({"url": "/"}, "extra: url is a field of quebert's"),
            ({1: 2}, "extra: 1 must be a string"),
            (["a"], "extra must be a dict, not an array"),
        ]
        for extra, why in cases:
            self.assertIn(why, self.refused(extra=extra))

    def test_unknown_keywords(self) -> None:
        """
        A keyword that is not known is refused, with the one that may be meant, and
        with where fields of one's own go.
        """
        cases = {
            "countdown": "'countdown': did you mean delay? A",
            "dealy": "'dealy': did you mean delay? A",
            "Timeout": "'Timeout': did you mean timeout? A",
            "failure_callback": "did you mean callback_url? A",
            "eta": "'eta': did you mean run_at? A",
            "prority": "'prority': did you mean priority? A",
            "colour": "'colour'; it has amqp_url, callback_url, delay, exchange,",
        }
        for name, why in cases.items():
            text = refusal(TypeError, self.make, **{name: 1})
            self.assertIn(why, text)
            self.assertIn(f"goes into extra={{{name!r}: ...}}.", text)

    def test_uuid(self) -> None:
        """
        A task gets a random UUID of its own, of version 4, and of the variant that has
        versions.
        """
        uuids = {self.make()["uuid"] for _ in range(200)}
        self.assertEqual(len(uuids), 200)
        self.assertEqual({str(UUID(u)) for u in uuids}, uuids)
        self.assertEqual({UUID(u).version for u in uuids}, {4})
        for place in set(range(36)) - {8, 13, 14, 18, 19, 23}:
            self.assertGreater(len({u[place] for u in uuids}), 8)

    def test_no_uuids(self) -> None:
        """
        Another UUID must be a string with something in it.
        """
        for uuid in ("", 5, b"u", UUID(int=5)):
            self.assertIn("uuid must be a string", self.refused(uuid=uuid))

    def test_headers_are_copied(self) -> None:
        """
        The task does not share the headers with who made it.
        """
        headers = {"A": "b"}
        task = self.make(headers=headers)
        headers["C"] = "d"
        self.assertEqual(task["headers"], {"A": "b"})

    def test_run_at(self) -> None:
        """
        The time to run may be a datetime, a text or seconds, or a delay.
        """
        moment = datetime(2026, 11, 23, 21, 15)
        zone = timezone(timedelta(hours=-5))
        forms: list[dict[str, Any]] = [
            {"run_at": moment},
            {"run_at": moment.replace(tzinfo=UTC)},
            {"run_at": moment.replace(tzinfo=UTC).astimezone(zone)},
            {"run_at": "2026-11-23T21:15:00Z"},
            {"run_at": "2026-11-23T21:15:00"},
            {"run_at": "2026-11-23T16:15:00-05:00"},
            {"run_at": NOW + 3600},
            {"run_at": int(NOW) + 3600},
            {"delay": 3600},
            {"delay": 3600.0},
        ]
        for form in forms:
            self.assertEqual(self.make(**form)["run_at"], self.HOUR_LATER, form)

    def test_delay_from_now(self) -> None:
        """
        A delay of nothing, or less, is from now.
        """
        for delay in (0, 0.0, -5, -1e300):
            self.assertEqual(self.make(delay=delay)["run_at"], self.TIME)

    def test_epoch(self) -> None:
        """
        A time to run of 0 seconds is one, not none.
        """
        self.assertEqual(self.make(run_at=0)["run_at"], format_time(0))

    def test_both(self) -> None:
        """
        A time to run and a delay at once are refused, with both names.
        """
        for run_at, delay in ((NOW, 5), (0, 0), ("", 0)):
            text = self.refused(run_at=run_at, delay=delay)
            self.assertIn("run_at and delay", text)

    def test_no_run_at(self) -> None:
        """
        A time to run of the wrong kind is refused.
        """
        wrong: tuple[Any, ...] = ("", "soon", True, [], {}, b"", date(2026, 11, 23))
        for run_at in wrong:
            self.assertIn("run_at must be", self.refused(run_at=run_at))

    def test_no_delay(self) -> None:
        """
        A delay of the wrong kind is refused.
        """
        wrong: tuple[Any, ...] = ("5", "", True, False, [], {}, timedelta(1))
        for delay in wrong:
            self.assertIn("delay must be a number", self.refused(delay=delay))

    def test_beyond_the_calendar(self) -> None:
        """
        A time to run that no calendar has is refused by its name.
        """
        for number in (1e20, 1e300, float("inf"), 10**400):
            self.assertIn("run_at", self.refused(run_at=number))
            self.assertIn("delay", self.refused(delay=number))

    def test_not_finite(self) -> None:
        """
        A number that JSON has no form for is refused by its name.
        """
        for number in (float("nan"), float("inf")):
            for field in ("ttl", "timeout", "run_at", "delay"):
                option: dict[str, Any] = {field: number}
                self.assertIn(field, self.refused(**option))

    def test_ttl(self) -> None:
        """
        A task that would expire before it may run is refused.
        """
        for late in (61, 1e9):
            beyond = self.refused(ttl=60, delay=late)
            self.assertIn("run_at is beyond the ttl", beyond)
            self.assertEqual(self.refused(ttl=60, run_at=NOW + late), beyond)
        for timely in (
            {"delay": 59},
            {"run_at": NOW + 59},
            {"delay": 0},
            {"run_at": 0},
        ):
            self.assertIn("run_at", self.make(ttl=60, **timely))
        self.assertIn("run_at", self.make(ttl=0, delay=1e9))

    def test_wrong_fields(self) -> None:
        """
        What a mediator would refuse is refused at once, by its name.
        """
        cases: dict[str, list[Any]] = {
            "ttl": ["60", True, [], 10**400],
            "timeout": ["60", True, [], 10**400],
            "method": ["", "TRACE", 5],
            "headers": [{"A": 1}, {"A B": "c"}, {"TE": "x"}, {"A": "b\r\nC: d"}],
            "timestamp": ["now", 5],
        }
        for field, values in cases.items():
            for value in values:
                self.assertIn(field, self.refused(**{field: value}))

    def test_no_headers(self) -> None:
        """
        Headers that are no mapping are refused by their name.
        """
        for headers in ("abc", 5, {1: "x"}, ["A"]):
            self.assertIn("headers", self.refused(headers=headers))

    def test_wrong_urls(self) -> None:
        """
        A URL that cannot be requested is refused at once.
        """
        for url in ("", "ftp://h/", "http://h/a b", "http://h:0/", "a\n"):
            self.assertIn("url", self.refused(url))

    def test_error(self) -> None:
        """
        The refusal is one of ours, and a ValueError too.
        """
        for kind in (QuebertError, ValueError):
            refusal(kind, self.make, "")

    @QUICK
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "params": VALUES,
                "ttl": st.integers(-5, 10**6) | st.floats(0, 1e6),
                "delay": st.integers(-5, 10**6) | st.floats(0, 1e6),
                "timeout": st.integers(0, 10**6) | st.floats(0, 1e6),
                "method": st.sampled_from(["POST", "get", "Put"]),
                "extra": st.dictionaries(TEXTS.map("my {}".format), VALUES),
            },
        )
    )
    def test_taken(self, options: dict[str, Any]) -> None:
        """
        What is made survives its encoding, and has a schedule and a request.
        """
        try:
            params = options.pop("params", None)
            task = decode(encode(self.make("/a", params, **options)))
        except BadTask as e:
            self.assertIn("beyond the ttl", str(e))
            return
        self.assertFalse(schedule(task).expired(NOW))
        self.assertEqual(schedule(task).early(NOW + 2e6), 0)
        self.assertEqual(request(task, DEFAULT).url, "http://localhost:8000/a")
