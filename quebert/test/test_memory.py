"""
How much memory tasks take: one of them, and all that are at work together.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert._bounds import BOUNDS, most_values
from quebert.errors import BadTask
from quebert.task import _codec, decode
from quebert.test.checks import refusal

MIB = 2**20
#: What holds many values in few bytes: in an array, again and again.
DENSE = (b"[],", b"{},", b"0,", b"1.5,", b'"a",', b'{"":0},', b"[[[0]]],")


def peak_of(function: Callable[..., Any], *args: Any) -> int:
    """
    How many bytes a call takes at most, beside those of its arguments.
    """
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class OneTaskTests(SynchronousTestCase):
    """
    What the JSON of one task takes.
    """

    def test_refused(self) -> None:
        """
        A body of many values is refused before it is decoded, and takes memory for two
        copies of itself.
        """
        for piece in DENSE:
            bomb = b"[" + piece * (15 * MIB // len(piece)) + b"0]"

            def refused(bomb: bytes = bomb) -> None:
                why = refusal(BadTask, decode, bomb)
                self.assertIn(f"more than {BOUNDS.values} values", why)

            self.assertLess(peak_of(refused), 2 * len(bomb) + MIB, piece)

    def test_most(self) -> None:
        """
        A body of as many values as are allowed takes 100 MiB, whatever its values are.
        """
        values = range(BOUNDS.values - 1)
        objects = (b'{"%x":1.5}' % n for n in values[::2])
        texts = (b'"%x\xf0\x9f\x98\x80"' % n for n in values)
        for members in (objects, texts):
            body = b"[%b]" % b",".join(members)
            self.assertLessEqual(most_values(body), BOUNDS.values)
            self.assertLess(peak_of(decode, body), 100 * MIB)

    def test_most_values(self) -> None:
        """
        The number of values is never more than is counted.
        """
        for text, most in (
            (b"0", 0),
            (b"[]", 1),
            (b"[0, [1], {}]", 5),
            (b'{"a": [1], "b": ",[{"}', 6),
        ):
            self.assertEqual(most_values(text), most)


class OneTaskWithoutOrjsonTests(OneTaskTests):
    """
    The same without orjson.
    """

    def setUp(self) -> None:
        """
        Have it not be there.
        """
        self.patch(_codec, "orjson", None)
