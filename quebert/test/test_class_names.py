"""
The names of classes: none stands for two things.
"""

from __future__ import annotations

import ast
import builtins
import gc
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

import quebert

#: Names that a protocol shares with the one class that it describes, by what they are.
SHARED: Mapping[str, str] = {
    "failedtask": "what a failure policy gets to know, and the mediator's own of it",
    "message": "what a mediator asks of a message, and the message of AMQP",
    "publisher": "what a producer asks of a publisher, and the publisher over AMQP",
    "response": "what a mediator asks of a response, and the response of HTTP",
}

#: Names that a function's wish shares with the outcome that a mediator makes of it.
WISHES = frozenset({"discard", "retry"})


@attrs.frozen
class Found:
    """
    A class.

    @ivar where: its module.
    @ivar is_protocol: whether it is one of those of C{typing}.
    """

    name: str
    where: str
    is_protocol: bool

    @property
    def key(self) -> str:
        """
        Its name, as one says it.
        """
        return self.name.lstrip("_").lower()


def sources() -> Iterator[tuple[str, str]]:
    """
    The modules that are no tests, with their sources.
    """
    root = Path(quebert.__file__).parent
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] != "test":
            yield str(name), path.read_text(encoding="utf-8")


def _protocols(tree: ast.Module) -> set[str]:
    """
    How a module calls C{typing.Protocol}.
    """
    names = {"typing.Protocol"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "typing":
            names |= {a.asname or a.name for a in node.names if a.name == "Protocol"}
    return names


def classes(modules: Iterable[tuple[str, str]]) -> Iterator[Found]:
    """
    The classes that modules define, wherever in them.
    """
    for where, source in modules:
        tree = ast.parse(source)
        protocols = _protocols(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).partition("[")[0] for base in node.bases}
                yield Found(node.name, where, not bases.isdisjoint(protocols))


@cache
def all_classes() -> list[Found]:
    """
    The classes of all modules that are no tests; to find them takes half a second.

    The garbage collector rests meanwhile: before 3.11.8 and 3.12.2, CPython fails to
    parse if the collector lets another thread parse something (gh-106905).
    """
    gc.disable()
    try:
        return list(classes(sources()))
    finally:
        gc.enable()


def shared(found: Iterable[Found]) -> dict[str, list[Found]]:
    """
    The names that more than one class has, with these; an underscore or a capital
    letter does not make another name.
    """
    named: dict[str, list[Found]] = {}
    for each in found:
        named.setdefault(each.key, []).append(each)
    return {key: those for key, those in named.items() if len(those) > 1}


class ClassNameTests(SynchronousTestCase):
    """
    The classes of all modules that are no tests.
    """

    def setUp(self) -> None:
        """
        Find them.
        """
        self.classes = all_classes()

    def test_found(self) -> None:
        """
        Public ones are there, private ones, and those of packages.
        """
        names = {each.name for each in self.classes}
        known = {"TxAMQPClient", "Watcher", "BrokerFactory", "_IncomingPublication"}
        self.assertLessEqual(known, names)

    def test_one_thing(self) -> None:
        """
        No name stands for two things.
        """
        found = shared(self.classes)
        wrong = {key: found[key] for key in found.keys() - SHARED.keys() - WISHES}
        self.assertEqual(wrong, {})

    def test_wishes(self) -> None:
        """
        What a function may raise is called like the outcome that it asks for.
        """
        found = shared(self.classes)
        places = ["functions/_wishes.py", "outcome.py"]
        for key in WISHES:
            self.assertEqual(sorted(each.where for each in found[key]), places)

    def test_protocols(self) -> None:
        """
        The only names that two classes have are those of a protocol and of what it
        describes.
        """
        found = shared(self.classes)
        for key in SHARED:
            kinds = sorted(each.is_protocol for each in found.get(key, []))
            self.assertEqual(kinds, [False, True], key)

    def test_builtins(self) -> None:
        """
        No class is called like one that Python has anyway.
        """
        builtin = {name.lower() for name in vars(builtins)}
        self.assertEqual([each for each in self.classes if each.key in builtin], [])

    def test_noticed(self) -> None:
        """
        Two classes of one name are noticed, in whatever modules, and however private.
        """
        modules = [
            ("a", "from typing import Protocol\nclass Queue(Protocol): ..."),
            ("b", "class Broker:\n    class _Queue: ..."),
            (
                "c",
                "from twisted.internet.protocol import Protocol\nclass A(Protocol):0",
            ),
        ]
        found = [Found("Queue", "a", True), Found("_Queue", "b", False)]
        self.assertEqual(shared(classes(modules)), {"queue": found})
        self.assertFalse(any(c.is_protocol for c in classes(modules[1:])))
