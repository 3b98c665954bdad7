"""
Why a task waits: from the place where the task is to all reasons that apply.  Pure.

The reason that decides comes first: if it alone were gone, the task would wait no
longer, or for less.  C{_obstacles} has the reasons that queues, hosts and limits give.
A fact that is not known is no reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from quebert._text import one_line
from quebert.amqp.watch import DROPPED, RETRYING, RUNNING, HeldTask
from quebert.events import AttemptRecord
from quebert.operations._obstacles import (
    behind,
    closed,
    full,
    host_refuses,
    how_long,
    limits,
)
from quebert.operations._why_values import Facts, OnLadder, WhyReason
from quebert.operations._why_words import moment

__all__ = ["reasons_of"]

# Outcomes after which a task is not attempted again.
_ENDS: Mapping[str, str] = {
    "done": "it is done",
    "expired": "it has expired",
    "discarded": "it was discarded",
    "cancelled": "it was cancelled",
}
_LONGEST = 300
# Seconds: what is put off until a breaker lets a request through is due just then.
_SOON = 5.0


def reasons_of(facts: Facts) -> tuple[WhyReason, ...]:
    """
    All reasons that apply; the one that decides first.
    """
    found = tuple(_reasons(facts))
    return found or (_not_found(facts),)


def _reasons(facts: Facts) -> Iterator[WhyReason]:
    running = [each for each in facts.held if each[1].state == RUNNING]
    if running:
        yield from map(_running, running)
    elif facts.held:
        yield from _held(facts)
    elif facts.ladder is not None:
        yield from _on_ladder(facts, facts.ladder)
    elif facts.position is not None:
        yield from _in_queue(facts, facts.position)
    elif facts.dead is not None:
        yield _dead(*facts.dead)
    elif facts.last is not None and facts.last.outcome in (*_ENDS, "buried"):
        yield _ended(facts.last)
    elif facts.last is not None and (facts.last.retry_at or 0.0) > facts.now:
        put_off = facts.last.outcome == "postponed"
        yield (_put_off if put_off else _retrying)(facts, facts.last.retry_at)
        yield from closed(facts)
    elif facts.unseen_ready:
        yield from _perhaps_in_queue(facts)


def _not_found(facts: Facts) -> WhyReason:
    where = f" in queue {facts.queue}" if facts.queue else ""
    text = f"there is no such task{where}: it was not added, or has ended"
    if facts.not_all_seen:
        text = f"no such task was found{where}, and not all was looked at"
    return WhyReason(reason="not_found", text=text)


# -- By the place of the task


def _running(held: tuple[str, HeldTask]) -> WhyReason:
    mediator, task = held
    return WhyReason(
        reason="running",
        text=f"mediator {mediator} attempts it; it came there at {moment(task.since)}",
        by=mediator,
    )


def _held(facts: Facts) -> Iterator[WhyReason]:
    """
    A mediator has the task, and has not begun.
    """
    mediator, task = facts.held[0]
    if task.state == DROPPED:
        text = f"it was cancelled, and mediator {mediator} has dropped it"
        yield WhyReason(reason="done", text=text, by=mediator)
        return
    if task.state == RETRYING:
        retry_at = None if facts.last is None else facts.last.retry_at
        yield _retrying(facts, retry_at, mediator)
        yield from closed(facts)
        return
    found = [*closed(facts), *host_refuses(facts), *limits(facts, 0), *full(facts)]
    if not found:
        found = [behind(facts, 0, f"mediator {mediator} has it, and is to begin it")]
    yield from (attrs.evolve(each, by=each.by or mediator) for each in found)


def _on_ladder(facts: Facts, ladder: OnLadder) -> Iterator[WhyReason]:
    due = ladder.due
    if ladder.arrived and (due is None or due <= facts.now):
        found = [*closed(facts)]
        yield from found or [
            behind(facts, 0, "its time has come, and it is on its way to its queue")
        ]
        return
    if ladder.tried:
        waits = _retrying(facts, due)
    else:
        when = "later" if due is None else f"at {moment(due)}"
        waits = WhyReason(
            reason="not_due", text=f"its time has not come: it is due {when}", until=due
        )
    breaker = [each for each in host_refuses(facts) if each.reason == "breaker_open"]
    put_off = facts.last is not None and facts.last.outcome == "postponed"
    ends = (due or 0.0) - _SOON
    later = [each for each in breaker if put_off or (each.until or 0.0) > ends]
    yield from later
    yield waits
    yield from (each for each in breaker if each not in later)
    yield from closed(facts)


def _in_queue(facts: Facts, position: int) -> Iterator[WhyReason]:
    found = [*closed(facts), *limits(facts, position)]
    if position:
        found.append(behind(facts, position))
    found += [*full(facts), *host_refuses(facts)]
    yield from found or [
        behind(facts, 0, "it is the first of its queue, and is to begin")
    ]


def _perhaps_in_queue(facts: Facts) -> Iterator[WhyReason]:
    ready = facts.unseen_ready
    text = (
        f"if it was added, it is among the {ready} tasks that wait in queue"
        f" {facts.queue}, which were not looked at"
    )
    yield from closed(facts)
    yield from limits(facts, ready)
    yield behind(facts, ready, f"{text}; {how_long(facts, ready)}")
    yield from full(facts)


def _dead(kind: str, reason: str) -> WhyReason:
    told = one_line(reason, _LONGEST)
    return WhyReason(reason="dead", text=f"it was given up ({kind}): {told}")


def _ended(last: AttemptRecord) -> WhyReason:
    why = f": {one_line(last.reason, _LONGEST)}" if last.reason else ""
    if last.outcome == "buried":
        return WhyReason(
            reason="dead", text=f"it was given up at {moment(last.ended)}{why}"
        )
    what = _ENDS[last.outcome]
    return WhyReason(reason="done", text=f"{what}, at {moment(last.ended)}{why}")


def _retrying(facts: Facts, until: float | None, mediator: str = "") -> WhyReason:
    when = "soon" if until is None or until <= facts.now else f"at {moment(until)}"
    is_told = facts.last is not None and facts.last.outcome == "retry"
    why = _last_reason(facts) if is_told else ""
    where = f" by mediator {mediator}" if mediator else ""
    return WhyReason(
        reason="retrying",
        text=f"an attempt has failed{why}; it is tried again {when}{where}",
        until=until,
        by=mediator or None,
    )


def _put_off(facts: Facts, until: float | None) -> WhyReason:
    """
    A mediator has had the task, and has not attempted it.
    """
    when = "soon" if until is None or until <= facts.now else f"at {moment(until)}"
    text = f"it was put off{_last_reason(facts)}; it is due {when}"
    return WhyReason(reason="not_due", text=text, until=until)


def _last_reason(facts: Facts) -> str:
    if facts.last is None or not facts.last.reason:
        return ""
    return f" ({one_line(facts.last.reason, _LONGEST)})"
