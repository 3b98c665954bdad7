"""
Whose the broker's files are: its own user's, and nobody else reads or writes them.

Messages hold whatever people publish, passwords included.  Who may write to the folder
of a database can put a symbolic link, or another file, in the place of any file in it.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from quebert.errors import StoreError

__all__ = ["check_folder", "check_link", "keep_private", "make_private", "open_private"]

#: The mode of all files.
PRIVATE = 0o600


def check_folder(folder: Path) -> None:
    """
    Check that no other user may put files into a folder.

    @raise StoreError: another user may, or the folder is another user's.
    @raise OSError: there is no such folder.
    """
    found = os.stat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return  # opening the database fails, and says so
    if found.st_uid not in (0, os.geteuid()):
        raise StoreError(f"{folder}: the folder belongs to another user")
    mode = found.st_mode
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and _has_others(found.st_gid)):
        text = "other users may write to the folder: use another, or chmod go-w it"
        raise StoreError(f"{folder}: {text}")


def _has_others(group: int) -> bool:
    """
    Whether a group is more than the one that many systems make for each user.
    """
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
        found = grp.getgrgid(group)
    except KeyError:
        return True
    return found.gr_name != name or bool(set(found.gr_mem) - {name})


def check_link(path: Path) -> None:
    """
    Check that C{path} is no symbolic link that another user has made.

    @raise StoreError: it is.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise StoreError(f"{path}: this is a symbolic link of another user")


def open_private(path: str, flags: int) -> int:
    """
    An opener for C{open} that makes files private, and follows no symbolic link.
    """
    return os.open(path, flags | os.O_NOFOLLOW, PRIVATE)


def make_private(path: Path) -> None:
    """
    Make an empty file, which must not be there.  SQLite makes its C{-wal} with the same
    mode.
    """
    os.close(open_private(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.chmod(path, PRIVATE)  # whatever the umask is


def keep_private(path: Path) -> None:
    """
    Have nobody else read or write a file that is there.

    @raise OSError: it is another user's.
    """
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        os.chmod(path, PRIVATE)
