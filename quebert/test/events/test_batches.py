"""
Tests for L{quebert.events._batch_encoder} and L{quebert.events._batch_decoder}.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any
from uuid import UUID

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.events import AttemptBatch, UnreadableEvents, decode_batch, encode_batch
from quebert.events._batch_format import MOST_BYTES, MOST_RECORDS
from quebert.test.checks import QUICK, refusal
from quebert.test.events.strategies import BATCHES, record

MANY = AttemptBatch(
    mediator="m",
    sequence=7,
    at=1796000002.0,
    records=tuple(
        record(uuid=str(UUID(int=n * 7**40)), started=1796000000 + n / 4096)
        for n in range(1000)
    ),
    total=9000,
)
#: How a batch begins before which nothing was dropped.
START = b"QBE\x01" + bytes(8)


def taken_apart(body: bytes) -> tuple[dict[str, Any], bytes]:
    """
    The head and the columns of a batch.
    """
    whole = zlib.decompress(body[12:])
    end = 4 + struct.unpack_from("<I", whole)[0]
    return json.loads(whole[4:end]), whole[end:]


def put_together(head: object, columns: bytes) -> bytes:
    """
    The reverse.
    """
    first = json.dumps(head).encode()
    whole = struct.pack("<I", len(first)) + first + columns
    return START + zlib.compress(whole)


class BatchCodecTests(SynchronousTestCase):
    """
    Batches of attempts as bytes.
    """

    def refused(self, body: bytes) -> str:
        """
        Why a reader refuses it.
        """
        return refusal(UnreadableEvents, decode_batch, body)

    @QUICK
    @given(BATCHES)
    def test_round_trip(self, batch: AttemptBatch) -> None:
        """
        What is written is read as it was.
        """
        self.assertEqual(decode_batch(encode_batch(batch)), batch)

    def test_small(self) -> None:
        """
        A record of an ordinary task takes less than 24 bytes.
        """
        body = encode_batch(MANY)
        self.assertLess(len(body), 24 * len(MANY.records))
        self.assertEqual(decode_batch(body), MANY)

    def test_missing_times(self) -> None:
        """
        The first second of 1970 is a time, too.
        """
        records = (record(added=0.0, due=None), record(added=None, due=0.0))
        batch = attrs.evolve(MANY, records=records)
        self.assertEqual(decode_batch(encode_batch(batch)), batch)

    def test_other_version(self) -> None:
        """
        A batch of another version is refused in one sentence.
        """
        body = encode_batch(MANY)
        self.assertEqual(
            self.refused(body[:3] + b"\x02" + body[4:]),
            "this batch of attempts is of version 2 of the format, and this program"
            " reads version 1: run the same version of quebert everywhere",
        )

    def test_something_else(self) -> None:
        """
        What is no batch is refused.
        """
        for body in (b"", b"QBE", b"{}", b"QBS\x01" + zlib.compress(b"{}")):
            self.assertIn("this is no batch of attempts: it begins", self.refused(body))
        self.assertIn("incorrect header", self.refused(START + b"rubbish"))

    def test_cut_short(self) -> None:
        """
        A batch is refused, wherever it is cut.
        """
        body = encode_batch(attrs.evolve(MANY, records=MANY.records[:3]))
        for end in range(len(body)):
            self.refused(body[:end])
        self.assertIn("cut short", self.refused(body[:-1]))

    def test_bomb(self) -> None:
        """
        What would take too much memory is refused before it does.
        """
        body = START + zlib.compress(bytes(MOST_BYTES + 1))
        self.assertLess(len(body), MOST_BYTES / 900)
        self.assertIn(f"it has over {MOST_BYTES} bytes", self.refused(body))
        head, columns = taken_apart(encode_batch(MANY))
        for count in (MOST_RECORDS + 1, 2**62):
            body = put_together({**head, "count": count}, columns)
            self.assertIn("more than 100000 records", self.refused(body))
        nested = b"[" * 100_000
        whole = struct.pack("<I", len(nested)) + nested
        self.refused(START + zlib.compress(whole))

    @QUICK
    @given(
        st.sampled_from(sorted(taken_apart(encode_batch(MANY))[0])),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-1, 3),
            st.just(10**400),
            st.sampled_from([float("nan"), float("inf"), "\0", "\ud800", "x"]),
            st.lists(st.sampled_from(["a", "\ud800", "\0", 1, None]), max_size=3),
            st.dictionaries(st.text(), st.text(), max_size=2),
        ),
    )
    def test_wrong_fields(self, name: str, value: object) -> None:
        """
        A head that was tampered with is read, or refused.
        """
        head, columns = taken_apart(encode_batch(MANY))
        try:
            batch = decode_batch(put_together({**head, name: value}, columns))
        except UnreadableEvents:
            pass
        else:
            encode_batch(batch)
        del head[name]
        self.assertIn("missing", self.refused(put_together(head, columns)))

    def test_long_texts(self) -> None:
        """
        A text that no mediator writes, and the name of a queue that no broker has, are
        refused: each would be kept, and shown, again and again.
        """
        most = record(queue="ä" * 127, url="u" * 4_096, answer="a" * 16_384)
        batch = attrs.evolve(MANY, records=(most,))
        self.assertEqual(decode_batch(encode_batch(batch)), batch)
        wrong: Any
        for wrong in (
            {"mediator": "m" * 4_097},
            {"records": (record(queue="ä" * 128),)},
            {"records": (record(uuid="u" * 4_097),)},
            {"records": (record(url="u" * 4_097),)},
            {"records": (record(answer="a" * 16_385),)},
        ):
            self.refused(encode_batch(attrs.evolve(MANY, **wrong)))

    def test_limits(self) -> None:
        """
        A number of 63 bits is read, a larger one is not, and neither is a text with
        half a character.
        """
        head, columns = taken_apart(encode_batch(MANY))
        largest = decode_batch(put_together({**head, "total": 2**63 - 1}, columns))
        self.assertEqual(largest.total, 2**63 - 1)
        body = put_together({**head, "total": 2**63}, columns)
        self.assertIn("a number is too large", self.refused(body))
        body = put_together({**head, "mediator": "\ud800"}, columns)
        self.assertIn("surrogates not allowed", self.refused(body))

    @QUICK
    @given(st.binary(max_size=200), st.integers(0, 199))
    def test_wrong_bytes(self, data: bytes, place: int) -> None:
        """
        Whatever the columns hold, they are read or refused.
        """
        records = MANY.records[:2]
        head, columns = taken_apart(encode_batch(attrs.evolve(MANY, records=records)))
        for each in (data, columns[:place] + data + columns[place:]):
            try:
                decode_batch(put_together(head, each))
            except UnreadableEvents as e:
                self.assertIn("this is no batch of attempts: ", str(e))
