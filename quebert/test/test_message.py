"""
What a callback of C{watch} gets.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import decode_properties, encode_properties
from quebert._protocol.values import encode_longstr
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

    def test_new(self) -> None:
        """
        Nothing has happened to it yet.
        """
        m = message()
        self.assertEqual((m.was_restored, m.properties), (False, {"headers": {}}))

    def test_id_for_log(self) -> None:
        """
        It is known in a log by its message id, if that can be read.
        """
        for m, shown in (
            (message({"message-id": "a\x1bb"}), "a?b"),
            (message({}), "(no uuid)"),
            (message(encoded=UNREADABLE), "(no uuid)"),
        ):
            self.assertEqual(m.id_for_log, shown)

    def test_may_be_ours(self) -> None:
        """
        What came through an exchange is nobody's of ours, unless it replaces a message
        that did.
        """
        m = message()
        self.assertFalse(m.may_be_ours)
        m.was_restored = True
        self.assertTrue(m.may_be_ours)
        self.assertTrue(Message("tag", 1, False, "", "queue").may_be_ours)


class DeathTests(SynchronousTestCase):
    """
    What RabbitMQ tells of the last time that it has dead-lettered a message.
    """

    def dead(self, *deaths: Any) -> Message:
        """
        A message with these deaths, the last one first.
        """
        return message({"headers": {"x-death": list(deaths)}})

    def test_last(self) -> None:
        """
        The first entry, and its first routing key, count.
        """
        moment = datetime.fromtimestamp(1_800_000_000, UTC)
        last = {"queue": "q", "time": moment, "routing-keys": ["a", "b"]}
        m = self.dead(last, {"queue": "other", "routing-keys": ["c"]})
        self.assertEqual((m.died_in, m.died_with), ("q", "a"))
        self.assertEqual(m.died_at, 1_800_000_000)

    def test_nothing_told(self) -> None:
        """
        What is missing, or of another type, is not known.
        """
        strange = {"queue": 1, "time": "now", "routing-keys": [1]}
        for m in (
            message(),
            self.dead(),
            self.dead("death"),
            self.dead({}),
            self.dead(strange),
            self.dead({"routing-keys": []}),
            self.dead({"routing-keys": "a"}),
        ):
            self.assertEqual((m.died_in, m.died_with, m.died_at), ("", "", 0))

    def test_may_have_died_in(self) -> None:
        """
        A name may end so where a death has such bytes.
        """
        m = self.dead({"queue": "tasks.delayed"})
        self.assertTrue(m.may_have_died_in(b".delayed"))
        self.assertFalse(m.may_have_died_in(b".held"))
        self.assertFalse(message().may_have_died_in(b".delayed"))


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

    def longest(self, max_payload: int, header: str, **options: Any) -> int:
        """
        Bytes of the longest properties that a message can be put back with, which has
        another header or gets it.
        """
        lengths = []
        for size in range(max_payload - max_payload // 4 - 100, max_payload):
            text = "x" * size
            theirs = message({"headers": {"a": text if header == "theirs" else ""}})
            encoded = amended_properties(
                theirs,
                errors=0,
                not_before=None,
                max_payload=max_payload,
                headers={"b": text} if header == "ours" else {},
                **options,
            )
            if encoded is None:
                break
            lengths.append(len(encoded))
        return lengths[-1]

    def test_room_for_deaths(self) -> None:
        """
        What is delayed leaves a quarter of a frame for what the broker writes into it,
        if it gets headers; else it uses all of the frame.
        """
        for header, delayed, room in (
            ("ours", True, 3_072 - 12),
            ("ours", False, 4_096 - 12),
            ("theirs", True, 4_096 - 12),
        ):
            self.assertEqual(self.longest(4_096, header, delayed=delayed), room)

    def test_most_room_for_deaths(self) -> None:
        """
        Of a large frame it leaves 16 KiB.
        """
        for size, fits in ((114_600, True), (114_700, False)):
            encoded = amended_properties(
                message(),
                errors=0,
                not_before=None,
                delayed=True,
                headers={"b": "x" * size},
            )
            self.assertEqual(encoded is not None, fits)

    def test_no_priority(self) -> None:
        """
        A message without a priority gets none, where the highest one is 0, too.
        """
        encoded = amended_properties(
            message(), errors=0, not_before=None, delayed=False, highest_priority=0
        )
        self.assertNotIn("priority", decode_properties(encoded or b""))

    def test_expiration(self) -> None:
        """
        What is delayed does not expire on its way; what is put back at once may.
        """
        for delayed, wanted in ((True, None), (False, "5000")):
            encoded = amended_properties(
                message({"expiration": "5000"}),
                errors=0,
                not_before=None,
                delayed=delayed,
            )
            amended = decode_properties(encoded or b"")
            self.assertEqual(amended.get("expiration"), wanted)

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
