"""
Describes the errors of a database, each in one sentence.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from quebert._text import one_line, what_is_wrong
from quebert.errors import HistoryError

__all__ = ["is_of_the_records", "problem_of"]

# Characters of what the database says.
_LIMIT = 200


def problem_of(error: BaseException, where: str) -> str:
    """
    Describe an error on one line, without the statement and its values.

    @param where: the place of the database, without a password.
    """
    if isinstance(error, HistoryError):
        return str(error)
    original = error.orig if isinstance(error, StatementError) else None
    said = what_is_wrong(original or error).partition("\n")[0]
    return f"the history in {where}: {one_line(said, _LIMIT) or type(error).__name__}"


def is_of_the_records(error: BaseException) -> bool:
    """
    Whether the records are the cause of an error, so that they would fail again.
    """
    if isinstance(error, (DataError, IntegrityError)):
        return True
    waits = DBAPIError, HistoryError, MemoryError, OSError, PoolTimeoutError
    return not isinstance(error, (*waits, sqlite3.Error))
