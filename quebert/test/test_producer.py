"""
Adding tasks from Twisted, over a publisher that only pretends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BadTask, ChannelLost, PublishRefused, Unroutable
from quebert.producer import HIGH, LOW, MEDIUM, Producer
from quebert.test.checks import refusal

NOW = 1_700_000_000.5

#: Arguments of C{add_task}, and the keys of the task that they make.
ARGUMENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"params": [1, {"\u00e9": "\N{SNOWMAN}"}, None]}, {}),
    ({"params": "text"}, {}),
    ({"ttl": 60}, {"ttl": 60}),
    ({"ttl": 0.5}, {"ttl": 0.5}),
    ({"delay": 1.5}, {"run_at": "2023-11-14T22:13:22.000000Z"}),
    ({"run_at": NOW + 1}, {"run_at": "2023-11-14T22:13:21.500000Z"}),
    (
        {"run_at": datetime(2026, 11, 23, 20, 15, tzinfo=UTC)},
        {"run_at": "2026-11-23T20:15:00.000000Z"},
    ),
    ({"run_at": "2026-11-23T20:15"}, {"run_at": "2026-11-23T20:15:00.000000Z"}),
    ({"timeout": 9}, {"timeout": 9}),
    ({"headers": {"X-A": "b"}}, {"headers": {"X-A": "b"}}),
    ({"headers": {}}, {}),
    ({"method": "PUT"}, {"method": "PUT"}),
    ({"payload": b"\xff", "params": None}, {"payload": "/w=="}),
    (
        {"extra": {"colour": "red", "n": {"deep": [1]}}},
        {"colour": "red", "n": {"deep": [1]}},
    ),
    ({"retry": {"max_attempts": 3}}, {"retry": {"max_attempts": 3}}),
    ({"callback_url": "/ended"}, {"callback_url": "/ended"}),
    ({"timestamp": "2020-01-01T00:00:00Z"}, {"timestamp": "2020-01-01T00:00:00Z"}),
]

#: Arguments that are refused, and what is said against them.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"url": ""}, "url"),
    ({"url": None}, "url"),
    ({"url": "ftp://h/"}, "url"),
    ({"url": "/a b"}, "url"),
    ({"callback_url": "ftp://h/"}, "callback_url"),
    ({"params": object()}, "params"),
    ({"params": float("nan")}, "params"),
    ({"params": {1, 2}}, "params"),
    (
        {"params": ["\ud800"]},
        "params or an extra key cannot be written as JSON: a text",
    ),
    ({"params": {"\udc00": 1}}, "half a surrogate pair"),
    ({"extra": {"\udc00": 1}}, "half a surrogate pair"),
    ({"params": {1: "a", "1": "b"}}, "the key '1' would be there twice"),
    ({"params": [{None: "a", "null": "b"}]}, "the key 'null' would be there twice"),
    ({"params": {"n": Decimal("NaN")}}, "NaN is no number"),
    ({"params": b"bytes"}, "params"),
    ({"kind": ""}, "kind"),
    ({"kind": None}, "kind"),
    ({"kind": b"tasks"}, "kind"),
    ({"kind": "\ud800"}, "kind"),
    ({"kind": "\u00e9" * 128}, "kind"),
    ({"kind": "k" * 250}, "kind and priority"),
    ({"priority": ""}, "priority"),
    ({"priority": 5}, "priority"),
    ({"ttl": "60"}, "ttl"),
    ({"ttl": float("inf")}, "ttl"),
    ({"run_at": "tomorrow"}, "run_at"),
    ({"run_at": 1e300}, "run_at"),
    ({"run_at": NOW, "delay": 1}, "run_at and delay"),
    ({"delay": "1"}, "delay"),
    ({"delay": 61, "ttl": 60}, "ttl"),
    ({"timeout": "long"}, "timeout"),
    ({"timeout": -1}, "timeout must be 0 or more seconds, not -1"),
    ({"timeout": float("nan")}, "timeout"),
    ({"delay": float("nan")}, "delay"),
    ({"ttl": float("nan")}, "ttl"),
    ({"run_at": float("nan")}, "run_at"),
    ({"retry": {"min_backoff": float("nan")}}, "min_backoff"),
    ({"url": "/\ud800"}, "url"),
    ({"headers": {"X-A": "\ud800"}}, "headers"),
    ({"uuid": ""}, "uuid"),
    ({"uuid": 5}, "uuid"),
    ({"uuid": "u" * 256}, "uuid"),
    ({"uuid": "\ud800"}, "uuid"),
    ({"headers": ["X-A"]}, "headers"),
    ({"headers": {"X A": "b"}}, "headers"),
    ({"headers": {"X-A": "b\r\nc"}}, "headers"),
    ({"method": "BREW"}, "method"),
    ({"extra": {"colour": object()}}, "an extra key"),
    ({"url": "/" + "x" * 8192}, "url"),
    ({"params": "x" * 2**24}, "the body must have at most 16777216 bytes, not 16777"),
    ({"params": "x", "max_body": 50}, "the body must have at most 50 bytes, not 1"),
    (
        {"params": json.loads("[" * 400 + "]" * 400)},
        "the body is JSON nested too deeply",
    ),
    ({"extra": {"n": [0] * 400_001}}, "the body is JSON of more than 400000 values"),
]


class FakePublisher:
    """
    Publishes when the test says so.

    @ivar published: the arguments of each call.
    @ivar confirms: a Deferred for each, to be fired.
    """

    def __init__(self) -> None:
        self.published: list[tuple[str, str, bytes, dict[str, Any]]] = []
        self.confirms: list[Deferred[None]] = []

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any] | None = None,
    ) -> Deferred[None]:
        """
        Note it, and let the test confirm it.
        """
        self.published.append((exchange, routing_key, body, dict(properties or {})))
        self.confirms.append(Deferred())
        return self.confirms[-1]


class ProducerTests(SynchronousTestCase):
    """
    L{Producer} adds tasks through a publisher.
    """

    def setUp(self) -> None:
        """
        A producer at a time that stands still.
        """
        self.publisher = FakePublisher()
        self.producer = Producer(self.publisher, now=lambda: NOW)

    def add(self, **arguments: Any) -> dict[str, Any]:
        """
        Add a task; what its body says.
        """
        arguments = {"url": "/work", **arguments}
        self.producer.add_task(**arguments)
        task: dict[str, Any] = json.loads(self.publisher.published[-1][2])
        return task

    def test_letter(self) -> None:
        """
        A task goes to flow, persistent, as JSON with its uuid and time.
        """
        self.producer.add_task("/work", {"n": 1}, uuid="me")
        self.assertEqual(
            self.publisher.published,
            [
                (
                    "flow",
                    "tasks.medium",
                    b'{"url":"/work","params":{"n":1},'
                    b'"timestamp":"2023-11-14T22:13:20.500000Z","ttl":0,"uuid":"me"}',
                    {
                        "content-type": "application/json",
                        "delivery-mode": 2,
                        "message-id": "me",
                        "timestamp": 1_700_000_000,
                    },
                )
            ],
        )

    def test_arguments(self) -> None:
        """
        Every argument gets into the task, and nothing else does.
        """
        for arguments, keys in ARGUMENTS:
            wanted = {
                "url": "/work",
                "params": arguments.get("params"),
                "timestamp": "2023-11-14T22:13:20.500000Z",
                "ttl": 0,
                "uuid": "me",
                **keys,
            }
            self.assertEqual(self.add(uuid="me", **arguments), wanted)

    def test_routing_keys(self) -> None:
        """
        The routing key is the kind and the priority.
        """
        for priority in (HIGH, MEDIUM, LOW, "urgent"):
            self.producer.add_task("/", kind="mails", priority=priority)
            self.producer.add_raw_task(b"", "mails", priority)
        keys = [published[1] for published in self.publisher.published]
        names = ("high", "medium", "low", "urgent")
        self.assertEqual(keys, [f"mails.{name}" for name in names for _ in range(2)])

    def test_routing_key_for_all(self) -> None:
        """
        A producer may have one routing key, whatever tasks say.
        """
        producer = Producer(self.publisher, "e", routing_key="a.b.c")
        producer.add_task("/x", priority=HIGH)
        [(exchange, key, _, _)] = self.publisher.published
        self.assertEqual((exchange, key), ("e", "a.b.c"))

    def test_longest_routing_key(self) -> None:
        """
        A routing key may have 255 bytes.
        """
        self.producer.add_task("/", kind="k" * 251, priority="low")
        self.assertEqual(len(self.publisher.published[0][1]), 255)

    def test_exchange(self) -> None:
        """
        Another exchange may be given.
        """
        self.producer = Producer(self.publisher, "other")
        self.producer.add_task("/")
        self.producer.add_raw_task(b"")
        exchanges = [published[0] for published in self.publisher.published]
        self.assertEqual(exchanges, ["other", "other"])

    def test_uuids(self) -> None:
        """
        Each task gets a uuid of its own, which is its message-id.
        """
        uuids = {self.add()["uuid"] for _ in range(10)}
        ids = {published[3]["message-id"] for published in self.publisher.published}
        self.assertEqual(len(uuids), 10)
        self.assertEqual(ids, uuids)

    def test_fires_with_the_confirm(self) -> None:
        """
        The uuid is told when the broker has confirmed the task, not before.
        """
        adding = self.producer.add_task("/", uuid="me")
        self.assertNoResult(adding)
        self.publisher.confirms[0].callback(None)
        self.assertEqual(self.successResultOf(adding), "me")

    def test_unknown_keyword(self) -> None:
        """
        A keyword that is not known is an error at once, and nothing is published.
        """
        text = refusal(TypeError, self.producer.add_task, "/x", countdown=60)
        self.assertIn("did you mean delay?", text)
        self.assertEqual(self.publisher.published, [])

    def test_long_url(self) -> None:
        """
        Where a mediator takes longer URLs, a producer can, too.
        """
        url = "/" + "x" * 9_000
        self.producer.add_task(url, max_url_length=10_000)
        self.assertEqual(len(self.publisher.published), 1)

    def test_large_body(self) -> None:
        """
        Where a mediator takes larger messages, a producer can, too.
        """
        params = "x" * 2**24
        self.producer.add_task("/", params, max_body=2**25)
        raw = params.encode("ascii")
        self.producer.add_raw_task(raw)
        self.producer.add_raw_task(raw + b"x", max_body=2**25)
        self.assertEqual(len(self.publisher.published), 3)

    def test_confirms_in_any_order(self) -> None:
        """
        Tasks that are added at once are told apart.
        """
        first, second = (self.producer.add_task("/", uuid=u) for u in ("1", "2"))
        self.publisher.confirms[1].callback(None)
        self.assertEqual(self.successResultOf(second), "2")
        self.assertNoResult(first)
        self.publisher.confirms[0].callback(None)
        self.assertEqual(self.successResultOf(first), "1")

    def test_failures(self) -> None:
        """
        What the publisher fails with is what adding fails with.
        """
        for error in (Unroutable("no"), PublishRefused("no"), ChannelLost("no")):
            task, raw = self.producer.add_task("/"), self.producer.add_raw_task(b"")
            confirms = self.publisher.confirms[-2:]
            for adding, confirm in zip((task, raw), confirms, strict=True):
                confirm.errback(error)
                self.assertIs(self.failureResultOf(adding).value, error)

    def test_refused(self) -> None:
        """
        A bad argument is named, and nothing is published.
        """
        for arguments, name in REFUSED:
            adding = self.producer.add_task(**{"url": "/", **arguments})
            told = self.failureResultOf(adding, BadTask).getErrorMessage()
            self.assertIn(name, told)
        self.assertEqual(self.publisher.published, [])

    def test_raw(self) -> None:
        """
        A raw task is sent as it is, persistent and without an id.
        """
        adding = self.producer.add_raw_task(b"\xff not JSON", "mails", HIGH)
        properties = {
            "content-type": "application/json",
            "delivery-mode": 2,
            "timestamp": 1_700_000_000,
        }
        letter = ("flow", "mails.high", b"\xff not JSON", properties)
        self.assertEqual(self.publisher.published, [letter])
        self.assertNoResult(adding)
        self.publisher.confirms[0].callback(None)
        self.assertIsNone(self.successResultOf(adding))

    def test_raw_refused(self) -> None:
        """
        A raw task is bytes, with a routing key as others have.
        """
        text: Any = "text"
        for arguments, name in (
            ((text,), "bytes"),
            ((b"", ""), "kind"),
            ((b"", "tasks", ""), "priority"),
            ((bytes(2**24 + 1),), "at most 16777216 bytes, not 16777217"),
        ):
            adding = self.producer.add_raw_task(*arguments)
            told = self.failureResultOf(adding, BadTask).getErrorMessage()
            self.assertIn(name, told)
        self.assertEqual(self.publisher.published, [])

    def test_clock(self) -> None:
        """
        The time is asked for with each task.
        """
        times = iter([0.0, 86400.0])
        self.producer = Producer(self.publisher, now=lambda: next(times))
        stamps = [self.add()["timestamp"], self.add()["timestamp"]]
        self.assertEqual(
            stamps, ["1970-01-01T00:00:00.000000Z", "1970-01-02T00:00:00.000000Z"]
        )
