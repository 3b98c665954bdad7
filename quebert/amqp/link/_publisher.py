"""
Publishing, over a connection that consumes nothing.

A broker that is short of memory or disk reads no more from connections that
publish: one that consumed, too, could not acknowledge any more.  Knows nothing
of what is published.

A channel that was refused a publication is replaced.  RabbitMQ 3.10 has each channel
remember the leader of a quorum queue, and refuses all that is published on a channel
whose first publication came when the leader's node had just gone, until that node is
back.  Another channel finds the new leader.

A body that the broker may find too large is published on a channel of its own.  The
broker refuses it by closing the channel, and does not tell which of the publications
before it on that channel it has taken: each would be published a second time.

Whoever publishes gets each refusal, and tells of it.  All publications come here but
one, the notice of a pause, which is published on a channel of the connection that
pauses the queue (C{coordination/_pause_sign}).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError

from quebert._lanes import Lanes, all_of
from quebert._waiters import Waiters
from quebert.amqp.link._connection import BrokerConnection
from quebert.amqp.wire import (
    UNKNOWN,
    Channel,
    NotSent,
    Outgoing,
    Unconfirmed,
    Wire,
)
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    MessageRefused,
    PublishRefused,
    ReplyCode,
)

__all__ = ["MAX_OUTSTANDING", "Publisher", "Send"]

#: Publishes with an exchange, a routing key, a body and encoded properties.
Send = Callable[[str, str, bytes, bytes], Coroutine[Any, Any, None]]

# How many messages are published on channels of their own at a time.
_LANES = 32
# RabbitMQ: "message size 16777300 is larger than configured max size 16777216".
_MAX_SIZE = re.compile(r"larger than (?:configured )?max size (\d+)")

#: How many publications may wait, for a connection, for room or a confirm.
MAX_OUTSTANDING = 100_000
#: Seconds at least for which a channel is used: where a queue is full, another channel
#: does not help.
LASTING = 1.0


class Publisher:
    """
    Publishes on a channel of its own, opened when it is first needed, and
    again when it was lost.  Each watch of a client has a publisher; all of these use
    one connection.
    """

    def __init__(self, connection: BrokerConnection) -> None:
        self._connection = connection
        self._channel: Channel | None = None
        self._opened_at = 0.0
        self._outstanding = 0
        self._users: Counter[Channel] = Counter()  # publications that have no answer
        self._waiters: Waiters[None] = Waiters(self._abandoned)  # for a channel
        self._opening: Deferred[None] | None = None
        self._shut = False
        self._lanes = Lanes(_LANES)

    @property
    def ready(self) -> bool:
        """
        Whether what is published now is sent at once.
        """
        channel = self._channel
        blocked = self._connection.blocked is not None
        return channel is not None and not channel.closed and not blocked

    async def unblocked(self) -> None:
        """
        Wait while the broker reads nothing that is published.  A delayed message is
        better published after that: its wait in the broker begins when it is read.

        @raise ChannelLost: nothing is published here any more.
        """
        channel = await self._opened(None)
        while channel.client.blocked is not None and not channel.closed:
            await channel.client.when_unblocked()

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: bytes,
        timeout: float | None = None,
    ) -> None:
        """
        Publish, mandatory; returns when the broker has confirmed it.

        @param timeout: seconds in which there must be a connection; C{None}
            for no limit.  A confirm is waited for without limit.  A caller that wants a
            limit cancels the wait, and does not know then whether the broker has the
            message (C{publish_confirmed} in C{operations/_access}).  For a limit for
            all callers, see L{quebert.amqp.wire}.
        @raise Unroutable: no queue gets it.
        @raise PublishRefused: the broker does not take it.
        @raise BrokerUnreachable: there was no connection in time.
        @raise ChannelLost: nobody knows.
        """
        if self._outstanding >= MAX_OUTSTANDING:
            raise _not_sent(_too_many())
        self._outstanding += 1
        try:
            while True:
                channel = await self._opened(timeout)
                if len(body) > channel.client.max_message_size:
                    with suppress(NotSent):
                        return await self._publish_alone(
                            exchange, routing_key, body, properties
                        )
                    continue
                self._users[channel] += 1
                try:
                    return await channel.publish(
                        exchange, routing_key, body, properties
                    )
                except NotSent:
                    pass  # as good as not asked for yet
                except PublishRefused:
                    self._replace(channel)
                    raise
                finally:
                    self._left(channel)
        finally:
            self._outstanding -= 1

    async def publish_group(
        self, messages: Sequence[Outgoing], timeout: float
    ) -> list[BrokerError | None]:
        """
        Publish several messages, mandatory; returns within C{timeout} seconds.

        @return: C{None} for each that the broker has confirmed, or why it has not: the
            C{added} of the error is C{False} where it is certain that the broker does
            not have it.
        """
        clock = self._connection.reactor
        until = clock.seconds() + timeout
        answers: dict[int, BrokerError | None] = {}
        unsent = list(range(len(messages)))
        self._outstanding += len(messages)
        try:
            while unsent:
                some = [messages[each] for each in unsent]
                try:
                    found = await self._publish_group(some, until)
                except BrokerError as e:
                    answers.update(dict.fromkeys(unsent, _not_sent(e)))
                    break
                answers.update(zip(unsent, found, strict=True))
                if clock.seconds() >= until:
                    break
                unsent = [n for n in unsent if isinstance(answers[n], NotSent)]
        finally:
            self._outstanding -= len(messages)
        return [answers[n] for n in range(len(messages))]

    async def _publish_group(
        self, messages: Sequence[Outgoing], until: float
    ) -> list[BrokerError | None]:
        """
        Publish them once, on a channel.

        @raise BrokerError: there is none.
        """
        if self._outstanding > MAX_OUTSTANDING:
            raise _too_many()
        clock = self._connection.reactor
        channel = await self._opened(max(0.0, until - clock.seconds()))
        seconds = max(0.0, until - clock.seconds())
        most = channel.client.max_message_size
        large = [n for n, each in enumerate(messages) if len(each[2]) > most]
        small = [each for each in messages if len(each[2]) <= most]
        self._users[channel] += 1
        try:
            publishing = channel.publish_group(small).addTimeout(seconds, clock)
            those: list[BrokerError | None] = []
            if large:  # seldom
                alone = (self._answer_alone(messages[n], seconds) for n in large)
                those = await all_of(alone)
            answers = await publishing
            if any(isinstance(each, PublishRefused) for each in answers):
                self._replace(channel)
        finally:
            self._left(channel)
        for number, answer in zip(large, those, strict=True):  # in their places
            answers.insert(number, answer)
        return answers

    async def _answer_alone(
        self, message: Outgoing, seconds: float
    ) -> BrokerError | None:
        publishing = Deferred.fromCoroutine(self._publish_alone(*message))
        try:
            await publishing.addTimeout(seconds, self._connection.reactor)
        except TimeoutError:
            return ChannelLost(UNKNOWN)
        except BrokerError as e:
            return e
        return None

    async def publish_alone(
        self, exchange: str, routing_key: str, body: bytes, properties: bytes
    ) -> None:
        """
        The same on a channel of its own, so that a message which the broker refuses,
        closing the channel, disturbs no other.

        @raise MessageRefused: the broker does not take this very message.
        """
        self._outstanding += 1
        try:
            await self._publish_alone(exchange, routing_key, body, properties)
        finally:
            self._outstanding -= 1

    async def _publish_alone(
        self, exchange: str, routing_key: str, body: bytes, properties: bytes
    ) -> None:
        async with self._lanes:
            self._check()
            wire = await self._connection.connected()
            try:
                channel = await wire.open_channel()
            except ChannelLost as e:
                raise NotSent(str(e)) from None
            try:
                await channel.publish(exchange, routing_key, body, properties)
            except Unconfirmed as e:
                _learn(wire, e.refusal)
                if (
                    e.refusal is not None
                    and e.refusal.code == ReplyCode.PRECONDITION_FAILED
                ):
                    raise MessageRefused(e.refusal.code, str(e.refusal)) from None
                raise (e.refusal or e) from None
            finally:
                Deferred.fromCoroutine(channel.shut())

    def _replace(self, channel: Channel) -> None:
        """
        Publish on another channel from now on, unless this one is younger than
        L{LASTING}.  It is shut when its last publication has its answer; a publication
        without an answer keeps the channel open.  If publications get a time limit,
        shut the channel at once instead: else what waits there for room is neither sent
        nor fails with L{NotSent}.
        """
        now = self._connection.reactor.seconds()
        if channel is self._channel and now - self._opened_at >= LASTING:
            self._channel = None

    def _left(self, channel: Channel) -> None:
        """
        A publication has its answer.  A channel that was replaced ends with its last.
        """
        self._users[channel] -= 1
        if not self._users[channel]:
            del self._users[channel]
            if channel is not self._channel and not channel.closed:
                Deferred.fromCoroutine(channel.shut())

    def shut(self) -> None:
        """
        Publish no more: what was not sent never will be.
        """
        self._shut = True
        channel, self._channel = self._channel, None
        if channel is not None:  # a broker that does not read may take its time
            Deferred.fromCoroutine(channel.shut())

    async def _opened(self, timeout: float | None) -> Channel:
        while self._channel is None or self._channel.closed:
            self._check()
            await self._wait(timeout)
        return self._channel

    def _check(self) -> None:
        if self._shut:
            raise ChannelLost("this publisher has ended, and publishes nothing more")

    def _wait(self, timeout: float | None) -> Deferred[None]:
        """
        Fires once there is a channel.  However many wait, for the connection
        and then the channel, one asks for them.
        """
        waiter = self._waiters.wait()
        if timeout is not None:
            waiter.addTimeout(timeout, self._connection.reactor, self._too_late)
        if self._opening is None:
            self._opening = opening = Deferred.fromCoroutine(self._open())
            opening.addBoth(self._tell_waiters)
        return waiter

    def _abandoned(self) -> None:
        if self._opening is not None:
            self._opening.cancel()

    def _too_late(self, result: object, seconds: float) -> None:
        raise self._connection.unreachable(seconds)

    async def _open(self) -> None:
        wire = await self._connection.connected()
        self._check()
        channel = await wire.open_channel()
        if self._shut:
            Deferred.fromCoroutine(channel.shut())
        self._check()
        self._channel = channel
        self._opened_at = self._connection.reactor.seconds()
        channel.when_closed().addCallback(lambda why: _learn(wire, why))

    def _tell_waiters(self, result: Any) -> None:
        self._opening = None
        self._waiters.fire(result)


def _too_many() -> BrokerError:
    return BrokerError(
        f"{MAX_OUTSTANDING} messages wait for the broker's confirms already: publish"
        " more once some are confirmed"
    )


def _not_sent(error: BrokerError) -> BrokerError:
    """
    An error that says that the broker does not have the message.
    """
    if error.added is False:
        return error
    problem = BrokerError(str(error))
    problem.added = False
    return problem


def _learn(wire: Wire, why: BrokerError | None) -> None:
    """
    Note how large a message may be, where the broker has refused one for its size.
    """
    found = isinstance(why, BrokerRefused) and _MAX_SIZE.search(str(why))
    if found:
        wire.max_message_size = int(found[1])
