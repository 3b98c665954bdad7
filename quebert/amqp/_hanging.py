"""
Hosts that hang: they take requests and answer none.

Theory of operation: while a watch has no place free, its running requests are looked at
several times in C{seconds}.  A request that was there at the look before is slow.  The
origin (scheme, host, port) of a slow request is known from then on: it is noted which
requests are there and when it last answered.  An origin hangs when it has answered none
for C{seconds}; for twice as long as it was silent before, if it answered after that.

The slow requests of an origin that hangs go on, but leave their places.  The places are
free for tasks of other origins.  An origin still gets no more requests at once than the
watch has places: a further task waits in a line, outside the places, in its order.  The
task is not with the callback meanwhile: it is not decoded, no time limit runs, and
no attempt has been made.  When a request of the origin ends, the first of the line
begins.  So an origin that is only slow, and alone in its queue, is asked as ever.

In the line, as many tasks as there are places wait as long as need be, so that they are
at hand.  The others wait for C{hold_up_to} seconds, then in the broker.

Of an origin that answers in time nothing is known, and it costs nothing.  Pure
bookkeeping, but for one timer, which runs while there is no place free or an origin is
known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._url import origin_of
from quebert.amqp._message import Message

__all__ = ["HANG_AFTER", "LOOKS", "Hanging", "Watch"]

#: Seconds of silence after which an origin hangs, unless told otherwise.
HANG_AFTER = 5.0
#: How often in that time requests are looked at.
LOOKS = 4
#: Tasks per second that go from the line to the broker at most: it is little work.
PUT_OFF_RATE = 100.0
#: Seconds that they wait there at most, ...
LONGEST_PUT_OFF = 300.0
#: ... and that a task waits in the line at most, since RabbitMQ closes a channel that
#: holds one for 30 minutes.
LONGEST_IN_LINE = 600.0
# Seconds for which it is remembered that an origin was silent and answered then, ...
_REMEMBERED = 600.0
# ... and of how many origins.
_MOST_REMEMBERED = 1_000


class Watch(Protocol):
    """
    What has the places.
    """

    @property
    def is_crowded(self) -> bool:
        """
        Whether one more message would get no place now.
        """

    def requesting(self) -> list[Message]:
        """
        The messages whose callbacks make a request now.
        """

    def late(self, message: Message) -> None:
        """
        Free the place of a message that is with its callback.
        """

    def leave(self, message: Message) -> None:
        """
        Free the place of a message that waits in the line.
        """

    def begin_again(self, message: Message) -> None:
        """
        Give a message to its callback again, as soon as there is a place.
        """

    def put_off_for(self, message: Message, seconds: float) -> None:
        """
        Have a message wait in the broker.
        """


@attrs.define(eq=False)
class Origin:
    """
    One that has slow requests.

    @ivar silent_since: when it last answered, or else became known.
    @ivar running: its requests.
    @ivar due: those whose turn it is, and that have not begun.
    @ivar line: those that wait for their turn, and since when.
    @ivar hangs: whether it was found to hang, and has not answered since.
    """

    name: str
    silent_since: float
    running: set[Message]
    due: set[Message] = attrs.field(factory=set)
    line: dict[Message, float] = attrs.field(factory=dict)
    hangs: bool = False


class Hanging:
    """
    The origins of one watch that may hang.

    @param most: how many places the watch has; with 0, no limit, and with 1, where one
        task follows the other, nothing is done here.
    @param seconds: see above; 0 for never.
    @param hold_up_to: seconds.
    @ivar known: those with slow requests, by their names; nearly always empty.
    @ivar waiting: how many messages wait in all lines.
    """

    log = Logger()

    def __init__(
        self,
        watch: Watch,
        queue: str,
        most: int,
        seconds: float,
        hold_up_to: float,
        clock: Callable[[], IReactorTime],
    ) -> None:
        self.known: dict[str, Origin] = {}
        self.waiting = 0
        self._watch = watch
        self._most = most
        self._seconds = seconds
        self._hold_up_to = hold_up_to
        self._clock = clock
        self._is_on = seconds > 0 and most > 1
        self._interval = seconds / LOOKS
        self._timer: IDelayedCall | None = None
        self._seen: dict[Message, float] = {}  # and when first
        # For how long an origin was silent, and when that was.
        self._silences: dict[str, tuple[float, float]] = {}
        self._warning = RepeatedWarning(
            self.log,
            clock,
            "A host hangs, and its requests leave their places in queue {queue!r}",
            "No host hangs any more that queue {queue!r} asks",
            queue=queue,
        )

    # -- What becomes of each request

    def admits(self, message: Message) -> bool:
        """
        Whether a message may make its request now.  Where it may not, and its callback
        has ended, it is to L{wait}.
        """
        origin = self.known.get(origin_of(message.url))
        if origin is None:
            return True
        if message in origin.due:
            origin.due.discard(message)
        elif origin.line or not self._has_room(origin):
            message.turned_away_by = origin
            return False
        origin.running.add(message)
        return True

    def wait(self, message: Message) -> None:
        """
        Have a message that was turned away begin again when it is its turn.
        """
        origin, message.turned_away_by = message.turned_away_by, None
        origin = self.known.setdefault(origin.name, origin)
        origin.line[message] = self._clock().seconds()
        self.waiting += 1
        self.look_again()
        self._watch.leave(message)
        self._begin_next(origin)

    def ended(self, message: Message) -> None:
        """
        The callback of a message has ended.
        """
        for origin in self.known.values():
            if message in origin.running:
                origin.running.discard(message)
                if message.url:
                    self._answered(origin, message)
                self._begin_next(origin)
                return
            if message in origin.due:  # it made no request
                origin.due.discard(message)
                self._begin_next(origin)
                return

    def forget_waiting(self) -> list[Message]:
        """
        Take out those that wait; look at nothing, until there is no place free again.
        """
        self._stop_timer()
        waiting = [each for origin in self.known.values() for each in origin.line]
        for origin in self.known.values():
            origin.line.clear()
            origin.due.clear()
        self.waiting = 0
        return waiting

    def _has_room(self, origin: Origin) -> bool:
        return len(origin.running) + len(origin.due) < self._most

    def _begin_next(self, origin: Origin) -> None:
        while origin.line and self._has_room(origin):
            message = next(iter(origin.line))
            self._take(origin, message)
            origin.due.add(message)
            self._watch.begin_again(message)

    def _take(self, origin: Origin, message: Message) -> None:
        del origin.line[message]
        self.waiting -= 1

    def _answered(self, origin: Origin, message: Message) -> None:
        now = self._clock().seconds()
        silence = now - max(origin.silent_since, self._seen.get(message, now))
        if silence >= self._silence_of(origin, now):
            self._silences.pop(origin.name, None)
            if len(self._silences) >= _MOST_REMEMBERED:
                del self._silences[next(iter(self._silences))]
            self._silences[origin.name] = (silence, now)
        origin.silent_since = now
        origin.hangs = False

    # -- Looking

    def look_again(self) -> None:
        """
        There is no place free: look at what is there, soon.
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
        if not self.known and not self._watch.is_crowded:
            self._seen.clear()
            return
        self.look_again()
        now, requesting = self._clock().seconds(), self._watch.requesting()
        self._seen = {each: self._seen.get(each, now) for each in requesting}
        slow: dict[str, list[Message]] = defaultdict(list)
        for message, since in self._seen.items():
            if since < now:
                slow[origin_of(message.url)].append(message)
        if slow.keys() - self.known.keys():
            self._know(slow, requesting, now)
        for origin in list(self.known.values()):
            self._judge(origin, slow[origin.name], now)
        most = max(1, round(PUT_OFF_RATE * self._interval))
        for origin, message in list(islice(self._long_in_line(now), most)):
            self._take(origin, message)
            silence = max(now - origin.silent_since, self._seconds)
            self._watch.put_off_for(message, min(silence, LONGEST_PUT_OFF))

    def _know(
        self, slow: dict[str, list[Message]], requesting: list[Message], now: float
    ) -> None:
        for name in slow.keys() - self.known.keys():
            self.known[name] = Origin(name, now, set())
        for message in requesting:
            origin = self.known.get(origin_of(message.url))
            if origin is not None:
                origin.running.add(message)

    def _judge(self, origin: Origin, slow: list[Message], now: float) -> None:
        if not (slow or origin.line or origin.due):
            del self.known[origin.name]
            if not any(each.hangs for each in self.known.values()):
                self._warning.succeeded()
            return
        silent = now - origin.silent_since
        patience = max(self._seconds, 2 * self._silence_of(origin, now))
        if silent >= patience and self._watch.is_crowded:
            if not origin.hangs:
                self._warning.met(f"{origin.name} has answered none for {silent:.0f} s")
            origin.hangs = True
            for message in slow:
                self._watch.late(message)

    def _silence_of(self, origin: Origin, now: float) -> float:
        silence, at = self._silences.get(origin.name, (0.0, now))
        return silence if now - at < _REMEMBERED else 0.0

    def _long_in_line(self, now: float) -> Iterator[tuple[Origin, Message]]:
        for origin in self.known.values():
            for place, (message, since) in enumerate(origin.line.items()):
                at_hand = place < self._most
                if now - since >= (LONGEST_IN_LINE if at_hand else self._hold_up_to):
                    yield origin, message
