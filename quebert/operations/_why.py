"""
Why one task waits: what mediators, the broker and the history tell of it.

Theory of operation.  It is looked for where it may be, in the order in which a task
goes: the mediators of its queue are asked; then the delay ladder is looked through, and
where delayed tasks arrive; then its queue and its dead letters, unless there are too
many.  A task that moves meanwhile is found on its way, or not at all, which a second
look would mend; so there is one, if it was not found and something is on its way.

Looking changes nothing, but for this: what was looked at comes C{redelivered}, and
messages of a rung with many tasks are put into another one, for the rest of their waits
(L{LadderSearch<quebert.amqp.delays.LadderSearch>}).  So no more are looked at than
L{MOST} on the ladder, L{FEW} in a queue that nobody consumes, and L{FEWEST} in one that
somebody does, and what was not looked at is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import attrs

from quebert._lanes import all_of
from quebert._url import absolute, origin_of
from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.coordination import FIND, Answers, Question, ask_mediators
from quebert.amqp.delays import LadderSearch, arrivals_of
from quebert.amqp.queues import Browsing, browse, dead_letters_of, depth
from quebert.amqp.watch import HeldTask, identity_of
from quebert.amqp.wire import ERRORS, NOT_BEFORE, Wire
from quebert.errors import BrokerRefused, ConfigError, NoDefaultURL
from quebert.events import AttemptRecord
from quebert.operations._access import BrokerAccess, publish_confirmed
from quebert.operations._browsing import go_through, letter_of
from quebert.operations._dead_letter import DeadLetter
from quebert.operations._live_values import Live, LiveMediator
from quebert.operations._overview import overview
from quebert.operations._progress import Progress
from quebert.operations._reasons import Facts, OnLadder, Why, reasons_of
from quebert.operations._refusals import noted
from quebert.operations._status import Status
from quebert.policy import ATTEMPTS

__all__ = ["FEW", "FEWEST", "MOST", "why"]

#: Tasks of the ladder that are looked at.
MOST = 2_000
#: Messages of a queue without consumers, and of one with some.
FEW = 1_000
FEWEST = 100
# Queues that a task is looked for in, where nobody says which it is of.
_QUEUES = 50
# Of these at a time.
_AT_ONCE = 4
_LONGEST = 255


async def why(
    broker: BrokerAccess,
    uuid: str,
    queue: str | None = None,
    *,
    seen: Live | None = None,
    attempts: Sequence[AttemptRecord] = (),
    most: int = MOST,
) -> Why:
    """
    Why a task waits, or what has become of it.

    @param queue: that it is of; C{None} where nobody knows: then the queues of its
        attempts, and those in C{seen}, are looked at.
    @param seen: what mediators told last (L{live<quebert.operations.live>}); without
        it, limits and breakers are unknown.
    @param attempts: those at the task, as the history tells, the oldest first.
    @param most: tasks of the delay ladder that are looked at.
    @raise ConfigError: the uuid cannot be one, or the URL is no AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it refuses the login, or
        the connection is lost.
    """
    if not 0 < len(uuid) <= _LONGEST:
        raise ConfigError(f"a uuid has 1 to {_LONGEST} characters")
    seen = seen or Live(at=0.0)
    queues = tuple(_queues(queue, seen, attempts))
    async with broker.client() as (client, wire):
        search = _Search(client, wire, uuid, queues, only=queue)
        await search.run(most, is_over=_is_over(attempts))
        chosen = search.queue or (queues[0] if len(queues) == 1 else "")
        status = None
        if chosen:
            status = (await overview(broker, [chosen])).queues[chosen]
        facts = _facts(search, chosen, seen, attempts, status, client.now())
    unseen = dict.fromkeys(search.unseen)
    return Why(
        uuid=uuid,
        queue=chosen,
        reasons=reasons_of(facts),
        unseen=() if search.found else tuple(unseen),
    )


def _queues(
    queue: str | None, seen: Live, attempts: Sequence[AttemptRecord]
) -> Iterator[str]:
    if queue is not None:
        yield queue
        return
    known = [*(each.queue for each in reversed(attempts))]
    known += [each.name for each in seen.queues]
    yield from [*dict.fromkeys(known)][:_QUEUES]


def _is_over(attempts: Sequence[AttemptRecord]) -> bool:
    ends = ("done", "expired", "discarded", "cancelled")
    return bool(attempts) and attempts[-1].outcome in ends


def _facts(
    search: _Search,
    queue: str,
    seen: Live,
    attempts: Sequence[AttemptRecord],
    status: Status | None,
    now: float,
) -> Facts:
    last = attempts[-1] if attempts else None
    watching = [each for each in seen.mediators if not each.lost]
    url = search.url or (last.url if last is not None else "")
    origin = _origin(url, queue, watching)
    watches = {m.name: m.queues[queue] for m in watching if queue in m.queues}
    shared = [
        watch
        for each in watching
        if queue in each.queues and each.queues[queue].priority
        for name, watch in each.queues.items()
        if name != queue and watch.priority
    ]
    return Facts(
        uuid=search.uuid,
        queue=queue,
        now=now,
        status=status,
        held=tuple(search.held),
        ladder=search.ladder,
        position=search.position,
        unseen_ready=search.unseen_ready.get(queue, 0),
        dead=search.dead,
        last=last,
        watches=watches,
        others=sum(each.in_flight for each in shared),
        host=next((each for each in seen.hosts if each.origin == origin), None),
        rate_out=next((e.rate_out for e in seen.queues if e.name == queue), None),
    )


def _origin(url: str, queue: str, watching: Sequence[LiveMediator]) -> str:
    """
    The origin of a URL, which mediators may complete.
    """
    for each in watching if url else ():
        told = each.settings
        default = told.get(f"queues.{queue}.default_url") or told.get("default_url", "")
        with suppress(ValueError, NoDefaultURL):
            return origin_of(absolute(url, default)[0])
    return origin_of(url)


@attrs.define(eq=False)
class _Search:
    """
    Looks for one task.

    @ivar only: the queue that it is of, if that is known.
    @ivar queue: where it was found.
    @ivar url: that it has, if anybody told.
    @ivar held: by which mediators, and what they tell.
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
