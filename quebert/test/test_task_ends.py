"""
The JSON of end notes.
"""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.task_ends import (
    DeletionNote,
    EndNote,
    decode_note,
    encode_deletion_note,
    encode_end_note,
)
from quebert.test.notes import end_note_in

NOTE = EndNote(uuid="u", queue="tasks", outcome="done", ended=100.5)
FULL = EndNote(
    uuid="u",
    queue="tasks",
    outcome="exhausted",
    ended=100.5,
    reason="it failed",
    status=503,
    attempts=3,
    answers=2,
    first_attempt=90.25,
    last_attempt=100.0,
    sent=80.0,
)


class EndNoteTests(SynchronousTestCase):
    """
    Tests for L{encode_end_note} and L{decode_note}.
    """

    def test_both_ways(self) -> None:
        """
        A note comes back as it was.
        """
        for note in (NOTE, FULL):
            self.assertEqual(decode_note(encode_end_note(note)), note)

    def test_of_deletion(self) -> None:
        """
        A note says whether a task has ended or is deleted.
        """
        deletion = DeletionNote("u")
        self.assertEqual(decode_note(encode_deletion_note(deletion)), deletion)
        self.assertEqual(decode_note(encode_end_note(FULL)), FULL)
        for body in (b'{"deleted": 1}', b'{"deleted": ""}', b"{}", b"[]", b"1"):
            self.assertRaises(ValueError, decode_note, body)

    def test_short(self) -> None:
        """
        What has no value is left out.
        """
        expected = {"uuid": "u", "queue": "tasks", "outcome": "done", "ended": 100.5}
        self.assertEqual(json.loads(encode_end_note(NOTE)), expected)

    def test_unknown_fields(self) -> None:
        """
        Fields of later versions are ignored.
        """
        fields = {**json.loads(encode_end_note(NOTE)), "later": [1]}
        self.assertEqual(decode_note(json.dumps(fields).encode()), NOTE)

    def test_odd_reason(self) -> None:
        """
        Characters of a reason that no database takes are replaced.
        """
        fields = {**json.loads(encode_end_note(NOTE)), "reason": "a\0b\ud800\n"}
        note = end_note_in(json.dumps(fields).encode())
        self.assertEqual(note.reason, "a?b??")

    def test_broken(self) -> None:
        """
        Whatever else is no note is refused.
        """
        fields = json.loads(encode_end_note(FULL))
        for name, value in (
            ("uuid", ""),
            ("uuid", None),
            ("uuid", 7),
            ("uuid", "a\0"),
            ("uuid", "\ud800"),
            ("uuid", 256 * "u"),
            ("queue", ["tasks"]),
            ("outcome", {}),
            ("ended", None),
            ("ended", True),
            ("ended", "100"),
            ("ended", float("nan")),
            ("ended", 1e300),
            ("reason", 7),
            ("status", 1_000),
            ("status", 2.5),
            ("attempts", -1),
            ("answers", True),
            ("answers", 2**40),
            ("first_attempt", float("inf")),
            ("last_attempt", []),
        ):
            body = json.dumps({**fields, name: value}).encode()
            self.assertRaises(ValueError, decode_note, body)
        for name in ("uuid", "queue", "outcome", "ended"):
            body = json.dumps({n: v for n, v in fields.items() if n != name}).encode()
            self.assertRaises(ValueError, decode_note, body)
        for body in (b"", b"\xff", b"[]", b"7", b"[" * 100_000):
            self.assertRaises(ValueError, decode_note, body)

    @given(st.binary(max_size=60))
    @settings(max_examples=100, deadline=None)
    def test_anything(self, body: bytes) -> None:
        """
        Nothing else is raised.
        """
        try:
            decode_note(body)
        except ValueError:
            pass
