"""
When a message that has waited on the delay ladder is due.

A header tells.  A policy that shortens the wait, or a wrong clock, may bring a message
too early: then it waits for the rest.
"""

from __future__ import annotations

import math

from quebert.amqp.delays._rungs import wait_for, wait_of
from quebert.amqp.wire import DELAY, NOT_BEFORE, Message

__all__ = ["TOLERANCE", "due_in", "next_wait", "seconds_left"]

#: Seconds by which the clocks of two machines may differ.
TOLERANCE = 1.0
# Seconds after which a message has a new time of RabbitMQ's clock.
_LOOK = 1.0


def seconds_left(
    not_before: float,
    delay: float,
    wait: float,
    now: float,
    clock_set: float,
    died_at: float = 0.0,
) -> float:
    """
    In how many seconds a message is due that comes from a rung; not more than 0 if it
    is due.  Pure.

    The time of day tells, as far as it can be believed: it may be wrong, or have been
    set since the message began to wait.  A message that began to wait C{delay} seconds
    before it was due has less than that left, and not less than what is left if
    RabbitMQ let it wait for the whole rung.  More is left if a policy has it wait for
    less, and less if RabbitMQ was down, or if nobody took the message for a while.
    RabbitMQ's clock tells whether it was down.  Where only our clock says that a
    message has less left, it may be wrong: the message waits for the rest, and that
    ends with a new time of RabbitMQ's clock.

    @param not_before: when it is due, in seconds of the epoch.
    @param delay: in how many seconds it was due when it began to wait; 0 if that is
        not known.
    @param wait: seconds that the rung lets messages wait; 0 if it came from none.
    @param now: the time of day, in seconds of the epoch.
    @param clock_set: by how many seconds the time of day was set meanwhile.
    @param died_at: when it came out of the rung by RabbitMQ's clock, in whole seconds
        of the epoch; 0 if that is not known.
    """
    by_clock, by_wait = not_before - now, delay - wait
    if not (delay and wait):
        return by_clock
    possible = (by_clock, by_clock + clock_set)
    believed = [
        left for left in possible if by_wait - TOLERANCE <= left <= delay + TOLERANCE
    ]
    if believed:
        return min(believed)
    if clock_set:
        return by_wait
    by_broker = not_before - died_at if died_at else -math.inf
    # It tells whole seconds.  Where it has more left, the clocks of others differ.
    if by_clock < by_broker <= by_wait + 1 + TOLERANCE:
        return min(by_broker, by_wait)
    return min(by_clock, by_wait)


def due_in(message: Message, now: float, clock_set: float) -> float:
    """
    In how many seconds a message is due; not more than 0 if it is due.  Pure.

    @param now: the time of day, in seconds of the epoch.
    @param clock_set: by how many seconds the time of day was set.
    """
    if not message.was_put_back:
        return 0.0
    not_before, delay = message.number_in(NOT_BEFORE), message.number_in(DELAY)
    if not_before <= now and not clock_set:  # nearly always
        # ... from its last rung, which let it wait for all of the delay.
        last = math.ceil(delay)
        if last <= 0 or message.may_have_died_in(b".%ds" % last):
            return 0.0
    wait, died_at = wait_of(message.died_in), message.died_at
    return seconds_left(not_before, delay, wait, now, clock_set, died_at)


def next_wait(message: Message, now: float, left: float) -> float:
    """
    The seconds, at most, that a message waits next which is due in C{left} seconds.
    Pure.

    If only our clock says that the message is due sooner, let it wait for a second
    (L{_LOOK}) in a rung: its C{x-death} header then has the time of RabbitMQ's clock.
    A message that comes from such a wait waits for all that is left.
    """
    less = message.number_in(NOT_BEFORE) - now < left - TOLERANCE
    waited_for_all = wait_of(message.died_in) >= wait_for(message.number_in(DELAY))
    return _LOOK if less and waited_for_all else left
