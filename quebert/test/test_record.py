"""
Tests for L{quebert.amqp.watch._record}: what headers tell of the mediators that ended
with a message.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
from quebert.amqp.watch._record import Record
from quebert.amqp.wire import ALONE, ENDS, FLIGHT, IN_QUESTION, Message

A = "a" * 32


def record_of(headers: dict[str, Any], exchange: str = "") -> Record:
    """
    The record in a message with these headers.
    """
    message = Message("consumer", 1, False, exchange, "queue")
    message.encoded_properties = encode_properties({"headers": headers})
    return Record.of(message)


class RecordTests(SynchronousTestCase):
    """
    The record of a message.
    """

    def test_read(self) -> None:
        """
        It is what the headers say, of a message that a mediator has published.
        """
        headers = {ENDS: 4, ALONE: 2, FLIGHT: A, IN_QUESTION: 1}
        self.assertEqual(record_of(headers), Record(4, 2, A, True, False))
        self.assertEqual(record_of({**headers, IN_QUESTION: 2}).waits, True)
        self.assertEqual(record_of(headers, "flow"), Record())
        self.assertEqual(record_of({}), Record(0, 0, "", False, False))

    def test_nonsense(self) -> None:
        """
        Numbers that nobody has counted are within limits, and a name that none of us
        has given is none.
        """
        for value, number in ((-5, 0), (2.7, 2), (1e300, 10**6), ("x", 0), (True, 0)):
            record = record_of({ENDS: value, ALONE: value})
            self.assertEqual((record.ends, record.alone), (number, number))
        for flight in ("", "a" * 31, "a" * 33, "A" * 32, "g" * 32, 5):
            self.assertEqual(record_of({FLIGHT: flight}).flight, "")

    def test_written(self) -> None:
        """
        What is written is read the same.
        """
        record = Record(4, 2, A)
        self.assertEqual(record_of(record.questioned()), Record(4, 2, A, True, False))
        waits = record.questioned(waits=True)
        self.assertEqual(record_of(waits), Record(4, 2, A, True, True))
        copied = record_of(record.copied())
        self.assertEqual((copied.ends, copied.alone, copied.in_question), (4, 2, False))

    def test_names(self) -> None:
        """
        Each copy has a name of its own; one in question keeps its name, if it has one.
        """
        record = Record(4, 2, A)
        names = {record.copied()[FLIGHT] for _ in range(3)}
        self.assertEqual(len(names | {A}), 4)
        for each in (*names, Record(4).questioned()[FLIGHT]):
            self.assertRegex(each, "^[0-9a-f]{32}$")

    def test_counted(self) -> None:
        """
        One more end counts once, and as one alone where it was.
        """
        record = Record(4, 1, A)
        self.assertEqual(record.counted(), Record(5, 1, A))
        self.assertEqual(record.counted(alone=True), Record(5, 2, A))

    def test_is_copy(self) -> None:
        """
        A copy has a name, or counts ends.
        """
        for record, is_copy in (
            (Record(), False),
            (Record(flight=A), True),
            (Record(ends=1), True),
            (Record(1, 0, A), True),
        ):
            self.assertIs(record.is_copy, is_copy)

    def test_limits(self) -> None:
        """
        After three ends it is a suspect; after three alone it is set aside.
        """
        for number, is_reached in ((2, False), (3, True), (4, True)):
            self.assertIs(Record(ends=number).suspect, is_reached)
            self.assertIs(Record(alone=number).poisonous, is_reached)

    def test_text(self) -> None:
        """
        The reason of a dead letter tells both numbers.
        """
        self.assertIn("ended once while", str(Record(1, 0)))
        text = str(Record(2, 1))
        self.assertIn("ended 2 times while", text)
        self.assertIn("1 of them suddenly with no other task at work", text)
