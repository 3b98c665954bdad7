"""
The places of one watch, by origin: how many each origin may have, and the lines of the
tasks that wait for one.  L{_hanging_hosts<quebert.amqp.watch._hanging_hosts>} has the
rules (2 and 3) and says when to count.  Pure bookkeeping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from quebert._url import origin_of
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._hanging_origin import HangingOrigin
from quebert.amqp.watch._origin_lines import PATIENCE, OriginLines
from quebert.limits import WhenFree

__all__ = ["LOOKS", "LineOwner", "OriginPlaces"]

#: How often requests are looked at in the seconds after which one leaves its place.
LOOKS = 10
#: The part of the places that is not for quick origins alone.
PART = 0.75
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
        self._lines = OriginLines(clock, self.begin_next)
        self._alone = LOOKS  # looks since a quick one has answered
        self._some_slow = False  # since the count began
        self._ended = 0  # requests, since a task waited, or forget was tried
        self._is_beginning = False

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
        return self._lines.origins

    @property
    def some_refuse(self) -> bool:
        """
        Whether tasks wait in a line for an origin that takes no requests now.
        """
        return bool(self._lines.refusing)

    @property
    def is_crowded(self) -> bool:
        """
        Whether tasks wait in lines although their origins would take them: all places
        are taken.
        """
        are_quick = not (self._some_slow or self._lines.refusing)
        return self.waiting > 0 and are_quick and self.taken >= self._prefetch

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
            origin.slow_due = min(origin.slow_due, len(origin.due))
            self.taken -= 1
        if not self._has_room(origin) or (origin.line and not was_due):
            message.turned_away = True
            return False
        if was_due and origin.refusals:
            origin.successes += 1  # unless it is refused now
            if origin.line and not self._is_beginning:
                self._lines.look_in(0.0, origin)
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
        if message.origin is not None:
            self._remove(message)
        name = origin_of(message.url)
        origin = self.known.get(name) or HangingOrigin(name, self._clock().seconds())
        message.origin, message.turned_away = origin, True
        message.refused_for = self._lines.refused(origin, seconds, when_free)

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
        self._ended = 0
        self._lines.update(origin)
        self._watch.leave(message)
        self.begin_next()

    def ended(self, message: DeliveredMessage, *, is_quick: bool) -> None:
        """
        The callback of a message has ended that has an origin.

        @param is_quick: whether with an answer, between two looks.
        """
        origin = self._remove(message)
        origin.failures = 0
        if is_quick:
            origin.prompt += 1
            if origin.prompt > origin.slow:
                origin.is_quick = True
                self._alone = 0
        self.begin_next()
        self._ended += 1
        # To count costs each task some microseconds, and to begin it as much for each
        # place: so not sooner, and not at the next look, thousands of tasks later.
        if self._ended >= self._prefetch and not (self.waiting or self._some_slow):
            self._ended = 0
            self.forget(is_busy=True)

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
            ready = self._lines.ready
            while ready and self.taken < self._prefetch:
                able = (origin for origin in ready if self._may_begin(origin))
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
        undecided = len(origin.due) - origin.slow_due
        is_known = not origin.refusals or undecided <= origin.successes
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
        origin.begun = self._clock().seconds()
        self._watch.begin_again(message)
        if refusals and message in origin.due and origin.line:
            self._lines.look_in(PATIENCE, origin)
        if is_try and origin.refusals == refusals and origin.line:
            if message.origin is not origin:  # it has ended, and there is a place again
                origin.tries += 1
            self._lines.update(origin)

    def take(self, message: DeliveredMessage) -> HangingOrigin:
        """
        Take a message out of its line.
        """
        origin: HangingOrigin = message.origin
        message.origin = None
        del origin.line[message]
        self.waiting -= 1
        if not origin.line:
            self._lines.remove(origin)
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
