"""
Values of protocol buffers: from JSON, and back.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.test.checks import QUICK
from quebert.web.cloud_tasks import CloudTasksError
from quebert.web.cloud_tasks import _proto as proto
from quebert.web.cloud_tasks import _scalars as scalars
from quebert.web.cloud_tasks._enums import Scheme, TaskView
from quebert.web.cloud_tasks._messages import (
    HttpTarget,
    TaskMessage,
    UriOverride,
)
from quebert.web.cloud_tasks._proto import proto_size, read_message, written

#: The first and the last time that can be written, in seconds.
FIRST, LAST = -62_135_596_800, 253_402_300_799


class ScalarTests(SynchronousTestCase):
    """
    Scalar values.
    """

    def _refuses(self, read: Any, *values: Any) -> None:
        for value in values:
            with self.assertRaises(ValueError, msg=repr(value)):
                read(value)

    @given(st.integers(FIRST, LAST), st.integers(0, 999_999_999))
    @QUICK
    def test_times(self, seconds: int, nanoseconds: int) -> None:
        """
        A time is written so that it is read as the same, to the nanosecond.
        """
        moment = seconds * scalars.SECOND + nanoseconds
        text = scalars.written_timestamp(moment)
        self.assertEqual(scalars.read_timestamp(text), moment)
        self.assertIn(len(text), (20, 24, 27, 30))

    @given(st.integers(-(10**20), 10**20))
    @QUICK
    def test_durations(self, nanoseconds: int) -> None:
        """
        So is a duration.
        """
        text = scalars.written_duration(nanoseconds)
        self.assertEqual(scalars.read_duration(text), nanoseconds)

    def test_forms(self) -> None:
        """
        The forms of times and durations that there are, and those that there are not.
        """
        second = scalars.SECOND
        for text, seconds in (
            ("1970-01-01T00:00:01Z", 1),
            ("1970-01-01t00:00:01z", 1),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("0001-01-01T00:00:00Z", FIRST),
        ):
            self.assertEqual(scalars.read_timestamp(text), seconds * second, text)
        self._refuses(
            scalars.read_timestamp,
            *(None, 1, "", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01 00:00:00Z"),
            *("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"),
            *("2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z"),
            *("2026-01-01T00:00:00+24:00", "٢٠٢٦-01-01T00:00:00Z"),
            f"2026-01-01T00:00:00.{'0' * 100}Z",
        )
        self.assertEqual(scalars.read_duration("-0.5s"), -second // 2)
        self.assertEqual(scalars.written_duration(-second // 2), "-0.500s")
        self._refuses(
            scalars.read_duration,
            *(None, 1, "", "s", "1", ".5s", "1.s", "1.0000000001s", "+1s", "1e3s"),
            *("315576000001s", "1 s", "٣s"),
        )

    def test_numbers(self) -> None:
        """
        A number may be a text; one that is too large, or not whole, is none.
        """
        for value in (5, 5.0, "5", "005"):
            self.assertEqual(scalars.read_int32(value), 5)
        self.assertEqual(scalars.read_int64(str(2**63 - 1)), 2**63 - 1)
        self._refuses(
            scalars.read_int32,
            *(None, True, 0.5, "0.5", "", "x", 2**31, -(2**31) - 1, float("nan")),
            *(float("inf"), 1e300, "9" * 5_000, [], {}),
        )
        self._refuses(scalars.read_int64, 2**63, "9" * 64)
        for value in (0.5, "0.5", "5e-1"):
            self.assertEqual(scalars.read_double(value), 0.5)
        self._refuses(
            scalars.read_double,
            *(None, True, "NaN", "Infinity", float("nan"), 10**400, "1e999", "", "0x1"),
        )
        self._refuses(scalars.read_bool, None, 0, "true")

    def test_texts(self) -> None:
        """
        A text is one that UTF-8 can have; bytes are in either alphabet of base64, with
        padding or without.
        """
        self._refuses(scalars.read_text, None, 1, "\ud800")
        for text in ("+/+/YQ==", "-_-_YQ==", "+/+/YQ"):
            self.assertEqual(scalars.read_bytes(text), b"\xfb\xff\xbfa")
        self._refuses(
            scalars.read_bytes, None, 1, "Y", "YQ===", "Y Q=", "YQ==YQ==", "é"
        )

    def test_masks(self) -> None:
        """
        The paths of a mask are in the spelling of the .proto.
        """
        found = scalars.read_mask("rateLimits.maxBurstSize, retry_config,,*")
        self.assertEqual(found, ("rate_limits.max_burst_size", "retry_config", "*"))
        self._refuses(
            scalars.read_mask, None, 1, "a b", ".", "a.", "A", "a," * 101, "a" * 8_193
        )


class MessageTests(SynchronousTestCase):
    """
    Messages.
    """

    def test_names(self) -> None:
        """
        A field may have either name, an enum be a number or a name, and C{null} is
        nothing.
        """
        one = {"dispatchCount": 3, "view": "FULL", "name": None}
        two = {"dispatch_count": "3", "view": 2}
        for plain in (one, two):
            found = read_message(TaskMessage, plain)
            self.assertEqual(found, TaskMessage(dispatch_count=3, view=TaskView.FULL))
        self.assertEqual(written(found), {"dispatchCount": 3, "view": "FULL"})
        self.assertEqual(
            written(found, as_numbers=True), {"dispatchCount": 3, "view": 2}
        )

    def test_half_a_character(self) -> None:
        """
        The sentence about an unknown field is one that UTF-8 can have.
        """
        with self.assertRaises(CloudTasksError) as caught:
            read_message(TaskMessage, {"\ud800": 1})
        self.assertIn('Unknown name "?": Cannot', caught.exception.message)

    def test_presence(self) -> None:
        """
        An optional field is there also where it is empty; a message, too.
        """
        given = {"uriOverride": {"scheme": "HTTP", "host": "", "port": "0"}}
        found = read_message(HttpTarget, given)
        override = UriOverride(scheme=Scheme.HTTP, host="", port=0)
        self.assertEqual(found, HttpTarget(uri_override=override))
        self.assertEqual(written(found), given)
        self.assertEqual(
            written(read_message(HttpTarget, {"uriOverride": {}})), {"uriOverride": {}}
        )

    def test_sizes(self) -> None:
        """
        The size is that of the wire format, worked out by hand.
        """
        fields = {
            "number": proto.int32(1),
            "text": proto.text(2),
            "far": proto.int64(16),
            "names": proto.repeated(proto.text(3)),
            "pairs": proto.map_of(4, proto.text(2)),
            "time": proto.timestamp(5),
            "ratio": proto.double(6),
        }
        sized = attrs.make_class("Sized", fields)
        for value, size in (
            (sized(), 0),
            (sized(number=127), 2),
            (sized(number=128), 3),
            (sized(number=-1), 11),
            (sized(text="é"), 4),
            (sized(text="x" * 127), 129),
            (sized(text="x" * 128), 131),
            (sized(far=1), 3),
            (sized(names=("a", "bc")), 3 + 4),
            (sized(pairs={"a": "b"}), 2 + 3 + 3),
            (sized(pairs={"a": "b", "c": "d"}), 16),
            (sized(time=0), 2),
            (sized(time=1_795_953_600 * 10**9), 2 + 6),
            (sized(time=1_795_953_600 * 10**9 + 1), 2 + 6 + 2),
            (sized(ratio=0.5), 9),
        ):
            self.assertEqual(proto_size(value), size, value)
