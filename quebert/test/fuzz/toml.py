"""
Configuration files: any text gives settings, or sentences that name the key.
"""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path
from typing import Any

from quebert.config import BadConfig, read
from quebert.config._positions import lines
from quebert.errors import ConfigError

__all__ = ["check"]

_FOLDER = tempfile.TemporaryDirectory(prefix="quebert-fuzz-")
_ENVIRONMENT = {"AMQP_URL": "amqp://guest:s3cr3t@localhost/", "TOKEN": "s3cr3t"}


def check(data: bytes) -> None:
    """
    The bytes are the file.
    """
    path = Path(_FOLDER.name, "quebert.toml")
    path.write_bytes(data)
    _check_lines(data)
    try:
        settings = read(str(path), _ENVIRONMENT, _find)
    except BadConfig as e:
        last = data.count(b"\n") + 1
        assert e.problems
        for each in e.problems:
            assert 1 <= each.line <= last, each
            assert each.text
            assert "\n" not in each.text, each
            assert len(each.text) <= 1_000, each
            assert "s3cr3t" not in each.text, each
    else:
        assert settings.queues
        assert "s3cr3t" not in repr(settings)


def _find(name: str) -> object:
    if not name.startswith("hooks."):
        raise ConfigError(f"there is no {name}")
    return print


def _check_lines(data: bytes) -> None:
    """
    Each key has a line, and is on it.
    """
    try:
        text = data.decode("utf-8-sig")
        document = tomllib.loads(text)
        found = lines(text)
    except (ValueError, RecursionError):
        return
    number = text.count("\n") + 1
    for path in _paths(document):
        assert 1 <= found[path] <= number, (path, found.get(path))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _paths(inner, (*path, number))
