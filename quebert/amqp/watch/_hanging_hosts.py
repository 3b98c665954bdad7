"""
Hosts that hang: they take requests and answer late, or never.

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
    slow requests.  It may use as many reserved places as it had quick answers, and one.
    When it turns slow, its slow requests leave them.  An origin without requests may
    use one of half of them, to show that it is quick.

A further task waits in the line of its origin, outside the places, in its order.  The
task is not with the callback meanwhile: it is not decoded, no time limit runs, and no
attempt has been made.  When there is a place, the first in the line of the origin with
the fewest places begins.

As many tasks of each line as there are places (fewer with more than ten lines) stay at
hand for C{LONGEST_WAIT} seconds at most, and so do all those for a quick origin.
The others wait for C{hold_up_to} seconds, then in the broker.

In a queue whose requests are all answered in time nothing is counted, and nothing costs
anything.  Pure bookkeeping, but for one timer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._holding import LONGEST_WAIT
from quebert._log import Logger
from quebert._open_files import affordable
from quebert._repeated import RepeatedWarning
from quebert._url import origin_of
from quebert.amqp.wire import Message

__all__ = ["HANG_AFTER", "LOOKS", "HangingHosts", "HangingOrigin", "PlaceOwner"]

#: Seconds after which a request leaves its place, unless told otherwise.
HANG_AFTER = 5.0
#: How often in that time requests are looked at.
LOOKS = 10
#: The part of the places that is not for quick origins alone.
PART = 0.75
#: Requests of a watch that go on without a place at most: each has a connection, and
#: other queues need some.
MOST_OUTSIDE = 2_500
#: Tasks per second that go from the lines to the broker at most: it is little work.
PUT_OFF_RATE = 100.0
#: Seconds that they wait there at most.
LONGEST_PUT_OFF = 300.0
# How many times as many tasks as there are places are at hand in all lines.
_AT_HAND = 10
# How many origins are remembered that have no request.
_MOST_REMEMBERED = 1_000


class PlaceOwner(Protocol):
    """
    What has the places.
    """

    @property
    def is_busy(self) -> bool:
        """
        Whether more than half of the places are taken, or a message waits for one.
        """

    def requesting(self) -> list[Message]:
        """
        The messages whose callbacks make a request now, in the order in which these
        were called.
        """

    def has_place(self, message: Message) -> bool:
        """
        Whether a message that is with its callback has not left its place.
        """

    def late(self, message: Message) -> None:
        """
        Free the place of a message that is with its callback; calls
        L{HangingHosts.left}.
        """

    def leave(self, message: Message) -> None:
        """
        Free the place of a message that waits in a line.
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
class HangingOrigin:
    """
    The requests to one origin, and the tasks that wait to make one.

    @ivar since: when it became known.
    @ivar placed: its requests that have places.
    @ivar outside: its requests that have left theirs.
    @ivar due: tasks whose turn it is, and that have not begun.
    @ivar line: tasks that wait for their turn.
    @ivar slow: how many of its requests were slow at the last look.
    @ivar prompt: its quick answers: requests that began and were answered since then.
    @ivar trusted: C{prompt} of the interval before.
    @ivar is_quick: whether it has more quick answers than slow requests.
    @ivar hangs: whether the log has told of it.
    """

    name: str
    since: float
    placed: set[Message] = attrs.field(factory=set)
    outside: set[Message] = attrs.field(factory=set)
    due: set[Message] = attrs.field(factory=set)
    line: dict[Message, None] = attrs.field(factory=dict)
    slow: int = 0
    prompt: int = 0
    trusted: int = 0
    is_quick: bool = False
    hangs: bool = False

    @property
    def places(self) -> int:
        """
        How many it has, or is about to have.
        """
        return len(self.placed) + len(self.due)

    @property
    def is_idle(self) -> bool:
        """
        Whether it has no request, and no task waits.
        """
        return not (self.placed or self.outside or self.due or self.line)


class HangingHosts:
    """
    The origins that one watch requests, while some of these are slow.

    @param most: how many places the watch has; with 0, no limit, and with 1, where one
        task follows the other, nothing is done here.
    @param seconds: see above; 0 for never.
    @param hold_up_to: seconds.
    @ivar known: the origins, by their names; nearly always empty.
    @ivar waiting: how many messages wait in all lines.
    """

    log = Logger()

    def __init__(
        self,
        watch: PlaceOwner,
        queue: str,
        most: int,
        seconds: float,
        hold_up_to: float,
        clock: Callable[[], IReactorTime],
    ) -> None:
        self.known: dict[str, HangingOrigin] = {}
        self.waiting = 0
        self._watch = watch
        self._most = most
        self._part = max(1, int(most * PART))
        self._most_outside = affordable(2 * MOST_OUTSIDE) // 2
        self._seconds = seconds
        self._hold_up_to = hold_up_to
        self._clock = clock
        self._is_on = seconds > 0 and most > 1
        self._interval = seconds / LOOKS
        self._timer: IDelayedCall | None = None
        self._seen: dict[Message, float] = {}  # and when first
        self._lined: dict[HangingOrigin, None] = {}  # those with lines
        self._places = 0  # of all of them
        self._alone = LOOKS  # looks since a quick one has answered
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
        origin = self._origin_of(message)
        if message.origin is not None and message.origin is not origin:
            self._remove(message)  # a hook has changed the URL
        message.origin = origin
        if message in origin.placed or message in origin.outside:
            return True
        was_due = message in origin.due
        if was_due:
            origin.due.discard(message)
            self._places -= 1
        if not self._has_room(origin) or (origin.line and not was_due):
            message.turned_away = True
            return False
        origin.placed.add(message)
        self._places += 1
        return True

    def wait(self, message: Message) -> None:
        """
        Have a message that was turned away begin again when it is its turn.
        """
        message.turned_away, message.url = False, ""
        assert message.origin is not None
        origin = self.known.setdefault(message.origin.name, message.origin)
        message.origin = origin
        if message.waits_since is None:
            message.waits_since = self._clock().seconds()
            origin.line[message] = None
        else:  # it was its turn already
            origin.line = {message: None, **origin.line}
        self._lined[origin] = None
        self.waiting += 1
        self.look_again()
        self._watch.leave(message)
        self._begin_next()

    def ended(self, message: Message) -> None:
        """
        The callback of a message has ended that has an origin.
        """
        origin = self._remove(message)
        if message.url and message not in self._seen:
            origin.prompt += 1
            if origin.prompt > origin.slow:
                origin.is_quick = True
                self._alone = 0
        self._begin_next()

    def left(self, message: Message) -> None:
        """
        A message that has an origin has left its place, and its request goes on.
        """
        origin = message.origin
        if origin is not None and message in origin.placed:
            self._remove(message)
            message.origin = origin
            origin.outside.add(message)

    def forget_waiting(self) -> list[Message]:
        """
        Take out those that wait; look at nothing, until the watch is busy again.
        """
        self._stop_timer()
        waiting = [each for origin in self._lined for each in origin.line]
        for message in waiting:
            self._take(message)
        for origin in self.known.values():
            for message in list(origin.due):
                self._remove(message)
        return waiting

    def _origin_of(self, message: Message) -> HangingOrigin:
        name = origin_of(message.url)
        origin = self.known.get(name)
        if origin is None:
            origin = self.known[name] = HangingOrigin(name, self._clock().seconds())
        return origin

    def _has_room(self, origin: HangingOrigin) -> bool:
        """
        Whether one more request to it may begin.
        """
        requests, share = origin.places + len(origin.outside), self._share
        if requests >= self._most:
            return False
        if origin.is_quick and origin.places <= max(origin.prompt, origin.trusted):
            return True
        return self._places < (share if requests else (share + self._most) / 2)

    @property
    def _share(self) -> int:
        """
        How many places are not for quick origins alone.
        """
        return self._part if self._alone < LOOKS else self._most

    def _begin_next(self) -> None:
        while self.waiting and self._places < self._most:
            able = (origin for origin in self._lined if self._has_room(origin))
            origin = min(able, key=lambda each: each.places, default=None)
            if origin is None:
                return
            message = next(iter(origin.line))
            self._take(message)
            message.origin = origin
            origin.due.add(message)
            self._places += 1
            self._watch.begin_again(message)

    def _take(self, message: Message) -> HangingOrigin:
        """
        Take a message out of its line.
        """
        origin: HangingOrigin = message.origin
        message.origin = None
        del origin.line[message]
        self.waiting -= 1
        if not origin.line:
            del self._lined[origin]
        return origin

    def _remove(self, message: Message) -> HangingOrigin:
        """
        Count a request no more, nor a message that is due.
        """
        origin: HangingOrigin = message.origin
        message.origin = None
        if message in origin.outside:
            origin.outside.discard(message)
        elif message in origin.placed or message in origin.due:
            origin.placed.discard(message)
            origin.due.discard(message)
            self._places -= 1
        return origin

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
        is_busy = self._watch.is_busy
        if not self.known and not is_busy:
            self._seen.clear()
            return
        self.look_again()
        now, requesting = self._clock().seconds(), self._watch.requesting()
        self._seen = {each: self._seen.get(each, now) for each in requesting}
        slow = [each for each in requesting if self._seen[each] < now]
        if slow and not self.known:
            self._know(requesting)
        if self.known:
            self._judge(slow)
            if is_busy:
                self._free_places(slow, now)
            self._put_off(now)
            self._begin_next()
            self._forget(is_busy)

    def _know(self, requesting: list[Message]) -> None:
        """
        Begin to count.
        """
        self._alone = 0  # as far as is known
        for message in requesting:
            origin = message.origin = self._origin_of(message)
            if self._watch.has_place(message):
                origin.placed.add(message)
                self._places += 1
            else:
                origin.outside.add(message)

    def _judge(self, slow: list[Message]) -> None:
        """
        Which origins are quick.
        """
        self._alone += 1
        numbers = Counter(each.origin for each in slow)
        for origin in self.known.values():
            origin.slow = numbers[origin]
            if origin.slow and origin.slow >= origin.prompt:
                origin.is_quick = False
            origin.prompt, origin.trusted = 0, origin.prompt

    def _free_places(self, slow: list[Message], now: float) -> None:
        """
        Have the requests leave their places that hang, and of those that are slow as
        many as origins that are not quick have too many, the oldest ones.
        """
        known = self.known.values()
        outside = sum(len(each.outside) for each in known)
        spare = self._share - sum(each.places for each in known if not each.is_quick)
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
        most = max(1, round(PUT_OFF_RATE * self._interval))
        for message in list(islice(self._long_in_line(now), most)):
            known_for = now - self._take(message).since
            seconds = min(max(known_for, self._seconds), LONGEST_PUT_OFF)
            self._watch.put_off_for(message, seconds)

    def _long_in_line(self, now: float) -> Iterator[Message]:
        if not self._lined:
            return
        at_hand = min(self._most, _AT_HAND * self._most // len(self._lined))
        for origin in self._lined:
            for place, message in enumerate(origin.line):
                is_soon = origin.is_quick or place < at_hand
                longest = LONGEST_WAIT if is_soon else self._hold_up_to
                if now - (message.waits_since or now) >= longest:
                    yield message

    def _forget(self, is_busy: bool) -> None:
        """
        Forget origins of which there is nothing to be known, or all.
        """
        known = list(self.known.values())
        for origin in known:
            origin.hangs = origin.hangs and bool(origin.outside)
            crowd = len(self.known) > _MOST_REMEMBERED
            if origin.is_idle and (crowd or not origin.is_quick):
                del self.known[origin.name]
        if not any(each.hangs for each in known):
            self._warning.succeeded()
        if is_busy or any(each.outside or each.due or each.line for each in known):
            return
        for origin in self.known.values():
            for message in list(origin.placed):
                self._remove(message)
        self.known.clear()
