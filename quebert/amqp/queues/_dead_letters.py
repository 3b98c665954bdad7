"""
The queue C{<queue>.dead}, to which messages are moved that are given up.  The mediator
publishes to it; no dead-letter exchange is involved.  The headers of the messages tell
why, and what was tried (C{Settlement.bury} in C{watch}).

C{<queue>.dead} keeps messages as well as the queue that they come from does: it is a
quorum queue beside a quorum queue, without RabbitMQ's limit of deliveries, so that none
is dropped for having been looked at.  One that exists is used as it is.  A warning
tells if it may lose messages, and another if it does
(L{Keeping<quebert.amqp.queues._keeping.Keeping>}).  A stream keeps them, too, but
C{quebert dead} cannot take them from there; nor does RabbitMQ tell in time how many it
holds.

By default nothing limits how long dead letters are kept.  A time to live would change:

 - L{_argument_sets}, the arguments that C{<queue>.dead} is declared with.  A queue that
   exists keeps its own arguments, and C{docs/operating.rst} says so.
 - An option, which is passed on as the type of the queue is: C{Deliveries} ->
   C{Settlement} (both in C{watch}) -> L{DeadLetters}.
 - L{losses<quebert.amqp.queues._declared.losses>}, which warns of arguments that drop
   messages; by it, the doctor (C{doctor/_queues}) calls them a fault.
 - C{Keeping}, which takes expired dead letters for lost.
 - Browsing: a copy that it makes (L{quebert.amqp.queues._browse}) begins its time to
   live anew.

What another kind of dead letter takes is told by L{quebert.outcome}.

Who wants RabbitMQ to drop old dead letters sets C{message-ttl} by a policy.  AMQP does
not tell policies: C{quebert doctor} (C{doctor/_dead.py}) finds one that drops within
seconds, and the warning of losses comes when RabbitMQ drops dead letters while
mediators move others there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._protocol.extensions import QUEUE_TYPE
from quebert.amqp.link import DeclareOnce, Send
from quebert.amqp.queues._declared import Declared, declared, losses
from quebert.amqp.queues._declaring import (
    CLASSIC,
    QUORUM,
    declare_queue,
    own_quorum,
)
from quebert.amqp.queues._existing import find_queue
from quebert.amqp.queues._keeping import Keeping
from quebert.amqp.queues._names import derived
from quebert.amqp.queues._new_queues import NewQueues
from quebert.errors import BrokerError, MayNotLook

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["DEAD_LETTERS", "KIND", "REASON", "DeadLetters", "dead_letters_of"]

#: Header: why it was buried, in a sentence.
REASON = "quebert-reason"
#: Header: L{EXHAUSTED<quebert.outcome.EXHAUSTED>},
#: L{POISON<quebert.outcome.POISON>} or L{FORBIDDEN<quebert.outcome.FORBIDDEN>}.
KIND = "quebert-kind"
#: How the names of queues of dead letters end.
DEAD_LETTERS = ".dead"


def dead_letters_of(queue: str) -> str:
    """
    The queue for what is given up of C{queue}: C{<queue>.dead}, where a name has room
    for that.
    """
    return derived("", queue, DEAD_LETTERS)


class DeadLetters:
    """
    Buries the messages of one queue.

    @param queue: where they come from.
    @param new_queues: the queues in which a message is not safe yet.
    @param queue_type: the type that the queue was declared with; C{None} where it was
        left to the broker.
    """

    log = Logger()

    def __init__(
        self,
        queue: str,
        clock: Callable[[], IReactorTime],
        new_queues: NewQueues,
        queue_type: str | None = None,
    ) -> None:
        self._dead = dead_letters_of(queue)
        self._new_queues = new_queues
        self._queue_type = queue_type
        self._once = DeclareOnce(self._make)
        self._keeping = Keeping(self._dead, clock)
        self._told: list[str] = []
        self._is_stream = False

    async def publish(
        self,
        wire: Wire,
        send: Send,
        body: bytes,
        properties: bytes,
        leave: Callable[[], None],
    ) -> None:
        """
        Put a message there; returns when the broker has confirmed it.

        @param send: publishes it.
        @param leave: called if that takes seconds, since the queue is new.
        @raise BrokerError: it does not take it.
        """
        await self._once.made(wire, self._dead)
        if self._new_queues.has(wire, self._dead):
            leave()
        publish = partial(self._publish, wire, send, body, properties)
        await self._new_queues.publish(wire, self._dead, publish)

    async def _publish(
        self, wire: Wire, send: Send, body: bytes, properties: bytes
    ) -> None:
        if self._is_stream:
            return await send("", self._dead, body, properties)
        look_number = await self._keeping.before(wire)
        await send("", self._dead, body, properties)
        return self._keeping.moved(look_number)

    def forget(self) -> None:
        """
        It may be missing: declare it again before it is used.
        """
        self._once.forget()

    def end(self) -> None:
        """
        No more messages will be moved there: look and warn no more.
        """
        self._keeping.end()

    async def _make(self, wire: Wire, dead: str) -> None:
        # Somebody may have declared it otherwise, or be the only one who may.
        with suppress(MayNotLook):
            if await find_queue(wire, dead) is not None:
                kind = await self._tell_losses(wire, dead)
                self._is_stream = kind == "stream"
                return self._new_queues.found(wire, dead, kind)
        ways = _argument_sets(wire, self._queue_type)
        how = await declare_queue(wire, dead, *ways)
        self._is_stream = False
        return self._new_queues.declared(wire, dead, how.get(QUEUE_TYPE))

    async def _tell_losses(self, wire: Wire, dead: str) -> str | None:
        """
        Warn, once, of arguments that make RabbitMQ lose messages, and of a stream.
        """
        with suppress(BrokerError):  # the user may not ask, or the connection is lost
            how = await declared(wire, dead)
            if how is None:
                return None
            told = [*losses(how), *self._weaker(how)]
            if told and told != self._told:
                self._told = told
                self.log.warn(
                    "Queue {dead!r} may lose the tasks that are given up: {why}",
                    dead=dead,
                    why="; ".join(told),
                )
            return how.kind
        return None

    def _weaker(self, how: Declared) -> Iterator[str]:
        if how.kind == "stream":
            yield "it is a stream, from which quebert dead cannot take them"
        elif self._queue_type == "quorum" and how.kind != "quorum":
            yield (
                f"it is a {how.kind} queue, which does not survive the loss of a node,"
                " beside a quorum queue"
            )


def _argument_sets(wire: Wire, queue_type: str | None) -> list[dict[str, Any]]:
    """
    The sets of arguments to declare C{<queue>.dead} with, of which RabbitMQ takes one.

    A queue that was declared without a type has the default of the virtual host, and
    C{<queue>.dead} gets it the same way.  RabbitMQ tells which one that is: it takes
    the delivery limit, or refuses it (406), since only quorum queues have the argument.
    """
    own = own_quorum(wire)
    if queue_type == "quorum":
        return [{**QUORUM, **own}]
    if queue_type is None:
        return [own, CLASSIC] if own else [{}]
    return [CLASSIC]
