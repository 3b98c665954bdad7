"""
The name of a task, and any value on one line, for log lines and the reasons in dead
letters.
"""

from __future__ import annotations

from functools import lru_cache

from twisted.python.reflect import safe_str

from quebert import _text
from quebert.task import Task

__all__ = ["line_of_url", "name_of", "one_line"]

_LIMIT = 400
# Characters of URLs that are remembered.
_SHORT = 200


def name_of(task: Task) -> str:
    """
    What to call a task in a log.
    """
    url = task.get("url")
    shown = line_of_url(url) if isinstance(url, str) else one_line(url)
    return f"{one_line(task.get('uuid', '(no uuid)'))} for {shown}"


def line_of_url(url: str) -> str:
    """
    The same as L{one_line} of a URL, without what may be a secret in it.
    """
    return _remembered(url) if len(url) <= _SHORT else _text.one_line_url(url, _LIMIT)


@lru_cache(256)
def _remembered(url: str) -> str:
    """
    Most tasks of a queue have the same URL.
    """
    return _text.one_line_url(url, _LIMIT)


def one_line(value: object) -> str:
    """
    What C{str} says, on one line and of a length that a log can take.
    """
    if isinstance(value, (dict, list)):  # it may be as large as a message
        return "[...]" if isinstance(value, list) else "{...}"
    return _text.one_line(safe_str(value), _LIMIT)
