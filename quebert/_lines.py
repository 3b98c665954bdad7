"""
Small files that people write, with one secret a line.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from quebert._text import what_is_wrong
from quebert.errors import ConfigError

__all__ = ["lines_of"]

# Bytes of a file.
_MOST = 65_536


def lines_of(
    path: str | os.PathLike[str], *, private: bool = False
) -> Iterator[tuple[int, str]]:
    """
    The lines of a file in UTF-8, with their numbers, which begin at 1.  Empty lines and
    those that begin with C{#} are left out; C{#} may have spaces before it.

    @param private: refuse a file that other users may read or write, or that its group
        may write.
    @raise ConfigError: the file cannot be used; the text has the path, and no line of
        the file.
    """
    try:
        text = _read(path, private).decode("utf-8-sig")
    except ConfigError:
        raise
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not in UTF-8") from None
    except (OSError, ValueError) as e:  # the latter where no file has such a name
        why = what_is_wrong(e)
        raise ConfigError(f"{path} cannot be read: {why}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.removesuffix("\r")


def _read(path: str | os.PathLike[str], private: bool) -> bytes:
    # A pipe that nobody writes to would be waited for.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path} is not a file")
        if private and found.st_mode & 0o026:
            raise ConfigError(f"other users may read or write {path}: chmod 600 it")
        with open(opened, "rb", closefd=False) as file:
            content = file.read(_MOST + 1)
    finally:
        os.close(opened)
    if len(content) > _MOST:
        raise ConfigError(f"{path} is larger than {_MOST} bytes")
    return content
