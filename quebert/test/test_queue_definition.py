"""
Tests for L{quebert.config._queue_definition} and L{quebert.config._made_queues}: queues
that were made over the API, as values, as JSON, and as settings.
"""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.config import (
    DELETED_FOR,
    MadeQueues,
    QueueDefinition,
    QueueSettings,
    definition_from_plain,
    definition_to_plain,
    serves,
    settings_of_made,
)
from quebert.errors import ConfigError
from quebert.guard import Guard
from quebert.limits import Rate
from quebert.policy import RetryPolicy
from quebert.test.checks import QUICK, refusal

POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 1_000_000) | st.just(-1),
    max_doublings=st.integers(0, 1_000),
    min_backoff=st.floats(0.01, 10),
    max_backoff=st.floats(10, 1e6),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TIMES = st.floats(0, 1e10)
DEFINITIONS = st.builds(
    QueueDefinition,
    name=st.from_regex(r"[a-zä][a-z0-9_-]{0,20}", fullmatch=True),
    rate=st.none() | st.floats(0.001, 1e6),
    burst=st.none() | st.integers(1, 1_000_000),
    concurrency=st.none() | st.integers(1, 65_535),
    retry=POLICIES,
    queue_type=st.sampled_from([None, "classic", "quorum"]),
    http_target=st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    version=st.integers(1, 2**53),
    purge_time=TIMES,
    deleted_at=st.none() | TIMES,
)


class DefinitionTests(SynchronousTestCase):
    """
    Definitions.
    """

    @QUICK
    @given(DEFINITIONS)
    def test_round_trip(self, definition: QueueDefinition) -> None:
        """
        A definition is read as it was written.
        """
        plain = json.loads(json.dumps(definition_to_plain(definition)))
        self.assertEqual(definition_from_plain(plain), definition)

    def test_least(self) -> None:
        """
        What is not said is not written, and has the defaults of Cloud Tasks' retries.
        """
        definition = QueueDefinition(name="mail")
        self.assertEqual(
            definition_to_plain(definition), {"name": "mail", "version": 1}
        )
        self.assertEqual(definition.retry, RetryPolicy())

    def test_wrong(self) -> None:
        """
        Nothing is read that a file could not say of a queue, nor anything that this
        version does not know.
        """
        right: dict[str, Any] = {"name": "mail", "version": 1}
        definition_from_plain(right)
        for key, value, text in (
            ("guard", {"private": "allow"}, "'guard' is not known to this version"),
            ("prehooks", ["os.system"], "'prehooks' is not known"),
            ("headers", {"A": {"file": "/etc/passwd"}}, "'headers' is not known"),
            ("name", "quebert.queues", "name cannot be watched"),
            ("name", "amq.x", "name cannot be watched"),
            ("name", "", "name must have a name of 1 to 255 bytes"),
            ("name", "\ud800", "name must be a text of Unicode"),
            ("name", 5, "name must be a text"),
            ("version", 0, "version must be a whole number from 1"),
            ("version", True, "version must be a whole number from 1"),
            ("rate", 0, "rate must be more than 0"),
            ("rate", "500/s", "rate must be a number"),
            ("rate", math.inf, "rate must be more than 0"),
            ("burst", 0, "burst must be a whole number from 1"),
            ("concurrency", 65_536, "concurrency must be a whole number from 1"),
            ("retry", [], "retry must be an object"),
            ("retry", {"traceback": True}, "'retry.traceback' is not known"),
            ("retry", {"max_attempts": 0}, "max_attempts must be a whole number"),
            ("retry", {"max_attempts": 10**7}, "retry has too many"),
            ("retry", {"min_backoff": 5, "max_backoff": 1}, "max_backoff must be at"),
            ("queue_type", "stream", "queue_type must be"),
            ("http_target", [], "http_target must be an object"),
            ("http_target", {"a": math.nan}, "http_target must be an object"),
            ("http_target", {"a": "x" * 65_536}, "http_target must be an object of at"),
            ("purge_time", -1, "purge_time must be a number"),
            ("deleted_at", "now", "deleted_at must be a number"),
        ):
            told = refusal(ConfigError, definition_from_plain, {**right, key: value})
            self.assertIn(text, told)
        self.assertIn("name", refusal(ConfigError, definition_from_plain, {}))

    def test_gone(self) -> None:
        """
        A deleted queue is gone after seven days.
        """
        queue = QueueDefinition(name="mail", deleted_at=100.0)
        self.assertTrue(queue.is_deleted)
        self.assertFalse(queue.is_gone(99 + DELETED_FOR))
        self.assertTrue(queue.is_gone(100 + DELETED_FOR))
        self.assertFalse(QueueDefinition(name="mail").is_gone(math.inf))


class MadeSettingsTests(SynchronousTestCase):
    """
    Definitions as settings.
    """

    def setUp(self) -> None:
        """
        A mediator with a guard of its own.
        """
        each = QueueSettings(name="", guard=Guard(private="refuse"), timeout=5.0)
        self.made = MadeQueues(("mail-*", "reports"), each)

    def test_serves(self) -> None:
        """
        Patterns of names decide.
        """
        for name, served in (
            ("mail-a", True),
            ("mail", False),
            ("reports", True),
            ("Reports", False),
        ):
            self.assertEqual(serves(self.made, name), served, name)
        self.assertFalse(serves(MadeQueues(), "mail"))

    def test_settings(self) -> None:
        """
        The definition says how often a task is tried, and the file what it may reach.
        """
        retry = RetryPolicy(max_attempts=3)
        definition = QueueDefinition(
            name="mail-a", rate=5, burst=2, concurrency=7, retry=retry, purge_time=9.0
        )
        found = settings_of_made(self.made, definition)
        self.assertEqual((found.name, found.exchange), ("mail-a", ""))
        self.assertEqual((found.rate, found.burst), (Rate(5), 2))
        self.assertEqual((found.mediator, found.retry), ("policy", retry))
        self.assertEqual((found.guard.private, found.timeout), ("refuse", 5.0))
        self.assertEqual((found.shared_concurrency, found.drop_before), (7, 9.0))

    def test_deleted(self) -> None:
        """
        All tasks of a deleted queue are dropped, as fast as they come.
        """
        definition = QueueDefinition(name="mail-a", rate=5, deleted_at=9.0)
        found = settings_of_made(self.made, definition)
        self.assertEqual((found.rate, found.drop_before), (None, math.inf))
