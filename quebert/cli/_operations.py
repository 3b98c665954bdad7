"""
What a person does to queues while tasks go through them: the work of C{quebert
dead}, C{pause}, C{resume}, C{purge} and C{status}.  Knows no command line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater

from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.coordination import is_paused, set_paused
from quebert.amqp.delays import UNCLAIMED, arrivals_of
from quebert.amqp.link import Publisher
from quebert.amqp.queues import (
    Browsing,
    browse,
    count_lookers,
    dead_letters_of,
    depth,
    fingerprint,
    looking,
    no_single_tasks,
)
from quebert.amqp.wire import Wire, temporary_channel
from quebert.cli._dead import DeadLetter, Listing, Match, matched
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ConfigError,
)

__all__ = [
    "BrokerAccess",
    "Progress",
    "Status",
    "discard",
    "held_by_others",
    "look_up",
    "pause",
    "purge",
    "redrive",
    "resume",
    "status",
    "take_stock",
]

#: Seconds in which there must be a broker.
CONNECT_TIMEOUT = 5.0
#: Seconds in which it must take a message.
PATIENCE = 60.0
#: Seconds in which whoever watches a queue must have let it rest.
REST = 5.0
# Seconds between looks.
_STEP = 0.2
# A reply code (AMQP 0-9-1, section 1.1): streams have no basic.get, nor queue.purge.
_NOT_IMPLEMENTED = 540


@attrs.frozen
class BrokerAccess:
    """
    The broker with the queues that are meant.
    """

    reactor: Any
    url: str

    @asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[TxAMQPClient, Wire]]:
        """
        A client of it, connected.

        @raise QuebertError: there is no such broker, or it does not let us in.
        """
        client = TxAMQPClient.from_url(
            self.url, reactor=self.reactor, connectTimeout=CONNECT_TIMEOUT
        )
        try:
            yield client, await client.connected(CONNECT_TIMEOUT)
        finally:
            await client.stop(0)


# -- The dead


@attrs.define
class Progress:
    """
    How far it has come.

    @ivar total: how many messages there were in the beginning.
    @ivar seen: how many of them were looked at.
    @ivar done: how many of those have left.
    @ivar missing: how many were not there any more that a person was asked about.
    @ivar others: not 0 if others may hold messages of it, which are not counted.
    @ivar ended: whether it has gone through all that it could.
    @ivar watch: called with it at every step.
    """

    total: int = 0
    seen: int = 0
    done: int = 0
    missing: int = 0
    others: int = 0
    ended: bool = False
    watch: Callable[[Progress], object] = lambda progress: None

    @property
    def stay(self) -> int:
        """
        How many were looked at and are there still.
        """
        return self.seen - self.done


def _letter(message: Message) -> DeadLetter:
    try:
        return DeadLetter(message.properties, message.body)
    except ValueError:  # of a type that nobody knows
        return DeadLetter({}, message.body)


async def _go_through(
    client: TxAMQPClient,
    wire: Wire,
    queue: str,
    progress: Progress,
    visit: Callable[[Message, Browsing], Any],
) -> None:
    """
    Browse the dead letters of C{queue} that are there now.
    """
    dead = dead_letters_of(queue)
    found = await depth(wire, dead)
    if found is None:
        if await depth(wire, queue) is None:
            raise ConfigError(f"there is no queue {queue!r}, nor {dead!r}")
        progress.ended = True
        return
    publisher = client.make_publisher()

    async def replace(message: Message, properties: bytes) -> None:
        try:
            await _publish(client, publisher, dead, message.body, properties)
        except BrokerError as e:
            raise BrokerError(
                f"{dead} counts how often a message comes back, and drops those that"
                f" come back too often; the broker takes no copy in its place: {e}"
            ) from e

    async with looking(wire, dead) as count_others:
        before = await count_others()
        found = await depth(wire, dead)
        progress.others = max(before, await count_others())
        progress.total = found.ready if found is not None else 0
        # One step at least, since a stream may say that it holds nothing.
        async with browse(wire, dead, max(1, progress.total), replace) as browsing:

            async def look(message: Message) -> bool:
                leaves: bool = await visit(message, browsing)
                progress.seen += 1
                progress.done += leaves
                progress.watch(progress)
                return leaves

            with _no_stream(dead):
                await browsing.through(look)
    progress.ended = True


@contextmanager
def _no_stream(queue: str) -> Iterator[None]:
    """
    Say what to do where RabbitMQ refuses something of C{queue} since it is a stream.
    """
    try:
        yield
    except BrokerRefused as e:
        if e.code != _NOT_IMPLEMENTED:
            raise
        raise BrokerError(no_single_tasks(queue, e)) from e


async def take_stock(
    broker: BrokerAccess, queue: str, matches: Sequence[Match], first: int
) -> tuple[Listing, Progress]:
    """
    What is dead of C{queue}.

    @raise QuebertError: the broker does not let us see.
    """
    listing, progress = Listing(first), Progress()

    async def visit(message: Message, _: Browsing) -> bool:
        letter = _letter(message)
        if matched(matches, letter):
            listing.add(letter)
        return False

    async with broker.client() as (client, wire):
        await _go_through(client, wire, queue, progress, visit)
    return listing, progress


async def look_up(
    broker: BrokerAccess, queue: str, matches: Sequence[Match], progress: Progress
) -> DeadLetter | None:
    """
    The first of the dead of C{queue} that matches.
    """
    found: list[DeadLetter] = []

    async def visit(message: Message, browsing: Browsing) -> bool:
        letter = _letter(message)
        if matched(matches, letter):
            found.append(letter)
            browsing.stop()
        return False

    async with broker.client() as (client, wire):
        await _go_through(client, wire, queue, progress, visit)
    return found[0] if found else None


async def redrive(
    broker: BrokerAccess, queue: str, matches: Sequence[Match], progress: Progress
) -> None:
    """
    Put what is dead, and matches, back into C{queue}, where it begins anew.  Each
    leaves the dead once the broker has confirmed that it is there.  Nobody tells how
    old the queue is, so this begins after some seconds
    (L{NewQueues<quebert.amqp.queues.NewQueues>}).

    @raise QuebertError: the broker does not do it, or not all of it.
    """
    async with broker.client() as (client, wire):
        publisher, new_queues = client.make_publisher(), client.ladder.new_queues
        new_queues.found(wire, queue, None)

        async def visit(message: Message, _: Browsing) -> bool:
            letter = _letter(message)
            if not matched(matches, letter):
                return False
            publish = partial(_put_back, client, publisher, queue, message, letter)
            await new_queues.publish(wire, queue, publish)
            return True

        await _go_through(client, wire, queue, progress, visit)


async def _put_back(
    client: TxAMQPClient,
    publisher: Publisher,
    queue: str,
    message: Message,
    letter: DeadLetter,
) -> None:
    amended = message.amended_properties(
        errors=0,
        not_before=None,
        delayed=False,
        headers=dict.fromkeys(letter.history),
    )
    properties = amended or message.encoded_properties
    await _publish(client, publisher, queue, letter.anew, properties)


async def _publish(
    client: TxAMQPClient,
    publisher: Publisher,
    queue: str,
    body: bytes,
    properties: bytes,
) -> None:
    """
    Publish to C{queue}; returns when the broker has confirmed it.

    @raise BrokerError: the broker does not take it, or not in L{PATIENCE} seconds.
    """
    publishing = publisher.publish("", queue, body, properties)
    confirmed = Deferred.fromCoroutine(publishing)
    try:
        await confirmed.addTimeout(PATIENCE, client.reactor)
    except TimeoutError:
        why = client.blocked or "it confirmed nothing"
        raise BrokerError(
            f"the broker takes no messages for {PATIENCE:.0f} s: {why}"
        ) from None


async def discard(
    broker: BrokerAccess,
    queue: str,
    matches: Sequence[Match],
    progress: Progress,
    sure: Callable[[int], bool] | None,
) -> bool:
    """
    Drop what is dead, and matches, for ever; of those a person was asked about, no
    others.

    @param sure: asked, with how many that would be; C{None} where nobody is.
    @return: whether there were any, and it was.
    @raise QuebertError: the broker does not do it, or not all of it.
    """
    shown: Counter[bytes] | None = None
    if sure is not None:
        looked = Progress()
        shown = await _fingerprints(broker, queue, matches, looked)
        progress.others = looked.others
        if not shown:
            progress.total, progress.seen = looked.total, looked.seen
            return False
        # Nothing is held while a person thinks.
        if not sure(shown.total()):
            return False

    async def visit(message: Message, _: Browsing) -> bool:
        if not matched(matches, _letter(message)):
            return False
        if shown is not None:
            which = fingerprint(message)
            if not shown[which]:
                return False
            shown[which] -= 1
        return True

    async with broker.client() as (client, wire):
        await _go_through(client, wire, queue, progress, visit)
    progress.missing = shown.total() if shown is not None else 0
    return True


async def _fingerprints(
    broker: BrokerAccess, queue: str, matches: Sequence[Match], progress: Progress
) -> Counter[bytes]:
    """
    What is dead of C{queue}, and matches.
    """
    found: Counter[bytes] = Counter()

    async def visit(message: Message, _: Browsing) -> bool:
        if matched(matches, _letter(message)):
            found[fingerprint(message)] += 1
        return False

    async with broker.client() as (client, wire):
        await _go_through(client, wire, queue, progress, visit)
    return found


# -- The living


@attrs.frozen
class Status:
    """
    A queue at a moment.  What the user may not see is C{None}.

    @ivar ready: messages that wait; C{None} also where there is no such queue.
    @ivar consumers: who takes them; 0 where there is no such queue.
    @ivar dead: messages that were given up; C{None} also where nobody asked.
    @ivar arrived: delayed messages that are due, and that the queue has not taken.
    @ivar unclaimed: delayed messages of any queue that was not there when they were
        due.
    @ivar problems: what could not be seen or done, and why; sentences.
    """

    ready: int | None
    consumers: int | None
    paused: bool | None
    dead: int | None = None
    problems: tuple[str, ...] = ()
    arrived: int = 0
    unclaimed: int = 0


async def _living(wire: Wire, queue: str) -> Status:
    """
    How C{queue} is, but for what is dead.
    """
    ready = consumers = paused = None
    problems: list[str] = []
    with _noted(problems):
        found = await depth(wire, queue)
        ready, consumers = (found.ready, found.consumers) if found else (None, 0)
    with _noted(problems):
        paused = await is_paused(wire, queue)
    return Status(ready, consumers, paused, None, tuple(problems))


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """
    Go on where RabbitMQ refuses to show something: the user lacks a permission, or
    another connection has the queue for itself.
    """
    try:
        yield
    except BrokerRefused as e:
        problems.append(f"not all can be seen: {e}")


async def status(broker: BrokerAccess, queue: str) -> Status:
    """
    How C{queue} is.
    """
    dead = None
    arrived = unclaimed = 0
    async with broker.client() as (client, wire):
        living = await _living(wire, queue)
        problems = [*living.problems]
        with _noted(problems):
            dead = await _dead(wire, dead_letters_of(queue), problems)
        with _noted(problems):
            arrived = await _ready(wire, arrivals_of(queue))
            for store in (UNCLAIMED, *await client.old_ladder.stores(wire)):
                unclaimed += await _ready(wire, store)
    return attrs.evolve(
        living,
        dead=dead,
        problems=tuple(problems),
        arrived=arrived,
        unclaimed=unclaimed,
    )


async def _ready(wire: Wire, queue: str) -> int:
    found = await depth(wire, queue)
    return found.ready if found else 0


async def _dead(wire: Wire, dead: str, problems: list[str]) -> int | None:
    before = await count_lookers(wire, dead)
    found = await depth(wire, dead)
    if found is None:
        return 0
    if not before and not await count_lookers(wire, dead):
        return found.ready
    problems.append(held_by_others(dead))
    return None


def held_by_others(dead: str) -> str:
    """
    What to say where the dead letters in C{dead} cannot be counted.
    """
    return (
        f"not all dead letters can be seen: somebody else looks through {dead}, or"
        " consumes from it, and may hold them"
    )


async def pause(broker: BrokerAccess, queue: str) -> Status:
    """
    Pause C{queue}; tells how it is when nobody consumes it any more, or in
    L{REST} seconds, or when somebody has resumed it.

    @raise QuebertError: it is not paused.
    """
    async with broker.client() as (_, wire):
        problems = await _set_paused(wire, queue, True)
        if wire.blocked is None:
            now = await _at_rest(broker, wire, queue)
            return attrs.evolve(now, problems=(*problems, *now.problems))
    # RabbitMQ is short of memory, and reads no more from a connection that publishes.
    async with broker.client() as (_, wire):
        now = await _at_rest(broker, wire, queue)
        return attrs.evolve(now, problems=(*problems, *now.problems))


async def _at_rest(broker: BrokerAccess, wire: Wire, queue: str) -> Status:
    clock = broker.reactor
    end = clock.seconds() + REST
    while True:
        late = clock.seconds() >= end
        now = await _living(wire, queue)
        if late or not now.consumers or now.paused is False:
            return now
        await deferLater(clock, _STEP)


async def resume(broker: BrokerAccess, queue: str) -> Status:
    """
    Have C{queue} go on; tells how it was before.

    @raise QuebertError: its pause is not over.
    """
    async with broker.client() as (_, wire):
        before = await _living(wire, queue)
        problems = await _set_paused(wire, queue, False)
        return attrs.evolve(before, problems=(*problems, *before.problems))


async def _set_paused(wire: Wire, queue: str, paused: bool) -> tuple[str, ...]:
    """
    Pause C{queue}, or resume it, and tell its mediators; gives the problem with the
    latter, if there is one.
    """
    why = await set_paused(wire, queue, paused)
    late = "mediators are not told, and may notice only when they connect again"
    return () if why is None else (f"{late}: {why}",)


async def purge(
    broker: BrokerAccess,
    queue: str,
    progress: Progress,
    sure: Callable[[Status], bool] | None,
) -> bool:
    """
    Drop what waits in C{queue}: all of it, or as many messages, from the oldest on, as
    a person was told.

    @param progress: is told how many those were, also where that fails half-way.
    @param sure: asked, with how the queue is; C{None} where nobody is.
    @return: whether it was.
    @raise QuebertError: the broker does not let us, or has no such queue.
    """
    async with broker.client() as (_, wire):
        now = await _living(wire, queue)
    if now.ready is None and now.consumers is not None:
        raise ConfigError(f"there is no queue {queue!r}")
    if sure is not None and not sure(now):
        return False
    async with broker.client() as (_, wire):
        if sure is None or now.ready is None:  # nobody knows of a number
            with _no_stream(queue):
                async with temporary_channel(wire) as channel:
                    purged = await channel.call("queue_purge", queue=queue)
            progress.total = progress.seen = progress.done = purged.message_count
        else:
            await _take(wire, queue, now.ready, progress)
    progress.ended = True
    return True


async def _take(wire: Wire, queue: str, most: int, progress: Progress) -> None:
    """
    Drop so many messages of C{queue}, one by one.
    """
    progress.total = most

    async def visit(message: Message) -> bool:
        progress.seen += 1
        progress.done += 1
        progress.watch(progress)
        return True

    async def replace(message: Message, properties: bytes) -> None:
        raise AssertionError("no message stays")

    async with browse(wire, queue, most, replace) as browsing:
        with _no_stream(queue):
            await browsing.through(visit)
