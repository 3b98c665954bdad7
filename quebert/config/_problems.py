"""
What is wrong with a configuration file, each with its place in it.
"""

from __future__ import annotations

import attrs

from quebert.config._positions import Path
from quebert.errors import ConfigError

__all__ = ["BadConfig", "Problem", "Wrong"]

# The longest text of a problem, in characters.
_LONGEST = 1_000


class Wrong(ValueError):
    """
    A value is not what it must be; the text goes on from the key.

    @ivar path: where in the value, if it is an array or a table.
    """

    def __init__(self, text: str, path: Path = ()) -> None:
        super().__init__(text)
        self.path = path


def _bounded(text: str) -> str:
    """
    C{text} without its middle, if it is too long: the beginning names the key, and the
    end says what is wrong.
    """
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}…{text[1 - half :]}"


@attrs.frozen
class Problem:
    """
    One thing that is wrong.

    @ivar file: the name of the file.
    @ivar line: from 1.
    @ivar text: begins with the key and says what would be right, in 1,000 characters
        at most.
    """

    file: str
    line: int
    text: str = attrs.field(converter=_bounded)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


class BadConfig(ConfigError):
    """
    A file cannot be used.

    @ivar problems: all of them, in the order of their lines.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda each: each.line)
        super().__init__("\n".join(map(str, self.problems)))
