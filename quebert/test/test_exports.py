"""
What the packages and modules offer.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from types import ModuleType

import click
from twisted.trial.unittest import SynchronousTestCase

import quebert

#: A constant, or a name for a type, below a comment that is its docstring.
_COMMENTED = re.compile(r"(?m)^#:.*\n([\w, ]+)\b[^=\n]*=")


def _names() -> list[str]:
    """
    Of all modules but the tests and those that are there to be run.
    """
    found = pkgutil.walk_packages(quebert.__path__, "quebert.")
    names = ["quebert", *(each.name for each in found)]
    tested = [n for n in names if not n.startswith("quebert.test.")]
    return [n for n in tested if n != "quebert.test" and not n.endswith("__main__")]


def is_public(name: str) -> bool:
    """
    Whether no part of a dotted name begins with an underscore.
    """
    return not any(part.startswith("_") for part in name.split("."))


def offered(module: ModuleType) -> set[str]:
    """
    The public names that a module defines, or a package re-exports.
    """
    inside = tuple(f"{module.__name__}{end}" for end in ("", "."))
    return {
        name
        for name, value in vars(module).items()
        if is_public(name)
        and not isinstance(value, ModuleType)
        and str(getattr(value, "__module__", "")).startswith(inside)
    }


def commented(module: ModuleType) -> set[str]:
    """
    The constants of a module that have a comment C{#:} for a docstring.
    """
    found = _COMMENTED.findall(inspect.getsource(module))
    return {name for names in found for name in names.split(", ")}


def order(name: str) -> tuple[int, str]:
    """
    Constants first, then classes, then the rest; each by the alphabet.
    """
    rank = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return rank, name


class ExportTests(SynchronousTestCase):
    """
    C{__all__} and docstrings.
    """

    def setUp(self) -> None:
        self.modules = [importlib.import_module(name) for name in _names()]
        self.listing = [m for m in self.modules if hasattr(m, "__all__")]

    def test_found(self) -> None:
        """
        The packages are among what is tested here.
        """
        listing = {m.__name__ for m in self.listing}
        packages = {"amqp", "http", "operations", "producer"}
        names = {"quebert", *(f"quebert.{each}" for each in packages)}
        self.assertLessEqual(names, listing)

    def test_packages(self) -> None:
        """
        A package that offers anything lists it.
        """
        for module in self.modules:
            if hasattr(module, "__path__") and offered(module):
                listed = getattr(module, "__all__", ())
                self.assertEqual(offered(module) - {*listed}, set(), module)

    def test_exist(self) -> None:
        """
        What is listed is there.
        """
        for module in self.listing:
            missing = [n for n in module.__all__ if not hasattr(module, n)]
            self.assertEqual(missing, [], module)

    def test_sorted(self) -> None:
        """
        What is listed is listed once and in order.
        """
        for module in self.listing:
            listed = list(module.__all__)
            self.assertEqual(listed, sorted(set(listed), key=order), module)

    def test_public(self) -> None:
        """
        Nothing private is listed.
        """
        for module in self.listing:
            for name in module.__all__:
                self.assertTrue(is_public(name) or name == "__version__", name)

    def test_docstrings(self) -> None:
        """
        Every module says what it is for, and so does what it lists.
        """
        comments = [
            (name, getattr(module, name))
            for module in self.modules
            for name in commented(module)
        ]
        for module in self.modules:
            self.assertTrue((module.__doc__ or "").strip(), module)
        for module in filter(lambda each: is_public(each.__name__), self.listing):
            for name in {*module.__all__} - {"__version__"}:
                value = getattr(module, name)
                if isinstance(value, click.Command):
                    value = value.callback
                value = inspect.unwrap(value)
                if isinstance(value, type) or inspect.isfunction(value):
                    self.assertTrue((value.__doc__ or "").strip(), (module, name))
                else:
                    told = any(name == n and value is v for n, v in comments)
                    self.assertTrue(told, (module, name))
