"""
Tests for what the embedded broker reads from the properties of a message.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
from quebert.broker.state import AMQPChannelError
from quebert.broker.state._message_properties import (
    MOST_KEYS,
    MessageProperties,
    read_properties,
)


class KeysTests(SynchronousTestCase):
    """
    C{CC} and C{BCC}: one message must not keep the broker at work for long.
    """

    def keys_of(self, **headers: list[str]) -> tuple[str, ...]:
        """
        The further routing keys of a message.
        """
        return read_properties(encode_properties({"headers": headers})).further_keys

    def test_most(self) -> None:
        """
        There may be so many keys, as long as any routing key.
        """
        keys = [f"{n:0255}" for n in range(MOST_KEYS)]
        self.assertEqual(self.keys_of(CC=keys[:1], BCC=keys[1:]), tuple(keys))

    def test_too_many(self) -> None:
        """
        One more key, or a longer one, is refused.
        """
        for headers in (
            {"CC": ["a"] * (MOST_KEYS + 1)},
            {"CC": ["a"] * MOST_KEYS, "BCC": ["a"]},
            {"CC": ["a" * 256]},
            {"BCC": ["é" * 128]},
        ):
            refused = self.assertRaises(AMQPChannelError, self.keys_of, **headers)
            self.assertEqual(refused.code, 406)

    def test_no_texts(self) -> None:
        """
        What is no text is no key.
        """
        headers: dict[str, Any] = {"CC": ["a", 1, None, "b"]}
        self.assertEqual(self.keys_of(**headers), ("a", "b"))


class ReadingTests(SynchronousTestCase):
    """
    What properties ask for.
    """

    def read(self, **properties: Any) -> MessageProperties:
        """
        Read properties that were encoded.
        """
        spelled = {name.replace("_", "-"): value for name, value in properties.items()}
        return read_properties(encode_properties(spelled))

    def test_nothing(self) -> None:
        found = self.read()
        self.assertEqual(
            found, MessageProperties(b"\0\0", False, None, None, None, {}, ())
        )

    def test_persistent(self) -> None:
        """
        A message with the delivery mode 2 is; there are two modes.
        """
        modes = [self.read(delivery_mode=mode).persistent for mode in (1, 2)]
        self.assertEqual(modes, [False, True])
        for mode in (0, 3):
            refused = self.assertRaises(AMQPChannelError, self.read, delivery_mode=mode)
            self.assertEqual(refused.code, 406)
            self.assertIn(f"1 or 2, not {mode}", str(refused))

    def test_expiration(self) -> None:
        """
        It is a number of milliseconds, of which ten years are the most.
        """
        for text, seconds in (
            ("0", 0),
            ("1", 0.001),
            ("+1500", 1.5),
            ("315360000000", 315_360_000),
        ):
            self.assertEqual(self.read(expiration=text).ttl, seconds)
        for text in ("", "-1", "1.5", "1s", " 1", "315360000001", "\u0661"):
            refused = self.assertRaises(AMQPChannelError, self.read, expiration=text)
            self.assertEqual(refused.code, 406)
            self.assertIn(f"invalid expiration '{text}'", str(refused))

    def test_others(self) -> None:
        found = self.read(priority=200, user_id="guest", headers={"a": 1})
        told = found.priority, found.user, found.headers
        self.assertEqual(told, (200, "guest", {"a": 1}))

    def test_encoded(self) -> None:
        """
        They are passed on as they came, but for C{BCC}; long ones are the same as short
        ones.
        """
        for size in (1, 300):
            headers: dict[str, Any] = {"a": "x" * size, "CC": ["b"]}
            self.assertEqual(
                self.read(headers=headers).encoded,
                encode_properties({"headers": headers}),
            )
            found = self.read(headers={**headers, "BCC": ["c"]})
            self.assertEqual(found.encoded, encode_properties({"headers": headers}))
            self.assertEqual(found.headers, headers)
            self.assertEqual(found.further_keys, ("b", "c"))
