"""
Tests for L{quebert.signatures._lease_ids}.
"""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ConfigError
from quebert.signatures import LeaseIDs, identity_of_message
from quebert.test.checks import QUICK, steps_of

IDENTITY = bytes(range(16))
_OLD, _NEW = b"o" * 24, b"n" * 24
_CHARACTERS = string.ascii_letters + string.digits + "-_"


class LeaseIDTests(SynchronousTestCase):
    """
    L{LeaseIDs} and L{identity_of_message}.
    """

    def test_own(self) -> None:
        """
        An id tells the message, and is another one for another attempt.
        """
        made = LeaseIDs([_NEW])
        first, second = made.make(IDENTITY, 1), made.make(IDENTITY, 2)
        self.assertNotEqual(first, second)
        self.assertEqual(made.make(IDENTITY, 1), first)
        self.assertEqual(made.identity(first), IDENTITY)
        self.assertEqual(made.identity(second), IDENTITY)
        many = made.make(IDENTITY, 2**40)
        self.assertEqual(made.identity(many), IDENTITY)

    def test_rotation(self) -> None:
        """
        The second secret is accepted as well as the first, which makes ids.
        """
        old = LeaseIDs([_OLD]).make(IDENTITY, 1)
        both = LeaseIDs([_NEW, _OLD])
        self.assertEqual(both.identity(old), IDENTITY)
        self.assertEqual(LeaseIDs([_NEW]).identity(both.make(IDENTITY, 1)), IDENTITY)
        self.assertIsNone(LeaseIDs([_NEW]).identity(old))

    def test_changed(self) -> None:
        """
        No character of an id can be another one.
        """
        made = LeaseIDs([_NEW])
        id = made.make(IDENTITY, 1)
        for place in range(len(id)):
            for character in _CHARACTERS:
                if character != id[place]:
                    other = id[:place] + character + id[place + 1 :]
                    self.assertIsNone(made.identity(other))

    def test_time(self) -> None:
        """
        A wrong id takes as many steps wherever it is wrong, and whichever secret has
        made a similar one.
        """
        both = LeaseIDs([_NEW, _OLD])
        steps = set()
        for secret in (_NEW, _OLD):
            id = LeaseIDs([secret]).make(IDENTITY, 1)
            for place in range(len(id)):
                other = "A" if id[place] != "A" else "B"
                wrong = id[:place] + other + id[place + 1 :]
                steps.add(steps_of(both.identity, wrong))
        self.assertEqual(len(steps), 1)
        self.assertGreater(steps.pop(), 10)

    @QUICK
    @given(st.text(max_size=80))
    def test_any(self, text: str) -> None:
        """
        Any text is told to be none.
        """
        self.assertIsNone(LeaseIDs([_NEW]).identity(text))

    def test_secrets(self) -> None:
        """
        A short secret is refused, and so is none.
        """
        self.assertRaises(ConfigError, LeaseIDs, [])
        self.assertRaises(ConfigError, LeaseIDs, [b"s" * 23])

    def test_identity(self) -> None:
        """
        Whatever differs of a message, its identity does.
        """
        given = [
            ("tasks", "u", 1, b"{}"),
            ("task", "su", 1, b"{}"),
            ("tasks", "v", 1, b"{}"),
            ("tasks", "u", 2, b"{}"),
            ("tasks", "u", 1, b"{} "),
        ]
        self.assertEqual(
            len({identity_of_message(*each) for each in given}), len(given)
        )
        self.assertEqual(identity_of_message(*given[0]), identity_of_message(*given[0]))
