"""
The obstacles before a task, as reasons why it waits: its queue, its host, limits, and
the tasks before it.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from quebert.operations._why_values import Facts, WhyReason
from quebert.operations._why_words import before, counted, moment, pace, span

__all__ = ["behind", "closed", "full", "host_refuses", "how_long", "limits"]

# The part of a rate that is used where the rate is what holds tasks up.
_USED = 0.8
# Mediators that a sentence names.
_NAMED = 3


def closed(facts: Facts) -> Iterator[WhyReason]:
    """
    The queue is paused, or no mediator consumes it.
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
    No mediator consumes the queue.  A mediator that answers has no consumer for a while
    where a limit lets nothing begin: the limit is the reason.
    """
    if not exists:
        text = f"there is no queue {facts.queue}"
    elif not facts.present:
        text = f"no mediator consumes queue {facts.queue}"
    elif any(limits(facts, 0)):
        return
    else:
        who = ", ".join(facts.present[:_NAMED])
        text = f"mediators watch queue {facts.queue}, and take no task now: {who}"
    yield WhyReason(reason="no_consumer", text=text)


def host_refuses(facts: Facts) -> Iterator[WhyReason]:
    """
    The host of the task takes no request.
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


def limits(facts: Facts, position: int) -> Iterator[WhyReason]:
    """
    The rate of the queue is used up, or tasks of other priorities go first.

    @param position: how many tasks are before this one.
    """
    rates = [w.rate for w in facts.watches.values() if w.rate is not None]
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


def _is_full(facts: Facts) -> bool:
    watches = [each for each in facts.watches.values() if each.consuming]
    return bool(watches) and all(0 < w.prefetch <= w.in_flight for w in watches)


def full(facts: Facts) -> Iterator[WhyReason]:
    """
    All mediators have as many tasks as they may.
    """
    if _is_full(facts):
        count = sum(each.in_flight for each in facts.watches.values())
        held = counted(count, "task")
        yield WhyReason(
            reason="prefetch_full",
            text=f"the mediators of queue {facts.queue} have {held} of it, and"
            " take no more at the same time",
        )


def behind(facts: Facts, position: int, text: str = "") -> WhyReason:
    """
    Other tasks of the queue are before the task.

    @param position: how many.
    @param text: a sentence that fits better than their number.
    """
    seconds = _seconds(facts, position)
    return WhyReason(
        reason="behind",
        text=text or f"{before(position)}; {how_long(facts, position)}",
        until=None if seconds is None else facts.now + seconds,
        position=position,
        rate=facts.rate_out,
    )


def _seconds(facts: Facts, position: int) -> float | None:
    return position / facts.rate_out if facts.rate_out else None


def how_long(facts: Facts, position: int) -> str:
    """
    How long the tasks before the task take, in words.
    """
    seconds = _seconds(facts, position)
    if seconds is None:
        known = facts.rate_out is not None
        return "none has ended just now" if known else "how long that takes is unknown"
    return f"at {facts.rate_out:.3g} a second, that takes about {span(seconds)}"
