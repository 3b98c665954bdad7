"""
Looks for one task wherever it may be.

Theory of operation.  It is looked for where it may be, in the order in which a task
goes: the mediators of its queue are asked; then the delay ladder is looked through, and
where delayed tasks arrive; then its queue and its dead letters, unless there are too
many.  A task that comes to a mediator meanwhile was looked for there too early; so the
mediators are asked once more at the end.

Looking changes nothing, but for this: what was looked at comes C{redelivered}, and
messages of a rung with many tasks are put into another one, for the rest of their waits
(L{LadderSearch<quebert.amqp.delays.LadderSearch>}).  So no more are looked at than
L{MOST} on the ladder, L{FEW} in a queue that nobody consumes, and L{FEWEST} in one that
somebody does, and what was not looked at is told.
"""

from __future__ import annotations

from contextlib import suppress

import attrs

from quebert._lanes import all_of
from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.coordination import FIND, Answers, Question, ask_mediators
from quebert.amqp.delays import LadderSearch, arrivals_of
from quebert.amqp.queues import Browsing, browse, dead_letters_of, depth
from quebert.amqp.watch import HeldTask, identity_of
from quebert.amqp.wire import ERRORS, NOT_BEFORE, Wire
from quebert.errors import BrokerRefused, ConfigError
from quebert.operations._access import publish_confirmed
from quebert.operations._browsing import go_through, letter_of
from quebert.operations._dead_letter import DeadLetter
from quebert.operations._progress import Progress
from quebert.operations._refusals import noted
from quebert.operations._why_values import OnLadder
from quebert.policy import ATTEMPTS

__all__ = ["FEW", "FEWEST", "MOST", "TaskSearch"]

#: Tasks of the ladder that are looked at.
MOST = 2_000
#: Messages of a queue without consumers, and of one with some.
FEW = 1_000
FEWEST = 100
# Queues whose mediators are asked at a time.
_AT_ONCE = 4


@attrs.define(eq=False)
class TaskSearch:
    """
    Looks for one task.

    @ivar only: the queue that it is of, if that is known.
    @ivar queue: where it was found.
    @ivar url: that it has, if anybody told.
    @ivar held: by which mediators, and what they tell.
    @ivar present: the mediators of each queue that have answered.
    @ivar unseen_ready: how many messages of queues were not looked at.
    @ivar unseen: what could not be seen; sentences.
    """

    client: TxAMQPClient
    wire: Wire
    uuid: str
    queues: tuple[str, ...]
    only: str | None = None
    queue: str = ""
    url: str = ""
    held: list[tuple[str, HeldTask]] = attrs.field(factory=list)
    present: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    ladder: OnLadder | None = None
    position: int | None = None
    dead: tuple[str, str] | None = None
    unseen_ready: dict[str, int] = attrs.field(factory=dict)
    unseen: list[str] = attrs.field(factory=list)

    @property
    def found(self) -> bool:
        """
        Whether it was.
        """
        return bool(self.queue)

    async def run(self, most: int, *, is_over: bool) -> None:
        """
        Look wherever it may be, until it is found.

        @param most: tasks of the ladder that are looked at.
        @param is_over: whether it has ended, so that it is neither in its queue nor
            dead, unless it was added again.
        """
        await self._ask_all()
        if not self.found:
            with noted(self.unseen):
                await self._on_ladder(most)
        for each in self.queues:
            if not self.found:
                with noted(self.unseen):
                    await self._arrived(each)
            if not self.found and not is_over:
                with noted(self.unseen):
                    await self._in_queue(each)
            if not self.found and not is_over:
                with noted(self.unseen):
                    await self._among_dead(each)
        if not self.found:  # it may have come to a mediator meanwhile
            await self._ask_all()
        if not self.queues:
            self.unseen.append("no queue is known, and none was looked at: name one")

    # -- Mediators

    async def _ask_all(self) -> None:
        await all_of((self._ask(each) for each in self.queues), _AT_ONCE)

    async def _ask(self, queue: str) -> None:
        question = Question(FIND, (self.uuid,))
        try:
            answers = await ask_mediators(self.wire, queue, question)
        except BrokerRefused as e:
            self.unseen.append(f"mediators cannot be asked: {e}")
            return
        self.present[queue] = tuple(each.mediator for each in answers.answers)
        for mediator, task in answers.of(self.uuid):
            self.queue = queue
            self.url = task.url or self.url
            self.held.append((mediator, task))
        if silent := _silent(answers, queue):
            self.unseen.append(silent)

    # -- Messages

    def _is_it(self, message: Message) -> bool:
        uuid, url = identity_of(message.body)
        if uuid != self.uuid:
            return False
        self.url = url or self.url
        return True

    async def _on_ladder(self, most: int) -> None:
        client = self.client
        publisher = client.make_publisher()
        search = LadderSearch(
            self.wire, client.ladder, publisher, client.now, most, client.spare
        )

        async def visit(message: Message) -> bool:
            if self.only in (None, message.routing_key) and self._is_it(message):
                self.queue = message.routing_key
                self.ladder = _on_ladder(message)
                search.stop()
            return False

        await search.through(visit)
        if search.unseen and not self.found:
            self.unseen.append(
                f"{search.unseen} of the {search.total} delayed and retried tasks of"
                " all queues were not looked at"
            )

    async def _arrived(self, queue: str) -> None:
        name = arrivals_of(queue)
        message, _ = await self._look(name, FEWEST)
        if message is not None:
            self.queue = queue
            self.ladder = attrs.evolve(_on_ladder(message), arrived=True)

    async def _in_queue(self, queue: str) -> None:
        found = await depth(self.wire, queue)
        if found is None:
            return
        most = FEWEST if found.consumers else FEW
        # What goes back was given back in good order: no mediator has ended with it.
        if 0 < found.ready <= most:
            await self.client.suspects.end_in_order(self.wire, queue)
        message, position = await self._look(queue, most)
        if message is not None:
            self.queue, self.position = queue, position

    async def _look(self, queue: str, most: int) -> tuple[Message | None, int]:
        """
        Look for it in a queue, all of whose messages stay as they are; gives how many
        are before it, too.
        """
        found = await depth(self.wire, queue)
        if found is None or not found.ready:
            return None, 0
        if found.ready > most:
            self.unseen_ready[queue] = found.ready
            self.unseen.append(
                f"the {found.ready} messages in {queue} were not looked at"
            )
            return None, 0
        client, its = self.client, list[Message]()
        publisher = client.make_publisher()

        async def replace(message: Message, properties: bytes) -> None:
            await publish_confirmed(client, publisher, queue, message.body, properties)

        async def visit(message: Message) -> bool:
            if self._is_it(message):
                its.append(message)
            return False

        async with browse(self.wire, queue, found.ready, replace) as browsing:
            await browsing.through(visit)
        if not its:
            return None, 0
        return its[0], its[0].delivery_tag - 1

    async def _among_dead(self, queue: str) -> None:
        found = await depth(self.wire, dead_letters_of(queue))
        if found is None or not found.ready:
            return
        if found.ready > FEW:
            self.unseen.append(f"the {found.ready} dead of {queue} were not looked at")
            return

        async def visit(message: Message, browsing: Browsing) -> bool:
            if self._is_it(message) and self.dead is None:
                letter: DeadLetter = letter_of(message)
                self.queue = queue
                self.dead = letter.kind, letter.reason
                browsing.stop()
            return False

        with suppress(ConfigError):  # it is gone
            await go_through(self.client, self.wire, queue, Progress(), visit)


def _on_ladder(message: Message) -> OnLadder:
    tried = message.number_in(ATTEMPTS) > 0 or message.number_in(ERRORS) > 0
    not_before = message.number_in(NOT_BEFORE)
    return OnLadder(due=not_before or None, tried=tried)


def _silent(answers: Answers, queue: str) -> str:
    if answers.silent is None:
        return f"nobody knows whether all mediators of {queue} have answered"
    if answers.silent:
        return (
            f"{answers.silent} consumers of {queue} have not answered: they are older"
            " versions, or no mediators, or cut off"
        )
    return ""
