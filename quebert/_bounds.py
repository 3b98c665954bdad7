"""
How large things may be that come from outside.  Pure.

Whoever may publish to a queue, or give a URL, chooses each of these texts.  A length
is checked before anything else is done with a text.
"""

from __future__ import annotations

import attrs

__all__ = [
    "AT_WORK",
    "BODY_BYTE",
    "BOUNDS",
    "HOST",
    "LABEL",
    "MESSAGE",
    "PROPERTY_BYTE",
    "SHORT_STRING",
    "Bounds",
    "memory_of",
    "most_values",
    "text_memory_of",
]

#: Characters of a name in the DNS, and of each label between its dots (RFC 1035,
#: section 2.3.4).
HOST, LABEL = 253, 63
#: Bytes of a short string (AMQP 0-9-1, section 4.2.5.3), as all names in a broker are.
SHORT_STRING = 255
#: Bytes of a message: no RabbitMQ takes a larger one, whatever its C{max_message_size}.
MESSAGE = 512 * 2**20
#: Bytes of memory that all tasks at work in a process take together.
AT_WORK = 128 * 2**20
#: Bytes of memory that a byte of encoded properties takes at most, once decoded.
PROPERTY_BYTE = 30
# Bytes that a value of JSON takes at most, once decoded: an object with one field.
_VALUE = 200
#: Bytes of memory that a byte of a body takes at most: every second one may be a value.
BODY_BYTE = 1 + _VALUE // 2
# The first bytes of characters beyond the Basic Multilingual Plane in UTF-8 (RFC 3629),
# and the beginnings of surrogates, which JSON escapes them with (RFC 8259, section 7).
_BEYOND_BMP = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4", b"\\ud", b"\\uD")
# Before each value of a JSON text, but for the outermost one, stands one of these, or
# it stands before the key of the value.
# They may stand within strings, too.
_BEFORE_VALUES = b",[{"


@attrs.frozen(kw_only=True)
class Bounds:
    """
    What a task may hold at most.  What is counted are characters, unless it says
    otherwise.

    The properties of a message have bounds of their own, which AMQP sets: 255 bytes for
    each short string, a routing key included, and one frame for all headers together.

    @ivar url: common web servers accept a request line of 8 KB.
    @ivar uuid: it is the AMQP property C{message-id}, too: a short string.
    @ivar method: the longest method that there is has seven.
    @ivar time: each of C{timestamp} and C{run_at}; one to the nanosecond has 35.
    @ivar headers: how many headers the request may have.  Apache httpd takes 100 with
        ours among them.
    @ivar header_name: of each of them.
    @ivar header_value: of each of them.  Common web servers accept a line of 8 KB.
    @ivar all_headers: of all names and values together.
    @ivar body: bytes of the whole message, as many as RabbitMQ 4 takes.
    @ivar depth: levels of JSON within JSON.  More could be read, but not written again
        by every library.
    @ivar values: numbers, texts, arrays and objects.  Each takes up to 250
        bytes of memory while it is decoded, and 200 later: together 100 MiB.
    """

    url: int = 8_192
    uuid: int = SHORT_STRING
    method: int = 16
    time: int = 64
    headers: int = 90
    header_name: int = 256
    header_value: int = 8_192
    all_headers: int = 65_536
    body: int = 16 * 2**20
    depth: int = 400
    values: int = 400_000


#: What holds unless a setting says otherwise.
BOUNDS = Bounds()


def most_values(body: bytes) -> int:
    """
    How many values a JSON text has at most, beside the outermost one: an empty array
    in another counts as two.  That takes 1 ms for each MiB, whatever the text says.
    """
    return len(body) - len(body.translate(None, _BEFORE_VALUES))


def memory_of(body: bytes, values: int = BOUNDS.values) -> int:
    """
    Bytes of memory that a task takes at most, decoded from JSON.

    @param values: a task of more values is not decoded.
    """
    return text_memory_of(body) + _VALUE * min(most_values(body), values)


def text_memory_of(body: bytes) -> int:
    """
    Bytes of memory that all text of a body takes at most, once decoded: Python gives as
    many bytes to each character as the text's largest character needs (PEP 393).
    """
    if body.isascii() and (
        b"\\" not in body or body.count(b"\\u") == body.count(b"\\u00")
    ):
        width = 1
    elif any(each in body for each in _BEYOND_BMP):
        width = 4
    else:
        width = 2
    return width * len(body)
