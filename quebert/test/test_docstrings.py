"""
What docstrings refer to: it is there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import quebert

ROOT = Path(quebert.__file__).parent
#: What is marked as code in a docstring.
_CODE = re.compile(r"C\{([^{}]*)\}")
#: The path of a module or a room, such as C{watch/_handler}, from any room on.
_PATH = re.compile(r"[a-z_]+(?:/[a-z_]+)+(?:\.py)?")
#: A name that is nobody else's, such as C{_CHECKS} or C{Deliveries._decided}.
_PRIVATE = re.compile(r"(?:\w+\.)*_[A-Za-z]\w*")


@cache
def sources() -> dict[Path, str]:
    """
    The modules that are no tests, with their sources.
    """
    paths = sorted(ROOT.rglob("*.py"))
    ours = [path for path in paths if path.relative_to(ROOT).parts[0] != "test"]
    return {path: path.read_text(encoding="utf-8") for path in ours}


@cache
def names() -> set[str]:
    """
    The names that stand in code, and those of modules.
    """
    found = {path.stem for path in sources()}
    for source in sources().values():
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    found.add(name)
                case ast.arg(arg=name):
                    found.add(name)
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    found.add(node.name)
                case ast.Constant(value=str(text)) if text.isidentifier():
                    found.add(text)  # that of a slot
    return found


def references() -> Iterator[tuple[str, str]]:
    """
    What is marked as code in docstrings, each with its module.
    """
    for path, source in sources().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(
                node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            ):
                text = ast.get_docstring(node) or ""
                for code in _CODE.findall(text):
                    yield str(path.relative_to(ROOT)), " ".join(code.split())


def is_there(path: str) -> bool:
    """
    Whether there is a module or a folder whose path ends so.
    """
    there = ROOT.parent / path
    ends = f"/{path.removesuffix('.py')}"
    return there.exists() or any(
        str(each).endswith(ends)
        for module in sources()
        for each in (module.with_suffix(""), module.parent)
    )


class ReferenceTests(SynchronousTestCase):
    """
    Docstrings tell where a change belongs by the names of modules and functions that
    pydoctor does not look up.
    """

    def test_modules(self) -> None:
        """
        Each module that a docstring names by its path is there.
        """
        paths = [each for each in references() if _PATH.fullmatch(each[1])]
        self.assertGreater(len(paths), 50)
        self.assertEqual([each for each in paths if not is_there(each[1])], [])

    def test_private_names(self) -> None:
        """
        So is each private name.
        """
        private = [each for each in references() if _PRIVATE.fullmatch(each[1])]
        self.assertGreater(len(private), 50)
        missing = [
            each for each in private if not names().issuperset(each[1].split("."))
        ]
        self.assertEqual(missing, [])
