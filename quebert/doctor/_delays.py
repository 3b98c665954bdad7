"""
The delay ladder: whether its parts are there as quebert declares them, whether each of
its queues passes a task on, and whether tasks lie where nobody takes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import attrs

from quebert._protocol.extensions import DELAYED_RETRY_MAX, DELIVERY_LIMIT, MESSAGE_TTL
from quebert.amqp.delays import UNCLAIMED, WAITS, OldLadder, arrivals_of
from quebert.amqp.queues import Declared, declared, depth
from quebert.amqp.wire import Call, temporary_channel, version_of
from quebert.doctor._findings import Finding, Level, fail, ok, warn
from quebert.doctor._given_back import holds_back
from quebert.doctor._rungs import ABOUT, MEND, NODES, Passing, Rung, names_of
from quebert.doctor._subject import Subject, together
from quebert.errors import BrokerRefused, ReplyCode

__all__ = ["check_delays"]

# Where a message that is given back (basic.nack) is not counted.
_COUNTS_NO_LOOKS = (4, 3)
_ANEW = "stop the mediators, let it run empty, and delete it; mediators make it anew"
_WATCH = "have a mediator watch their queue"


@attrs.frozen
class _LadderPart:
    """
    A part of the ladder.

    @ivar ready: how many messages wait there; 0 for an exchange.
    @ivar lacks: it was declared with other values of these arguments than quebert gives
        it, or without them, as in RabbitMQ 3 or by an earlier version.
    """

    ready: int
    lacks: Set[str]


async def check_delays(subject: Subject) -> list[Finding]:
    """
    The ladder that these settings use.

    @raise BrokerRefused: we may not look, or not declare C{quebert.doctor.…}.
    """
    rungs = subject.rungs
    exits = [each for each in rungs.exits() if each[0] == "exchange_declare"]
    rung_queues = [_declaration(rungs.rung(each), "queue_declare") for each in WAITS]
    there = await together(
        subject.within(subject.patience, _is_there(subject, _name(each)))
        for each in rung_queues
    )
    waits = [n for n, found in zip(WAITS, there, strict=True) if found is not False]
    parts = [
        *exits,
        *(_declaration(rungs.rung(n), "exchange_declare") for n in waits),
        *(_declaration(rungs.rung(n), "queue_declare") for n in waits),
    ]
    seen = await together(
        subject.within(subject.patience, _look(subject, *each)) for each in parts
    )
    missing, silent, limited, held_back = [], [], [], []
    found, whole = await _lying(subject), []
    for call, answer in zip(parts, seen, strict=True):
        name, seconds = _name(call), call[1]["arguments"].get(MESSAGE_TTL, 0)
        if answer is None:
            silent.append(name)
        elif isinstance(answer, BrokerRefused):
            if answer.code == ReplyCode.NOT_FOUND:
                missing.append(name)
            else:
                found.append(_otherwise(call[0].partition("_")[0], name, answer))
        elif seconds:
            whole.append(Rung(name, seconds // 1000, answer.ready))
            limited += [name] if DELIVERY_LIMIT in answer.lacks else []
            held_back += [name] if DELAYED_RETRY_MAX in answer.lacks else []
    if not waits and len(missing) == len(exits):
        text = "nothing was delayed yet: the queues that delayed tasks wait in are not"
        return [
            ok(ABOUT, f"{text} there, and the first delayed task makes them"),
            *found,
        ]
    if silent:
        text = f"{names_of(silent)} does not answer in {subject.patience:g} s"
        found.append(fail(ABOUT, text, NODES))
    if missing:
        found.append(fail(ABOUT, f"{names_of(missing)} is missing", MEND))
        return found  # a probe might never come out of the ladder again
    if limited and (version_of(subject.wire) or ()) < _COUNTS_NO_LOOKS:
        found.append(_come_early(limited))
    if held_back and await holds_back(subject):
        found.append(_come_late(subject, held_back))
    passing = Passing(subject, rungs, whole)
    found += await passing.check()
    if any(each.level is Level.FAIL for each in found):
        return found
    kind = "quorum" if subject.quorum_delays else "classic"
    text = f"the {len(whole)} {kind} queues for delayed tasks are as they should be"
    if limited:
        text += f" ({len(limited)} of them were made in RabbitMQ 3)"
    tried = len(whole) - len(passing.busy)
    return [ok(ABOUT, f"{text}; {tried} of them passed a probe on"), *found]


def _declaration(calls: Iterable[Call], method: str) -> Call:
    return next(each for each in calls if each[0] == method)


def _name(call: Call) -> str:
    name: str = call[1][call[0].partition("_")[0]]
    return name


async def _is_there(subject: Subject, queue: str) -> bool:
    return await depth(subject.wire, queue) is not None


async def _lying(subject: Subject) -> list[Finding]:
    """
    The queues in which tasks lie that have waited long enough.
    """
    found = []
    for store in (UNCLAIMED, *await OldLadder().stores(subject.wire)):
        now = await depth(subject.wire, store)
        if now is not None and now.ready:
            text = f"{now.ready} delayed tasks are in queue {store}: when they were"
            text += " due, nobody had declared the queue that they belong to, or a"
            text += " policy gave them another routing key (dead-letter-routing-key)"
            remedy = f"{_WATCH}; look at rabbitmqctl list_policies -p {subject.vhost}"
            found.append(warn(ABOUT, text, remedy))
    queues = () if subject.settings is None else subject.settings.queues
    for queue in queues:  # their names
        now = await depth(subject.wire, arrivals_of(queue))
        if now is not None and now.ready:
            text = f"{now.ready} tasks that are due wait to enter queue {queue}: it is"
            text += " full, or no mediator watches it"
            found.append(warn(ABOUT, text, f"see the log of mediators; {_WATCH}"))
    return found


def _come_early(rungs: Sequence[str]) -> Finding:
    return warn(
        ABOUT,
        f"{names_of(rungs)} was made in RabbitMQ 3 and has RabbitMQ's delivery limit:"
        " mediators look there for tasks, and after twenty looks RabbitMQ passes a task"
        " on, which then waits again",
        _ANEW,
    )


def _come_late(subject: Subject, rungs: Sequence[str]) -> Finding:
    return warn(
        ABOUT,
        f"{names_of(rungs)} was declared without {DELAYED_RETRY_MAX}, and a policy has"
        " RabbitMQ hold back what was given back (delayed-retry-type): mediators look"
        " there for tasks, and these tasks come late",
        "have no policy match the queues of quebert: rabbitmqctl list_policies -p"
        f" {subject.vhost}; or {_ANEW}",
    )


def _otherwise(kind: str, name: str, refused: BrokerRefused) -> Finding:
    return fail(
        ABOUT,
        f"{kind} {name} was declared otherwise: {refused}",
        _ANEW,
    )


async def _look(
    subject: Subject, method: str, how: Mapping[str, Any]
) -> _LadderPart | BrokerRefused:
    """
    How a part of the ladder is, or why it is not as quebert declares it.
    """
    kind = method.partition("_")[0]
    seen = {k: v for k, v in how.items() if k in (kind, "exchange_type")}
    lacks: Set[str] = frozenset()
    try:
        async with temporary_channel(subject.wire) as channel:
            answer = await channel.call(method, **seen, passive=True)
            # It is there: to declare it again makes nothing.
            await channel.call(method, **how)
    except BrokerRefused as e:
        if e.code not in (ReplyCode.NOT_FOUND, ReplyCode.PRECONDITION_FAILED):
            raise
        if any(each in str(e) for each in (DELIVERY_LIMIT, DELAYED_RETRY_MAX)):
            lacks = await _differences(subject, how)
        if not lacks or not lacks <= {DELIVERY_LIMIT, DELAYED_RETRY_MAX}:
            return e
    return _LadderPart(int(answer.message_count) if kind == "queue" else 0, lacks)


async def _differences(subject: Subject, how: Mapping[str, Any]) -> Set[str]:
    """
    The arguments in which a durable queue differs from how quebert declares it; none
    where RabbitMQ does not tell.
    """
    wanted = how["arguments"]
    has = await declared(subject.wire, how["queue"], Declared(arguments=wanted))
    if has is None or not has.flags["durable"]:
        return frozenset()
    names = {*has.arguments, *wanted}
    return {each for each in names if has.arguments.get(each) != wanted.get(each)}
