"""
The format of batches of attempts, and what refuses other bytes.  Pure.

A batch is L{MAGIC}, a byte for the version, 8 bytes with the number of records that
were dropped before it, which is known only when it is sent, and a zlib stream of::

    length    of the head, 4 bytes
    head      JSON: the fields of the batch, the number of records, and the texts
    columns   in the order of C{_batch_encoder}, each of that many records

A column of times is of doubles, and C{NaN} stands for C{None}.  Columns of texts that
repeat have an index into a list of texts in the head.  A uuid in its usual form takes
16 bytes.  Of all numbers, the first bytes of a column come first, then the second
bytes, and so on: so zlib is quick, and finds what is alike.  All numbers are
little-endian.

A change of all this takes another L{VERSION}.  A key of the head that a reader does not
know is passed over.
"""

from __future__ import annotations

import struct
import zlib

from quebert._bounds import SHORT_STRING
from quebert.errors import QuebertError

__all__ = [
    "DROPPED",
    "LENGTH",
    "LONGEST",
    "LONGEST_ANSWER",
    "MAGIC",
    "MOMENTS",
    "MOST_BYTES",
    "MOST_NAMES",
    "MOST_RECORDS",
    "TEXTS",
    "VERSION",
    "UnreadableEvents",
    "checked_name",
    "unpacked",
]

#: How a batch begins.
MAGIC = b"QBE"
#: The version that is written, and read.
VERSION = 1
#: Records that a batch may have.
MOST_RECORDS = 100_000
#: Bytes that it may have before it is compressed.
MOST_BYTES = 16 * 2**20
#: Characters of a text, and of an answer.  Mediators keep 400, and 1,024, each of which
#: takes nine where nobody could see it.
LONGEST, LONGEST_ANSWER = 4_096, 16_384
#: Names of each kind in the state of a mediator: queues, origins and settings.
MOST_NAMES = 5_000
#: The length of the head, and the number of dropped records.
LENGTH, DROPPED = struct.Struct("<I"), struct.Struct("<Q")
#: Columns of texts that repeat.
TEXTS = ("queue", "url", "outcome", "reason", "answer")
#: Columns of times, of which some may be missing.
MOMENTS = ("added", "due", "retry_at")


class UnreadableEvents(QuebertError, ValueError):
    """
    A message is no batch of events, or a batch of another version.
    """


def unpacked(body: bytes, magic: bytes, version: int, most: int, what: str) -> bytes:
    """
    The bytes behind C{magic} and the version.

    @param most: bytes that it may have.
    @param what: what to call it.
    @raise UnreadableEvents: it is not that, or of another version.
    """
    if body[: len(magic)] != magic or len(body) <= len(magic):
        raise UnreadableEvents(f"this is no {what}: it begins with {body[:4]!r}")
    found = body[len(magic)]
    if found != version:
        raise UnreadableEvents(
            f"this {what} is of version {found} of the format, and this program reads"
            f" version {version}: run the same version of quebert everywhere"
        )
    unpacking = zlib.decompressobj()
    try:
        whole = unpacking.decompress(body[len(magic) + 1 :], most)
    except zlib.error as e:
        raise UnreadableEvents(f"this is no {what}: {e}") from None
    if unpacking.unconsumed_tail or not unpacking.eof:
        why = "it is cut short" if len(whole) < most else f"it has over {most} bytes"
        raise UnreadableEvents(f"this is no {what}: {why}")
    return whole


def checked_name(name: str) -> str:
    """
    Give C{name}, if it can be that of a queue.

    @raise ValueError: it is too long, or has half a character.
    """
    if len(name.encode()) > SHORT_STRING:
        raise ValueError(f"the name of a queue has over {SHORT_STRING} bytes")
    return name
