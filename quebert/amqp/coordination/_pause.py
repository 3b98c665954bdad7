"""
Pausing a queue for all who watch it, for as long as somebody likes.

A watch asks for the sign of a pause at each connection, and rests if it exists, or if
the user may not see whether it does.  A message on the exchange C{quebert.control},
with the queue as its routing key, makes watches ask again.  That message says nothing
by itself, so that one which is lost or late tells nothing wrong.  A client that cannot
be told, or may not look, asks again every L{AGAIN} seconds.

Theory of operation: the mark.  Each client also looks every L{CHECK} seconds whether a
queue was paused or resumed.  To ask for each queue would cost a closed channel, and an
error in RabbitMQ's log, for each queue that is not paused.  Instead a client asks for
one exchange of its own, C{quebert.control.mark.<uuid>}, which is there unless something
has changed.  The client's exchange is auto-delete and has one binding, to
C{quebert.control.mark}.  L{set_paused<quebert.amqp.coordination.set_paused>} deletes
the latter: the binding goes, and with it the client's exchange.  A client whose
exchange is gone makes it anew, and then has all its watches ask.  The exchange of a
client that was killed stays until the next pause.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.coordination._pause_sign import CONTROL, MARK, is_paused
from quebert.amqp.link import DeclareOnce
from quebert.amqp.queues import ACCESS_REFUSED, NOT_FOUND, find_exchange
from quebert.amqp.watch import Step, Switch
from quebert.amqp.wire import Channel, temporary_channel
from quebert.errors import BrokerError, BrokerRefused, ChannelLost, MayNotLook

if TYPE_CHECKING:
    from quebert.amqp.wire import Message, Wire

__all__ = ["AGAIN", "CHECK", "Pauses", "Pausing"]

Look = Callable[[], None]

#: Seconds between two questions of a client that cannot be told, or may not look.
AGAIN = 10.0
#: Seconds between two looks of a client whether a queue was paused or resumed.
CHECK = 3.0
# How often a mark is made that somebody deletes at once.
_MARKINGS = 5
# Seconds until a question is repeated that RabbitMQ did not answer.
_SOON = 1.0


class Pauses:
    """
    Tells the watches of one client to look whether their queues are paused.
    """

    log = Logger()

    def __init__(self, clock: Callable[[], IReactorTime]) -> None:
        self.clock = clock
        self._looks: dict[str, set[Look]] = {}
        self._listener: _Listener | None = None  # of the newest connection
        self._is_deaf = False
        self._timer: IDelayedCall | None = None
        self._checking: IDelayedCall | None = None
        self._mark = f"{MARK}.{uuid.uuid4()}"

    async def ask(self, wire: Wire, queue: str, look: Look) -> bool:
        """
        Whether C{queue} is paused; from now on, as long as C{wire} lasts, C{look}
        is called whenever that may have changed.

        @raise MayNotLook: the user lacks the permission to see it.  C{look} is called
            in L{AGAIN} seconds.
        @raise BrokerError: the broker does not say.
        """
        self._looks.setdefault(queue, set()).add(look)
        self._check_later()
        listener = self._listener_of(wire)
        try:
            # Before asking, so that nothing happens in between.
            await listener.listen(queue)
            self._hears()
        except BrokerError as e:
            if wire.closed:
                raise
            self._hears_nothing(e)
        try:
            return await is_paused(wire, queue)
        except MayNotLook:
            self._look_later()
            raise

    def forget(self, queue: str, look: Look) -> None:
        """
        Call C{look} no more.
        """
        looks = self._looks.get(queue, set())
        looks.discard(look)
        if not looks:
            self._looks.pop(queue, None)
        if self._looks:
            return
        for timer in (self._timer, self._checking):
            if timer is not None:
                timer.cancel()
        self._timer = self._checking = None
        if self._listener is not None and not self._listener.dead:
            Deferred.fromCoroutine(self._listener.remove_mark())

    def _listener_of(self, wire: Wire) -> _Listener:
        listener = self._listener
        if listener is None or listener.wire is not wire:
            name = f"{CONTROL}.{uuid.uuid4()}"
        elif listener.dead:
            name = listener.name  # where its queue is left over, it serves again
        else:
            return listener
        self._listener = _Listener(
            wire, name, self._mark, self._heard, self._hears_nothing
        )
        return self._listener

    def _heard(self, queue: str) -> None:
        for look in list(self._looks.get(queue, ())):
            look()

    def _hears(self) -> None:
        if self._is_deaf:
            self._is_deaf = False
            self.log.info("The broker tells of pauses again.")

    def _hears_nothing(self, why: BrokerError) -> None:
        self._look_later()
        if self._is_deaf:
            return
        self._is_deaf = True
        need = ""
        if isinstance(why, BrokerRefused) and why.code == ACCESS_REFUSED:
            pattern = CONTROL.replace(".", r"\.")
            need = f"the user needs to configure, write and read {pattern}.*: "
        self.log.warn(
            "The broker does not tell of pauses. It is asked every {seconds:.0f} s"
            " whether queues are paused: {need}{why}",
            seconds=AGAIN,
            need=need,
            why=why,
        )

    # -- What was not heard

    def _check_later(self) -> None:
        if self._checking is None and self._looks:
            self._checking = self.clock().callLater(CHECK, self._check)

    def _check(self) -> None:
        self._checking = None
        Deferred.fromCoroutine(self._check_mark())

    async def _check_mark(self) -> None:
        listener = self._listener
        try:
            # Without a connection, or a way to hear, watches ask by themselves.
            if (
                listener is not None
                and not listener.dead
                and await listener.has_changed()
            ):
                self._look_all()
        except BrokerError as e:
            if listener is not None:
                listener.end(e)
        finally:
            self._check_later()

    # -- Where nothing is heard, or seen

    def _look_later(self) -> None:
        if self._timer is None and self._looks:
            self._timer = self.clock().callLater(AGAIN, self._look_all)

    def _look_all(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():  # this look is the one it waits for
            timer.cancel()
        for queue in list(self._looks):
            self._heard(queue)


class _Listener:
    """
    A queue of our own, as long as the connection lasts, for what is said of others.

    @param mark: the name of an exchange of this client.
    @param heard: called with the name of a queue.
    @param deaf: called with the reason when nothing can be heard any more.
    @ivar dead: it hears nothing any more; another one may.
    """

    def __init__(
        self,
        wire: Wire,
        name: str,
        mark: str,
        heard: Callable[[str], None],
        deaf: Callable[[BrokerError], None],
    ) -> None:
        self.wire = wire
        self.name = name
        self.dead = False
        self._mark = mark
        self._heard = heard
        self._deaf = deaf
        self._channel: Channel | None = None
        self._queues: set[str] = set()
        self._beginning = DeclareOnce(self._begin)

    async def listen(self, queue: str) -> None:
        """
        Hear of C{queue}, too.

        @raise BrokerError: it cannot be heard of.
        """
        try:
            if queue not in self._queues:
                await self._bind(queue)
                self._queues.add(queue)
        except BrokerError as e:
            self.end(e)
            raise

    async def _bind(self, queue: str) -> None:
        await self._beginning.made(self.wire, self.name)
        assert self._channel is not None
        await self._channel.call(
            "queue_bind", queue=self.name, exchange=CONTROL, routing_key=queue
        )

    async def _begin(self, wire: Wire, name: str) -> None:
        self._channel = channel = await wire.open_channel(confirms=False)
        channel.on_message = self._received
        channel.on_cancel = self._cancelled
        channel.when_closed().addCallback(self._closed)
        await _declare_control(channel)
        await self._set_mark()
        own = {"queue": name, "exclusive": True, "auto_delete": True}
        arguments = {"x-queue-type": "classic"}
        await channel.call("queue_declare", **own, arguments=arguments)
        await channel.call("basic_consume", queue=name, consumer_tag=name)

    async def has_changed(self) -> bool:
        """
        Whether a queue was paused or resumed since this was asked last.

        @raise BrokerError: the broker does not say.
        """
        if self.wire.closed or await find_exchange(self.wire, self._mark) is not None:
            return False
        await self._set_mark()
        return True

    async def _set_mark(self) -> None:
        for left in reversed(range(_MARKINGS)):
            try:
                return await self._try_to_set_mark()
            except BrokerRefused as e:
                if e.code != NOT_FOUND or not left:
                    raise
        return None

    async def remove_mark(self) -> None:
        """
        Leave no mark behind.
        """
        with suppress(BrokerError):
            async with temporary_channel(self.wire) as channel:
                await channel.call("exchange_delete", exchange=self._mark)

    async def _try_to_set_mark(self) -> None:
        async with temporary_channel(self.wire) as channel:
            await channel.call(
                "exchange_declare", exchange=MARK, exchange_type="fanout", durable=True
            )
            await channel.call(
                "exchange_declare",
                exchange=self._mark,
                exchange_type="fanout",
                auto_delete=True,
            )
            await channel.call("exchange_bind", destination=MARK, source=self._mark)

    def _received(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.ack(message.delivery_tag)
        self._heard(message.routing_key)

    def _cancelled(self, consumer_tag: str) -> None:
        self.end(ChannelLost("somebody has deleted the queue that it is told by"))

    def end(self, why: BrokerError) -> None:
        """
        Hear nothing any more.
        """
        self._end(why)
        if self._channel is not None:
            Deferred.fromCoroutine(self._channel.shut())

    def _closed(self, why: BrokerError) -> None:
        self._end(why)

    def _end(self, why: BrokerError) -> None:
        if not (self.dead or self.wire.closed):
            self.dead = True
            self._deaf(why)


async def _declare_control(channel: Channel) -> None:
    await channel.call(
        "exchange_declare", exchange=CONTROL, exchange_type="direct", durable=True
    )


# -- Doing it


class Pausing(Switch):
    """
    The L{Switch} of one watch.

    @param halt: called, and waited for, where the queue is paused.
    @param go_on: the same, where it is not.
    """

    log = Logger()

    def __init__(
        self,
        pauses: Pauses,
        queue: str,
        halt: Step,
        go_on: Step,
    ) -> None:
        self._paused: bool | None = False  # None where the user may not look
        self._looking = False
        self._to_look = False  # once more than was asked
        self._waiting: Deferred[None] = succeed(None)
        self._ended = False
        self._pauses = pauses
        self._queue = queue
        self._halt = halt
        self._go_on = go_on
        self._unknown = RepeatedWarning(
            self.log,
            pauses.clock,
            "Whether queue {queue!r} is paused is asked again",
            "RabbitMQ has told whether queue {queue!r} is paused",
            queue=queue,
        )
        self._lock = DeferredLock()

    @property
    def paused(self) -> bool:
        """
        Whether the watch rests: the queue is paused, or the user may not see whether
        it is.
        """
        return self._paused is not False

    async def begin(self, wire: Wire) -> None:
        """
        Do what is to be done with a new connection.

        @raise BrokerError: it was lost, or a step failed.
        """
        await self._lock.acquire()  # what is asked later must be answered later
        try:
            self._wire = wire
            if not self._ended:
                await self._ask(wire)
                await (self._halt() if self.paused else self._go_on())
        finally:
            self._lock.release()

    def end(self) -> None:
        """
        Do nothing any more.
        """
        self._ended = True
        self._unknown.end()
        self._waiting.cancel()
        self._pauses.forget(self._queue, self._look)

    def _look(self) -> None:
        # However often we are told, one question that begins later answers it.
        self._to_look = True
        if not self._looking:
            self._looking = True
            Deferred.fromCoroutine(self._look_until_known())

    async def _look_until_known(self) -> None:
        try:
            # On a connection that is lost nothing is known; with the next one we ask.
            while self._to_look and not self._is_over():
                try:
                    await self._look_again()
                    self._unknown.succeeded()
                except BrokerError as e:
                    if self._is_over():
                        break
                    self._to_look = True
                    self._unknown.met(e)
                    await self._wait()
        finally:
            self._looking = False

    async def _wait(self) -> None:
        self._waiting = deferLater(self._pauses.clock(), _SOON)
        with suppress(CancelledError):  # by the end
            await self._waiting

    def _is_over(self) -> bool:
        return self._ended or self._wire.closed

    async def _look_again(self) -> None:
        await self._lock.acquire()
        try:
            self._to_look = False
            if not self._is_over() and await self._ask(self._wire):
                with suppress(BrokerError):  # the channel is closed: another will come
                    await (self._halt() if self.paused else self._go_on())
        finally:
            self._lock.release()

    async def _ask(self, wire: Wire) -> bool:
        """
        Ask; tells whether something has changed.
        """
        paused: bool | None
        try:
            paused = await self._pauses.ask(wire, self._queue, self._look)
        except MayNotLook as e:
            paused = None
            if self._paused is not None:
                self._tell_hidden(e)
        changed, self._paused = paused is not self._paused, paused
        if changed and paused is not None:
            what = "is paused" if paused else "goes on"
            self.log.info("Queue {queue!r} {what}.", queue=self._queue, what=what)
        return changed

    def _tell_hidden(self, why: MayNotLook) -> None:
        self.log.warn(
            "Queue {queue!r} is not consumed, since it may be paused, and RabbitMQ does"
            " not say. RabbitMQ is asked again every {seconds:.0f} seconds: {why}",
            queue=self._queue,
            seconds=AGAIN,
            why=why,
        )
