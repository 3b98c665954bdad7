"""
Definitions of queues, as the messages of their register tell them.  Pure.

An entry is an object of JSON with C{name} and C{version}.  Of several of one queue, the
one with the highest version counts, in whatever order they are read; of two with the
same version, which programs may leave that are killed, the one whose JSON is greater.
An entry that this version of quebert cannot read is kept as it is: a later version has
written it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from quebert._text import one_line
from quebert.config import (
    DELETED_FOR,
    QueueDefinition,
    definition_from_plain,
    definition_to_plain,
)
from quebert.errors import ConfigError

__all__ = [
    "Entries",
    "KnownQueues",
    "changed",
    "entries_from_plain",
    "entries_to_plain",
    "known",
    "merged_entries",
]

#: Entries by the names of their queues.
Entries = dict[str, Mapping[str, Any]]

# Seconds after which nobody asks any more what was deleted: a day later than mediators
# let go of the queue.
_FORGOTTEN = 86_400.0


@attrs.frozen
class KnownQueues:
    """
    The queues that were made over the API.

    @ivar definitions: by the names of the queues, those that were deleted among them.
    @ivar unreadable: why a definition cannot be read, by the name of the queue: a
        sentence.
    """

    definitions: Mapping[str, QueueDefinition] = attrs.field(factory=dict)
    unreadable: Mapping[str, str] = attrs.field(factory=dict)

    def of(self, name: str) -> QueueDefinition | None:
        """
        The definition of a queue; C{None} where there is none.

        @raise ConfigError: this version of quebert cannot read it.
        """
        why = self.unreadable.get(name)
        if why is not None:
            raise ConfigError(f"the definition of queue {name!r} cannot be read: {why}")
        return self.definitions.get(name)


def entries_from_plain(body: bytes) -> list[Mapping[str, Any]]:
    """
    What the body of a message tells: what can be read of it.
    """
    try:
        given: Any = json.loads(body)
    except (ValueError, RecursionError):
        return []
    some = given.get("queues") if isinstance(given, dict) else None
    return [each for each in some if _is_entry(each)] if isinstance(some, list) else []


def _is_entry(plain: Any) -> bool:
    match plain:
        case {"name": str(), "version": bool()}:
            return False
        case {"name": str(), "version": int() as version}:
            return version > 0
    return False


def entries_to_plain(entries: Entries) -> bytes:
    """
    The body of a message that tells all of these.
    """
    some = [entries[name] for name in sorted(entries)]
    return json.dumps({"queues": some}, separators=(",", ":")).encode()


def merged_entries(some: Iterable[Mapping[str, Any]]) -> Entries:
    """
    The entry of each queue that counts.
    """
    found: Entries = {}
    for each in some:
        name = each["name"]
        before = found.get(name)
        found[name] = each if before is None else max(before, each, key=_rank)
    return found


def _rank(entry: Mapping[str, Any]) -> tuple[int, str]:
    return entry["version"], json.dumps(entry, sort_keys=True)


def known(entries: Entries) -> KnownQueues:
    """
    The queues of these entries.
    """
    definitions: dict[str, QueueDefinition] = {}
    unreadable: dict[str, str] = {}
    for name, entry in entries.items():
        try:
            definitions[name] = definition_from_plain(entry)
        except ConfigError as e:
            unreadable[name] = one_line(str(e), 200)
    return KnownQueues(definitions, unreadable)


def changed(entries: Entries, definition: QueueDefinition, now: float) -> Entries:
    """
    The entries when C{definition} has taken the place of the one before, without those
    of queues that were deleted long ago.
    """
    gone = [
        each.name
        for each in known(entries).definitions.values()
        if each.deleted_at is not None
        and each.deleted_at + DELETED_FOR + _FORGOTTEN <= now
    ]
    kept = {name: entry for name, entry in entries.items() if name not in gone}
    return {**kept, definition.name: definition_to_plain(definition)}
