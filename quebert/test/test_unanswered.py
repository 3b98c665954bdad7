"""
L{quebert.amqp.wire._unanswered}: the log tells what the broker does not answer.
"""

from __future__ import annotations

from weakref import ref

from pamqp.commands import Basic, Connection, Queue
from pamqp.heartbeat import Heartbeat
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.wire._unanswered import Unanswered
from quebert.test.support import logged
from quebert.test.test_wire import NO_PROPERTIES, WireTestCase


class Asked:
    """
    What waits.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def words(self) -> str:
        """
        The words for it.
        """
        return f"call {self.name}"


class UnansweredTests(SynchronousTestCase):
    """
    What is told of what waits.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.unanswered = Unanswered(lambda: self.clock, "quebert")
        self.a, self.b = Asked("a"), Asked("b")

    def look(self, *waiting: Asked, after: float = 0.0) -> list[str]:
        """
        Look at what waits, every ten seconds for some time; gives what is logged.
        """
        with logged(LogLevel.info) as lines:
            for _ in range(round(after / 10)):
                self.clock.advance(10)
                self.unanswered.look(((each, each.words) for each in waiting), 15)
        return lines

    def test_late(self) -> None:
        """
        What waits for as long is told, by its name, and again each minute; nothing is
        before.
        """
        self.assertEqual(self.look(self.a, after=60), [])
        text = "The broker does not answer on the connection 'quebert': call a has"
        said = self.look(self.a, self.b, after=10)
        self.assertEqual(said, [f"{text} waited for 60 s"])
        said = self.look(self.a, after=100)
        self.assertEqual(said, [f"{text} waited for 120 s"])

    def test_answered(self) -> None:
        """
        What is answered in time is not told, and what comes after has its own time.
        """
        for _ in range(10):
            self.assertEqual(self.look(Asked("another"), after=60), [])

    def test_asleep(self) -> None:
        """
        The time for which a machine was asleep does not count.
        """
        self.look(self.a, after=10)
        self.clock.advance(3_600)
        self.assertEqual(self.look(self.a, after=40), [])
        self.assertEqual(len(self.look(self.a, after=20)), 1)

    def test_many(self) -> None:
        """
        Ten are told at a time.
        """
        many = [Asked(str(number)) for number in range(30)]
        self.assertEqual(len(self.look(*many, after=70)), 10)

    def test_over(self) -> None:
        """
        The end is told, too.
        """
        self.look(self.a, after=70)
        self.unanswered.forget()
        text = "The broker answers again on the connection 'quebert'."
        self.assertEqual(self.look(after=20), [text])

    def test_kept(self) -> None:
        """
        What is answered is not kept in memory.
        """
        self.look(self.a, after=70)
        freed = ref(self.a)
        del self.a
        self.assertIsNone(freed())


class OnTheWireTests(WireTestCase):
    """
    A broker that sends nothing but heartbeats.
    """

    heartbeat = 30

    def beat(self, seconds: float) -> list[str]:
        """
        Only heartbeats come for a while; gives the warnings.
        """
        with logged(LogLevel.warn) as lines:
            for _ in range(round(seconds / 15)):
                self.clock.advance(15)
                self.broker.send(Heartbeat())
        return lines

    def test_calls(self) -> None:
        """
        A call, a C{basic.get} and a confirm that do not come are told.
        """
        self.let_in()
        channel = self.channel()
        self.ask(channel.call("queue_declare", queue="tasks", passive=True))
        self.ask(channel.get("tasks"))
        for name in ("tasks", "tasks", "tasks.dead"):
            self.ask(channel.publish("", name, b"body", NO_PROPERTIES))
        self.assertEqual(self.beat(60), [])
        told = self.beat(15)
        self.assertEqual(len(told), 4, told)
        for line, words in zip(
            told,
            (
                "queue.declare has",
                "basic.get has",
                "the confirm of a message (exchange '', key 'tasks') has",
                "the confirm of a message (exchange '', key 'tasks.dead') has",
            ),
            strict=True,
        ):
            self.assertIn(words, line)
        self.broker.send(Queue.DeclareOk("tasks", 0, 0), channel=channel.id)
        self.broker.send(Basic.GetEmpty(), channel=channel.id)
        self.broker.send(Basic.Ack(3, True), channel=channel.id)
        self.assertEqual(self.beat(120), [])

    def test_blocked(self) -> None:
        """
        Nothing is told of a broker that blocks: it tells itself.
        """
        self.let_in()
        self.ask(self.wire.open_channel())
        self.broker.send(Connection.Blocked("low on memory"))
        self.assertEqual(self.beat(150), [])
        self.broker.send(Connection.Unblocked())
        self.assertEqual(self.beat(60), [])
        self.assertIn("channel.open has", self.beat(15)[0])
