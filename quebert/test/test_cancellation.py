"""
Tests for L{quebert.amqp.coordination._cancellation},
L{quebert.amqp.coordination._known_cancelled} and
L{quebert.amqp.coordination._question}: what is written in messages about cancelled
tasks, and read again, and what mediators know of them.
"""

from __future__ import annotations

import json
import math
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.coordination import (
    CANCEL,
    FIND,
    RETRY_NOW,
    MediatorAnswer,
    Question,
    _known_cancelled,
)
from quebert.amqp.coordination._cancellation import (
    REMEMBERED,
    REMEMBERED_AFTER_MET,
    Cancellation,
    Merged,
    from_plain,
    to_plain,
)
from quebert.amqp.coordination._known_cancelled import KnownCancelled
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
        some = [
            Cancellation(ODD, 1.5, "ada"),
            Cancellation("", 2.0),
            Cancellation("a", 2.0, "ada", 5.0, 1.0),
        ]
        self.assertEqual(from_plain(to_plain(some)), some)

    def test_unreadable(self) -> None:
        """
        What cannot be read hides nothing else.
        """
        good = ["a", 1.0, "ada"]
        odd: Any = (1, None, [], ["a"], ["a", "b", "c"], ["a", math.nan, ""])
        body = json.dumps({"cancelled": [*odd, good]}).encode()
        self.assertEqual(from_plain(body), [Cancellation("a", 1.0, "ada")])
        columns: Any
        for columns in ({"kept": [1]}, {"kept": "xx"}, {"kept": [None, math.nan]}):
            body = json.dumps({"cancelled": [good, good], **columns}).encode()
            self.assertEqual(from_plain(body), 2 * [Cancellation("a", 1.0, "ada")])
        for body in (b"", b"[]", b"{}", b'{"cancelled": 5}', b"\xff", b"[" * 100_000):
            self.assertEqual(from_plain(body), [])

    def test_merged(self) -> None:
        """
        Those of several times stay, each once and as it is forgotten first; those whose
        time is over are forgotten.
        """
        early, late = Cancellation("a", 1.0, "ada"), Cancellation("a", 2.0, "bob")
        old, met = Cancellation("b", 0.0), late.met(5.0)
        now = REMEMBERED + 0.5
        for order in ([early, late, old, late], [late, old, early, early]):
            living = Merged(order).living(now)
            self.assertEqual(sorted(living, key=lambda each: each.at), [early, late])
        for order in ([late, met, early], [early, met, late], [met, early, late]):
            merged = Merged(order)
            self.assertEqual(set(merged.living(6.0)), {early, met})
            self.assertEqual(merged.living(met.until), [early])
            self.assertEqual(merged.count, 3)
        self.assertEqual(Merged([late]).living(late.until), [])

    def test_met(self) -> None:
        """
        A task that a mediator has met is forgotten a day later, and never later than
        it was.
        """
        cancelled = Cancellation("a", 10.0)
        self.assertEqual(cancelled.met(30.0).until, 30.0 + REMEMBERED_AFTER_MET)
        self.assertEqual(cancelled.met(10.0 + REMEMBERED).until, cancelled.until)


class KnownCancelledTests(SynchronousTestCase):
    """
    What a mediator knows.
    """

    def test_known(self) -> None:
        """
        However often it hears of a task, it knows it once, until it is forgotten.
        """
        known = KnownCancelled()
        marks = known.marks
        cancelled = Cancellation("a", 10.0, "ada")
        for _ in range(2):
            known.add([cancelled])
        self.assertEqual((marks, len(known)), ({"a": cancelled}, 1))
        known.forget_old(cancelled.until - 1)
        self.assertEqual(len(known), 1)
        known.forget_old(cancelled.until)
        self.assertEqual((marks, known.marks), ({}, {}))

    def test_met(self) -> None:
        """
        When it has met the task, it tells that once, and forgets it sooner; so does
        who is told.
        """
        known, other = KnownCancelled(), KnownCancelled()
        for each in (known, other):
            each.add([Cancellation("a", 10.0)])
        changed = known.met("a", 20.0)
        assert changed is not None
        self.assertIsNone(known.met("a", 30.0))
        self.assertIsNone(known.met("b", 30.0))
        other.add([changed, Cancellation("a", 10.0)])
        self.assertEqual(known.marks, other.marks)
        known.forget_old(20.0 + REMEMBERED_AFTER_MET)
        self.assertEqual(len(known), 0)

    def test_several(self) -> None:
        """
        A uuid that is cancelled again stands for both tasks, as long as either is
        wanted, and it is not told that one of them was met.
        """
        first = Cancellation("a", 10.0, "ada", REMEMBERED + 50, 5.0)
        for second, sent_by in (
            (Cancellation("a", 20.0, "bob", REMEMBERED, 15.0), 15.0),
            (Cancellation("a", 20.0, "bob"), None),
        ):
            for order in ([first, second], [second, first, first]):
                known = KnownCancelled()
                known.add(order)
                mark = known.marks["a"]
                self.assertEqual(mark.reason, "cancelled by bob")
                self.assertEqual((mark.until, mark.sent_by), (first.until, sent_by))
                self.assertIsNone(known.met("a", 30.0))
                known.add([second.met(30.0), first.met(30.0)])
                self.assertEqual(known.marks["a"].until, first.until)

    def test_full(self) -> None:
        """
        A mediator knows twice as many as those who cancel heed.
        """
        self.patch(_known_cancelled, "MOST_CANCELLED", 2)
        known = KnownCancelled()
        known.add(Cancellation(str(each), 0.0) for each in range(3))
        self.assertFalse(known.is_full)
        known.add([Cancellation("a", 0.0)])
        self.assertTrue(known.is_full)


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
            Question(CANCEL, ("a",), cancelled, "5"),
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
        answer = MediatorAnswer("mediator", 2, (held,), "5", 7)
        self.assertEqual(answer_from_plain(answer_to_plain(answer)), answer)
        plain = json.loads(answer_to_plain(answer))
        plain["tasks"] += [1, {}, {"uuid": 1}]
        self.assertEqual(answer_from_plain(json.dumps(plain).encode()), answer)
        del plain["id"], plain["cancelled"]  # as versions before
        older = MediatorAnswer("mediator", 2, (held,))
        self.assertEqual(answer_from_plain(json.dumps(plain).encode()), older)
        for body in (b"", b"{}", b'{"mediator": 1, "consumers": 1, "tasks": []}'):
            self.assertIsNone(answer_from_plain(body))
