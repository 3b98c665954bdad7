"""
The users of the embedded broker, from the file of C{--password-file}.
"""

from __future__ import annotations

from pathlib import Path

from quebert._lines import lines_of
from quebert.errors import ConfigError

__all__ = ["users_of"]


def users_of(path: Path) -> dict[str, str]:
    """
    Passwords by user names: a line C{NAME:PASSWORD} for each.  Empty lines do not count
    and neither do those that begin with C{#}.

    @raise ConfigError: the file cannot be used; the text has no line of it.
    """
    try:
        return _users(path)
    except ConfigError as e:
        raise ConfigError(f"--password-file: {e}") from None


def _users(path: Path) -> dict[str, str]:
    users: dict[str, str] = {}
    for number, line in lines_of(path, private=True):
        name, _, password = line.partition(":")
        if not (name and password):
            raise ConfigError(f"{path}, line {number}: it must be NAME:PASSWORD")
        if name in users:
            raise ConfigError(f"{path}, line {number}: it gives a user once more")
        users[name] = password
    if not users:
        raise ConfigError(f"{path} has no user")
    return users
