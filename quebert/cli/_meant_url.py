"""
A URL that somebody has typed: whether it is what is meant.  Pure.
"""

from __future__ import annotations

import re

from quebert.errors import BadTask

__all__ = ["check_url"]

# A name with dots, localhost, an address, or any name with a port; then the end of it.
_HOST = re.compile(
    r"(?:localhost|\[[0-9a-f:.]+\]|[\w-]+(?:\.[\w-]+)+\.?|[\w-]+(?=:[0-9]))"
    r"(?::[0-9]{0,5})?(?:[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)


def check_url(url: object, field: str = "url") -> None:
    """
    Refuse a URL that begins with a host and has no scheme.  It would be taken for a
    path of the mediator's default URL.

    @param field: of the task.
    @raise BadTask: it is one; the text has what may be meant.
    """
    if isinstance(url, str) and _HOST.fullmatch(url):
        shown = url if len(url) <= 100 else f"{url[:100]}..."
        raise BadTask(
            f"{field} has no scheme: write http://{shown}, or /{shown} for a path of"
            " the mediator's default URL"
        )
