"""
The queues of tasks, and of dead letters: how they were declared, and how they are now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quebert._protocol.extensions import (
    DEAD_LETTER_EXCHANGE,
    DELIVERY_LIMIT,
    QUEUE_TYPE,
)
from quebert.amqp.coordination import is_paused
from quebert.amqp.queues import (
    LENGTHS,
    STREAM,
    Declared,
    Depth,
    dead_letters_of,
    declare_task_queue,
    declared,
    depth,
    losses,
)
from quebert.amqp.wire import temporary_channel, version_of
from quebert.config import QueueSettings
from quebert.doctor._dead import check_dead_policies
from quebert.doctor._findings import Finding, fail, ok, unknown, warn
from quebert.doctor._subject import Subject
from quebert.errors import BrokerRefused, ReplyCode

__all__ = ["check_queue", "dropped", "limited"]

_ANEW = "mediators make it anew"


async def check_queue(subject: Subject, queue: QueueSettings) -> list[Finding]:
    """
    A queue of tasks, and its queue of dead letters.

    @raise BrokerRefused: we may not look.
    """
    name, dead = queue.name, dead_letters_of(queue.name)
    found = [
        *await _check_exchange(subject, queue),
        *await _check_tasks(subject, queue, await depth(subject.wire, name)),
        *await _check_dead(subject, queue, await depth(subject.wire, dead)),
    ]
    if found:
        return found
    return [ok(f"queue {name}", "it is declared and consumed as configured")]


async def _check_exchange(subject: Subject, queue: QueueSettings) -> list[Finding]:
    """
    Whether the exchange is as the mediator declares it.
    """
    if not queue.exchange:
        return []  # the default exchange, which is always there
    name = {"exchange": queue.exchange, "exchange_type": queue.exchange_type}
    for how in ({"passive": True}, {"durable": True}):
        refused = await subject.refusal("exchange_declare", **name, **how)
        if refused is not None and refused.code == ReplyCode.NOT_FOUND:
            return []  # the first mediator declares it
        if refused is not None and refused.code == ReplyCode.PRECONDITION_FAILED:
            about = f"exchange {queue.exchange}"
            remedy = "mend exchange_type in the configuration, or delete the exchange"
            return [fail(about, f"it was declared otherwise: {refused}", remedy)]
        if refused is not None:
            raise refused
    return []


async def _check_tasks(
    subject: Subject, queue: QueueSettings, now: Depth | None
) -> list[Finding]:
    name = queue.name
    about = f"queue {name}"
    found: list[Finding] = []
    if await is_paused(subject.wire, name):
        text = "it is paused: no mediator begins its tasks"
        found.append(warn(about, text, f"quebert resume {name}"))
    if now is None:
        if not found:
            text = "it is not there yet: its first mediator declares it"
            found.append(ok(about, text))
        return found
    if not now.consumers and not found:
        text = f"nobody consumes it, and {now.ready} tasks wait in it"
        remedy = "start a mediator; see its log if one should run"
        found.append(warn(about, text, remedy))
    how = await declared(subject.wire, name)
    if how is None:
        return [*found, _undeclared(about, name)]
    wrong = [*_as_configured(about, queue, how), *dropped(about, how)]
    wrong = wrong or await _check_accepted(subject, about, queue)
    limits = limited(about, how.arguments, version_of(subject.wire))
    return [*found, *wrong, *limits]


async def _check_accepted(
    subject: Subject, about: str, queue: QueueSettings
) -> list[Finding]:
    """
    Whether RabbitMQ accepts the declaration of the mediator.
    """
    try:
        async with temporary_channel(subject.wire) as channel:
            arguments = queue.declared_arguments
            await declare_task_queue(subject.wire, channel, queue.name, arguments)
    except BrokerRefused as e:
        remedy = "let the queue run empty and delete it; mediators make it anew"
        return [fail(about, f"its mediators are refused: {e}", remedy)]
    return []


async def _check_dead(
    subject: Subject, queue: QueueSettings, now: Depth | None
) -> list[Finding]:
    name, dead = queue.name, dead_letters_of(queue.name)
    wanted = queue.queue_type or "classic"
    if now is None:  # nothing was given up yet
        return await check_dead_policies(subject, name, wanted)
    about = f"queue {dead}"
    found: list[Finding] = []
    how = await declared(subject.wire, dead)
    if how is not None and how.kind == STREAM:
        return [_stream(about), *dropped(about, how)]
    if now.ready:
        text = f"{now.ready} tasks were given up and lie there"
        remedy = f"quebert dead list {name}; then redrive or discard them"
        found.append(warn(about, text, remedy))
    if how is None:
        return [*found, _undeclared(about, dead)]
    if wanted == "quorum" != how.kind:
        text = f"it is a {how.kind} queue beside a quorum queue: its node may lose it"
        remedy = f"redrive or discard what is in it, and delete it; {_ANEW}"
        found.append(warn(about, text, remedy))
    found += dropped(about, how)
    found += await check_dead_policies(subject, name, how.kind)
    found += limited(about, how.arguments, version_of(subject.wire))
    return found


def _undeclared(about: str, name: str) -> Finding:
    text = "RabbitMQ does not tell how it was declared"
    return unknown(about, text, f"rabbitmqctl list_queues name arguments | grep {name}")


def _stream(about: str) -> Finding:
    return fail(
        about,
        "it is a stream: it keeps the tasks that are given up, but quebert dead cannot"
        " list them, put them back or discard them",
        "read them with a client of streams, and delete the queue; mediators make it"
        " anew as a queue of the type that they need",
    )


def _as_configured(
    about: str, queue: QueueSettings, how: Declared
) -> Iterator[Finding]:
    """
    What differs from how the mediator declares its queue, which RabbitMQ then refuses.
    """
    if how.kind == STREAM:
        text = "it is a stream, from which nobody can take single tasks"
        remedy = f"read it with a client of streams, and delete it; {_ANEW} as a queue"
        yield fail(about, f"{text}: its mediators are refused", remedy)
    elif queue.queue_type is not None and queue.queue_type != how.kind:
        text = f"its type is {how.kind}, and the configuration wants {queue.queue_type}"
        remedy = f'write queue_type = "{how.kind}", or let it run empty and delete it'
        yield fail(about, f"{text}: its mediators are refused", remedy)


def dropped(about: str, how: Declared) -> Iterator[Finding]:
    """
    What makes RabbitMQ lose tasks of a queue, or refuse them.
    """
    remedy = (
        "let the queue run empty, delete it, and declare it anew without that, or"
        ' with x-overflow = "reject-publish" beside a limit of its length'
    )
    for text in losses(how):
        yield fail(about, text, remedy)
    for name in LENGTHS:
        if name in how.arguments and how.refuses:
            text = f"RabbitMQ refuses tasks beyond {how.arguments[name]} ({name})"
            yield warn(about, text, "raise the limit if producers are refused")


def limited(
    about: str, arguments: Mapping[str, Any], version: tuple[int, ...] | None
) -> Iterator[Finding]:
    """
    The delivery limit of a quorum queue.  RabbitMQ 4 has one of 20 where none is
    declared, and none where a negative one is; RabbitMQ 3 takes a negative one for 0.

    @param version: of RabbitMQ; C{None} for the embedded broker.
    """
    is_4 = version is not None and version >= (4,)
    limit = arguments.get(DELIVERY_LIMIT, 20 if is_4 else None)
    if arguments.get(QUEUE_TYPE) != "quorum" or not isinstance(limit, int):
        return
    if limit < 0 and (is_4 or version is None):
        return
    end = "moves" if DEAD_LETTER_EXCHANGE in arguments else "drops"
    anew = f"with {DELIVERY_LIMIT} = -1" if is_4 else f"without {DELIVERY_LIMIT}"
    remedy = "when the queue is empty, and nobody publishes to it, delete it; mediators"
    remedy += f" make it anew {anew}"
    if limit <= 0:
        text = f"RabbitMQ {end} a task that comes back once, as when its mediator is"
        text += f" killed ({DELIVERY_LIMIT} = {limit})"
        yield fail(about, text, f"{remedy}, unless the configuration says otherwise")
        return
    text = f"RabbitMQ {end} a task that came back more than {limit} times; quebert puts"
    text += " it back as a copy before, other consumers do not"
    yield warn(about, text, remedy)
