"""
Messages that are published together: L{quebert.amqp.wire._publication_group}, and
C{publish_group} of L{Publisher}, without a broker.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.link import Publisher, _publisher
from quebert.amqp.wire import NotSent, Outgoing
from quebert.amqp.wire._publication_group import GroupWrites, PublicationGroup
from quebert.amqp.wire._publications import MAX_SENT, Publication, Publications
from quebert.errors import (
    BrokerError,
    BrokerUnreachable,
    ChannelLost,
    MessageRefused,
    PublishRefused,
    Unroutable,
)
from quebert.test.test_publications import FakeChannel, FakeConnection

Answers = Deferred[list[BrokerError | None]]


class GroupWritesTests(SynchronousTestCase):
    """
    Tests for L{GroupWrites}.
    """

    def setUp(self) -> None:
        self.written: list[bytes] = []
        self.writes = GroupWrites(1, 100, self.write)

    def write(self, head: bytes, body: bytes) -> None:
        """
        Write a message.
        """
        self.written.append(head + body)

    def test_at_once(self) -> None:
        """
        All that are sent before the end are written at once; later ones by themselves.
        """
        for head in (b"a", b"b"):
            self.writes.send(head, b"")
        self.assertEqual(self.written, [])
        self.writes.end()
        self.writes.send(b"c", b"")
        self.assertEqual(self.written, [b"ab", b"c"])

    def test_large(self) -> None:
        """
        A body that needs several frames keeps its place.
        """
        body = 101 * b"x"
        for head, each in ((b"a", b""), (b"b", body), (b"c", b"")):
            self.writes.send(head, each)
        self.writes.end()
        self.assertEqual(self.written, [b"a", b"b" + body, b"c"])

    def test_nothing(self) -> None:
        """
        Nothing is written for nothing.
        """
        self.writes.end()
        self.assertEqual(self.written, [])


class PublicationGroupTests(SynchronousTestCase):
    """
    Tests for L{PublicationGroup}.
    """

    def setUp(self) -> None:
        self.sent: list[int] = []
        self.blocked = False
        self.publications = Publications(lambda: self.blocked)

    def put(self, count: int) -> PublicationGroup:
        """
        Publish so many.
        """
        group = PublicationGroup(self.publications, count)
        for n in range(count):
            send, tell = partial(self.sent.append, n), partial(group.tell, n)
            group.put(Publication(send, 1, "", f"q{n}", b"", b"body", tell))
        return group

    def answers(self, group: PublicationGroup) -> list[type | None]:
        """
        The kinds of the answers.
        """
        found = self.successResultOf(group.answered)
        return [None if each is None else type(each) for each in found]

    def test_none(self) -> None:
        """
        A group of nothing is answered at once.
        """
        self.assertEqual(self.answers(self.put(0)), [])

    def test_each(self) -> None:
        """
        Each has its own answer, in its place.
        """
        group = self.put(3)
        [*_, last] = self.publications._unconfirmed.values()
        last.problem = Unroutable("no queue")
        self.publications.confirm(2, multiple=False, taken=False)
        self.publications.confirm(1, multiple=False, taken=True)
        self.assertNoResult(group.answered)
        self.publications.confirm(3, multiple=True, taken=True)
        self.assertEqual(self.answers(group), [None, PublishRefused, Unroutable])

    def test_room(self) -> None:
        """
        Those beyond the limit wait for room.
        """
        group = self.put(MAX_SENT + 2)
        self.assertEqual(len(self.sent), MAX_SENT)
        self.publications.confirm(MAX_SENT, multiple=True, taken=True)
        self.assertEqual(len(self.sent), MAX_SENT + 2)
        self.publications.confirm(MAX_SENT + 2, multiple=True, taken=True)
        self.assertEqual(set(self.answers(group)), {None})

    def test_given_up(self) -> None:
        """
        When nobody wants to wait, what is known stays, what was not sent never is, and
        of the rest nobody knows.
        """
        group = self.put(2)
        self.blocked = True
        late = self.put(1)
        self.publications.confirm(1, multiple=False, taken=True)
        for each in (group, late):
            each.answered.cancel()
        self.assertEqual(self.answers(group), [None, ChannelLost])
        [problem] = self.successResultOf(late.answered)
        self.assertIs(type(problem), NotSent)
        assert problem is not None
        self.assertIs(problem.added, False)
        self.blocked = False
        self.publications.confirm(2, multiple=False, taken=True)
        self.assertEqual(self.sent, [0, 1])
        self.assertEqual(len(self.publications), 0)

    def test_lost(self) -> None:
        """
        Where the channel is lost, it is known which were not sent.
        """
        group = self.put(1)
        self.blocked = True
        late = self.put(1)
        self.publications.end(ChannelLost("gone"))
        [problem] = self.successResultOf(group.answered)
        assert problem is not None
        self.assertIsNone(problem.added)
        self.assertEqual(self.answers(late), [NotSent])


class GroupChannel(FakeChannel):
    """
    A channel that keeps groups.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.groups: list[tuple[Sequence[Outgoing], Answers]] = []

    def publish_group(self, messages: Sequence[Outgoing]) -> Answers:
        """
        Publish them.
        """
        lost: list[BrokerError | None] = [ChannelLost("late") for _ in messages]
        answers: Answers = Deferred(lambda d: d.callback(lost))
        self.groups.append((messages, answers))
        return answers

    def answer(self, *answers: BrokerError | None) -> None:
        """
        Answer the last group.
        """
        self.groups[-1][1].callback(list(answers))


class GroupPublisherTests(SynchronousTestCase):
    """
    Tests for L{Publisher.publish_group}.
    """

    def setUp(self) -> None:
        self.connection = FakeConnection()
        self.connection.kind = GroupChannel
        connection: Any = self.connection
        self.publisher = Publisher(connection)

    def publish(self, *bodies: bytes) -> Answers:
        """
        Publish a group, within ten seconds.
        """
        group = [("", "tasks", each, b"\0\0") for each in bodies]
        return Deferred.fromCoroutine(self.publisher.publish_group(group, 10.0))

    @property
    def channels(self) -> list[Any]:
        """
        The channels that were opened.
        """
        return self.connection.channels

    def added(self, answers: Answers) -> list[bool | None]:
        """
        What is known: C{True} for what is confirmed.
        """
        found = self.successResultOf(answers)
        return [True if each is None else each.added for each in found]

    def test_nothing(self) -> None:
        """
        A group of nothing needs no channel.
        """
        self.assertEqual(self.added(self.publish()), [])
        self.assertEqual(self.channels, [])

    def test_answers(self) -> None:
        """
        Answers are in the order of the messages.
        """
        answers = self.publish(b"a", b"b", b"c")
        self.channels[0].answer(None, Unroutable("no"), PublishRefused("full"))
        self.assertEqual(self.added(answers), [True, False, None])

    def test_not_sent(self) -> None:
        """
        What was not sent is published on the next channel; the rest is not.
        """
        answers = self.publish(b"a", b"b", b"c")
        self.channels[0].closed = True
        self.channels[0].answer(None, NotSent("gone"), ChannelLost("gone"))
        self.assertNoResult(answers)
        [[message], _] = self.channels[1].groups[0]
        self.assertEqual(message[2], b"b")
        self.channels[1].answer(None)
        self.assertEqual(self.added(answers), [True, True, None])

    def test_no_connection(self) -> None:
        """
        Where there is no connection in time, nothing was added.
        """
        self.connection.holds = True
        answers = self.publish(b"a", b"b")
        self.connection.reactor.advance(10)
        for each in self.successResultOf(answers):
            self.assertIsInstance(each, BrokerUnreachable)
            assert each is not None
            self.assertIs(each.added, False)

    def test_channel_refused(self) -> None:
        """
        Where no channel is opened, nothing was added, either.
        """
        self.connection.holds = True
        answers = self.publish(b"a")
        self.connection.opening[0].errback(ChannelLost("gone"))
        self.assertEqual(self.added(answers), [False])

    def test_late(self) -> None:
        """
        After the time limit, nobody waits.
        """
        answers = self.publish(b"a")
        self.connection.reactor.advance(10)
        self.assertEqual(self.added(answers), [None])
        self.assertEqual(len(self.channels), 1)

    def test_not_sent_in_time(self) -> None:
        """
        The same of what waits for room then.
        """
        answers = self.publish(b"a")
        self.connection.reactor.rightNow += 10
        self.channels[0].answer(NotSent("no room"))
        self.assertEqual(self.added(answers), [False])

    def test_large(self) -> None:
        """
        A message that the broker may refuse goes alone, within the time limit.
        """
        large = 101 * b"x"
        answers = self.publish(b"a", large, b"b", large, large)
        first, *alone = self.channels
        first.answer(None, Unroutable("no"))
        alone[0].waiting.pop().callback(None)
        alone[1].waiting.pop().errback(MessageRefused(406, "too large"))
        self.assertNoResult(answers)
        self.connection.reactor.advance(10)
        self.flushLoggedErrors(CancelledError)
        self.assertEqual(self.added(answers), [True, True, False, False, None])

    def test_replaced(self) -> None:
        """
        A channel on which the broker refuses something is replaced, after a while.
        """
        self.connection.reactor.advance(1)
        for _ in range(2):
            answers = self.publish(b"a")
            self.connection.reactor.advance(_publisher.LASTING)
            self.channels[-1].answer(PublishRefused("full"))
            self.added(answers)
        self.assertEqual(len(self.channels), 2)
        self.assertTrue(self.channels[0].closed)

    def test_too_many(self) -> None:
        """
        There is a bound.
        """
        self.patch(_publisher, "MAX_OUTSTANDING", 2)
        self.publish(b"a")
        self.assertEqual(self.added(self.publish(b"b", b"c")), [False, False])
        self.publish(b"b")
        self.assertEqual(len(self.channels[0].groups), 2)

    def test_shut(self) -> None:
        """
        Nothing is published after the end.
        """
        self.publisher.shut()
        self.assertEqual(self.added(self.publish(b"a")), [False])
