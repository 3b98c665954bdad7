"""
Adding tasks, over publishers and connections that only pretend.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pika
from pika import exceptions
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import (
    BadTask,
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    ChannelLost,
    ConfigError,
    PublishRefused,
    QuebertError,
    Unroutable,
)
from quebert.producer import HIGH, LOW, MEDIUM, BlockingProducer, Producer, add_task
from quebert.producer import _blocking as blocking
from quebert.test.checks import refusal

NOW = 1_700_000_000.5
URL = "amqp://user:hunter2@broker.example:1234/vhost?heartbeat=7"

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
    (
        {"extra": {"colour": "red", "n": {"deep": [1]}}},
        {"colour": "red", "n": {"deep": [1]}},
    ),
    ({"retry": {"max_attempts": 3}}, {"retry": {"max_attempts": 3}}),
    ({"timestamp": "2020-01-01T00:00:00Z"}, {"timestamp": "2020-01-01T00:00:00Z"}),
]

#: Arguments that are refused, and what is said against them.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"url": ""}, "url"),
    ({"url": None}, "url"),
    ({"url": "ftp://h/"}, "url"),
    ({"url": "/a b"}, "url"),
    ({"params": object()}, "params"),
    ({"params": float("nan")}, "params"),
    ({"params": {1, 2}}, "params"),
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


class FakeBroker:
    """
    Takes the place of C{pika.BlockingConnection}.

    @ivar parameters: what the connections were made with, one for each host.
    @ivar published: the arguments of each publish, whatever became of it.
    @ivar answers: what the next ones raise, if anything.
    @ivar refusals: what the next attempts to connect raise.
    """

    def __init__(self) -> None:
        self.parameters: list[Any] = []
        self.connections: list[FakeConnection] = []
        self.published: list[tuple[str, str, bytes, Any]] = []
        self.answers: list[BaseException | None] = []
        self.refusals: list[BaseException] = []

    def connect(self, parameters: Any) -> FakeConnection:
        """
        Another connection.
        """
        self.parameters += parameters
        if self.refusals:
            raise self.refusals.pop(0)
        self.connections.append(FakeConnection(self))
        return self.connections[-1]

    @property
    def closed(self) -> list[int]:
        """
        How often each connection was closed by us.
        """
        return [connection.closed for connection in self.connections]


class FakeConnection:
    """
    A connection with one channel.

    @ivar closed: how often it was closed by us.
    @ivar closing_raises: what that raises, if anything.
    """

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.is_open = True
        self.closed = 0
        self.closing_raises: BaseException | None = None

    def channel(self) -> FakeChannel:
        """
        The channel.
        """
        return FakeChannel(self)

    def close(self) -> None:
        """
        Count it.
        """
        self.closed += 1
        self.is_open = False
        if self.closing_raises:
            raise self.closing_raises


class FakeChannel:
    """
    The channel.
    """

    def __init__(self, connection: FakeConnection) -> None:
        self.connection = connection
        self.is_open = True
        self.confirming = False

    def confirm_delivery(self) -> None:
        """
        Begin to confirm.
        """
        self.confirming = True

    def basic_publish(
        self, exchange: str, key: str, body: bytes, properties: Any, mandatory: bool
    ) -> None:
        """
        Answer as the broker is told to.
        """
        assert self.confirming
        assert mandatory
        broker = self.connection.broker
        broker.published.append((exchange, key, body, properties))
        answer = broker.answers.pop(0) if broker.answers else None
        if answer is not None:
            self._answer(answer)

    def _answer(self, answer: BaseException) -> None:
        """
        Only what is about the message alone leaves the channel open.
        """
        alone = (exceptions.UnroutableError, exceptions.NackError)
        if isinstance(answer, exceptions.AMQPError):
            self.is_open = isinstance(answer, alone)
        if isinstance(answer, exceptions.AMQPConnectionError):
            self.connection.is_open = False
        raise answer


def stack_timeout() -> Exception:
    """
    What pika raises when nobody answers, outside of its own tree.
    """
    from pika.adapters.utils import connection_workflow

    error: Exception = connection_workflow.AMQPConnectorStackTimeout("Timeout")
    return error


def connect_error(inner: Exception) -> Exception:
    """
    What pika raises when there is nobody, in its layers.
    """
    from pika.adapters.utils import connection_workflow

    layer = connection_workflow.AMQPConnectorSocketConnectError(inner)
    error: Exception = exceptions.AMQPConnectionError(layer)
    return error


UNROUTABLE = exceptions.UnroutableError([SimpleNamespace()])
NACK = exceptions.NackError([])
NO_EXCHANGE = exceptions.ChannelClosedByBroker(404, "NOT_FOUND - no exchange 'flow'")
FORBIDDEN = exceptions.ChannelClosedByBroker(403, "ACCESS_REFUSED - write access")
BLOCKED = exceptions.ConnectionBlockedTimeout("Blocked connection timeout expired.")

#: Answers of the broker: asking again would be in vain.
ANSWERS: list[tuple[Exception, type[BrokerError], str]] = [
    (UNROUTABLE, Unroutable, "no queue takes this task"),
    (NACK, PublishRefused, "the broker did not take the task"),
    (NO_EXCHANGE, Unroutable, "no exchange 'flow'"),
    (FORBIDDEN, BrokerRefused, "ACCESS_REFUSED - write access"),
    (BLOCKED, BrokerError, "memory or disk is full"),
]

#: What becomes of a connection without any fault of the task.
LOSSES: list[tuple[Exception, type[BrokerError], str]] = [
    (exceptions.StreamLostError("Stream connection lost: X"), ChannelLost, "lost: X"),
    (exceptions.AMQPHeartbeatTimeout("No activity"), ChannelLost, "No activity"),
    (exceptions.ConnectionWrongStateError(), ChannelLost, "nobody knows"),
    (exceptions.ChannelWrongStateError("closed"), ChannelLost, "closed"),
    (
        exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED - bye"),
        BrokerRefused,
        "CONNECTION_FORCED - bye",
    ),
]


class BlockingTestCase(SynchronousTestCase):
    """
    Something that adds tasks through pika.
    """

    def setUp(self) -> None:
        """
        Pika connects to a broker that only pretends.
        """
        self.broker = FakeBroker()
        self.patch(pika, "BlockingConnection", self.broker.connect)

    def producer(self, **options: Any) -> BlockingProducer:
        """
        A producer at a time that stands still.
        """
        return BlockingProducer(URL, **{"now": lambda: NOW, **options})

    def told(self, kind: type[QuebertError], add: Callable[[], object]) -> str:
        """
        The one sentence that C{add} fails with, without the password in it.
        """
        try:
            add()
        except kind as e:
            self.assertIs(type(e), kind)
            text = "".join(traceback.format_exception(e))
            self.assertNotIn("hunter2", text)
            self.assertNotIn("\n", str(e))
            return str(e)
        raise AssertionError(f"no {kind.__name__}")


class BlockingProducerTests(BlockingTestCase):
    """
    L{BlockingProducer} adds tasks through a connection of its own.
    """

    def test_same_letters(self) -> None:
        """
        It writes what L{Producer} writes, for any arguments.
        """
        publisher = FakePublisher()
        twisted = Producer(publisher, now=lambda: NOW)
        producer = self.producer()
        for arguments, _ in ARGUMENTS:
            arguments = {**arguments, "kind": "k", "priority": "p", "uuid": "me"}
            twisted.add_task("/work", **arguments)
            self.assertEqual(producer.add_task("/work", **arguments), "me")
        twisted.add_raw_task(b"\xff", "k", LOW)
        producer.add_raw_task(b"\xff", "k", LOW)
        ours = [
            (exchange, key, body, self.by_amqp_names(properties))
            for exchange, key, body, properties in self.broker.published
        ]
        self.assertEqual(ours, publisher.published)

    def by_amqp_names(self, properties: Any) -> dict[str, Any]:
        """
        Pika's properties, those that are there.
        """
        there = {k: v for k, v in vars(properties).items() if v is not None}
        return {k.replace("_", "-"): v for k, v in there.items()}

    def test_refused(self) -> None:
        """
        A bad argument is named, and no connection is made for it.
        """
        producer = self.producer()
        for arguments, name in REFUSED:
            arguments = {"url": "/", **arguments}
            told = refusal(BadTask, producer.add_task, **arguments)
            self.assertIn(name, told)
        refusal(BadTask, producer.add_raw_task, "text")
        refusal(BadTask, producer.add_raw_task, b"text", max_body=3)
        self.assertEqual(self.broker.parameters, [])

    def test_parameters(self) -> None:
        """
        The connection is made as the URL says, and all waiting has an end.
        """
        self.producer(patience=3.0).add_task("/")
        (p,) = self.broker.parameters
        self.assertEqual(
            (p.host, p.port, p.virtual_host, p.heartbeat),
            ("broker.example", 1234, "vhost", 7),
        )
        told = (p.credentials.username, p.credentials.password)
        self.assertEqual(told, ("user", "hunter2"))
        limits = (p.socket_timeout, p.stack_timeout, p.blocked_connection_timeout)
        self.assertEqual(limits, (3.0, 3.0, 3.0))
        self.assertIsNone(p.ssl_options)

    def test_tls(self) -> None:
        """
        Over TLS the broker has to show a certificate of its name.
        """
        BlockingProducer("amqps://broker.example").add_task("/")
        (p,) = self.broker.parameters
        self.assertEqual(p.port, 5671)
        self.assertTrue(p.ssl_options.context.check_hostname)

    def test_several_hosts(self) -> None:
        """
        Each host of the URL is tried.
        """
        BlockingProducer("amqp://one,two:3/").add_task("/")
        hosts = [(p.host, p.port) for p in self.broker.parameters]
        self.assertEqual(hosts, [("one", 5672), ("two", 3)])

    def test_tls_files(self) -> None:
        """
        A file for TLS that cannot be used is named.
        """
        for option in ("cacertfile", "certfile"):
            producer = BlockingProducer(f"amqps://h?{option}=/no/such.pem")
            self.assertIn("/no/such.pem", refusal(ConfigError, producer.add_task, "/"))

    def test_environment(self) -> None:
        """
        QUEBERT_AMQP_URL is where the broker is, unless another is given.
        """
        with mock.patch.dict(os.environ, QUEBERT_AMQP_URL="amqp://elsewhere/"):
            BlockingProducer().add_task("/")
            BlockingProducer(URL).add_task("/")
        hosts = [p.host for p in self.broker.parameters]
        self.assertEqual(hosts, ["elsewhere", "broker.example"])

    def test_wrong_url(self) -> None:
        """
        A wrong URL is refused at once.
        """
        refusal(ConfigError, BlockingProducer, "http://h/")

    def test_kept(self) -> None:
        """
        One connection is made, when it is needed, for all tasks.
        """
        producer = self.producer()
        self.assertEqual(self.broker.parameters, [])
        for _ in range(3):
            producer.add_task("/")
        producer.add_raw_task(b"")
        self.assertEqual(self.broker.closed, [0])

    def test_answers(self) -> None:
        """
        What the broker has answered is told, and not asked again.
        """
        for error, kind, sentence in ANSWERS:
            producer = self.producer()
            producer.add_task("/")
            self.broker.published.clear()
            self.broker.answers = [error]
            told = self.told(kind, lambda: producer.add_task("/"))  # noqa: B023
            self.assertIn(sentence, told)
            self.assertIn("exchange 'flow', key 'tasks.medium'", told)
            self.assertEqual(len(self.broker.published), 1)

    def test_code(self) -> None:
        """
        A refusal has the broker's code.
        """
        self.broker.answers = [FORBIDDEN]
        with self.assertRaises(BrokerRefused) as caught:
            self.producer().add_task("/")
        self.assertEqual(caught.exception.code, 403)

    def test_goes_on_after_answers(self) -> None:
        """
        After each answer other tasks are added; the connection stays when the
        answer was about the task alone.  A queue may refuse tasks on one channel, and
        take them on others.
        """
        for error, _, _ in ANSWERS:
            self.broker.connections.clear()
            self.broker.answers = [None, error]
            producer = self.producer()
            producer.add_task("/")
            refusal(BrokerError, producer.add_task, "/")
            producer.add_task("/")
            stays = error is UNROUTABLE
            self.assertEqual(len(self.broker.connections), 1 if stays else 2)

    def test_lost_channel(self) -> None:
        """
        A connection whose channel the broker has closed makes room for
        another.
        """
        producer = self.producer()
        self.broker.answers = [NO_EXCHANGE]
        refusal(Unroutable, producer.add_task, "/")
        producer.add_task("/")
        self.assertEqual(self.broker.closed, [1, 0])

    def test_stale(self) -> None:
        """
        A connection that was lost meanwhile is made again, and the task is
        sent again as it was.
        """
        for error, _, _ in LOSSES:
            self.broker.connections.clear()
            self.broker.published.clear()
            self.broker.answers = [None, error]
            producer = self.producer()
            producer.add_task("/first")
            uuid = producer.add_task("/second")
            bodies = [published[2] for published in self.broker.published]
            self.assertEqual(len(self.broker.connections), 2)
            self.assertEqual(bodies[1], bodies[2])
            self.assertIn(uuid.encode(), bodies[2])

    def test_lost(self) -> None:
        """
        A task is sent only once over a new connection.
        """
        for error, kind, sentence in LOSSES:
            self.broker.published.clear()
            self.broker.answers = [error]
            told = self.told(kind, lambda: self.producer().add_task("/"))
            self.assertIn(sentence, told)
            self.assertEqual(len(self.broker.published), 1)

    def test_lost_again(self) -> None:
        """
        A task is sent twice at most.
        """
        for error, kind, sentence in LOSSES:
            self.broker.published.clear()
            self.broker.answers = [None, LOSSES[0][0], error]
            producer = self.producer()
            producer.add_task("/")
            told = self.told(kind, lambda: producer.add_task("/"))  # noqa: B023
            self.assertIn(sentence, told)
            self.assertEqual(len(self.broker.published), 3)

    def test_answer_to_the_second(self) -> None:
        """
        The answer to the second attempt is what is told.
        """
        self.broker.answers = [None, LOSSES[0][0], UNROUTABLE]
        producer = self.producer()
        producer.add_task("/")
        self.told(Unroutable, lambda: producer.add_task("/"))

    def test_unreachable(self) -> None:
        """
        Whatever keeps pika from connecting, the broker and the cause are told.
        """
        for error, cause in (
            (connect_error(OSError(111, "Connection refused")), "Connection refused"),
            (stack_timeout(), "no answer in time"),
            (OSError(-2, "Name or service not known"), "Name or service not known"),
            (exceptions.IncompatibleProtocolError("x"), "does not speak AMQP"),
            (exceptions.ProbableAuthenticationError("StreamLostError: x"), "Lost"),
            (exceptions.AMQPConnectionError(), "AMQPConnectionError"),
        ):
            self.broker.refusals = [error]
            told = self.told(BrokerUnreachable, lambda: self.producer().add_task("/"))
            self.assertIn("the broker at broker.example:1234 cannot be reached", told)
            self.assertIn(cause, told)

    def test_login_refused(self) -> None:
        """
        A broker that refuses the connection is quoted.
        """
        for kind, code, text in (
            (exceptions.ProbableAuthenticationError, 403, "ACCESS_REFUSED - 'user'"),
            (exceptions.ProbableAccessDeniedError, 530, "NOT_ALLOWED - vhost v"),
        ):
            closed = exceptions.ConnectionClosedByBroker(code, text)
            self.broker.refusals = [kind(repr(closed))]
            with self.assertRaises(BrokerRefused) as caught:
                self.producer().add_task("/")
            wanted = f"the broker refuses the connection: {text}"
            self.assertEqual(str(caught.exception), wanted)
            self.assertEqual(caught.exception.code, code)

    def test_goes_on_after_unreachable(self) -> None:
        """
        A broker that could not be reached is tried again with the next task.
        """
        producer = self.producer()
        self.broker.refusals = [OSError("no")]
        refusal(BrokerUnreachable, producer.add_task, "/")
        producer.add_task("/")
        self.assertEqual(self.broker.closed, [0])

    def test_no_channel(self) -> None:
        """
        A connection that is lost before it has a channel is an error of ours.
        """
        lost = exceptions.StreamLostError("Stream connection lost")
        with mock.patch.object(FakeConnection, "channel", side_effect=lost):
            self.told(ChannelLost, lambda: self.producer().add_task("/"))

    def test_interrupted(self) -> None:
        """
        A confirm that was not waited for is not taken for that of the next
        task, which gets another connection.
        """
        for interruption in (KeyboardInterrupt(), SystemExit(1), RuntimeError("x")):
            producer = self.producer()
            producer.add_task("/")
            self.broker.connections.clear()
            self.broker.answers = [interruption]
            with self.assertRaises(type(interruption)):
                producer.add_task("/")
            self.assertEqual(self.broker.closed, [])
            producer.add_task("/")
            self.assertEqual(self.broker.closed, [0])

    def test_interrupted_before_it_confirms(self) -> None:
        """
        A channel that may not be in confirm mode is never used.
        """
        producer = self.producer()
        for step in ("channel", "confirm_delivery"):
            kind = FakeConnection if step == "channel" else FakeChannel
            with mock.patch.object(kind, step, side_effect=KeyboardInterrupt):
                self.assertRaises(KeyboardInterrupt, producer.add_task, "/")
        producer.add_task("/")
        self.assertEqual(len(self.broker.connections), 3)

    def test_error_of_a_signal_handler(self) -> None:
        """
        An error of ours that a signal handler raises within the call is not taken
        for an answer: the task is not sent again, and the connection not kept.
        """
        for error in (ChannelLost("x"), Unroutable("x")):
            self.broker.connections.clear()
            self.broker.published.clear()
            self.broker.answers = [None, error]
            producer = self.producer()
            producer.add_task("/")
            with self.assertRaises(type(error)) as caught:
                producer.add_task("/")
            self.assertIs(caught.exception, error)
            self.assertEqual(len(self.broker.published), 2)
            producer.add_task("/")
            self.assertEqual(len(self.broker.connections), 2)

    def test_freed_after_an_error(self) -> None:
        """
        An error does not keep its producer: the connection is closed as soon as
        nobody has the producer, without the garbage collector.
        """
        producer = self.producer()
        lost = exceptions.ChannelWrongStateError
        with mock.patch.object(FakeChannel, "basic_publish", side_effect=lost):
            refusal(ChannelLost, producer.add_task, "/")
        producer.add_task("/")
        gc.disable()
        self.addCleanup(gc.enable)
        del producer
        self.assertEqual(self.broker.closed[-1], 1)

    def test_close(self) -> None:
        """
        The connection is closed once, and made again for the next task.
        """
        producer = self.producer()
        producer.close()
        producer.add_task("/")
        producer.close()
        producer.close()
        producer.add_task("/")
        self.assertEqual(self.broker.closed, [1, 0])

    def test_closed_on_exit(self) -> None:
        """
        As a context manager it is closed, also when something is raised.
        """

        def fail() -> None:
            with self.producer() as producer:
                producer.add_task("/")
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.assertEqual(self.broker.closed, [1])

    def test_closing_raises_nothing(self) -> None:
        """
        A connection that is lost while it is closed is closed, too.
        """
        with self.producer() as producer:
            producer.add_task("/")
            lost = exceptions.StreamLostError("Stream connection lost")
            self.broker.connections[0].closing_raises = lost
        self.assertEqual(self.broker.closed, [1])

    def test_lost_is_not_closed(self) -> None:
        """
        A connection that is lost already is not closed.
        """
        producer = self.producer()
        self.broker.answers = [None, LOSSES[0][0]]
        producer.add_task("/")
        producer.add_task("/")
        self.assertEqual(self.broker.closed, [0, 0])

    def test_forgotten(self) -> None:
        """
        The connection is closed when nobody has its producer any more.
        """
        producer = self.producer()
        producer.add_task("/")
        del producer
        gc.collect()
        self.assertEqual(self.broker.closed, [1])

    def test_forked(self) -> None:
        """
        A forked process makes a connection of its own, and leaves its
        parent's alone.
        """
        producer = self.producer()
        producer.add_task("/")
        with mock.patch("os.getpid", return_value=os.getpid() + 1):
            producer.add_task("/")
            producer.add_task("/")
            self.assertEqual(self.broker.closed, [0, 0])
            producer.close()
        self.assertEqual(self.broker.closed, [0, 1])

    def test_closed_in_a_child(self) -> None:
        """
        A forked process that only closes leaves its parent's connection alone.
        """
        producer = self.producer()
        producer.add_task("/")
        with mock.patch("os.getpid", return_value=os.getpid() + 1):
            producer.close()
        self.assertEqual(self.broker.closed, [0])

    def test_without_pika(self) -> None:
        """
        That pika is missing is told at once, and how to install it.
        """
        with mock.patch.dict(sys.modules, {"pika": None}):
            told = self.told(ConfigError, self.producer)
        self.assertIn("pip install 'pika>=1.3'", told)


class AddTaskTests(BlockingTestCase):
    """
    L{add_task} keeps its connection.
    """

    def setUp(self) -> None:
        """
        No connection is kept yet.
        """
        super().setUp()
        self.patch(blocking, "_kept", blocking._Kept())

    def test_arguments(self) -> None:
        """
        All arguments are those of L{Producer.add_task}, but for two.
        """
        uuid = add_task(
            "/work",
            {"n": 1},
            amqp_url=URL,
            exchange="other",
            kind="mails",
            priority=HIGH,
            ttl=60,
            extra={"colour": "red"},
        )
        ((exchange, key, body, properties),) = self.broker.published
        task = json.loads(body)
        self.assertEqual((exchange, key), ("other", "mails.high"))
        self.assertEqual((task["uuid"], properties.message_id), (uuid, uuid))
        self.assertEqual((task["params"], task["ttl"]), ({"n": 1}, 60))
        self.assertEqual(task["colour"], "red")
        self.assertNotIn("amqp_url", task)

    def test_kept(self) -> None:
        """
        The connection is kept for the next task.
        """
        add_task("/", amqp_url=URL)
        add_task("/", amqp_url=URL)
        self.assertEqual(self.broker.closed, [0])

    def test_kept_for_each(self) -> None:
        """
        Brokers and exchanges in turn do not cost a connection each time.
        """
        for _ in range(3):
            add_task("/", amqp_url=URL)
            add_task("/", amqp_url="amqp://other/")
            add_task("/", amqp_url=URL, exchange="other")
        self.assertEqual(self.broker.closed, [0, 0, 0])

    def test_environment(self) -> None:
        """
        QUEBERT_AMQP_URL is read with each call.
        """
        for host in ("one", "two"):
            with mock.patch.dict(os.environ, QUEBERT_AMQP_URL=f"amqp://{host}/"):
                add_task("/")
        self.assertEqual([p.host for p in self.broker.parameters], ["one", "two"])

    def test_threads(self) -> None:
        """
        Each thread has a connection of its own, which is closed at its end.
        """
        add_task("/", amqp_url=URL)
        for _ in range(2):
            self.in_thread(lambda: add_task("/", amqp_url=URL))
        add_task("/", amqp_url=URL)
        self.assertEqual(self.broker.closed, [0, 1, 1])

    def in_thread(self, function: Callable[[], object]) -> None:
        """
        Call it in a thread that ends.
        """
        thread = threading.Thread(target=function)
        thread.start()
        thread.join(60)
        self.assertFalse(thread.is_alive())

    def test_forked(self) -> None:
        """
        A forked process makes a connection of its own.
        """
        add_task("/", amqp_url=URL)
        with mock.patch("os.getpid", return_value=os.getpid() + 1):
            add_task("/", amqp_url=URL)
            add_task("/", amqp_url=URL)
        self.assertEqual(self.broker.closed, [0, 0])

    def test_errors(self) -> None:
        """
        Errors are those of L{BlockingProducer}, and the next task is tried.
        """
        self.broker.answers = [UNROUTABLE]
        self.told(Unroutable, lambda: add_task("/", amqp_url=URL))
        refusal(BadTask, add_task, "", amqp_url=URL)
        refusal(ConfigError, add_task, "/", amqp_url="http://h/")
        add_task("/", amqp_url=URL)

    def test_without_pika(self) -> None:
        """
        That pika is missing is told.
        """
        with mock.patch.dict(sys.modules, {"pika": None}):
            self.told(ConfigError, lambda: add_task("/", amqp_url=URL))
