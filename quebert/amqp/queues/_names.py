"""
Names in the broker that are made of the name of a queue.  Pure.

RabbitMQ names a queue where it refuses something of it, as when it does not exist.
AMQP has room for 255 bytes of that text.  RabbitMQ 3.10.8 cuts a longer one after 252
bytes, which may be in the middle of a letter.  RabbitMQ 4.0.5 and 4.3.6 cut it, too.
But if the text has letters that are not ASCII, more than 255 bytes may be left.  Then
RabbitMQ does not answer with the refusal: it closes the connection with
C{INTERNAL_ERROR} (its log says C{method_field_shortstr_overflow}).

So a name that quebert makes, and that has other letters, is short enough for each
refusal.  The name of a task queue is the user's; L{risk_of} tells of it.
"""

from __future__ import annotations

import hashlib

__all__ = ["NAME_LIMIT", "SURE_LIMIT", "derived", "fitting", "risk_of"]

#: Bytes that a name, or a routing key, may have (AMQP 0-9-1, section 4.2.5.3).
NAME_LIMIT = 255
# The longest text in which RabbitMQ names a queue and quebert goes on; without the name
# of the queue, and for a virtual host whose name has 10 bytes.
_LONGEST_REFUSAL = (
    "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue '' in vhost"
    " '0123456789': received the value '-1' of type 'signedint' but current is none"
)
#: Bytes that a name may have which has other letters than those of ASCII, so that
#: RabbitMQ 4 can refuse something of it.
SURE_LIMIT = NAME_LIMIT - len(_LONGEST_REFUSAL)


def derived(prefix: str, queue: str, suffix: str = "") -> str:
    """
    The name of what belongs to C{queue}: with a digest in place of the queue's name,
    where that would be too long.
    """
    limit = NAME_LIMIT if queue.isascii() else SURE_LIMIT
    return f"{prefix}{fitting(queue, limit - len(prefix) - len(suffix))}{suffix}"


def fitting(queue: str, room: int, name: str | None = None) -> str:
    """
    What stands for C{queue} in C{room} bytes: C{name}, or its own; or a digest of its
    own, where that would be too long.
    """
    name = queue if name is None else name
    if _size(name) <= room:
        return name
    digest = hashlib.sha256(queue.encode("utf-8", "surrogateescape"))
    return f"sha256-{digest.hexdigest()}"


def risk_of(queue: str) -> str:
    """
    What may happen to a queue, or an exchange, for its name; empty for nothing.
    """
    size = _size(queue)
    if queue.isascii() or size <= SURE_LIMIT:
        return ""
    return (
        f"its name has letters that are not ASCII, and {size} bytes, more than"
        f" {SURE_LIMIT}: if RabbitMQ 4 refuses an operation on it, RabbitMQ closes the"
        " connection with INTERNAL_ERROR and does not say why"
    )


def _size(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))
