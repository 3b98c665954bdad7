"""
Pages of lists, and the tokens with which the next one is asked for.  Pure.
"""

from __future__ import annotations

import base64
from zlib import crc32

from quebert.web.cloud_tasks._errors import CloudTasksError
from quebert.web.cloud_tasks._sentences import invalid

__all__ = ["number_in", "page_size", "page_token", "position_in"]

# Characters of a token.
_LONGEST = 1_000
# Digits of a position: no database has longer ones.
_DIGITS = 18


def page_size(wanted: int, most: int) -> int:
    """
    How many things a page has at most.

    @param wanted: 0 for as many as there can be.
    @raise CloudTasksError: it is negative.
    """
    if wanted < 0:
        raise invalid("page_size cannot be negative.")
    return min(wanted or most, most)


def page_token(scope: str, position: str) -> str:
    """
    The token of a page.

    @param scope: the list that it is of.
    """
    text = f"{_mark(scope)}{position}"
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii")


def number_in(scope: str, token: str) -> int:
    """
    The position that a token is for, if it is a number; 0 for none.

    @raise CloudTasksError: the token is of another list, or none at all.
    """
    position = position_in(scope, token) or "0"
    if position.isdigit() and len(position) <= _DIGITS:
        return int(position)
    raise _none_of_this_list()


def position_in(scope: str, token: str) -> str:
    """
    The position that a token is for; empty for none.  Anybody can make a token of any
    position.

    @raise CloudTasksError: the token is of another list, or none at all.
    """
    if not token:
        return ""
    try:
        if len(token) > _LONGEST:
            raise ValueError
        raw = token.encode("ascii")
        text = base64.b64decode(raw, altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        text = ""
    mark = _mark(scope)
    if not text.startswith(mark):
        raise _none_of_this_list()
    return text.removeprefix(mark)


def _none_of_this_list() -> CloudTasksError:
    return invalid("page_token is not one of this list.")


def _mark(scope: str) -> str:
    return f"{crc32(scope.encode()):08x}."
