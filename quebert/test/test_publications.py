"""
L{quebert.amqp.wire._publications} and L{quebert.amqp.link._publisher}, without a
broker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.link import Publisher, _publisher
from quebert.amqp.wire._publications import (
    MAX_SENT,
    MAX_SENT_BYTES,
    NotSent,
    Publications,
    Unconfirmed,
)
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    ChannelLost,
    MessageRefused,
    PublishRefused,
)


class PublicationsTests(SynchronousTestCase):
    """
    Tests for what of L{Publications} other tests do not reach by way of a
    channel: that it does not send without limit.
    """

    def setUp(self) -> None:
        self.sent: list[bytes] = []
        self.blocked = False
        self.publications = Publications(lambda: self.blocked)

    def add(self, frames: bytes = b"frames") -> Deferred[None]:
        """
        Publish something.
        """
        send = partial(self.sent.append, frames)
        return self.publications.add(
            send, len(frames), "flow", "key", b"\x00\x00", b"body"
        )

    def confirm(self, tag: int, *, multiple: bool = False) -> None:
        """
        The broker has it.
        """
        self.publications.confirm(tag, multiple=multiple, taken=True)

    def test_length(self) -> None:
        """
        It has those that wait, and those that are sent and have no confirm.
        """
        self.add()
        self.blocked = True
        self.add()
        self.assertEqual((len(self.publications), len(self.sent)), (2, 1))
        self.confirm(1)
        self.assertEqual(len(self.publications), 1)

    def test_number(self) -> None:
        """
        So many may be outstanding; each confirm makes room for another, in the
        order of asking.
        """
        published = [self.add(b"%d" % n) for n in range(MAX_SENT + 3)]
        self.assertEqual(len(self.sent), MAX_SENT)
        self.confirm(1)
        self.assertEqual(self.sent[MAX_SENT:], [b"%d" % MAX_SENT])
        self.confirm(10, multiple=True)
        self.assertEqual(len(self.sent), MAX_SENT + 3)
        self.assertEqual(self.sent, [b"%d" % n for n in range(MAX_SENT + 3)])
        self.confirm(MAX_SENT + 3, multiple=True)
        for each in published:
            self.successResultOf(each)

    def test_bytes(self) -> None:
        """
        Large ones fill it sooner, but a single one may be of any size.
        """
        half = bytes(MAX_SENT_BYTES // 2)
        for _ in range(3):
            self.add(half)
        self.assertEqual(len(self.sent), 2)
        self.confirm(1)
        self.assertEqual(len(self.sent), 3)
        self.add(bytes(MAX_SENT_BYTES + 1))
        self.confirm(2)
        self.assertEqual(len(self.sent), 3)
        self.confirm(3)
        self.assertEqual(len(self.sent), 4)

    def sized(self, *sizes: int) -> list[int]:
        """
        Which of some publications of these sizes are sent.
        """
        sent: list[int] = []
        for size in sizes:
            send = partial(sent.append, size)
            self.publications.add(send, size, "flow", "key", b"\x00\x00", b"body")
        return sent

    def test_limits(self) -> None:
        """
        At most 5,000 messages, and 64 MiB, are sent and not confirmed; a single one may
        be larger.
        """
        self.assertEqual(len(self.sized(*[1] * 5_001)), 5_000)
        half = 32 * 1024 * 1024
        for sizes, sent in (
            ((half, half, 1), 2),
            ((half, half + 1), 1),
            ((3 * half, 1), 1),
        ):
            self.publications = Publications(lambda: False)
            self.assertEqual(len(self.sized(*sizes)), sent)

    def test_room_again(self) -> None:
        """
        What is confirmed makes just the room that it took.
        """
        half = 32 * 1024 * 1024
        sent = self.sized(half, half, half, 1)
        self.confirm(1)
        self.assertEqual(len(sent), 3)
        self.assertEqual(self.publications.unconfirmed_bytes, 2 * half)
        self.confirm(2)
        self.assertEqual(len(sent), 4)
        self.confirm(4, multiple=True)
        self.assertEqual(self.publications.unconfirmed_bytes, 0)

    def test_one_after_the_other(self) -> None:
        """
        A small one does not overtake a large one that waits for room.
        """
        half = 32 * 1024 * 1024
        sent = self.sized(half, half + 1)
        self.assertEqual(self.sized(1), [])
        self.confirm(1)
        self.assertEqual(sent, [half, half + 1])

    def test_blocked(self) -> None:
        """
        Nothing is sent to a broker that does not read, until it does.
        """
        first = self.add(b"first")
        self.blocked = True
        second = self.add(b"second")
        self.confirm(1)
        self.successResultOf(first)
        third = self.add(b"third")
        self.publications.send_waiting()
        self.assertEqual(self.sent, [b"first"])
        self.blocked = False
        self.publications.send_waiting()
        self.assertEqual(self.sent, [b"first", b"second", b"third"])
        self.confirm(3, multiple=True)
        self.successResultOf(second)
        self.successResultOf(third)

    def test_withdrawn(self) -> None:
        """
        One that is cancelled before it was sent is not sent; one that was is
        confirmed to nobody.
        """
        first = self.add(b"first")
        self.blocked = True
        second, third = self.add(b"second"), self.add(b"third")
        for each in (first, second):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.blocked = False
        self.confirm(1)
        self.assertEqual(self.sent, [b"first", b"third"])
        self.confirm(2)
        self.successResultOf(third)

    def test_end(self) -> None:
        """
        At the end nobody knows of what was sent, and it is known that the rest
        was not.
        """
        sent = self.add()
        self.blocked = True
        waiting = self.add()
        self.publications.end(ChannelLost("gone"))
        error = self.failureResultOf(sent, ChannelLost).value
        self.assertNotIsInstance(error, NotSent)
        self.assertEqual(
            str(error), "nobody knows whether the broker has the message: gone"
        )
        error = self.failureResultOf(waiting, NotSent).value
        self.assertEqual(str(error), "the message was not sent: gone")
        self.assertEqual(len(self.sent), 1)

    def test_ended_by_a_confirm(self) -> None:
        """
        What hears of one confirm may end it all, in the middle of several.
        """
        first, second = self.add(), self.add()
        first.addCallback(lambda _: self.publications.end(ChannelLost("gone")))
        self.confirm(2, multiple=True)
        self.successResultOf(first)
        self.failureResultOf(second, ChannelLost)


class FakeChannel:
    """
    A channel that keeps what is published.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.closed = False
        self.ended: Deferred[BrokerError] = Deferred()
        self.waiting: list[Deferred[None]] = []

    def publish(self, *arguments: Any) -> Deferred[None]:
        """
        Publish it.
        """
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def when_closed(self) -> Deferred[BrokerError]:
        """
        When it is closed.
        """
        return self.ended

    async def shut(self) -> None:
        """
        Close it.
        """
        self.lose(ChannelLost("closed here"))

    def lose(self, why: BrokerError) -> None:
        """
        It is closed, and all fail.
        """
        self.closed = True
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.errback(why)


class SlowChannel(FakeChannel):
    """
    A channel to a broker that does not read.
    """

    async def shut(self) -> None:
        """
        It takes its time to be closed.
        """


class FakeConnection:
    """
    A connection, there or not.

    @ivar waiters: who wait for it to be there.
    @ivar opening: those of them who then wait for a channel.
    @ivar kind: what channels it opens.
    """

    kind: type[FakeChannel] = FakeChannel

    def __init__(self) -> None:
        self.reactor = Clock()
        self.blocked: str | None = None
        self.reads: Deferred[None] = Deferred()
        self.closed = False
        self.channels: list[FakeChannel] = []
        self.timeouts: list[float | None] = []
        self.opening: list[Deferred[None]] = []
        self.holds = False
        self.max_message_size = 100

    def unreachable(self, seconds: float) -> BrokerUnreachable:
        """
        What to tell who has waited in vain.
        """
        return BrokerUnreachable(f"not in {seconds} s: refused")

    async def connected(self, timeout: float | None = None) -> FakeConnection:
        """
        A connection.
        """
        self.timeouts.append(timeout)
        return self

    async def when_unblocked(self) -> None:
        """
        Wait until the broker reads.
        """
        await self.reads

    async def open_channel(self) -> FakeChannel:
        """
        A channel.
        """
        if self.holds:
            self.opening.append(Deferred())
            await self.opening[-1]
        self.channels.append(self.kind(self))
        return self.channels[-1]


class PublisherTests(SynchronousTestCase):
    """
    Tests for L{Publisher}.
    """

    def setUp(self) -> None:
        self.connection = FakeConnection()
        connection: Any = self.connection
        self.publisher = Publisher(connection)

    def publish(
        self, timeout: float | None = None, *, body: bytes = b""
    ) -> Deferred[None]:
        """
        Publish something.
        """
        return Deferred.fromCoroutine(
            self.publisher.publish("flow", "key", body, b"\x00\x00", timeout)
        )

    def test_one_channel(self) -> None:
        """
        All who ask while a channel is being opened get the same.
        """
        self.connection.holds = True
        published = [self.publish(timeout=n + 1) for n in range(3)]
        self.assertEqual(self.connection.timeouts, [None])
        (opening,) = self.connection.opening
        opening.callback(None)
        (channel,) = self.connection.channels
        self.assertEqual(len(channel.waiting), 3)
        for each in channel.waiting:
            each.callback(None)
        for one in published:
            self.successResultOf(one)

    def test_too_late(self) -> None:
        """
        Each waits as long as it may, and the last to leave ends the attempt.
        """
        self.connection.holds = True
        published = [self.publish(timeout=n) for n in (3, 1, 2)]
        clock = self.connection.reactor
        for n in (1, 2, 0):
            self.assertNoResult(published[n])
            clock.advance(1)
            error = self.failureResultOf(published[n], BrokerUnreachable).value
            self.assertIn("refused", str(error))
        self.assertEqual(clock.getDelayedCalls(), [])
        self.publish()
        self.assertEqual(len(self.connection.opening), 2)

    def test_not_opened(self) -> None:
        """
        Where it cannot be opened, they fail, and the next one tries again.
        """
        self.connection.holds = True
        published = [self.publish(), self.publish()]
        self.connection.opening.pop().errback(ChannelLost("gone"))
        for each in published:
            self.failureResultOf(each, ChannelLost)
        self.publish()
        self.assertEqual(len(self.connection.opening), 1)

    def test_cancelled_by_another(self) -> None:
        """
        Where one that fails has another cancelled, all are told.
        """
        self.connection.holds = True
        first, second, third = (self.publish() for _ in range(3))
        first.addErrback(lambda _: second.cancel())
        self.connection.opening.pop().errback(ChannelLost("gone"))
        self.failureResultOf(second, CancelledError)
        self.failureResultOf(third, ChannelLost)

    def test_not_sent(self) -> None:
        """
        What was not sent when the channel was lost is published on the next;
        of what was sent nobody knows.
        """
        sent, waiting = self.publish(), self.publish()
        (old,) = self.connection.channels
        old.closed = True
        old.waiting[0].errback(ChannelLost("not known"))
        old.waiting[1].errback(NotSent("not sent"))
        self.failureResultOf(sent, ChannelLost)
        self.assertNoResult(waiting)
        _, new = self.connection.channels
        new.waiting.pop().callback(None)
        self.successResultOf(waiting)

    def test_large(self) -> None:
        """
        A body that the broker may find too large is published on a channel of its own,
        and on another if that was lost before.
        """
        small, large = self.publish(), self.publish(body=b"x" * 101)
        shared, own = self.connection.channels
        own.waiting.pop().errback(NotSent("not sent"))
        another = self.connection.channels[2]
        another.waiting.pop().errback(Unconfirmed(BrokerRefused(406, "too large")))
        self.failureResultOf(large, MessageRefused)
        self.assertEqual(
            [own.closed, another.closed, shared.closed], [True, True, False]
        )
        shared.waiting.pop().callback(None)
        self.successResultOf(small)

    def test_refused(self) -> None:
        """
        A refusal is told.
        """
        published = self.publish()
        self.connection.channels[0].waiting.pop().errback(PublishRefused("no"))
        self.failureResultOf(published, PublishRefused)

    def test_channel_closed(self) -> None:
        """
        Where the broker closes the channel, for what is published, the next publication
        has another channel.
        """
        for _ in range(3):
            published = self.publish()
            self.assertTrue(self.publisher.ready)
            channel = self.connection.channels[-1]
            channel.ended.callback(BrokerRefused(403, "ACCESS_REFUSED"))
            channel.lose(ChannelLost("not known"))
            self.failureResultOf(published, ChannelLost)
            self.assertFalse(self.publisher.ready)

    def test_too_many(self) -> None:
        """
        There is an end to how many may wait.
        """
        self.patch(_publisher, "MAX_OUTSTANDING", 3)
        published = [self.publish() for _ in range(4)]
        error = self.failureResultOf(published.pop(), BrokerError).value
        self.assertIn("3 messages wait", str(error))
        given_up = published.pop()
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.assertNoResult(self.publish())

    def publish_alone(self, body: bytes = b"") -> Deferred[None]:
        """
        Publish something on a channel of its own.
        """
        return Deferred.fromCoroutine(
            self.publisher.publish_alone("flow", "key", body, b"\x00\x00")
        )

    def test_all_that_wait_count(self) -> None:
        """
        A publication waits until it is answered, on a channel of its own, too.
        """
        self.patch(_publisher, "MAX_OUTSTANDING", 2)
        ways: list[Callable[[], Deferred[None]]]
        ways = [self.publish, self.publish_alone, self.publish]
        for publish in ways:
            waiting = [publish() for _ in range(2)]
            self.failureResultOf(self.publish(), BrokerError)
            for channel in self.connection.channels:
                while channel.waiting:
                    channel.waiting.pop().callback(None)
            for each in waiting:
                self.successResultOf(each)

    def test_own_channels(self) -> None:
        """
        At most 32 messages at a time have a channel of their own, and each of these
        ends with its message.
        """
        published = [self.publish_alone() for _ in range(33)]
        self.assertEqual(len(self.connection.channels), 32)
        first = self.connection.channels[0]
        first.waiting.pop().callback(None)
        self.successResultOf(published[0])
        self.assertTrue(first.closed)
        self.assertEqual(len(self.connection.channels), 33)
        for each in self.connection.channels[1:]:
            each.waiting.pop().callback(None)
        for one in published[1:]:
            self.successResultOf(one)

    def test_alone_without_a_channel(self) -> None:
        """
        Where the connection is lost before there is a channel, nothing was sent.
        """
        self.connection.holds = True
        published = self.publish_alone()
        self.connection.opening.pop().errback(ChannelLost("gone"))
        self.failureResultOf(published, NotSent)

    def test_alone_refused(self) -> None:
        """
        A refusal is told as it is; one of this very message as such; and where there
        was none, nobody knows.
        """
        table: list[tuple[Unconfirmed, type[BrokerError]]] = [
            (Unconfirmed(BrokerRefused(403, "ACCESS_REFUSED")), BrokerRefused),
            (Unconfirmed(BrokerRefused(406, "too large")), MessageRefused),
            (Unconfirmed(BrokerRefused(405, "RESOURCE_LOCKED")), BrokerRefused),
            (Unconfirmed(ChannelLost("gone")), Unconfirmed),
        ]
        for told, kind in table:
            published = self.publish_alone()
            self.connection.channels[-1].waiting.pop().errback(told)
            error = self.failureResultOf(published, BrokerError).value
            self.assertIs(type(error), kind)

    def test_largest_message(self) -> None:
        """
        How large a message may be is learned from a refusal, on either kind of channel.
        """
        text = "message size {} is larger than configured max size {}"
        published = self.publish_alone(bytes(101))
        refused = BrokerRefused(406, text.format(101, 90))
        self.connection.channels[-1].waiting.pop().errback(Unconfirmed(refused))
        self.failureResultOf(published, MessageRefused)
        self.assertEqual(self.connection.max_message_size, 90)
        self.publish()
        refused = BrokerRefused(406, text.format(90, 80))
        self.connection.channels[-1].ended.callback(refused)
        self.assertEqual(self.connection.max_message_size, 80)

    def test_large_in_full(self) -> None:
        """
        A message of just the size that the broker takes shares the channel.
        """
        self.publish(body=bytes(100))
        self.publish(body=bytes(100))
        self.assertEqual([len(each.waiting) for each in self.connection.channels], [2])

    def test_ready(self) -> None:
        """
        What is published is sent at once where there is an open channel, and the broker
        reads.
        """
        self.assertFalse(self.publisher.ready)
        self.publish()
        self.assertTrue(self.publisher.ready)
        blocked: Any = "memory"
        self.connection.blocked = blocked
        self.assertFalse(self.publisher.ready)
        self.connection.blocked = None
        self.connection.channels[0].closed = True
        self.assertFalse(self.publisher.ready)

    def test_replaced(self) -> None:
        """
        A channel that was refused a publication, and was used for a second, is
        replaced; it ends when its last publication has an answer.
        """
        clock = self.connection.reactor
        for seconds, channels in ((0.5, 1), (0.5, 2)):
            refused, other = self.publish(), self.publish()
            clock.advance(seconds)
            first = self.connection.channels[0]
            first.waiting.pop(0).errback(PublishRefused("no"))
            self.failureResultOf(refused, PublishRefused)
            self.assertFalse(first.closed)
            third = self.publish()
            self.assertEqual(len(self.connection.channels), channels)
            first.waiting.pop(0).callback(None)
            self.successResultOf(other)
            self.assertEqual(first.closed, channels == 2)
            if channels == 1:
                first.waiting.pop().callback(None)
                self.successResultOf(third)
        self.assertFalse(self.connection.channels[1].closed)

    def test_replaced_once(self) -> None:
        """
        Further refusals on a channel that was replaced leave the next one alone.
        """
        for _ in range(2):
            self.publish().addErrback(lambda _: None)
        self.connection.reactor.advance(1)
        first = self.connection.channels[0]
        first.waiting.pop().errback(PublishRefused("no"))
        self.publish()
        self.connection.reactor.advance(1)
        first.waiting.pop().errback(PublishRefused("no"))
        self.publish()
        self.assertEqual(len(self.connection.channels[1].waiting), 2)
        self.assertEqual(len(self.connection.channels), 2)

    def test_unblocked(self) -> None:
        """
        Who is to publish later waits while the broker reads nothing.
        """
        self.connection.blocked = "memory"
        unblocked = Deferred.fromCoroutine(self.publisher.unblocked())
        self.assertNoResult(unblocked)
        self.connection.blocked = None
        self.connection.reads.callback(None)
        self.successResultOf(unblocked)

    def test_shut(self) -> None:
        """
        One that is shut publishes nothing any more.
        """
        published = self.publish()
        self.publisher.shut()
        self.failureResultOf(published, ChannelLost)
        self.failureResultOf(self.publish(), ChannelLost)
        self.failureResultOf(self.publish_alone(), ChannelLost)
        self.assertEqual(len(self.connection.timeouts), 1)
        self.publisher.shut()

    def test_shut_while_waiting(self) -> None:
        """
        Those that were not sent when it is shut are not sent elsewhere.
        """
        published = self.publish()
        (channel,) = self.connection.channels
        (waiting,) = channel.waiting
        channel.waiting.clear()
        self.publisher.shut()
        waiting.errback(NotSent("not sent"))
        self.failureResultOf(published, ChannelLost)
        self.assertEqual(len(self.connection.channels), 1)

    def test_shut_while_connecting(self) -> None:
        """
        One that is shut while there is no connection opens no channel.
        """
        connecting: Deferred[None] = Deferred()

        async def connected() -> FakeConnection:
            await connecting
            return self.connection

        self.patch(self.connection, "connected", connected)
        published = self.publish()
        self.publisher.shut()
        connecting.callback(None)
        self.failureResultOf(published, ChannelLost)
        self.assertEqual(self.connection.channels, [])

    def test_shut_while_opening(self) -> None:
        """
        One that is shut while it opens a channel closes it.
        """
        self.connection.holds = True
        published = self.publish()
        self.publisher.shut()
        self.connection.opening.pop().callback(None)
        self.failureResultOf(published, ChannelLost)
        self.assertTrue(self.connection.channels[0].closed)

    def test_shut_while_opening_slowly(self) -> None:
        """
        Nothing is published on a channel that is being closed.
        """
        self.connection.kind = SlowChannel
        self.connection.holds = True
        published = self.publish()
        self.publisher.shut()
        self.connection.opening.pop().callback(None)
        self.failureResultOf(published, ChannelLost)
        self.assertEqual(self.connection.channels[0].waiting, [])
        self.assertFalse(self.publisher.ready)
