"""
Tests for what the embedded broker reads from the properties of a message.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
from quebert.broker.state import AMQPChannelError
from quebert.broker.state._message_properties import MOST_KEYS, read_properties


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
