"""
The places of one watch, by origin: how many each origin may have, and the lines of the
tasks that wait for one.  L{_hanging_hosts<quebert.amqp.watch._hanging_hosts>} has the
rules (2 and 3) and says when to count.  Pure bookkeeping.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._consumer_timeout import LONGEST_WAIT
from quebert._url import origin_of
from quebert.amqp.watch._delivered_message import DeliveredMessage, WhenFree

__all__ = ["LOOKS", "HangingOrigin", "LineOwner", "OriginPlaces"]

#: How often requests are looked at in the seconds after which one leaves its place.
LOOKS = 10
#: The part of the places that is not for quick origins alone.
PART = 0.75
#: Seconds after which an origin is asked again that has refused a request, at least.
SHORTEST = 0.02
# How many origins are remembered that have no request.
_MOST_REMEMBERED = 1_000


class LineOwner(Protocol):
    """
    The watch.
    """

    def leave(self, message: DeliveredMessage) -> None:
        """
        Free the place of a message that waits in a line.
        """

    def begin_again(self, message: DeliveredMessage) -> None:
        """
        Give a message to its callback again, as soon as there is a place.
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
    @ivar refuses_until: when it may take requests again, since one was not admitted; 0
        where it may now.
    @ivar when_free: has a function called once when it takes one; C{None} where nothing
        tells that.
    @ivar told_by: what will call ours.
    @ivar tries: how many tasks of the line may begin although it refuses: for each, a
        request has ended.
    @ivar refusals: how many requests were not admitted.
    @ivar successes: how many tasks of the line made their requests since then.
    @ivar timed: the C{refuses_until} for which there is a timer.
    """

    name: str
    since: float
    placed: set[DeliveredMessage] = attrs.field(factory=set)
    outside: set[DeliveredMessage] = attrs.field(factory=set)
    due: set[DeliveredMessage] = attrs.field(factory=set)
    line: OrderedDict[DeliveredMessage, None] = attrs.field(factory=OrderedDict)
    slow: int = 0
    prompt: int = 0
    trusted: int = 0
    is_quick: bool = False
    hangs: bool = False
    refuses_until: float = 0.0
    when_free: WhenFree | None = None
    told_by: WhenFree | None = None
    tries: int = 0
    refusals: int = 0
    successes: int = 0
    timed: float = 0.0

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


class OriginPlaces:
    """
    The origins that one watch requests, while some of these are slow, or some tasks
    wait in a line.

    @param prefetch: how many places the watch has.
    @ivar known: the origins, by their names; nearly always empty.
    @ivar waiting: how many messages wait in all lines.
    @ivar taken: how many places all origins have, or are about to have.
    """

    def __init__(
        self, watch: LineOwner, prefetch: int, clock: Callable[[], IReactorTime]
    ) -> None:
        self.known: dict[str, HangingOrigin] = {}
        self.waiting = 0
        self.taken = 0
        self._watch = watch
        self._prefetch = prefetch
        self._part = max(1, int(prefetch * PART))
        self._clock = clock
        # Those with lines: whether the first task may begin, as far as is known.
        self._ready: dict[HangingOrigin, None] = {}
        self._refusing: dict[HangingOrigin, None] = {}
        self._times: list[tuple[float, int, HangingOrigin]] = []  # a heap
        self._entries = 0
        self._alone = LOOKS  # looks since a quick one has answered
        self._some_slow = False  # since the count began
        self._is_beginning = False
        self._timer: IDelayedCall | None = None

    @property
    def share(self) -> int:
        """
        How many places are not for quick origins alone.
        """
        is_reserved = self._some_slow and self._alone < LOOKS
        return self._part if is_reserved else self._prefetch

    @property
    def lined(self) -> list[HangingOrigin]:
        """
        The origins with lines.
        """
        return [*self._ready, *self._refusing]

    @property
    def some_refuse(self) -> bool:
        """
        Whether tasks wait in a line for an origin that takes no requests now.
        """
        return bool(self._refusing)

    # -- What becomes of each request

    def admits(self, message: DeliveredMessage) -> bool:
        """
        Whether a message may make its request now.  Where it may not, and its callback
        has ended, it is to wait.
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
            self.taken -= 1
        if not self._has_room(origin) or (origin.line and not was_due):
            message.turned_away = True
            return False
        if was_due and origin.refusals:
            origin.successes += 1  # unless it is refused now
            if origin.line and not self._is_beginning:
                self._go_on_at(self._clock().seconds(), origin)
        origin.placed.add(message)
        self.taken += 1
        return True

    def refused(
        self, message: DeliveredMessage, seconds: float, when_free: WhenFree | None
    ) -> None:
        """
        The request of a message was not admitted: its origin takes none for
        C{seconds}, or until C{when_free} tells.
        """
        now = self._clock().seconds()
        if message.origin is not None:
            self._remove(message)
        name = origin_of(message.url)
        origin = self.known.get(name) or HangingOrigin(name, now)
        told = seconds if seconds > SHORTEST else SHORTEST
        origin.refuses_until = now + min(told, LONGEST_WAIT)
        origin.when_free = when_free
        origin.tries = origin.successes = 0
        origin.refusals += 1
        message.origin, message.refused_for = origin, told
        message.turned_away = True
        if origin.line:
            self._line_up(origin)

    def give_up(self, message: DeliveredMessage) -> None:
        """
        A message that was turned away is not to wait here.
        """
        message.turned_away, message.refused_for = False, 0.0
        message.origin = None

    def wait(self, message: DeliveredMessage) -> None:
        """
        Have a message that was turned away begin again when it is its turn.
        """
        message.turned_away, message.refused_for, message.url = False, 0.0, ""
        refused = message.origin
        assert refused is not None
        origin = message.origin = self.known.setdefault(refused.name, refused)
        if origin is not refused:  # it was not counted when it refused
            origin.refuses_until = max(origin.refuses_until, refused.refuses_until)
            origin.when_free = refused.when_free
            origin.refusals += refused.refusals
        origin.line[message] = None
        if message.waits_since is None:
            message.waits_since = self._clock().seconds()
        else:  # it was its turn already
            origin.line.move_to_end(message, last=False)
        self.waiting += 1
        self._line_up(origin)
        self._watch.leave(message)
        self.begin_next()

    def ended(self, message: DeliveredMessage, *, is_quick: bool) -> None:
        """
        The callback of a message has ended that has an origin.

        @param is_quick: whether with an answer, between two looks.
        """
        origin = self._remove(message)
        if is_quick:
            origin.prompt += 1
            if origin.prompt > origin.slow:
                origin.is_quick = True
                self._alone = 0
        self.begin_next()

    def left(self, message: DeliveredMessage) -> None:
        """
        A message that has an origin has left its place, and its request goes on.
        """
        origin = message.origin
        if origin is not None and message in origin.placed:
            self._remove(message)
            message.origin = origin
            origin.outside.add(message)

    def forget_waiting(self) -> list[DeliveredMessage]:
        """
        Take out those that wait.
        """
        waiting = [each for origin in self.lined for each in origin.line]
        for message in waiting:
            self.take(message)
        for origin in self.known.values():
            for message in list(origin.due):
                self._remove(message)
        return waiting

    def begin_next(self) -> None:
        """
        Begin those whose turn it is.
        """
        if self._is_beginning:
            return  # one ended, or was refused, as soon as it had begun
        self._is_beginning = True
        try:
            while self._ready and self.taken < self._prefetch:
                able = (origin for origin in self._ready if self._may_begin(origin))
                origin = min(able, key=lambda each: each.places, default=None)
                if origin is None:
                    return
                self._begin(origin)
        finally:
            self._is_beginning = False

    def _may_begin(self, origin: HangingOrigin) -> bool:
        """
        Whether the first in the line of an origin may begin.  Of an origin that has
        refused some, no more are due at once (their hooks run) than were successful.
        """
        is_known = not origin.refusals or len(origin.due) <= origin.successes
        return (is_known or origin.tries > 0) and self._has_room(origin)

    def _begin(self, origin: HangingOrigin) -> None:
        """
        Begin the first in the line of an origin.
        """
        message, is_try = next(iter(origin.line)), origin.tries > 0
        origin.tries -= is_try
        self.take(message)
        refusals = origin.refusals
        message.origin = origin
        origin.due.add(message)
        self.taken += 1
        self._watch.begin_again(message)
        if is_try and origin.refusals == refusals and origin.line:
            if message.origin is not origin:  # it has ended, and there is a place again
                origin.tries += 1
            self._line_up(origin)

    # -- Origins that refuse

    def _line_up(self, origin: HangingOrigin) -> None:
        """
        Note whether an origin with a line takes requests; if not, see to it that the
        first in the line begins when it does.
        """
        refuses = origin.refuses_until and not origin.tries
        here, there = self._ready, self._refusing
        if refuses:
            here, there = there, here
            if origin.timed != origin.refuses_until:
                origin.timed = origin.refuses_until
                self._go_on_at(origin.timed, origin)
            if origin.when_free is not None and origin.told_by != origin.when_free:
                origin.told_by = origin.when_free
                origin.when_free(partial(self._free, origin))
        there.pop(origin, None)
        here[origin] = None

    def _free(self, origin: HangingOrigin) -> bool:
        """
        A request to an origin has ended, and one more may run.

        @return: whether one is made.
        """
        origin.told_by = None
        if origin not in self._refusing and origin not in self._ready:
            return False
        origin.tries += 1
        self._line_up(origin)
        self.begin_next()
        if origin.tries and not self._is_beginning:
            origin.tries = 0
            if origin.line:
                self._line_up(origin)
            return False
        return True

    def _go_on_at(self, due: float, origin: HangingOrigin) -> None:
        """
        Look again then whether an origin takes requests.
        """
        self._entries += 1
        heappush(self._times, (due, self._entries, origin))
        if self._timer is None or self._timer.getTime() > due:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = max(0.0, self._times[0][0] - self._clock().seconds())
        self._timer = self._clock().callLater(wait, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        now = self._clock().seconds()
        while self._times and self._times[0][0] <= now:
            due, _, origin = heappop(self._times)
            if origin.refuses_until <= due and origin.line:
                origin.refuses_until = 0.0
                self._line_up(origin)
        self.begin_next()
        if self._times and self._timer is None:
            self._set_timer()

    def take(self, message: DeliveredMessage) -> HangingOrigin:
        """
        Take a message out of its line.
        """
        origin: HangingOrigin = message.origin
        message.origin = None
        del origin.line[message]
        self.waiting -= 1
        if not origin.line:
            self._ready.pop(origin, None)
            self._refusing.pop(origin, None)
            origin.refuses_until = origin.timed = 0.0
            origin.tries = origin.refusals = origin.successes = 0
            if not self.waiting and self._timer is not None:
                self._times.clear()
                self._timer.cancel()
                self._timer = None
        return origin

    # -- A look at all requests

    def count(
        self,
        requesting: list[DeliveredMessage],
        has_place: Callable[[DeliveredMessage], bool],
    ) -> None:
        """
        Begin to count: these requests are there.

        @param has_place: whether a message has not left its place.
        """
        self._alone = 0  # as far as is known
        for message in requesting:
            origin = message.origin = self._origin_of(message)
            if has_place(message):
                origin.placed.add(message)
                self.taken += 1
            else:
                origin.outside.add(message)

    def judge(self, slow: list[DeliveredMessage]) -> None:
        """
        Find out which origins are quick, a look after the last one.

        @param slow: the requests that were there then.
        """
        self._alone += 1
        self._some_slow = self._some_slow or bool(slow)
        numbers = Counter(each.origin for each in slow)
        for origin in self.known.values():
            origin.slow = numbers[origin]
            if origin.slow and origin.slow >= origin.prompt:
                origin.is_quick = False
            origin.prompt, origin.trusted = 0, origin.prompt

    def forget(self, is_busy: bool) -> None:
        """
        Forget origins of which there is nothing to be known; or all, if no task waits
        for one, and the watch is not busy, or none was slow.

        @param is_busy: whether the watch is.
        """
        for origin in list(self.known.values()):
            crowd = len(self.known) > _MOST_REMEMBERED
            if origin.is_idle and (crowd or not origin.is_quick):
                del self.known[origin.name]
        known = self.known.values()
        if is_busy and self._some_slow:
            return
        if any(each.outside or each.due or each.line for each in known):
            return
        for origin in known:
            for message in list(origin.placed):
                self._remove(message)
        self.known.clear()
        self._some_slow = False

    def _origin_of(self, message: DeliveredMessage) -> HangingOrigin:
        name = origin_of(message.url)
        origin = self.known.get(name)
        if origin is None:
            origin = self.known[name] = HangingOrigin(name, self._clock().seconds())
        return origin

    def _has_room(self, origin: HangingOrigin) -> bool:
        """
        Whether one more request to it may begin.
        """
        requests, share = origin.places + len(origin.outside), self.share
        if requests >= self._prefetch:
            return False
        if origin.is_quick and origin.places <= max(origin.prompt, origin.trusted):
            return True
        return self.taken < (share if requests else (share + self._prefetch) / 2)

    def _remove(self, message: DeliveredMessage) -> HangingOrigin:
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
            self.taken -= 1
        return origin
