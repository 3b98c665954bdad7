"""
What is done to the dead letters of a queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import attrs

from quebert._log import Logger
from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.link import Publisher
from quebert.amqp.queues import Browsing, fingerprint
from quebert.amqp.wire import amended_properties
from quebert.errors import BrokerError
from quebert.operations._access import BrokerAccess, publish_confirmed
from quebert.operations._browsing import go_through, letter_of
from quebert.operations._dead_letter import DeadLetter
from quebert.operations._matching import Match, matched
from quebert.operations._progress import Progress
from quebert.operations._taking import Taking
from quebert.outcome import Discard

__all__ = ["browse", "discard", "find", "redrive"]

_DISCARDED = Discard("it was discarded as a dead letter")


async def browse(
    broker: BrokerAccess,
    queue: str,
    matches: Sequence[Match],
    see: Callable[[DeadLetter], object],
    progress: Progress | None = None,
) -> Progress:
    """
    Look through what is dead of C{queue}.  It lies there afterwards as it did.

    @param matches: all of them must match; without any, each dead letter does.
    @param see: called with each dead letter that matches, from the oldest on.
    @param progress: is told how many were looked at, whether they match or not, and
        whether others may hold some.
    @return: C{progress}, or one of its own.
    @raise ConfigError: there is no such queue, nor dead letters of it, or the URL is no
        AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it does not let us see,
        or the connection is lost.
    """
    progress = Progress() if progress is None else progress

    async def visit(message: Message, _: Browsing) -> bool:
        letter = letter_of(message)
        if matched(matches, letter):
            see(letter)
        return False

    async with broker.client() as (client, wire):
        await go_through(client, wire, queue, progress, visit)
    return progress


async def find(
    broker: BrokerAccess,
    queue: str,
    matches: Sequence[Match],
    progress: Progress | None = None,
) -> DeadLetter | None:
    """
    The first of the dead of C{queue} that matches.

    @param matches: all of them must match; without any, each dead letter does.
    @param progress: is told how many were looked at, and whether others may hold some.
    @return: C{None} if there is none.
    @raise ConfigError: there is no such queue, nor dead letters of it, or the URL is no
        AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it does not let us see,
        or the connection is lost.
    """
    progress = Progress() if progress is None else progress
    found: list[DeadLetter] = []

    async def visit(message: Message, browsing: Browsing) -> bool:
        letter = letter_of(message)
        if matched(matches, letter):
            found.append(letter)
            browsing.stop()
        return False

    async with broker.client() as (client, wire):
        await go_through(client, wire, queue, progress, visit)
    return found[0] if found else None


async def redrive(
    broker: BrokerAccess,
    queue: str,
    matches: Sequence[Match],
    progress: Progress | None = None,
) -> Progress:
    """
    Put what is dead, and matches, back into C{queue}, where it begins anew.  Each
    leaves the dead once the broker has confirmed that it is there.  Nobody tells how
    old the queue is, so this begins after some seconds
    (L{NewQueues<quebert.amqp.queues.NewQueues>}).  If it is cancelled or fails, it can
    be called again for the rest: nothing is lost, and up to 24 tasks may be done twice.

    @param matches: all of them must match; without any, each dead letter does.
    @param progress: is told how many were looked at, and how many are back, also where
        it fails half-way.
    @return: C{progress}, or one of its own.
    @raise ConfigError: there is no such queue, nor dead letters of it, or the URL is no
        AMQP URL.
    @raise BrokerError: the broker does not do it, or not all of it: there is none in
        five seconds, or it does not let us, or it takes no message for a minute, or the
        connection is lost.
    """
    progress = Progress() if progress is None else progress
    async with broker.client() as (client, wire):
        publisher, new_queues = client.make_publisher(), client.ladder.new_queues
        new_queues.found(wire, queue, None)

        async def visit(message: Message, _: Browsing) -> bool:
            letter = letter_of(message)
            if not matched(matches, letter):
                return False
            publish = partial(_put_back, client, publisher, queue, message, letter)
            await new_queues.publish(wire, queue, publish)
            return True

        await go_through(client, wire, queue, progress, visit)
    return progress


async def _put_back(
    client: TxAMQPClient,
    publisher: Publisher,
    queue: str,
    message: Message,
    letter: DeadLetter,
) -> None:
    amended = amended_properties(
        message,
        errors=0,
        not_before=None,
        delayed=False,
        headers=dict.fromkeys(letter.history),
    )
    properties = amended or message.encoded_properties
    await publish_confirmed(client, publisher, queue, letter.redriven_body, properties)


async def discard(
    broker: BrokerAccess,
    queue: str,
    matches: Sequence[Match],
    progress: Progress | None = None,
    sure: Callable[[int], bool] | None = None,
) -> bool:
    """
    Drop dead letters that match, for ever.  With C{sure}: only those that were counted
    for it.

    @param matches: all of them must match; without any, each dead letter does.
    @param progress: is told how many were looked at, and how many have gone, also where
        it fails half-way.
    @param sure: called with the number of dead letters that match, if there are any; if
        it says no, nothing is dropped.
    @return: with C{sure}, whether there was anything to drop, and it agreed; else
        C{True}.
    @raise ConfigError: there is no such queue, nor dead letters of it, or the URL is no
        AMQP URL.
    @raise BrokerError: the broker does not do it, or not all of it: there is none in
        five seconds, or it does not let us, or the connection is lost.
    """
    progress = Progress() if progress is None else progress
    shown: Counter[bytes] | None = None
    if sure is not None:
        looked = Progress()
        shown = await _fingerprints(broker, queue, matches, looked)
        progress.others = looked.others
        if not shown:
            progress.total, progress.seen = looked.total, looked.seen
            progress.ended = looked.ended
            return False
        # Nothing is held while a person thinks.
        if not sure(shown.total()):
            return False

    async def visit(message: Message, _: Browsing) -> bool:
        letter = letter_of(message)
        if not matched(matches, letter):
            return False
        if shown is not None:
            which = fingerprint(message)
            if not shown[which]:
                return False
            shown[which] -= 1
        if not letter.kind:  # no mediator has told its end
            await ends.note(message)
        return True

    async with broker.client() as (client, wire):
        ends = _Ends(Taking(client, wire, queue))
        await go_through(client, wire, queue, progress, visit)
    progress.missing = shown.total() if shown is not None else 0
    return True


@attrs.define
class _Ends:
    """
    Notes the ends of dead letters that RabbitMQ itself has made, as long as that can be
    done: whoever is to read the notes may be gone for ever.  The rows of the others end
    by time (C{created_tasks/_unended}).
    """

    log = Logger()

    _taking: Taking
    _fails: bool = False

    async def note(self, message: Message) -> None:
        """
        Note one, before it leaves.

        @raise BrokerError: the connection is lost, so that it cannot leave.
        """
        if self._fails:
            return
        try:
            await self._taking.note_ends([message], _DISCARDED)
        except BrokerError as e:
            if self._taking.wire.closed:
                raise
            self._fails = True
            text = "The ends of dead letters that are discarded cannot be noted: {why}"
            self.log.warn(text, why=e)


async def _fingerprints(
    broker: BrokerAccess, queue: str, matches: Sequence[Match], progress: Progress
) -> Counter[bytes]:
    """
    Count the dead letters of C{queue} that match, by their fingerprints.
    """
    found: Counter[bytes] = Counter()

    async def visit(message: Message, _: Browsing) -> bool:
        if matched(matches, letter_of(message)):
            found[fingerprint(message)] += 1
        return False

    async with broker.client() as (client, wire):
        await go_through(client, wire, queue, progress, visit)
    return found
