"""
The threat model names tests that there are.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import quebert
from quebert.test.documents import Document
from quebert.test.fuzz import TARGETS

ROOT = Path(quebert.__file__).parents[1]
#: A test, as the threat model has it.
_TEST = re.compile(r"``((?:\w+/)*test_\w+)((?:::\w+){1,2})``")
_FUZZER = re.compile(r"``fuzz/(\w+)``")


@cache
def names_in(path: Path) -> set[str]:
    """
    The classes and functions of a module, and the methods as C{CLASS::METHOD}.
    """
    found: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef)
            }
    return found


class ThreatModelTests(SynchronousTestCase):
    """
    SECURITY.rst.
    """

    def setUp(self) -> None:
        try:
            self.text = (ROOT / "SECURITY.rst").read_text("utf-8")
        except FileNotFoundError:
            raise SkipTest("not in a checkout") from None

    def test_renders(self) -> None:
        """
        docutils renders it without a complaint.
        """
        document = Document.read(ROOT / "SECURITY.rst", "SECURITY.rst")
        self.assertEqual(document.warnings, "")

    def test_tests(self) -> None:
        """
        Each test that shows something is there.
        """
        named = _TEST.findall(self.text)
        self.assertGreater(len(named), 50)
        missing = [
            f"{module}{name}"
            for module, name in named
            if name[2:] not in names_in(ROOT / "quebert" / "test" / f"{module}.py")
        ]
        self.assertEqual(missing, [])

    def test_fuzzers(self) -> None:
        """
        So is each fuzzer, and each fuzzer is named.
        """
        self.assertEqual(set(_FUZZER.findall(self.text)), set(TARGETS))

    def test_rows(self) -> None:
        """
        Each row of a table names a test or a fuzzer.
        """
        for row in re.findall(
            r"^   \* - (.+?)(?=^   \* - |^\S)", self.text, re.M | re.S
        ):
            if "Shown by" not in row:
                self.assertTrue(_TEST.search(row) or _FUZZER.search(row), row)
