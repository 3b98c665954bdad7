"""
Tokens for the next page of a query: the place where the page begins.  Pure.
"""

from __future__ import annotations

import base64
import struct
import zlib

from quebert.errors import UnknownPageToken

__all__ = ["FIRST", "Place", "parsed", "token"]

#: When an entry ended, and its id; newer ones are greater.
Place = tuple[int, int]
#: Before the newest entry.
FIRST: Place = (2**63 - 1, 2**63 - 1)

_FORM = struct.Struct(">IqqI")


def token(place: Place, query: object) -> str:
    """
    A token for the page that begins after an entry.

    @param query: what is asked for; a frozen value.
    """
    head = zlib.crc32(repr(query).encode("utf-8", "replace")), *place
    raw = _FORM.pack(*head, zlib.crc32(repr(head).encode()))
    return base64.urlsafe_b64encode(raw).decode()


def parsed(text: str, query: object) -> Place:
    """
    The place that a token stands for; an empty one stands for the first page.

    @raise UnknownPageToken: it is none, or of another query.
    """
    if not text:
        return FIRST
    try:
        raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        _, ended, entry, _ = _FORM.unpack(raw)
    except (ValueError, struct.error):
        raise UnknownPageToken("this is no page token") from None
    place = ended, entry
    if token(place, query) != text:
        raise UnknownPageToken("this page token is of another query")
    return place
