"""
Why a task waits: from what is known of it, its queue and its host, to the reasons.
Pure.

Each reason that applies is told, that which decides first: if only that were gone, the
task would wait no longer, or for less.  What is not known is no reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from quebert._text import one_line
from quebert.amqp.watch import DROPPED, RETRYING, RUNNING, HeldTask
from quebert.events import AttemptRecord
from quebert.operations._why_values import Facts, OnLadder, WhyReason
from quebert.operations._why_words import before, counted, moment, pace, span

__all__ = ["reasons_of"]

# Outcomes after which a task is not attempted again.
_ENDS: Mapping[str, str] = {
    "done": "it is done",
    "expired": "it has expired",
    "discarded": "it was discarded",
    "cancelled": "it was cancelled",
}
# The part of a rate that is used where the rate is what holds tasks up.
_USED = 0.8
_LONGEST = 300
# Mediators that a sentence names.
_NAMED = 3
# Seconds: what is put off until a breaker lets a request through is due just then.
_SOON = 5.0


def reasons_of(facts: Facts) -> tuple[WhyReason, ...]:
    """
    All that apply, the one that decides first.
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
        yield _retrying(facts, facts.last.retry_at)
        yield from _closed(facts)
    elif facts.unseen_ready:
        yield from _perhaps_in_queue(facts)


def _not_found(facts: Facts) -> WhyReason:
    where = f" in queue {facts.queue}" if facts.queue else ""
    return WhyReason(
        reason="not_found",
        text=f"there is no such task{where}: it was not added, or has ended",
    )


# -- Where it may be


def _running(held: tuple[str, HeldTask]) -> WhyReason:
    mediator, task = held
    return WhyReason(
        reason="running",
        text=f"mediator {mediator} attempts it; it came there at {moment(task.since)}",
        by=mediator,
    )


def _held(facts: Facts) -> Iterator[WhyReason]:
    """
    A mediator has it, and has not begun.
    """
    mediator, task = facts.held[0]
    if task.state == DROPPED:
        text = f"it was cancelled, and mediator {mediator} has dropped it"
        yield WhyReason(reason="done", text=text, by=mediator)
        return
    if task.state == RETRYING:
        retry_at = None if facts.last is None else facts.last.retry_at
        yield _retrying(facts, retry_at, mediator)
        yield from _closed(facts)
        return
    found = [*_closed(facts), *_host(facts), *_limits(facts, 0), *_full(facts)]
    if not found:
        found = [_behind(facts, 0, f"mediator {mediator} has it, and is to begin it")]
    yield from (attrs.evolve(each, by=each.by or mediator) for each in found)


def _on_ladder(facts: Facts, ladder: OnLadder) -> Iterator[WhyReason]:
    due = ladder.due
    if ladder.arrived and (due is None or due <= facts.now):
        found = [*_closed(facts)]
        yield from found or [
            _behind(facts, 0, "its time has come, and it is on its way to its queue")
        ]
        return
    if ladder.tried:
        waits = _retrying(facts, due)
    else:
        when = "later" if due is None else f"at {moment(due)}"
        waits = WhyReason(
            reason="not_due", text=f"its time has not come: it is due {when}", until=due
        )
    breaker = [each for each in _host(facts) if each.reason == "breaker_open"]
    put_off = facts.last is not None and facts.last.outcome == "postponed"
    ends = (due or 0.0) - _SOON
    later = [each for each in breaker if put_off or (each.until or 0.0) > ends]
    yield from later
    yield waits
    yield from (each for each in breaker if each not in later)
    yield from _closed(facts)


def _in_queue(facts: Facts, position: int) -> Iterator[WhyReason]:
    found = [*_closed(facts), *_limits(facts, position)]
    if position:
        found.append(_behind(facts, position))
    found += [*_full(facts), *_host(facts)]
    yield from found or [
        _behind(facts, 0, "it is the first of its queue, and is to begin")
    ]


def _perhaps_in_queue(facts: Facts) -> Iterator[WhyReason]:
    ready = facts.unseen_ready
    text = (
        f"if it was added, it is among the {ready} tasks that wait in queue"
        f" {facts.queue}, which were not looked at"
    )
    yield from _closed(facts)
    yield from _limits(facts, ready)
    yield _behind(facts, ready, f"{text}; {_how_long(facts, ready)}")
    yield from _full(facts)


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
    why = ""
    if facts.last is not None and facts.last.reason:
        why = f" ({one_line(facts.last.reason, _LONGEST)})"
    where = f" by mediator {mediator}" if mediator else ""
    return WhyReason(
        reason="retrying",
        text=f"an attempt has failed{why}; it is tried again {when}{where}",
        until=until,
        by=mediator or None,
    )


# -- What may be against it


def _closed(facts: Facts) -> Iterator[WhyReason]:
    """
    Nothing of the queue begins.
    """
    status = facts.status
    if status is None:
        return
    if status.paused:
        since = status.paused_since
        by = f" by {status.paused_by}" if status.paused_by else ""
        when = "" if since is None else f" since {moment(since)}"
        yield WhyReason(
            reason="paused",
            text=f"queue {facts.queue} is paused{by}{when}",
            by=status.paused_by or None,
        )
    watched = facts.watches or facts.present
    if status.consumers == 0 and not (status.paused and watched):
        yield from _without_consumer(facts, exists=bool(status.exists))


def _without_consumer(facts: Facts, *, exists: bool) -> Iterator[WhyReason]:
    """
    No mediator consumes the queue.  One that answers, and whose rate is used up, has no
    consumer for a while: the rate is the reason.
    """
    if not exists:
        text = f"there is no queue {facts.queue}"
    elif not facts.present:
        text = f"no mediator consumes queue {facts.queue}"
    elif _rates(facts):
        return
    else:
        who = ", ".join(facts.present[:_NAMED])
        text = f"mediators watch queue {facts.queue}, and take no task now: {who}"
    yield WhyReason(reason="no_consumer", text=text)


def _host(facts: Facts) -> Iterator[WhyReason]:
    """
    Its host takes no request.
    """
    host = facts.host
    if host is None:
        return
    if host.breaker == "open":
        until = host.open_until
        when = "" if until is None else f" until {moment(until)}"
        yield WhyReason(
            reason="breaker_open",
            text=f"requests to {host.origin} have failed: its circuit breaker is open,"
            f" and lets none through{when}",
            until=until,
        )
    elif host.limit is not None and host.in_flight >= host.limit:
        requests = counted(host.in_flight, "request")
        yield WhyReason(
            reason="host_concurrency",
            text=f"{host.origin} has {requests} now, of at most {host.limit:g} at the"
            " same time",
        )


def _limits(facts: Facts, position: int) -> Iterator[WhyReason]:
    """
    The rate of its queue is used up, or others go first.
    """
    rates = _rates(facts)
    has_room = not _is_full(facts)
    if rates and (has_room or (facts.rate_out or 0.0) >= _USED * rates[0]):
        rate = rates[0]
        yield WhyReason(
            reason="rate_limit",
            text=f"queue {facts.queue} begins {pace(rate)} at most, and"
            f" {before(position)}",
            until=facts.now + (position + 1) / rate if rate > 0 else None,
            position=position,
            rate=rate,
        )
    priorities = {w.priority for w in facts.watches.values() if w.priority}
    if priorities and facts.others and has_room:
        its = ", ".join(sorted(priorities))
        yield WhyReason(
            reason="lower_priority",
            text=f"queue {facts.queue}, of priority {its}, shares places with other"
            f" queues: their tasks have {facts.others} of them now",
        )


def _rates(facts: Facts) -> list[float]:
    return [w.rate for w in facts.watches.values() if w.rate is not None]


def _is_full(facts: Facts) -> bool:
    watches = [each for each in facts.watches.values() if each.consuming]
    return bool(watches) and all(0 < w.prefetch <= w.in_flight for w in watches)


def _full(facts: Facts) -> Iterator[WhyReason]:
    """
    All mediators have as many as they may.
    """
    if _is_full(facts):
        count = sum(each.in_flight for each in facts.watches.values())
        held = counted(count, "task")
        yield WhyReason(
            reason="prefetch_full",
            text=f"the mediators of queue {facts.queue} have {held} of it, and"
            " take no more at the same time",
        )


def _behind(facts: Facts, position: int, text: str = "") -> WhyReason:
    seconds = _seconds(facts, position)
    return WhyReason(
        reason="behind",
        text=text or f"{before(position)}; {_how_long(facts, position)}",
        until=None if seconds is None else facts.now + seconds,
        position=position,
        rate=facts.rate_out,
    )


def _seconds(facts: Facts, position: int) -> float | None:
    return position / facts.rate_out if facts.rate_out else None


def _how_long(facts: Facts, position: int) -> str:
    seconds = _seconds(facts, position)
    if seconds is None:
        known = facts.rate_out is not None
        return "none has ended just now" if known else "how long that takes is unknown"
    return f"at {facts.rate_out:.3g} a second, that takes about {span(seconds)}"
