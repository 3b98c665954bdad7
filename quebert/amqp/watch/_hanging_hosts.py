"""
Hosts that hang: they take requests and answer late, or never.  And hosts that take no
more requests now, as the admission control of the mediator says.

Theory of operation: while a watch is busy (more than half of its places are taken, or a
message waits for one), its running requests are looked at several times a second.  A
request that was there at the look before is slow.  As long as there are slow requests,
the requests of each origin (scheme, host, port) are counted.

Three rules leave places for others, whatever an origin answers, and however many
origins there are:

 1. A request that has run for C{seconds} leaves its place while the watch is busy.  It
    goes on.
 2. An origin has at most as many requests at once as the watch has places, whether they
    have places or not.  So an origin that is slow, and alone in its queue, is asked as
    ever.
 3. A quarter of the places is reserved for quick origins, while there are requests to
    such.  An origin is quick while it has more quick answers (between two looks) than
    slow requests.  It may use one reserved place more than it had quick answers.
    When it turns slow, its slow requests leave them.  An origin without requests may
    use one of half of them, to show that it is quick.

A further task waits in the line of its origin, outside the places, in its order.  The
task is not with the callback meanwhile: it is not decoded, no time limit runs, and no
attempt has been made.  When there is a place, the first in the line of the origin with
the fewest places begins.

A task whose request is not admitted (L{Admission<quebert.limits.Admission>}) waits in
the same line, and so do all that follow for its origin.  The first in the line begins
again when a request to the origin has ended, or when the time is over that admission
control told.  A task that has to wait for longer than C{hold_up_to} is put back
instead.

As many tasks of each line as there are places (fewer with more than ten lines) stay at
hand for C{LONGEST_WAIT} seconds at most, and so do all those for a quick origin.
The others wait for C{hold_up_to} seconds, then in the broker.

In a queue whose requests are all admitted, and answered in time, nothing is counted,
and nothing costs anything.  Where some were not admitted, and none is slow, the count
ends when as many requests have ended as there are places, since a task waited.

L{HangingHosts} looks at the requests, by a timer, and does what follows (rule 1);
L{OriginPlaces} counts, and has the lines (rules 2 and 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._consumer_timeout import LONGEST_WAIT, wait_left
from quebert._log import Logger
from quebert._open_files import affordable
from quebert._repeated import RepeatedWarning
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._handler import Handler
from quebert.amqp.watch._origin_places import (
    LOOKS,
    LineOwner,
    OriginPlaces,
)
from quebert.amqp.watch._places import Places

__all__ = ["HANG_AFTER", "HangingHosts", "PlaceOwner"]

#: Seconds after which a request leaves its place, unless told otherwise.
HANG_AFTER = 5.0
#: Requests of a watch that go on without a place at most: each has a connection, and
#: other queues need some.
MOST_OUTSIDE = 2_500
#: Tasks per second that go from the lines to the broker at most: it is little work.
PUT_OFF_RATE = 100.0
#: Seconds that they wait there at most.
LONGEST_PUT_OFF = 300.0
# How many times as many tasks as there are places are at hand in all lines.
_AT_HAND = 10


class PlaceOwner(LineOwner, Protocol):
    """
    The watch.
    """

    def late(self, message: DeliveredMessage) -> None:
        """
        Free the place of a message that is with its callback; calls
        L{OriginPlaces.left}.
        """

    def put_off_for(self, message: DeliveredMessage, seconds: float) -> None:
        """
        Have a message wait in the broker.
        """


class HangingHosts:
    """
    The origins that one watch requests, while some of these are slow.

    @param places: the places of the watch.
    @param handler: has the messages that are with the callback.
    @param prefetch: how many places the watch has.  Nothing is done here with 0, no
        limit, nor with 1, where one task follows the other.
    @param seconds: see above; 0 for never.
    @param hold_up_to: seconds.
    @ivar origin_places: who may begin.
    """

    log = Logger()

    def __init__(
        self,
        watch: PlaceOwner,
        places: Places,
        handler: Handler,
        queue: str,
        prefetch: int,
        seconds: float,
        hold_up_to: float,
        clock: Callable[[], IReactorTime],
    ) -> None:
        self._watch = watch
        self._places = places
        self._handler = handler
        self._prefetch = prefetch
        self.origin_places = OriginPlaces(watch, prefetch, clock)
        self._most_outside = affordable(2 * MOST_OUTSIDE) // 2
        self._seconds = seconds
        self._hold_up_to = hold_up_to
        self._clock = clock
        self._is_on = seconds > 0 and prefetch > 1
        self._interval = seconds / LOOKS
        self._timer: IDelayedCall | None = None
        self._seen: dict[DeliveredMessage, float] = {}  # and when first
        self._warning = RepeatedWarning(
            self.log,
            clock,
            "Requests of queue {queue!r} hang, and no longer count for its prefetch",
            "No requests of queue {queue!r} hang any more",
            queue=queue,
        )

    # -- What becomes of each request

    def may_wait(self, message: DeliveredMessage) -> bool:
        """
        Whether a message that was turned away waits here.
        """
        seconds = message.refused_for
        left = wait_left(message.came, self._clock().seconds())
        is_soon = self._is_on and seconds <= min(self._hold_up_to, left)
        return not seconds or is_soon

    def wait(self, message: DeliveredMessage) -> None:
        """
        Have a message that was turned away begin again when it is its turn.
        """
        self.look_again()  # also if the watch is not busy, and was paused meanwhile
        if not self.origin_places.known:  # it was refused, and is the first one
            self.origin_places.count(self._handler.requesting(), self._places.has_place)
        self.origin_places.wait(message)

    def ended(self, message: DeliveredMessage) -> None:
        """
        The callback of a message has ended that has an origin.
        """
        is_quick = bool(message.url) and message not in self._seen
        self.origin_places.ended(message, is_quick=is_quick)

    def forget_waiting(self) -> list[DeliveredMessage]:
        """
        Take out those that wait; look at nothing, until the watch is busy again.
        """
        self._stop_timer()
        return self.origin_places.forget_waiting()

    # -- Looking

    def look_again(self) -> None:
        """
        The watch is busy: look at its requests, soon.
        """
        if self._timer is None and self._is_on:
            self._timer = self._clock().callLater(self._interval, self._look)

    def end(self) -> None:
        """
        Look no more.
        """
        self._is_on = False
        self._warning.end()
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        is_busy = self._places.is_busy
        if not self.origin_places.known and not is_busy:
            self._seen.clear()
            return
        self.look_again()
        now, requesting = self._clock().seconds(), self._handler.requesting()
        self._seen = {each: self._seen.get(each, now) for each in requesting}
        slow = [each for each in requesting if self._seen[each] < now]
        if slow and not self.origin_places.known:
            self.origin_places.count(requesting, self._places.has_place)
        if self.origin_places.known:
            self.origin_places.judge(slow)
            if is_busy:
                self._free_places(slow, now)
            self._put_off(now)
            self.origin_places.begin_next()
            self._tell_over()
            self.origin_places.forget(is_busy)

    def _free_places(self, slow: list[DeliveredMessage], now: float) -> None:
        """
        Have the requests leave their places that hang, and of those that are slow as
        many as origins that are not quick have too many, the oldest ones.
        """
        known = self.origin_places.known.values()
        outside = sum(len(each.outside) for each in known)
        spare = self.origin_places.share - sum(
            each.places for each in known if not each.is_quick
        )
        for message in slow:
            origin = message.origin
            if origin is None or message not in origin.placed:
                continue  # it has left, or ended just now
            hangs = now - self._seen[message] >= self._seconds
            if hangs and not origin.hangs:
                origin.hangs = True
                why = f"{origin.name} does not answer within {self._seconds:g} s"
                self._warning.met(why)
            if outside >= self._most_outside:
                return
            if hangs or (not origin.is_quick and spare < 0):
                spare += not origin.is_quick
                outside += 1
                self._watch.late(message)

    def _put_off(self, now: float) -> None:
        """
        Have those wait in the broker that have waited in a line for long.
        """
        number = max(1, round(PUT_OFF_RATE * self._interval))
        for message in list(islice(self._long_in_line(now), number)):
            if message.origin is None:
                continue  # a throttle became far, and all that wait were returned
            known_for = now - self.origin_places.take(message).since
            seconds = min(max(known_for, self._seconds), LONGEST_PUT_OFF)
            self._watch.put_off_for(message, seconds)

    def _long_in_line(self, now: float) -> Iterator[DeliveredMessage]:
        lined = self.origin_places.lined
        if not lined:
            return
        at_hand = min(self._prefetch, _AT_HAND * self._prefetch // len(lined))
        for origin in lined:
            for place, message in enumerate(origin.line):
                is_soon = origin.is_quick or place < at_hand
                longest = LONGEST_WAIT if is_soon else self._hold_up_to
                if now - (message.waits_since or now) >= longest:
                    yield message

    def _tell_over(self) -> None:
        known = self.origin_places.known.values()
        for origin in known:
            origin.hangs = origin.hangs and bool(origin.outside)
        if not any(each.hangs for each in known):
            self._warning.succeeded()
