"""
Adding tasks from blocking code, over connections that only pretend.
"""

from __future__ import annotations

import gc
import json
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from quebert.config import Broker
from quebert.errors import (
    BadTask,
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    ChannelLost,
    ConfigError,
    MessageRefused,
    PublishRefused,
    QuebertError,
    Unroutable,
)
from quebert.producer import HIGH, LOW, BlockingProducer, Producer, add_task
from quebert.producer import _blocking as blocking
from quebert.producer._connection import Answer, PublishingConnection
from quebert.producer._deadline import Deadline, StreamEnded, TimeIsUp
from quebert.producer._frame_stream import ClosedByBroker
from quebert.producer._letter import Letter
from quebert.test.checks import refusal
from quebert.test.test_producer import ARGUMENTS, NOW, REFUSED, FakePublisher

URL = "amqp://user:hunter2@broker.example:1234/vhost?heartbeat=7"


class FakeBroker:
    """
    Takes the place of L{PublishingConnection.open}.

    @ivar brokers: what the connections were made to.
    @ivar published: the arguments of each publish, whatever became of it.
    @ivar answers: of the next ones: C{None} for a confirm, what is answered, or what is
        raised while the answer is waited for.
    @ivar answering: called before the next answer.
    @ivar refusals: what the next attempts to connect raise.
    @ivar waits: until when the end of connections was waited for.
    """

    def __init__(self) -> None:
        self.brokers: list[Broker] = []
        self.connections: list[FakeConnection] = []
        self.published: list[tuple[str, str, bytes, dict[str, Any]]] = []
        self.answers: list[BaseException | None] = []
        self.refusals: list[BaseException] = []
        self.answering: Callable[[], None] | None = None
        self.waits: list[Deadline] = []

    def connect(self, broker: Broker, deadline: Deadline) -> FakeConnection:
        """
        Another connection.
        """
        self.brokers.append(broker)
        if self.refusals:
            raise self.refusals.pop(0)
        self.connections.append(FakeConnection(self))
        return self.connections[-1]

    @property
    def closed(self) -> list[int]:
        """
        How often each connection was closed by us, in order or not.
        """
        return [each.closed for each in self.connections]

    @property
    def ended(self) -> list[bool]:
        """
        Which of them ended, in order or not.
        """
        return [each.closed + each.taken_leave_of > 0 for each in self.connections]

    @property
    def taken_leave_of(self) -> list[int]:
        """
        How often each was closed in order.
        """
        return [each.taken_leave_of for each in self.connections]


class FakeConnection:
    """
    A connection.

    @ivar ended: what L{when_unblocked} raises, if anything.
    """

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._pid = os.getpid()
        self.blocked = False
        self.is_old = False
        self.ended: BaseException | None = None
        self.closed = 0
        self.taken_leave_of = 0

    @property
    def is_ours(self) -> bool:
        """
        Whether this process made it.
        """
        return self._pid == os.getpid()

    def when_unblocked(self, deadline: Deadline) -> None:
        """
        It is not blocked.
        """
        if self.ended is not None:
            raise self.ended

    def publish(self, exchange: str, letter: Letter, deadline: Deadline) -> int:
        """
        Note it.
        """
        properties = dict(letter.properties)
        kept = (exchange, letter.routing_key, letter.body, properties)
        self._broker.published.append(kept)
        return 1

    def answers(self, deadline: Deadline) -> list[Answer]:
        """
        Answer as the broker is told to.
        """
        answering, self._broker.answering = self._broker.answering, None
        if answering is not None:
            answering()
        answers = self._broker.answers
        answer = answers.pop(0) if answers else None
        if answer is None:
            return [(1, None)]
        if isinstance(answer, ToThis):
            return [(1, answer.problem)]
        try:
            raise answer
        finally:
            del answer  # it has this frame in its traceback

    def leave(self) -> None:
        """
        Count it.
        """
        self.taken_leave_of += self.is_ours

    def wait(self, deadline: Deadline) -> None:
        """
        The answer is there.
        """
        self._broker.waits.append(deadline)

    def close(self) -> None:
        """
        Count it.
        """
        self.closed += 1


class ToThis(Exception):
    """
    The broker's answer to a publication.
    """

    def __init__(self, problem: BrokerError) -> None:
        super().__init__(problem)
        self.problem = problem


def closed_for(code: int, text: str, method: tuple[int, int] = (60, 40)) -> Exception:
    """
    The broker closed the channel because of a publication.
    """
    return ClosedByBroker(code, text, method)


UNROUTABLE = ToThis(Unroutable("no queue takes this task (WHERE)"))
NACK = ToThis(PublishRefused("the broker did not take the task (WHERE)"))
NO_EXCHANGE = closed_for(404, "NOT_FOUND - no exchange 'flow'")
FORBIDDEN = closed_for(403, "ACCESS_REFUSED - write access")
LARGE = closed_for(406, "PRECONDITION_FAILED - message size 3 is larger than max size")
LATE = TimeIsUp()
FORCED = closed_for(320, "CONNECTION_FORCED - bye", (0, 0))
LOST = StreamEnded("it has closed the connection")

#: Answers of the broker: asking again would be in vain.  And whether it may have the
#: task.
ANSWERS: list[tuple[BaseException, type[BrokerError], str, bool | None]] = [
    (UNROUTABLE, Unroutable, "no queue takes this task", False),
    (NACK, PublishRefused, "the broker did not take the task", None),
    (NO_EXCHANGE, Unroutable, "no exchange 'flow'", False),
    (FORBIDDEN, BrokerRefused, "ACCESS_REFUSED - write access", False),
    (LARGE, MessageRefused, "larger than max size", False),
    (LATE, ChannelLost, "no confirm came within 20 s", None),
]

#: What becomes of a connection without any fault of the task.
LOSSES: list[tuple[BaseException, type[BrokerError], str]] = [
    (LOST, ChannelLost, "it has closed the connection"),
    (StreamEnded("Connection reset by peer"), ChannelLost, "nobody knows"),
    (FORCED, BrokerRefused, "CONNECTION_FORCED - bye"),
]


class BlockingTestCase(SynchronousTestCase):
    """
    Something that adds tasks through connections.
    """

    def setUp(self) -> None:
        """
        All connections are made to a broker that only pretends.
        """
        self.broker = FakeBroker()
        self.patch(PublishingConnection, "open", self.broker.connect)

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
    L{BlockingProducer} adds tasks through connections of its own.
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
        self.assertEqual(self.broker.published, publisher.published)

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
        self.assertEqual(self.broker.brokers, [])

    def test_environment(self) -> None:
        """
        QUEBERT_AMQP_URL is where the broker is, unless another is given.
        """
        with mock.patch.dict(os.environ, QUEBERT_AMQP_URL="amqp://elsewhere/"):
            BlockingProducer().add_task("/")
            BlockingProducer(URL).add_task("/")
        hosts = [each.addresses[0].host for each in self.broker.brokers]
        self.assertEqual(hosts, ["elsewhere", "broker.example"])

    def test_wrong_options(self) -> None:
        """
        A wrong URL, and numbers that are none, are refused at once.
        """
        refusal(ConfigError, BlockingProducer, "http://h/")
        for patience in (0, -1.0, float("nan"), float("inf")):
            refusal(ConfigError, BlockingProducer, URL, patience=patience)
            refusal(ConfigError, add_task, "/", amqp_url=URL, patience=patience)
        refusal(ConfigError, BlockingProducer, URL, max_connections=0)

    def test_kept(self) -> None:
        """
        One connection is made, when it is needed, for all tasks.
        """
        producer = self.producer()
        self.assertEqual(self.broker.brokers, [])
        for _ in range(3):
            producer.add_task("/")
        producer.add_raw_task(b"")
        self.assertEqual(self.broker.closed, [0])

    def test_answers(self) -> None:
        """
        What the broker has answered is told, and not asked again.
        """
        for error, kind, sentence, added in ANSWERS:
            producer = self.producer()
            producer.add_task("/")
            self.broker.published.clear()
            self.broker.answers = [error]
            with self.assertRaises(kind) as caught:
                producer.add_task("/")
            self.assertIs(type(caught.exception), kind)
            self.assertIn(sentence, str(caught.exception))
            self.assertIs(caught.exception.added, added)
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
        for error, *_ in ANSWERS:
            self.broker.connections.clear()
            self.broker.answers = [None, error]
            producer = self.producer()
            producer.add_task("/")
            refusal(BrokerError, producer.add_task, "/")
            producer.add_task("/")
            stays = error is UNROUTABLE
            self.assertEqual(self.broker.ended, [False] if stays else [True, False])

    def test_blocked(self) -> None:
        """
        While the broker reads nothing, that is told, and whether the task was sent.
        """
        for sent, added in ((False, False), (True, None)):
            producer = self.producer()
            producer.add_task("/")
            connection = self.broker.connections[-1]
            connection.blocked = True
            self.broker.answers = [LATE]
            connection.ended = None if sent else TimeIsUp()
            with self.assertRaises(BrokerError) as caught:
                producer.add_task("/")
            self.assertIn("memory or disk is full", str(caught.exception))
            self.assertIs(caught.exception.added, added)
            self.broker.answers = []

    def test_closed_meanwhile(self) -> None:
        """
        A connection that the broker has closed meanwhile is made again, before the task
        is sent.
        """
        producer = self.producer()
        producer.add_task("/")
        self.broker.connections[0].ended = FORCED
        producer.add_task("/")
        self.assertEqual(len(self.broker.published), 2)
        self.assertEqual(len(self.broker.connections), 2)

    def test_old(self) -> None:
        """
        A connection that nobody has used for an interval of heartbeats is not used
        again: the broker may have given it up.
        """
        producer = self.producer()
        producer.add_task("/")
        self.broker.connections[0].is_old = True
        producer.add_task("/")
        self.assertEqual(self.broker.taken_leave_of, [1, 0])

    def test_stale(self) -> None:
        """
        A connection that was lost meanwhile is made again, and the task is
        sent again as it was.
        """
        for error, *_ in LOSSES:
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
            self.broker.answers = [None, LOST, error]
            producer = self.producer()
            producer.add_task("/")
            told = self.told(kind, lambda: producer.add_task("/"))  # noqa: B023
            self.assertIn(sentence, told)
            self.assertEqual(len(self.broker.published), 3)

    def test_after_a_loss(self) -> None:
        """
        When the second attempt fails, too, the broker may have the task by the first
        one: whatever is told of the second, it is not said that it has not.
        """
        kind: type[BrokerError]
        for second, kind in (
            (UNROUTABLE, Unroutable),
            (FORBIDDEN, BrokerRefused),
            (NACK, PublishRefused),
        ):
            self.broker.answers = [None, LOST, second]
            producer = self.producer()
            producer.add_task("/")
            with self.assertRaises(kind) as caught:
                producer.add_task("/")
            self.assertIsNone(caught.exception.added)
        for refusal_, kind in (
            (StreamEnded("Connection refused"), ChannelLost),
            (ClosedByBroker(403, "ACCESS_REFUSED", (0, 0)), BrokerRefused),
        ):
            producer = self.producer()
            producer.add_task("/")
            self.broker.answers, self.broker.refusals = [LOST], [refusal_]
            with self.assertRaises(kind) as caught:
                producer.add_task("/")
            self.assertIsNone(caught.exception.added)
            self.assertIn("nobody knows whether", str(caught.exception))

    def test_unreachable(self) -> None:
        """
        Whatever keeps us from connecting, the broker and the cause are told, and that
        the task is not there.
        """
        for error, cause in (
            (StreamEnded("Connection refused"), "Connection refused"),
            (TimeIsUp(), "no answer in time"),
        ):
            self.broker.refusals = [error]
            with self.assertRaises(BrokerUnreachable) as caught:
                self.producer().add_task("/")
            told = str(caught.exception)
            self.assertIn("the broker at broker.example:1234 cannot be reached", told)
            self.assertIn(cause, told)
            self.assertIs(caught.exception.added, False)

    def test_login_refused(self) -> None:
        """
        A broker that refuses the connection is quoted, with who was refused where.
        """
        for code, text in ((403, "ACCESS_REFUSED - 'user'"), (530, "NOT_ALLOWED")):
            self.broker.refusals = [ClosedByBroker(code, text, (0, 0))]
            with self.assertRaises(BrokerRefused) as caught:
                self.producer().add_task("/")
            self.assertEqual(
                str(caught.exception),
                "the broker at broker.example:1234 refuses user 'user' on virtual host"
                f" 'vhost': {text}",
            )
            self.assertEqual(caught.exception.code, code)
            self.assertIs(caught.exception.added, False)

    def test_goes_on_after_unreachable(self) -> None:
        """
        A broker that could not be reached is tried again with the next task.
        """
        producer = self.producer()
        self.broker.refusals = [StreamEnded("no")]
        refusal(BrokerUnreachable, producer.add_task, "/")
        producer.add_task("/")
        self.assertEqual(self.broker.closed, [0])

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
            producer.add_task("/")
            self.assertEqual(self.broker.taken_leave_of, [0])

    def test_interruptions_that_are_kept(self) -> None:
        """
        Calls that were interrupted give their places back, also when the program keeps
        the exceptions.
        """
        producer = self.producer(max_connections=2)
        kept = []
        for _ in range(5):
            self.broker.answers = [KeyboardInterrupt()]
            with self.assertRaises(KeyboardInterrupt) as caught:
                producer.add_task("/")
            kept.append(caught.exception)
        producer.add_task("/")

    def test_error_of_a_signal_handler(self) -> None:
        """
        An error of ours that a signal handler raises within the call is not taken
        for an answer: the task is not sent again, and the connection not kept.
        """
        for error in (ChannelLost("x"), Unroutable("x"), TimeoutError("x")):
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
        self.broker.answers = [StreamEnded("its traceback is not kept elsewhere")]
        refusal(ChannelLost, producer.add_task, "/")
        producer.add_task("/")
        gc.disable()
        self.addCleanup(gc.enable)
        del producer
        self.assertEqual(self.broker.taken_leave_of[-1], 1)

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
        self.assertEqual(self.broker.taken_leave_of, [1, 0])

    def test_end_of_program(self) -> None:
        """
        At its end a program waits for all brokers together as long as for one.
        """
        producers = [self.producer(), self.producer()]
        for producer in producers:
            producer.add_task("/")
        self.patch(blocking, "_alive", producers)
        blocking._close_all()
        first, second = self.broker.waits
        self.assertEqual(first, second)

    def test_closed_on_exit(self) -> None:
        """
        As a context manager it is closed, also when something is raised.
        """

        def fail() -> None:
            with self.producer() as producer:
                producer.add_task("/")
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.assertEqual(self.broker.taken_leave_of, [1])

    def test_forgotten(self) -> None:
        """
        The connection is closed when nobody has its producer any more.
        """
        producer = self.producer()
        producer.add_task("/")
        del producer
        self.assertEqual(self.broker.taken_leave_of, [1])

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
            self.assertEqual(self.broker.taken_leave_of, [0, 0])
            producer.close()
        self.assertEqual(self.broker.taken_leave_of, [0, 1])

    def test_closed_in_a_child(self) -> None:
        """
        A forked process that only closes leaves its parent's connection alone.
        """
        producer = self.producer()
        producer.add_task("/")
        with mock.patch("os.getpid", return_value=os.getpid() + 1):
            producer.close()
        self.assertEqual(self.broker.taken_leave_of, [0])

    def test_forked_within_calls(self) -> None:
        """
        Calls of the parent that were at work at the fork take no place in the child.
        """
        producer = self.producer(max_connections=1, patience=60.0)
        added = []

        def in_child() -> None:
            with mock.patch("os.getpid", return_value=os.getpid() + 1):
                added.append(producer.add_task("/"))

        self.broker.answering = in_child
        producer.add_task("/")
        self.assertEqual(len(added), 1)


class AddTaskTests(BlockingTestCase):
    """
    L{add_task} keeps its connections.
    """

    def setUp(self) -> None:
        """
        No connection is kept yet.
        """
        super().setUp()
        self.patch(blocking, "_kept", {})

    def test_arguments(self) -> None:
        """
        All arguments are those of L{Producer.add_task}, but for three.
        """
        uuid = add_task(
            "/work",
            {"n": 1},
            amqp_url=URL,
            exchange="other",
            patience=5,
            kind="mails",
            priority=HIGH,
            ttl=60,
            extra={"colour": "red"},
        )
        ((exchange, key, body, properties),) = self.broker.published
        task = json.loads(body)
        self.assertEqual((exchange, key), ("other", "mails.high"))
        self.assertEqual((task["uuid"], properties["message-id"]), (uuid, uuid))
        self.assertEqual((task["params"], task["ttl"]), ({"n": 1}, 60))
        self.assertEqual(task["colour"], "red")
        self.assertNotIn("amqp_url", task)
        self.assertNotIn("patience", task)

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
        hosts = [each.addresses[0].host for each in self.broker.brokers]
        self.assertEqual(hosts, ["one", "two"])

    def test_threads(self) -> None:
        """
        Threads that come one after the other share a connection.
        """
        add_task("/", amqp_url=URL)
        for _ in range(2):
            thread = threading.Thread(target=add_task, args=("/",), kwargs=GIVEN)
            thread.start()
            thread.join(60)
            self.assertFalse(thread.is_alive())
        add_task("/", amqp_url=URL)
        self.assertEqual(len(self.broker.published), 4)
        self.assertEqual(self.broker.closed, [0])

    def test_forked(self) -> None:
        """
        A forked process makes a connection of its own.
        """
        add_task("/", amqp_url=URL)
        with mock.patch("os.getpid", return_value=os.getpid() + 1):
            add_task("/", amqp_url=URL)
            add_task("/", amqp_url=URL)
        self.assertEqual(self.broker.taken_leave_of, [0, 0])

    def test_errors(self) -> None:
        """
        Errors are those of L{BlockingProducer}, and the next task is tried.
        """
        self.broker.answers = [UNROUTABLE]
        self.told(Unroutable, lambda: add_task("/", amqp_url=URL))
        refusal(BadTask, add_task, "", amqp_url=URL)
        refusal(ConfigError, add_task, "/", amqp_url="http://h/")
        add_task("/", amqp_url=URL)


GIVEN = {"amqp_url": URL}
