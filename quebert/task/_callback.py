"""
The field C{callback_url} of a task: where its end is told.  Pure.
"""

from __future__ import annotations

from quebert._bounds import BOUNDS, Bounds
from quebert._url import absolute
from quebert.errors import BadTask, NoDefaultURL
from quebert.task._json import kind_of

__all__ = ["check_callback_url"]


def check_callback_url(url: object, defaulturl: str, bounds: Bounds = BOUNDS) -> str:
    """
    Check the C{callback_url} of a task as its C{url} is checked.

    @param defaulturl: completes a partial one; C{""} for nothing.
    @return: the same, as the task has it.
    @raise NoDefaultURL: it is partial, and there is no C{defaulturl}.
    @raise BadTask: it cannot be requested.
    """
    if isinstance(url, (dict, list)):
        text = f"callback_url must be a string, not {kind_of(url)}: a callback has no"
        raise BadTask(f"{text} options, and no callback of its own")
    if not isinstance(url, str):
        raise BadTask(f"callback_url must be a string, not {kind_of(url)}")
    if not 0 < len(url) <= bounds.url:
        text = f"callback_url must have 1 to {bounds.url} characters, not {len(url)}"
        raise BadTask(text)
    try:
        absolute(url, defaulturl)
    except NoDefaultURL as e:
        raise NoDefaultURL(f"callback_url cannot be requested: {e}") from None
    except ValueError as e:
        raise BadTask(f"callback_url cannot be requested: {e}") from None
    return url
