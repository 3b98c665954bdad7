"""
Tells the watches of one client that queues were paused or resumed.

Theory of operation.  A queue is paused for all who watch it, for as long as somebody
likes.  A watch asks for the sign of a pause at each connection, and rests if the sign
exists, or if the user may not see whether it does.  A message on the exchange
C{quebert.control}, with the queue as its routing key, makes watches ask again.  That
message says nothing by itself, so that one which is lost or late tells nothing wrong.
Each client also looks at its L{mark<quebert.amqp.coordination._pause_mark>} every
L{CHECK} seconds.  A client that cannot be told, or may not look, has its watches ask
again every L{AGAIN} seconds.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._log import Logger
from quebert.amqp.coordination._pause_listener import PauseListener
from quebert.amqp.coordination._pause_mark import PauseMark
from quebert.amqp.coordination._pause_sign import CONTROL, is_paused
from quebert.errors import BrokerError, BrokerRefused, MayNotLook, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.coordination._questions import Questions
    from quebert.amqp.wire import Wire

__all__ = ["AGAIN", "CHECK", "Pauses"]

Look = Callable[[], None]

#: Seconds between two questions of a client that cannot be told, or may not look.
AGAIN = 10.0
#: Seconds between two looks of a client whether a queue was paused or resumed.
CHECK = 3.0


class Pauses:
    """
    Tells the watches of one client to look whether their queues are paused.

    @param clock: gives the reactor.
    @param questions: answers questions about tasks.
    @ivar before_resuming: awaited with the name of a queue whose pause has ended,
        before its watches go on; C{None} for nothing.
    """

    log = Logger()

    def __init__(self, clock: Callable[[], IReactorTime], questions: Questions) -> None:
        self.clock = clock
        self.before_resuming: Callable[[str], Awaitable[None]] | None = None
        self._questions = questions
        self._looks: dict[str, set[Look]] = {}
        self._listener: PauseListener | None = None  # of the newest connection
        self._is_deaf = False
        self._timer: IDelayedCall | None = None
        self._checking: IDelayedCall | None = None
        self._mark = PauseMark()

    async def ask(self, wire: Wire, queue: str, look: Look) -> bool:
        """
        Whether C{queue} is paused; from now on, as long as C{wire} lasts, C{look}
        is called whenever that may have changed.

        @raise MayNotLook: the user lacks the permission to see it.  C{look} is called
            in L{AGAIN} seconds.
        @raise BrokerError: the broker does not say.
        """
        ear = await self.hear(wire, queue, look)
        await self._questions.catch_up(wire, queue, ear)
        try:
            return await is_paused(wire, queue)
        except MayNotLook:
            self._look_later()
            raise

    async def hear(self, wire: Wire, name: str, look: Look) -> PauseListener | None:
        """
        From now on, as long as C{wire} lasts, have C{look} called whenever something of
        C{name} may have changed: a queue, or what else is announced like a pause
        (L{announce<quebert.amqp.coordination._pause_sign.announce>}).

        @return: what hears of it; C{None} if nothing does: then C{look} is called every
            L{AGAIN} seconds.
        @raise BrokerError: the connection is lost.
        """
        self._looks.setdefault(name, set()).add(look)
        self._check_later()
        listener = self._listener_of(wire)
        try:
            # Before asking, so that nothing happens in between.
            await listener.listen(name)
            self._hears()
        except BrokerError as e:
            if wire.closed:
                raise
            self._hears_nothing(e)
            return None
        return listener

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
            Deferred.fromCoroutine(self._mark.remove(self._listener.wire))

    def _listener_of(self, wire: Wire) -> PauseListener:
        listener = self._listener
        if listener is None or listener.wire is not wire:
            name = f"{CONTROL}.{uuid.uuid4()}"
        elif listener.dead:
            name = listener.name  # where its queue is left over, it serves again
        else:
            return listener
        self._listener = PauseListener(
            wire,
            name,
            self._mark,
            self._heard,
            self._questions.asked,
            self._hears_nothing,
        )
        return self._listener

    def _heard(self, queue: str) -> None:
        for look in list(self._looks.get(queue, ())):
            look()

    def _hears(self) -> None:
        if self._is_deaf:
            self._is_deaf = False
            self.log.info("RabbitMQ announces pauses to this mediator again.")

    def _hears_nothing(self, why: BrokerError) -> None:
        self._look_later()
        if self._is_deaf:
            return
        self._is_deaf = True
        need = ""
        if isinstance(why, BrokerRefused) and why.code == ReplyCode.ACCESS_REFUSED:
            pattern = CONTROL.replace(".", r"\.")
            need = f"the user needs to configure, write and read {pattern}.*: "
        self.log.warn(
            "RabbitMQ does not announce pauses to this mediator, and is asked every"
            " {seconds:.0f} s whether queues are paused: {need}{why}",
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
        self._questions.forget_old()
        Deferred.fromCoroutine(self._check_mark())

    async def _check_mark(self) -> None:
        listener = self._listener
        try:
            # Without a connection, or a way to hear, watches ask by themselves.
            if (
                listener is not None
                and not listener.dead
                and await self._mark.was_deleted(listener.wire)
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
