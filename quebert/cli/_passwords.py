"""
The users of the embedded broker, from the file of C{--password-file}.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from quebert.errors import ConfigError

__all__ = ["users_of"]

# Bytes of the file.
_MOST = 65_536


def users_of(path: Path) -> dict[str, str]:
    """
    Passwords by user names: a line C{NAME:PASSWORD} for each.  Empty lines do not count
    and neither do those that begin with C{#}.

    @raise ConfigError: the file cannot be used; the text has no line of it.
    """
    option = f"--password-file {path}"
    try:
        text = _read(path, option)
        return dict(_users(text, option))
    except UnicodeDecodeError:
        raise ConfigError(f"{option}: the file is not in UTF-8") from None
    except OSError as e:
        raise ConfigError(f"{option}: {e.strerror or e}") from None


def _read(path: Path, option: str) -> str:
    # A pipe that nobody writes to would be waited for.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{option}: this is no file")
        if found.st_mode & 0o026:
            text = "other users may read or write the file: chmod 600 it"
            raise ConfigError(f"{option}: {text}")
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise ConfigError(f"{option}: the file has more than {_MOST} bytes")
    return content.decode("utf-8")


def _users(text: str, option: str) -> Iterator[tuple[str, str]]:
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, password = line.partition(":")
        if not (name and password):
            raise ConfigError(f"{option}: line {number} must be NAME:PASSWORD")
        if name in names:
            raise ConfigError(f"{option}: line {number} gives a user once more")
        names.add(name)
        yield name, password
    if not names:
        raise ConfigError(f"{option}: there is no user in the file")
