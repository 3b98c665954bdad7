"""
Cancels tasks that nobody looks for, many side by side: those that were created over
HTTP, whose rows say what they are.

Theory of operation.  The broker keeps that the tasks are cancelled, and then all
mediators are told and answer, as L{quebert.operations._cancelling} has it.  There it
ends: a task that waits in the broker is dropped when it comes to a mediator.  Those of
one queue that are cancelled meanwhile wait, and are next, together.

A mediator that is settling a task which was attempted may be publishing its end.  Then
it is asked again until it is not: whoever is told that a task is cancelled can find out
whether it had ended before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from quebert._lanes import Lanes
from quebert.amqp.coordination import (
    FIND,
    REMEMBERED,
    Answers,
    Asker,
    Cancellation,
    Question,
)
from quebert.amqp.watch import RETURNING, HeldTask
from quebert.errors import BrokerError
from quebert.operations._cancelled import MARKED, Cancelled, of_marked
from quebert.operations._marking import Marking
from quebert.operations._taking import check_queue

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient

__all__ = ["Deletions"]

# Tasks that are cancelled together, and seconds in which there must be a connection.
_AT_ONCE = 200
_CONNECT = 5.0
# Seconds in which a mediator must have settled a task, more than it takes to put one
# into a new queue; and between two questions.
_SETTLED, _AGAIN = 8.0, 0.05

_Waiting = list[tuple[Cancellation, "Deferred[Cancelled]"]]


class Deletions:
    """
    @param client: of the broker; its connections are kept.
    """

    def __init__(self, client: TxAMQPClient) -> None:
        self._client = client
        self._publisher = client.make_publisher()
        self._waiting: dict[str, _Waiting] = {}
        self._running: set[str] = set()
        self._connecting = Lanes(1)
        self._asker: Asker | None = None
        self._is_over = False
        self._markings: dict[str, Marking] = {}  # that the asker's connection has

    async def delete(
        self,
        queue: str,
        uuid: str,
        by: str = "",
        due: float = 0.0,
        sent_by: float | None = None,
    ) -> Cancelled:
        """
        Have no mediator begin an attempt at a task; one that is under way is the last.

        @param due: when the task may come to a mediator, not before, in seconds since
            the epoch.
        @param sent_by: its C{timestamp}, or later: a message with a later one is
            another task.
        @raise NoSuchQueue: there is no such queue.
        @raise ConfigError: mediators know too many cancelled tasks already.
        @raise BrokerError: the task may be cancelled, or not.
        """
        now = round(self._client.now(), 3)
        kept = max(0.0, due - now) + REMEMBERED
        cancelled: Deferred[Cancelled] = Deferred()
        entry = Cancellation(uuid, now, by, kept, sent_by)
        self._waiting.setdefault(queue, []).append((entry, cancelled))
        if queue not in self._running:
            self._running.add(queue)
            Deferred.fromCoroutine(self._run(queue))
        return await cancelled

    async def _run(self, queue: str) -> None:
        """
        Cancel tasks of a queue until no more wait.
        """
        try:
            while waiting := self._waiting.pop(queue, None):
                some, rest = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
                if rest:
                    self._waiting[queue] = rest
                await self._delete(queue, some)
        finally:
            self._running.discard(queue)

    async def _delete(self, queue: str, some: _Waiting) -> None:
        try:
            answers = await self._mark(queue, [entry for entry, _ in some])
        except Exception:  # whoever waits for it deals with it
            _fail(some, Failure())
            return
        unsettled = _tell(some, answers, answers)
        if unsettled:  # others of the queue do not wait for these
            Deferred.fromCoroutine(self._tell_settled(queue, unsettled, answers))
        marking = self._markings.get(queue)
        if marking is not None and marking.is_to_tidy:
            await marking.tidy()

    async def _mark(self, queue: str, some: list[Cancellation]) -> Answers:
        asker = await self._connected()
        marking = self._markings.get(queue)
        if marking is None:
            await check_queue(asker.wire, queue)
            marking = Marking(
                self._client, asker.wire, queue, publisher=self._publisher
            )
            self._markings[queue] = marking
        answers = await marking.mark_at_once(some, asker)
        await marking.kept()
        return answers

    async def _tell_settled(self, queue: str, some: _Waiting, first: Answers) -> None:
        """
        Tell the results once no mediator is settling the tasks.

        @param first: what mediators have answered.
        """
        clock = self._client.reactor
        deadline = clock.seconds() + _SETTLED
        try:
            while some and clock.seconds() < deadline:
                await deferLater(clock, _AGAIN)
                if self._is_over:  # it would connect again
                    raise BrokerError("nothing is cancelled any more")
                asker = await self._connected()
                question = Question(FIND, tuple(entry.uuid for entry, _ in some))
                now = await asker.ask(queue, question, at_once=True)
                some = _tell(some, first, now)
        except Exception:  # whoever waits for it deals with it
            _fail(some, Failure())
        else:
            for entry, cancelled in some:
                cancelled.callback(_unsettled(of_marked(entry.uuid, first)))

    async def _connected(self) -> Asker:
        """
        What asks over the connection that there is.
        """
        async with self._connecting:  # of two queues, one begins to ask
            wire = await self._client.connected(_CONNECT)
            asker = self._asker
            if asker is None or asker.is_lost or asker.wire is not wire:
                asker = Asker(wire)
                await asker.begin()
                self._asker, self._markings = asker, {}
            return asker

    def end(self) -> None:
        """
        Cancel no more.
        """
        self._is_over = True
        self._publisher.shut()
        if self._asker is not None:
            self._asker.end()


def _tell(some: _Waiting, first: Answers, now: Answers) -> _Waiting:
    """
    Tell the results of those tasks that no mediator is settling now.

    @param first: what mediators have answered, which makes the results.
    @return: the others.
    """
    unsettled = []
    for entry, cancelled in some:
        if any(_may_be_ending(task) for _, task in now.of(entry.uuid)):
            unsettled.append((entry, cancelled))
        else:
            cancelled.callback(of_marked(entry.uuid, first))
    return unsettled


def _fail(some: _Waiting, failure: Failure) -> None:
    for _, cancelled in some:
        cancelled.errback(failure)


def _may_be_ending(task: HeldTask) -> bool:
    """
    Whether a mediator may be publishing the end of a task; not if it only has the task
    wait for its time.
    """
    return task.state == RETURNING and task.attempted is not False


def _unsettled(cancelled: Cancelled) -> Cancelled:
    """
    The result where a mediator goes on settling a task.
    """
    problems = *cancelled.problems, "its mediator is settling it: it may have ended"
    return attrs.evolve(cancelled, result=MARKED, problems=problems)
