"""
Turns one watch off while its queue is paused.

Theory of operation.  A switch asks whether the queue is paused when it gets a
connection, and when L{Pauses<quebert.amqp.coordination._pauses.Pauses>} tells it to
look.  Then the question goes from state to state::

                look        ask        answer      failure     end
    ANSWERED    DUE                                            ENDED
    DUE         DUE         ASKED                              ENDED
    ASKED       DUE                    ANSWERED    DUE         ENDED

A switch that is told to look while the question is ASKED may get an answer from before
the change.  The question is DUE then, and is asked once more after that answer, however
often the switch was told.  When the connection is lost, the question is ANSWERED: with
the next connection L{PauseSwitch.begin} asks.

Whoever resumes a queue may have changed or deleted it just before.  So a watch goes on
once its mediator knows of that (C{Pauses.before_resuming}).
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, assert_never

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.coordination._pauses import AGAIN
from quebert.amqp.watch import Step, Switch
from quebert.errors import BrokerError, MayNotLook

if TYPE_CHECKING:
    from quebert.amqp.coordination._pauses import Pauses
    from quebert.amqp.wire import Wire

__all__ = ["PauseSwitch"]

# Seconds until a question is repeated that RabbitMQ did not answer.
_SOON = 1.0


class _PauseQuestion(Enum):
    """
    The question whether the queue is paused.

    @cvar ANSWERED: the last answer still holds.
    @cvar DUE: the last answer may not hold any more; it is asked as soon as possible.
    @cvar ASKED: RabbitMQ has not answered yet, or the watch has not obeyed yet.
    @cvar ENDED: the watch has ended: nothing is asked any more.
    """

    ANSWERED = auto()
    DUE = auto()
    ASKED = auto()
    ENDED = auto()


class _Seen(Enum):
    """
    The last answer.

    @cvar GOES_ON: the queue is not paused; also before the first answer.
    @cvar PAUSED: it is.
    @cvar HIDDEN: the user may not see whether it is, so that the watch rests.
    """

    GOES_ON = auto()
    PAUSED = auto()
    HIDDEN = auto()


class PauseSwitch(Switch):
    """
    The switch of one watch.

    @param pauses: knows whether C{queue} is paused.
    @param halt: awaited where the queue is paused.
    @param go_on: awaited where it is not.
    """

    log = Logger()

    def __init__(self, pauses: Pauses, queue: str, halt: Step, go_on: Step) -> None:
        self._question = _PauseQuestion.ANSWERED
        self._seen = _Seen.GOES_ON
        self._pauses = pauses
        self._queue = queue
        self._halt = halt
        self._go_on = go_on
        self._waiting: Deferred[None] = succeed(None)
        self._unknown = RepeatedWarning(
            self.log,
            pauses.clock,
            "RabbitMQ does not tell whether queue {queue!r} is paused, and is asked"
            " again",
            "RabbitMQ tells again whether queue {queue!r} is paused",
            queue=queue,
        )
        self._lock = DeferredLock()  # what is asked later must be answered later

    @property
    def paused(self) -> bool:
        """
        See L{Switch.paused}.
        """
        return self._seen is not _Seen.GOES_ON

    async def begin(self, wire: Wire) -> None:
        """
        See L{Switch.begin}.
        """
        async with self._lock:
            self._wire = wire
            if self._question is not _PauseQuestion.ENDED:
                await self._ask(wire)
                await self._step()

    def end(self) -> None:
        """
        See L{Switch.end}.
        """
        self._question = _PauseQuestion.ENDED
        self._unknown.end()
        self._waiting.cancel()
        self._pauses.forget(self._queue, self._look)

    # -- Looking again

    def _look(self) -> None:
        match self._question:
            case _PauseQuestion.ANSWERED:
                self._question = _PauseQuestion.DUE
                Deferred.fromCoroutine(self._look_until_answered())
            case _PauseQuestion.ASKED:
                self._question = _PauseQuestion.DUE
            case _PauseQuestion.DUE | _PauseQuestion.ENDED:
                pass
            case _:
                assert_never(self._question)

    async def _look_until_answered(self) -> None:
        try:
            while self._question is _PauseQuestion.DUE and not self._wire.closed:
                try:
                    await self._look_again()
                    self._unknown.succeeded()
                except BrokerError as e:
                    if self._is_over:
                        return
                    self._question = _PauseQuestion.DUE
                    self._unknown.met(e)
                    await self._wait()
        finally:
            if self._question is not _PauseQuestion.ENDED:
                self._question = _PauseQuestion.ANSWERED

    async def _wait(self) -> None:
        self._waiting = deferLater(self._pauses.clock(), _SOON)
        with suppress(CancelledError):  # by the end
            await self._waiting

    async def _look_again(self) -> None:
        async with self._lock:
            if self._is_over:
                return
            self._question = _PauseQuestion.ASKED
            if await self._ask(self._wire):
                with suppress(BrokerError):  # the channel is closed: another will come
                    await self._step()

    @property
    def _is_over(self) -> bool:
        return self._question is _PauseQuestion.ENDED or self._wire.closed

    # -- The answer

    async def _step(self) -> None:
        if self._question is not _PauseQuestion.ENDED:
            await (self._halt() if self.paused else self._go_on())

    async def _ask(self, wire: Wire) -> bool:
        """
        Ask; tells whether the answer is another one than before.
        """
        seen = await self._answer(wire)
        before, self._seen = self._seen, seen
        return seen is not before

    async def _answer(self, wire: Wire) -> _Seen:
        try:
            paused = await self._pauses.ask(wire, self._queue, self._look)
        except MayNotLook as e:
            if self._seen is not _Seen.HIDDEN:
                self._tell_hidden(e)
            return _Seen.HIDDEN
        before_resuming = self._pauses.before_resuming
        if not paused and self.paused and before_resuming is not None:
            await before_resuming(self._queue)
        seen = _Seen.PAUSED if paused else _Seen.GOES_ON
        if seen is not self._seen:
            what = "is paused" if paused else "is not paused any more"
            self.log.info("Queue {queue!r} {what}.", queue=self._queue, what=what)
        return seen

    def _tell_hidden(self, why: MayNotLook) -> None:
        self.log.warn(
            "Queue {queue!r} is not consumed, since RabbitMQ does not tell whether the"
            " queue is paused. RabbitMQ is asked again every {seconds:.0f} seconds:"
            " {why}",
            queue=self._queue,
            seconds=AGAIN,
            why=why,
        )
