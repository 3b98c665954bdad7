"""
Tests for L{quebert.amqp.coordination._queue_entries}: definitions of queues as the
messages of their register tell them.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.coordination._queue_entries import (
    Entries,
    changed,
    entries_from_plain,
    entries_to_plain,
    known,
    merged_entries,
)
from quebert.config import DELETED_FOR, QueueDefinition, definition_to_plain
from quebert.errors import ConfigError
from quebert.test.checks import QUICK, refusal

# Later versions may have other fields.
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abc"), "version": st.integers(1, 4)},
        optional={
            "rate": st.integers(1, 3),
            "colour": st.sampled_from(["red", "blue"]),
        },
    ),
    max_size=8,
)


class EntriesTests(SynchronousTestCase):
    """
    Entries.
    """

    @QUICK
    @given(ENTRIES, st.data())
    def test_any_order(self, some: list[dict[str, Any]], data: Any) -> None:
        """
        In any order, and in any number of messages, they tell the same: the highest
        version of each queue.
        """
        merged = merged_entries(some)
        shuffled = data.draw(st.permutations(some))
        cut = data.draw(st.integers(0, len(some)))
        again = [*merged_entries(shuffled[:cut]).values(), *shuffled[cut:], *some]
        self.assertEqual(merged_entries(again), merged)
        for name, entry in merged.items():
            most = max(each["version"] for each in some if each["name"] == name)
            self.assertEqual(entry["version"], most)
        body = entries_to_plain(merged)
        self.assertEqual(merged_entries(entries_from_plain(body)), merged)

    def test_unreadable(self) -> None:
        """
        What cannot be read hides nothing else; what a later version has written is
        kept, and told.
        """
        good = {"name": "a", "version": 1}
        newer = {"name": "b", "version": 2, "colour": "red"}
        odd: Any = (1, None, [], {}, {"name": "c"}, {"name": "c", "version": True})
        odd = (*odd, {"name": "c", "version": 0}, {"name": 5, "version": 1})
        body = json.dumps({"queues": [*odd, good, newer]}).encode()
        entries = merged_entries(entries_from_plain(body))
        self.assertEqual(entries, {"a": good, "b": newer})
        found = known(entries)
        self.assertEqual(found.definitions, {"a": QueueDefinition(name="a")})
        self.assertIn("'colour' is not known", found.unreadable["b"])
        self.assertIsNone(found.of("c"))
        self.assertIn("cannot be read: 'colour'", refusal(ConfigError, found.of, "b"))
        after = changed(entries, QueueDefinition(name="a", version=2), 0.0)
        self.assertEqual(after["b"], newer)
        for body in (b"", b"[]", b"{}", b'{"queues": 5}', b"\xff", b"[" * 100_000):
            self.assertEqual(entries_from_plain(body), [])

    def test_forgotten(self) -> None:
        """
        A change forgets those that were deleted more than eight days ago.
        """
        old = QueueDefinition(name="a", deleted_at=10.0)
        entries: Entries = {"a": definition_to_plain(old)}
        queue = QueueDefinition(name="b")
        day = 86_400
        for now, names in (
            (9 + DELETED_FOR + day, "ab"),
            (10 + DELETED_FOR + day, "b"),
        ):
            self.assertEqual(sorted(changed(entries, queue, now)), list(names))
        anew = QueueDefinition(name="a", version=2)
        after = changed(entries, anew, 20 + DELETED_FOR + day)
        self.assertEqual(after, {"a": definition_to_plain(anew)})
