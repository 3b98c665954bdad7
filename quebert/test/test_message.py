"""
What a callback of C{watch} gets.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.codec import encode_longstr
from quebert._protocol.properties import decode_properties, encode_properties
from quebert.amqp import Message
from quebert.amqp.wire import ERRORS, NOT_BEFORE, amended_properties
from quebert.test.checks import QUICK, refusal

#: A header of a type that there is not.
UNREADABLE = b"\x20\x00\x00\x00\x00\x03\x01aZ"


def message(
    properties: dict[str, Any] | None = None,
    *,
    encoded: bytes | None = None,
    body: bytes = b"",
) -> Message:
    """
    A message with these properties.
    """
    made = Message("tag", 7, False, "flow", "tasks.high")
    made.body = body
    if properties is not None:
        made.encoded_properties = encode_properties(properties)
    if encoded is not None:
        made.encoded_properties = encoded
    return made


class MessageTests(SynchronousTestCase):
    """
    L{Message} is one delivery.
    """

    def test_delivery(self) -> None:
        """
        It knows how it was delivered.
        """
        m = Message("tag", 7, True, "flow", "tasks.high")
        told = (m.consumer_tag, m.delivery_tag, m.redelivered, m.exchange)
        self.assertEqual(told, ("tag", 7, True, "flow"))
        self.assertEqual((m.routing_key, m.body), ("tasks.high", b""))

    def test_properties(self) -> None:
        """
        Properties have their AMQP names; those that are not set are missing.
        """
        properties = {
            "content-type": "application/json",
            "headers": {"a": [1, None]},
            "delivery-mode": 2,
            "timestamp": 1_795_464_900,
        }
        self.assertEqual(message(properties).properties, properties)

    def test_headers(self) -> None:
        """
        The headers are a dict always, in the properties too.
        """
        for empty in (message(), message({"priority": 5}), message({"headers": {}})):
            self.assertEqual(empty.headers, {})
            self.assertEqual(empty.properties["headers"], {})
        self.assertEqual(message({"headers": {"a": 1}}).headers, {"a": 1})

    def test_changes_are_kept(self) -> None:
        """
        The properties are the same dict each time they are asked for, and
        those of no other message.
        """
        m = message()
        m.properties["headers"]["a"] = 1
        self.assertEqual((m.headers, m.content.properties["headers"]), ({"a": 1},) * 2)
        self.assertEqual(message().headers, {})

    def test_txamqp_spelling(self) -> None:
        """
        txamqp's C{content} has the same body and properties.
        """
        m = message({"priority": 5}, body='{"é"}'.encode())
        self.assertIs(m.content.body, m.body)
        self.assertIs(m.content.properties, m.properties)
        self.assertIsInstance(m.content.body, bytes)

    def test_repr(self) -> None:
        """
        The repr tells where it is from, and nothing of what is in it.
        """
        m = message({"headers": {"a": "secret"}}, body=b"secret" * 2)
        self.assertIn("'flow'", repr(m))
        self.assertIn("12 bytes", repr(m))
        self.assertNotIn("secret", repr(m))

    def test_unreadable(self) -> None:
        """
        Properties that cannot be read are an error when they are asked for,
        each time, and not before.
        """
        m = message(encoded=UNREADABLE, body=b"x")
        self.assertEqual(m.content.body, b"x")
        for _ in range(2):
            refusal(ValueError, lambda: m.properties)
            refusal(ValueError, lambda: m.headers)

    def test_identity(self) -> None:
        """
        A message is equal to itself alone, and can be kept in sets.
        """
        one, other = message(), message()
        self.assertNotEqual(one, other)
        self.assertEqual(len({one, other, one}), 2)


class NumberTests(SynchronousTestCase):
    """
    L{Message.number_in} reads a header of ours, which anybody may have set.
    """

    def check(self, value: object, number: float) -> None:
        """
        C{value} in a header is C{number}.
        """
        found = message({"headers": {"a": value}}).number_in("a")
        self.assertIsInstance(found, float)
        self.assertEqual(found, number)

    def test_numbers(self) -> None:
        """
        Integers and floats are numbers.
        """
        for number in (0, 1, -5, 2.5, 2**40, 1e300):
            self.check(number, number)

    def test_others(self) -> None:
        """
        What is no number is 0.
        """
        for value in (None, True, False, "5", b"5", [5], {"a": 5}, Decimal(5)):
            self.check(value, 0.0)

    def test_not_finite(self) -> None:
        """
        Nor is NaN one, or an infinity: nothing can be reckoned with them.
        """
        for value in (float("nan"), float("inf"), -float("inf")):
            # As a broker might send it, which we do not.
            field = b"\x01ad" + struct.pack(">d", value)
            m = message({})
            m.encoded_properties = b"\x20\x00" + encode_longstr(field)
            self.assertIs(type(m.headers["a"]), float)
            self.assertEqual(m.number_in("a"), 0.0)

    def test_missing(self) -> None:
        """
        A missing header is 0.
        """
        self.assertEqual(message().number_in("a"), 0.0)
        self.assertEqual(message({"headers": {"b": 1}}).number_in("a"), 0.0)

    def test_unreadable(self) -> None:
        """
        So is one among headers that cannot be read.
        """
        self.assertEqual(message(encoded=UNREADABLE).number_in("a"), 0.0)
        self.assertEqual(message(encoded=b"").number_in("a"), 0.0)

    def test_nested_too_deeply(self) -> None:
        """
        A header that is nested too deeply to be read hides no other.
        """
        inner = b""
        for _ in range(2_000):
            inner = b"\x01nF" + encode_longstr(inner)
        fields = inner + b"\x01aI" + struct.pack(">i", 5)
        m = message(encoded=b"\x20\x00" + encode_longstr(fields))
        self.assertEqual(m.number_in("a"), 5.0)
        self.assertEqual(m.number_in("n"), 0.0)

    @QUICK
    @given(st.binary())
    def test_anything(self, encoded: bytes) -> None:
        """
        Whatever the properties are, there is a number.
        """
        number = message(encoded=encoded).number_in("a")
        self.assertIsInstance(number, float)


class TextTests(SynchronousTestCase):
    """
    L{Message.text_in} reads a header of ours, which anybody may have set.
    """

    def test_texts(self) -> None:
        """
        Text is text, as are bytes that are no UTF-8; anything else is none.
        """
        cases: dict[Any, str] = {"a": "a", "é": "é", b"\xff": "\udcff", 1: "", None: ""}
        found = {v: message({"headers": {"a": v}}).text_in("a") for v in cases}
        self.assertEqual(found, cases)
        self.assertEqual(message().text_in("a"), "")

    def test_long(self) -> None:
        """
        What is longer than a name in a broker is none of ours.
        """
        for text in ("a" * 255, "é" * 127, b"\xff" * 255):
            self.assertNotEqual(message({"headers": {"a": text}}).text_in("a"), "")
        for text in ("a" * 256, "é" * 128, b"\xff" * 256, "a" * 100_000):
            self.assertEqual(message({"headers": {"a": text}}).text_in("a"), "")


class AmendedTests(SynchronousTestCase):
    """
    L{amended_properties} is what a message is put back with.
    """

    def amended(self, m: Message, errors: int = 0, due: float | None = None) -> Any:
        """
        The properties, read again.
        """
        return decode_properties(
            amended_properties(m, errors=errors, not_before=due, delayed=False) or b""
        )

    def test_persistent(self) -> None:
        """
        It is persistent, whatever it was.
        """
        for mode in (None, 1, 2):
            m = message({"delivery-mode": mode, "priority": 5})
            self.assertEqual(self.amended(m), {"delivery-mode": 2, "priority": 5})

    def test_user(self) -> None:
        """
        It goes without the sender's user, which the broker would refuse.
        """
        m = message({"user-id": "somebody", "app-id": "a"})
        self.assertEqual(self.amended(m), {"delivery-mode": 2, "app-id": "a"})

    def test_kept(self) -> None:
        """
        All other properties are kept.
        """
        properties = {
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"a": [1, {"b": None}], "x-mine": [{"count": 1}]},
            "delivery-mode": 2,
            "priority": 5,
            "correlation-id": "c",
            "reply-to": "r",
            "expiration": "60000",
            "message-id": "m",
            "timestamp": 1_795_464_900,
            "type": "t",
            "app-id": "a",
            "cluster-id": "i",
        }
        m = message(properties)
        self.assertEqual(self.amended(m), properties)
        self.assertEqual(m.properties, properties)

    def test_priority(self) -> None:
        """
        A priority is lowered to the highest one that is allowed, and never raised.
        """
        for priority, limit, wanted in (
            (9, None, 9),
            (9, 4, 4),
            (4, 4, 4),
            (0, 4, 0),
            (None, 4, None),
        ):
            encoded = amended_properties(
                message({"priority": priority}),
                errors=0,
                not_before=None,
                delayed=True,
                highest_priority=limit,
            )
            amended = decode_properties(encoded or b"")
            self.assertEqual(amended.get("priority"), wanted, (priority, limit))

    def test_deaths(self) -> None:
        """
        What the broker has written of its way is dropped, wherever it goes.
        """
        deaths = {"x-death": [{"count": 1}], "x-first-death-reason": "expired"}
        m = message({"headers": {**deaths, "x-last-death-queue": "q", "a": 1}})
        self.assertEqual(self.amended(m)["headers"], {"a": 1})

    def test_counts(self) -> None:
        """
        Our headers say what is now, and nothing where there is nothing to say.
        """
        m = message({"headers": {ERRORS: 3, NOT_BEFORE: 5.0, "a": 1}})
        self.assertEqual(self.amended(m)["headers"], {"a": 1})
        wanted = {"a": 1, ERRORS: 4, NOT_BEFORE: 1e9}
        self.assertEqual(self.amended(m, 4, 1e9)["headers"], wanted)

    def test_read_back(self) -> None:
        """
        What our headers say is read by whoever gets the message next.
        """
        encoded = amended_properties(
            message(), errors=4, not_before=1_795_464_900.25, delayed=False
        )
        m = message(encoded=encoded)
        self.assertEqual(m.number_in(ERRORS), 4)
        self.assertEqual(m.number_in(NOT_BEFORE), 1_795_464_900.25)

    def test_copies(self) -> None:
        """
        It goes without the headers that would have the broker copy it.
        """
        m = message({"headers": {"CC": ["a"], "BCC": ["b"], "cc": "c"}})
        self.assertEqual(self.amended(m)["headers"], {"cc": "c"})

    def test_unreadable(self) -> None:
        """
        What cannot be read cannot be amended.
        """
        for encoded in (UNREADABLE, b"", b"\xff\xff"):
            m = message(encoded=encoded)
            amended = amended_properties(m, errors=1, not_before=5.0, delayed=False)
            self.assertIsNone(amended)

    def test_no_room(self) -> None:
        """
        Headers may leave no room in a frame for ours.
        """
        m = message({"headers": {"a": "x" * 130_990}})
        amended = amended_properties(m, errors=1, not_before=None, delayed=False)
        self.assertEqual(len(amended or b""), 131_024)
        m = message({"headers": {"a": "x" * 131_019}})
        self.assertIsNone(
            amended_properties(m, errors=1, not_before=None, delayed=False)
        )
        amended = amended_properties(
            m, errors=1, not_before=None, delayed=False, max_payload=200_000
        )
        self.assertIsNotNone(amended)

    @QUICK
    @given(st.binary(), st.integers(0), st.none() | st.floats(0, 1e12))
    def test_anything(self, encoded: bytes, errors: int, due: float | None) -> None:
        """
        Whatever it came with, it is amended, or not, but nothing fails.
        """
        amended = amended_properties(
            message(encoded=encoded),
            errors=errors,
            not_before=due,
            delayed=bool(errors % 2),
        )
        self.assertIsInstance(amended, bytes | None)
