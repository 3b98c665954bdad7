"""
Answers what operators ask about the tasks of the queues that one client watches, and
knows which of these tasks are cancelled.

Theory of operation.  A question is a message to the exchange C{quebert.control}, with
the queue as its routing key, a body, and C{reply-to}.  Each client gets it
(L{PauseListener<quebert.amqp.coordination._pause_listener.PauseListener>}), looks
through what its watches hold, and publishes one answer.

A client knows the cancelled tasks of a queue before it consumes: it reads the register
(L{read_cancelled<quebert.amqp.coordination._cancel_register.read_cancelled>}) once it
can hear questions about the queue.  It hears what is cancelled later, since whoever
cancels a task changes the register first, and asks then.  It reads the register anew
with each connection; if it may not hear questions, also as often as its watches look
whether they are paused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._protocol.properties import encode_properties
from quebert._repeated import RepeatedWarning
from quebert.amqp.coordination._cancel_register import read_cancelled, register_of
from quebert.amqp.coordination._cancellation import REMEMBERED, Cancellation, to_plain
from quebert.amqp.coordination._known_cancelled import KnownCancelled
from quebert.amqp.coordination._pause_sign import CONTROL
from quebert.amqp.coordination._question import (
    CANCEL,
    RETRY_NOW,
    MediatorAnswer,
    Question,
    answer_to_plain,
    question_from_plain,
    question_to_plain,
)
from quebert.amqp.coordination._register import PERSISTENT
from quebert.boundaries import CancelMark
from quebert.errors import BrokerError, BrokerRefused, MayNotLook, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.link import Publisher
    from quebert.amqp.watch import HeldTask, Holder
    from quebert.amqp.wire import Message, Wire

__all__ = ["Questions"]

# Seconds in which an answer must be on its way.
_PATIENCE = 5.0
_TRANSIENT = encode_properties({})
# Seconds between two looks for those that are forgotten.
_FORGET = 60.0
# Seconds in which tasks that were met are gathered, and how many are told at once.
_GATHER = 5.0
_AT_ONCE = 500
# Seconds by which the clock of another program may be wrong.
_WRONG = 3_600.0


class Questions:
    """
    Answers for the watches of one client.

    @param name: of the mediator.
    @param make_publisher: makes what publishes the answers.
    @param clock: gives the reactor.
    @param now: the time of day, in seconds since the epoch.
    @ivar name: the same.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        make_publisher: Callable[[], Publisher],
        clock: Callable[[], IReactorTime],
        now: Callable[[], float],
    ) -> None:
        self.name = name
        self._make_publisher = make_publisher
        self._publisher = make_publisher()
        self._clock = clock
        self._now = now
        self._holders: dict[str, list[Holder]] = {}
        self._known: defaultdict[str, KnownCancelled] = defaultdict(KnownCancelled)
        self._forgot_at = 0.0
        self._met: dict[str, list[Cancellation]] = {}
        self._telling: IDelayedCall | None = None
        self._read: WeakKeyDictionary[object, set[str]] = WeakKeyDictionary()
        self._reading: defaultdict[str, DeferredLock] = defaultdict(DeferredLock)
        self._hidden = RepeatedWarning(
            self.log,
            clock,
            "RabbitMQ does not tell this mediator which tasks are cancelled, so it may"
            " attempt them",
            "RabbitMQ tells this mediator again which tasks are cancelled",
        )

    # -- The watches

    def cancelled_in(self, queue: str) -> Mapping[str, CancelMark]:
        """
        See L{Questioning.cancelled_in<quebert.amqp.watch.Questioning.cancelled_in>}.
        """
        return self._known[queue].marks

    def join(self, queue: str, holder: Holder) -> None:
        """
        See L{Questioning.join<quebert.amqp.watch.Questioning.join>}.
        """
        self._holders.setdefault(queue, []).append(holder)

    def leave(self, queue: str, holder: Holder) -> None:
        """
        See L{Questioning.leave<quebert.amqp.watch.Questioning.leave>}.
        """
        holders = self._holders.get(queue, [])
        if holder in holders:
            holders.remove(holder)
        if not holders:
            self._holders.pop(queue, None)

    # -- What is cancelled

    async def catch_up(self, wire: Wire, queue: str, ear: object | None) -> None:
        """
        Read which tasks of C{queue} are cancelled, unless that was done since C{ear}
        hears of it.

        @param ear: hears of what is cancelled from now on; C{None} if nothing does.
        @raise BrokerError: the broker does not tell, and may tell later.
        """
        async with self._reading[queue]:
            if ear is not None and queue in self._read.get(ear, ()):
                return
            try:
                found = await read_cancelled(wire, queue, self._now(), self._publish)
            except MayNotLook as e:
                self._hidden.met(e)
                return
            except BrokerRefused as e:
                if e.code != ReplyCode.ACCESS_REFUSED:
                    raise  # as from a node that is down, which may come back
                self._hidden.met(f"{register_of(queue)}: {e}")
                return
            self._hidden.succeeded()
            self._known[queue].add(found)
            if ear is not None:
                self._read.setdefault(ear, set()).add(queue)

    async def _publish(self, queue: str, body: bytes) -> None:
        await self._publisher.publish("", queue, body, PERSISTENT, _PATIENCE)

    def forget_old(self) -> None:
        """
        Forget those that were cancelled long ago; to be called now and then.
        """
        seconds = self._clock().seconds()
        if seconds >= self._forgot_at + _FORGET:
            self._forgot_at = seconds
            for each in self._known.values():
                each.forget_old(self._now())

    def met(self, queue: str, uuid: str) -> None:
        """
        See L{Questioning.met<quebert.amqp.watch.Questioning.met>}.
        """
        changed = self._known[queue].met(uuid, self._now())
        if changed is None:
            return
        self._met.setdefault(queue, []).append(changed)
        if self._telling is None:
            self._telling = self._clock().callLater(_GATHER, self._tell_met)

    def _tell_met(self) -> None:
        """
        Tell the register and the other mediators; where that fails, they know these
        tasks for longer.
        """
        self._telling = None
        some, self._met = self._met, {}
        for queue, met in some.items():
            for begin in range(0, len(met), _AT_ONCE):
                part = tuple(met[begin : begin + _AT_ONCE])
                question = Question(CANCEL, (), part)
                for exchange, key, body, properties in (
                    ("", register_of(queue), to_plain(part), PERSISTENT),
                    (CONTROL, queue, question_to_plain(question), _TRANSIENT),
                ):
                    telling = self._publisher.publish(
                        exchange, key, body, properties, _PATIENCE
                    )
                    Deferred.fromCoroutine(telling).addErrback(self._not_answered)

    # -- Questions

    def asked(self, message: Message) -> None:
        """
        A question has come about the queue that its routing key names.
        """
        question = question_from_plain(message.body)
        try:
            reply_to = message.properties.get("reply-to")
        except ValueError:
            reply_to = None
        if question is None:
            return
        queue, now = message.routing_key, self._now()
        known = self._known[queue]
        if question.cancelled and known.is_full:
            return  # and whoever cancels tasks is told so
        known.add(_with_clock(each, now) for each in question.cancelled)
        holders = self._holders.get(queue)
        if holders and isinstance(reply_to, str) and reply_to:
            try:
                answer = self._answer(holders, question, len(known))
            except Exception:  # who asks waits in vain, and nothing else happens
                self.log.failure("A question about tasks cannot be answered")
                return
            answering = self._publisher.publish(
                "", reply_to, answer_to_plain(answer), _TRANSIENT, _PATIENCE
            )
            Deferred.fromCoroutine(answering).addErrback(self._not_answered)

    def _answer(
        self, holders: Collection[Holder], question: Question, cancelled: int
    ) -> MediatorAnswer:
        tasks: list[HeldTask] = []
        for each in holders:
            if question.kind == RETRY_NOW and question.uuids is not None:
                tasks += each.retry_now(question.uuids)
            else:
                tasks += each.find(question.uuids)
        consumers = sum(each.consumers for each in holders)
        found = tuple(tasks)
        return MediatorAnswer(self.name, consumers, found, question.id, cancelled)

    def _not_answered(self, failure: Failure) -> None:
        failure.trap(BrokerError)  # whoever asked waits no longer
        self.log.debug("A question is not answered: {why}", why=failure.value)

    def end(self) -> None:
        """
        Answer no more, until there are watches again.
        """
        self._hidden.end()
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._publisher.shut()
        self._publisher = self._make_publisher()


def _with_clock(heard: Cancellation, now: float) -> Cancellation:
    """
    What was heard of a cancelled task, as of now if the clock of who told it is wrong.
    """
    if abs(now - heard.at) <= _WRONG or heard.kept < REMEMBERED:
        return heard
    return attrs.evolve(heard, at=now)
