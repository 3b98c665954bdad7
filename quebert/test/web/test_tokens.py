"""
L{Tokens}: who may do what, and the file that says so.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import TestCase

from quebert.errors import ConfigError
from quebert.test.checks import refusal, steps_of
from quebert.web import Grant, Tokens, hash_of, new_token

_HASH = hash_of("secret")


class TokensFileTests(TestCase):
    """
    The file.
    """

    def _file(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        os.chmod(path, 0o600)
        return path

    def test_read(self) -> None:
        """
        Each line is a token with its rights and its queues.
        """
        path = self._file(
            f"# who\n\nanna read,operate * {_HASH}\n"
            f"ci  read   mail*,größe:π {hash_of('other')}\n"
        )
        found = Tokens.read(path)
        self.assertEqual(len(found), 2)
        anna = Grant("anna", frozenset(["read", "operate"]), ("*",))
        self.assertEqual(found.find("secret"), anna)
        ci = found.find("other")
        assert ci is not None
        self.assertTrue(ci.allows("read", "mail.slow"))
        self.assertTrue(ci.allows("read", "größe:π"))
        self.assertFalse(ci.allows("read", "Mail"))
        self.assertFalse(ci.allows("operate", "mail"))
        self.assertIsNone(found.find("nobody's"))
        self.assertIsNone(found.find(""))

    def test_time(self) -> None:
        """
        A token is looked for in as many steps whether it is known or not, or begins as
        a known one, and however many are known.
        """
        tokens = [new_token() for _ in range(100)]
        lines = [f"{n} read * {hash_of(each)}\n" for n, each in enumerate(tokens)]
        few, many = (Tokens.read(self._file("".join(lines[:n]))) for n in (2, 100))
        near = tokens[0][:-1] + ("a" if tokens[0][-1] != "a" else "b")
        asked = tokens[0], tokens[1], tokens[99], near, new_token(), "x"
        steps = {steps_of(each.find, token) for each in (few, many) for token in asked}
        self.assertEqual(len(steps), 1)
        self.assertGreater(steps.pop(), 10)

    def test_wrong(self) -> None:
        """
        What is wrong with a file is told by the number of its line, without the line.
        """
        table = {
            "anna read *": "must be NAME RIGHTS QUEUES",
            f"an/na read * {_HASH}": "the name",
            f"anna read,write * {_HASH}": "the rights must be of read, operate, add",
            "anna read * sha256:12": "64 hexadecimal",
            "anna read * secret": "64 hexadecimal",
            f"a read * {_HASH}\na read * {_HASH}": "line 2: the name is there twice",
        }
        for text, problem in table.items():
            path = self._file(text)
            told = refusal(ConfigError, Tokens.read, path)
            self.assertIn(problem, told)
            self.assertIn("line ", told)
            self.assertNotIn("secret", told)

    def test_shared(self) -> None:
        """
        So is a file that others may change, or read.
        """
        path = self._file("")
        for mode in (0o602, 0o620, 0o604):
            path.chmod(mode)
            told = refusal(ConfigError, Tokens.read, path)
            self.assertIn("other users may read or write", told)

    def test_missing(self) -> None:
        """
        So is a file that is not there.
        """
        self.assertIn("cannot be read", refusal(ConfigError, Tokens.read, "/no/such"))


class NewTokenTests(TestCase):
    """
    L{new_token}.
    """

    def test_random(self) -> None:
        """
        Each is another one, of at least 256 bits, and can be in a header.
        """
        found = {new_token() for _ in range(50)}
        self.assertEqual(len(found), 50)
        for each in found:
            self.assertRegex(each, r"\Aqbt_[A-Za-z0-9_-]{43,}\Z")
