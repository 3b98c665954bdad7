"""
Tests for L{quebert.amqp.coordination._cancellation} and
L{quebert.amqp.coordination._question}: what is written in messages about cancelled
tasks, and read again.
"""

from __future__ import annotations

import json
import math
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.coordination import CANCEL, FIND, RETRY_NOW, MediatorAnswer, Question
from quebert.amqp.coordination._cancellation import (
    KEPT,
    Cancellation,
    from_plain,
    merged,
    to_plain,
)
from quebert.amqp.coordination._question import (
    answer_from_plain,
    answer_to_plain,
    question_from_plain,
    question_to_plain,
)
from quebert.amqp.watch import HeldTask

ODD = "ä\ud800\U0001f600 \x00"


class CancellationTests(SynchronousTestCase):
    """
    Cancelled tasks, as values.
    """

    def test_reason(self) -> None:
        """
        It tells on one line, and no longer than a person's name, who did it.
        """
        self.assertEqual(Cancellation("a", 0.0, "ada").reason, "cancelled by ada")
        self.assertEqual(Cancellation("a", 0.0).reason, "cancelled")
        long = Cancellation("a", 0.0, "\x1b[31m\n" * 1000).reason
        self.assertTrue(long.isprintable())
        self.assertLess(len(long), 120)

    def test_written(self) -> None:
        """
        What is written is read again, whatever the uuid.
        """
        some = [Cancellation(ODD, 1.5, "ada"), Cancellation("", 2.0)]
        self.assertEqual(from_plain(to_plain(some)), some)

    def test_unreadable(self) -> None:
        """
        What cannot be read hides nothing else.
        """
        good = ["a", 1.0, "ada"]
        odd: Any = (1, None, [], ["a"], ["a", "b", "c"], ["a", math.nan, ""])
        body = json.dumps({"cancelled": [*odd, good]}).encode()
        self.assertEqual(from_plain(body), [Cancellation("a", 1.0, "ada")])
        for body in (b"", b"[]", b"{}", b'{"cancelled": 5}', b"\xff", b"[" * 100_000):
            self.assertEqual(from_plain(body), [])

    def test_merged(self) -> None:
        """
        The latest of each task counts, and those that are old are forgotten.
        """
        early, late = Cancellation("a", 1.0, "ada"), Cancellation("a", 2.0, "bob")
        old = Cancellation("b", 0.0)
        now = KEPT + 0.5
        for order in ([early, late, old], [late, old, early]):
            self.assertEqual(merged(order, now), {"a": late})
        self.assertEqual(merged([late], late.until), {})


class QuestionTests(SynchronousTestCase):
    """
    Questions and answers.
    """

    def test_question(self) -> None:
        """
        A question is read as it was written.
        """
        cancelled = (Cancellation("a", 1.0, "ada"),)
        for question in (
            Question(FIND, None),
            Question(FIND, ("a", ODD)),
            Question(CANCEL, ("a",), cancelled),
            Question(RETRY_NOW, ()),
        ):
            read = question_from_plain(question_to_plain(question))
            self.assertEqual(read, question)

    def test_unknown_question(self) -> None:
        """
        What this version does not know is no question; nothing is cancelled without a
        uuid.
        """
        plain: Any
        for plain in (
            None,
            {},
            {"kind": "sing", "uuids": []},
            {"kind": CANCEL, "uuids": None},
            {"kind": FIND, "uuids": "a"},
            {"kind": [], "uuids": None},
        ):
            body = json.dumps(plain).encode()
            self.assertIsNone(question_from_plain(body), plain)
        body = json.dumps({"kind": FIND, "uuids": [1, "a", None], "more": 1}).encode()
        self.assertEqual(question_from_plain(body), Question(FIND, ("a",)))

    def test_answer(self) -> None:
        """
        An answer is read as it was written, without what cannot be read.
        """
        held = HeldTask("a", "running", 1.5, None, "http://a/")
        answer = MediatorAnswer("mediator", 2, (held,))
        self.assertEqual(answer_from_plain(answer_to_plain(answer)), answer)
        plain = json.loads(answer_to_plain(answer))
        plain["tasks"] += [1, {}, {"uuid": 1}]
        self.assertEqual(answer_from_plain(json.dumps(plain).encode()), answer)
        for body in (b"", b"{}", b'{"mediator": 1, "consumers": 1, "tasks": []}'):
            self.assertIsNone(answer_from_plain(body))
