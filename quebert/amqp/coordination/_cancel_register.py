"""
The register of a queue's cancelled tasks, which the broker keeps: the durable queue
C{quebert.cancelled.v2:<queue>} (L{quebert.amqp.coordination._appended}).

Theory of operation.  Why does no mediator begin an attempt at a task of which a user
was told that it is cancelled?  Whoever cancels a task (W) appends to the register and
waits for the confirm, then (Q) publishes a question to all mediators, and then waits
for the answers of as many consumers as the broker counts after Q.  A mediator (B) binds
its queue for questions, then (R) reads the register, and then consumes; it does all of
that anew with each connection.

  - If B came before Q, the mediator hears Q.  It answers when it knows the task.  Until
    then whoever cancels waits.  If it does not answer, since it hangs or is cut off,
    the user is told so.
  - If Q came before B, the confirm of W came before R, and R finds it: the reader has
    all that was confirmed (L{quebert.amqp.coordination._appended}).
  - A mediator that is killed has forgotten what it heard, and begins with B.
  - RabbitMQ may be killed: W is on its disk.  If the queue was made for W, that is
    true only a moment later (L{NewQueues<quebert.amqp.queues.NewQueues>}), and whoever
    cancels waits for that.
  - A register that is written anew lacks only what is forgotten, and mediators forget
    that, too.

What is forgotten.  Each entry tells for how long it is kept: L{REMEMBERED} seconds,
which count from when the task is due if that is known.  If a mediator drops the task,
it appends the same entry with a shorter time (L{REMEMBERED_AFTER_MET
<quebert.amqp.coordination._cancellation.REMEMBERED_AFTER_MET>}).  A second copy of the
task may exist, if a mediator was killed between the confirm of the copy and the
acknowledgement of the original: then the original comes back, marked as redelivered.
So a mediator that meets a redelivered message does not shorten the time.  If another
copy is made of the original, it waits as the first one does, and comes within that
time.

An entry may tell up to when its task was sent.  A message with a later C{timestamp} is
another task that was given the same uuid.

The version before kept the queue C{quebert.cancelled.<queue>}, with
C{quebert.cancelling.<queue>} as its lock (L{quebert.amqp.coordination._register}).
That one is read, too, and nothing is added to it: RabbitMQ deletes it 31 days later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from quebert.amqp.coordination._appended import Appended, RegisterReading
from quebert.amqp.coordination._cancellation import (
    REMEMBERED,
    Cancellation,
    Merged,
    from_plain,
    to_plain,
)
from quebert.amqp.coordination._register import Publish, Register
from quebert.amqp.queues import derived
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = [
    "MANY",
    "add_cancelled",
    "lock_of",
    "old_register_of",
    "read_cancelled",
    "register_of",
]

_PREFIX = "quebert.cancelled.v2:"
_OLD_PREFIX = "quebert.cancelled."
_LOCK = "quebert.cancelling."
#: Whoever reads more messages than that replaces them by fewer.
MANY = 200
# Entries of a message that replaces others, and entries that are not kept any more for
# which a register is written anew.
_IN_ONE = 2_000
_FORGOTTEN = 1_000


def register_of(queue: str) -> str:
    """
    The queue that keeps the cancelled tasks of C{queue}.
    """
    return derived(_PREFIX, queue)


def old_register_of(queue: str) -> str:
    """
    The queue in which the version before kept them.
    """
    return derived(_OLD_PREFIX, queue)


def lock_of(queue: str) -> str:
    """
    The queue that a program has for itself while it reads the old register.
    """
    return derived(_LOCK, queue)


async def read_cancelled(
    wire: Wire, queue: str, now: float, publish: Publish
) -> list[Cancellation]:
    """
    The cancelled tasks of C{queue}.

    @param now: the time of day, in seconds since the epoch.
    @param publish: replaces messages of the register where that is needed; not over
        C{wire}, if that consumes, since RabbitMQ may read nothing more from a
        connection that publishes.
    @raise MayNotLook: the user lacks the permission to see it.
    @raise BrokerError: the broker does not tell.
    """
    found = await _read_old(wire, queue, now, publish)
    register = Appended(register_of(queue))
    if not await register.exists(wire):
        return found
    async with register.read(wire, to_plain(()), publish) as reading:
        while True:
            told = await _told(wire, reading)
            living = told.living(now)
            if reading.is_all:
                break
            # What replaces this part comes with the last one.
            await reading.replace(list(_bodies(living)))
            await reading.go_on()
        forgotten = told.count - len(living)
        if (
            len(reading.messages) > MANY
            or reading.came_back
            or forgotten > _FORGOTTEN + len(living)
        ):
            with suppress(BrokerError):  # it is read again, and may be replaced then
                await reading.replace(list(_bodies(living)))
    return [*found, *living]


async def _told(wire: Wire, reading: RegisterReading) -> Merged:
    """
    What all messages tell that are here when this returns.
    """
    told = Merged()
    for each in reading.messages:  # some may come meanwhile, which are replaced, too
        told.add(from_plain(each.body))
        await deferLater(wire.clock, 0)  # others have their turn
    return told


def _bodies(some: Iterable[Cancellation]) -> Iterator[bytes]:
    """
    The bodies of messages that tell of these: one at least.
    """
    rest = iter(some)
    first = True
    while (part := list(islice(rest, _IN_ONE))) or first:
        yield to_plain(part)
        first = False


async def _read_old(
    wire: Wire, queue: str, now: float, publish: Publish
) -> list[Cancellation]:
    # A day later nothing in it is wanted any more.
    register = Register(old_register_of(queue), lock_of(queue), REMEMBERED + 86_400)
    if not await register.exists(wire):
        return []
    async with register.held(wire) as held:
        told = (each for body in held.bodies for each in from_plain(body))
        living = Merged(told).living(now)
        await held.renew(to_plain(living), publish)
        return living


async def add_cancelled(
    wire: Wire, queue: str, added: Iterable[Cancellation], publish: Publish
) -> bool:
    """
    Add to the cancelled tasks of C{queue}; returns when the broker has confirmed it.

    @return: whether the register was made for that.
    @raise BrokerError: nobody knows whether they are added.
    """
    return await Appended(register_of(queue)).append(wire, to_plain(added), publish)
