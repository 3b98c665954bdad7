"""
Names in the broker that are made of the name of a queue.  Pure.
"""

from __future__ import annotations

import hashlib

__all__ = ["NAME_LIMIT", "fitting"]

#: Bytes that a name, or a routing key, may have (AMQP 0-9-1, section 4.2.5.3).
NAME_LIMIT = 255


def fitting(queue: str, room: int, name: str | None = None) -> str:
    """
    What stands for C{queue} in C{room} bytes: C{name}, or its own; or a digest of its
    own, where that would be too long.
    """
    name = queue if name is None else name
    if len(name.encode("utf-8", "surrogateescape")) <= room:
        return name
    digest = hashlib.sha256(queue.encode("utf-8", "surrogateescape"))
    return f"sha256-{digest.hexdigest()}"
