"""
The tests of the history on SQLite, for trial, which knows no fixtures.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from quebert.history._store import HistoryStore
from quebert.test import test_history, test_history_database


class _Fixtures:
    """
    What tests of the history may ask for, by its name.
    """

    def __init__(self, case: SynchronousTestCase) -> None:
        self._case = case

    @cached_property
    def tmp_path(self) -> Path:
        path = Path(self._case.mktemp())
        path.mkdir()
        return path

    @cached_property
    def history_url(self) -> str:
        return str(self.tmp_path / "history.sqlite3")

    @cached_property
    def store(self) -> HistoryStore:
        store = HistoryStore(self.history_url)
        store.open()
        self._case.addCleanup(store.close)
        return store

    @cached_property
    def monkeypatch(self) -> pytest.MonkeyPatch:
        patch = pytest.MonkeyPatch()
        self._case.addCleanup(patch.undo)
        return patch

    @cached_property
    def version(self) -> str:
        return test_history_database.VERSIONS[-1]


class SQLiteHistoryTests(SynchronousTestCase):
    """
    Has a method for each test of the history that asks for no more than these fixtures.
    """

    __test__ = False  # pytest runs the functions


def _method_of(
    function: Callable[..., object], names: frozenset[str]
) -> Callable[[SQLiteHistoryTests], None]:
    def method(self: SQLiteHistoryTests) -> None:
        fixtures = _Fixtures(self)
        function(**{name: getattr(fixtures, name) for name in names})

    method.__doc__ = function.__doc__
    return method


for _module in test_history, test_history_database:
    for _name, _function in vars(_module).items():
        if _name.startswith("test_"):
            _names = frozenset(inspect.signature(_function).parameters)
            if _names <= vars(_Fixtures).keys():
                setattr(SQLiteHistoryTests, _name, _method_of(_function, _names))
