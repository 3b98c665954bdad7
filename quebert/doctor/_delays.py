"""
The delay ladder: whether all of it is there as quebert declares it, and whether each of
its queues passes a task on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quebert.amqp._brief import brief_channel
from quebert.amqp._delay import Rungs
from quebert.doctor._findings import Finding, Level, fail, ok
from quebert.doctor._rungs import ABOUT, MEND, NODES, Passing, Rung, names_of
from quebert.doctor._subject import Subject, together
from quebert.errors import BrokerRefused

__all__ = ["check_delays"]

_NOT_FOUND, _DIFFERENT = 404, 406
_TYPE = "x-queue-type"


async def check_delays(subject: Subject) -> list[Finding]:
    """
    The ladder that these settings use.

    @raise BrokerRefused: we may not look, or not declare C{quebert.doctor.…}.
    """
    rungs = Rungs(quorum=subject.quorum_delays)
    parts = [each for each in rungs.declarations() if each[0].endswith("_declare")]
    seen = await together(
        subject.within(subject.patience, _look(subject, *each)) for each in parts
    )
    missing, silent, found, whole = [], [], [], []
    for (method, how), there in zip(parts, seen, strict=True):
        kind = method.partition("_")[0]
        if there is None:
            silent.append(how[kind])
        elif isinstance(there, BrokerRefused):
            if there.code == _NOT_FOUND:
                missing.append(how[kind])
            else:
                found.append(_otherwise(kind, how[kind], there))
        elif "x-message-ttl" in how["arguments"]:
            whole.append(
                Rung(how[kind], how["arguments"]["x-message-ttl"] // 1000, there)
            )
    if len(missing) == len(parts):
        text = "nothing was delayed yet: the queues that delayed tasks wait in are not"
        return [ok(ABOUT, f"{text} there, and the first delayed task makes them")]
    if silent:
        text = f"{names_of(silent)} does not answer in {subject.patience:g} s"
        found.append(fail(ABOUT, text, NODES))
    if missing:
        found.append(fail(ABOUT, f"{names_of(missing)} is missing", MEND))
        return found  # a probe might never come out of the ladder again
    passing = Passing(subject, rungs, whole)
    found += await passing.check()
    if any(each.level is Level.FAIL for each in found):
        return found
    kind = "quorum" if subject.quorum_delays else "classic"
    text = f"the {len(whole)} {kind} queues for delayed tasks are as they should be"
    tried = len(whole) - len(passing.busy)
    return [ok(ABOUT, f"{text}; {tried} of them passed a probe on"), *found]


def _otherwise(kind: str, name: str, refused: BrokerRefused) -> Finding:
    return fail(
        ABOUT,
        f"{kind} {name} was declared otherwise: {refused}",
        "stop the mediators, let it run empty, and delete it; mediators make it anew",
    )


async def _look(
    subject: Subject, method: str, how: Mapping[str, Any]
) -> int | BrokerRefused:
    """
    How many messages wait in a part of the ladder, 0 for an exchange; or why it is not
    as quebert declares it.
    """
    kind = method.partition("_")[0]
    seen = {k: v for k, v in how.items() if k in (kind, "exchange_type")}
    refused: list[BrokerRefused] = []
    for arguments in _ways(how["arguments"]):
        try:
            async with brief_channel(subject.wire) as channel:
                await channel.call(method, **seen, passive=True)
                # It is there: to declare it again makes nothing.
                answer = await channel.call(method, **{**how, "arguments": arguments})
        except BrokerRefused as e:
            if e.code not in (_NOT_FOUND, _DIFFERENT):
                raise
            refused.append(e)
        else:
            return int(answer.message_count) if kind == "queue" else 0
    return refused[0]


def _ways(arguments: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """
    The arguments of a queue, and what they were before quebert named the type of its
    classic queues.
    """
    if arguments.get(_TYPE) != "classic":
        return [arguments]
    return [arguments, {k: v for k, v in arguments.items() if k != _TYPE}]
