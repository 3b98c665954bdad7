"""
The places of a watch: how many messages may be at work at once, and who waits for one.

Pure bookkeeping: it knows neither the broker nor what is done with a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._task_memory import TaskMemory
from quebert.amqp.watch._throttle import Throttle

__all__ = ["Places"]


class Places:
    """
    At most C{prefetch} messages have a place; the others wait in their order.

    @param prefetch: how many places there are; 0 for no limit.
    @param begin: called with each message as it gets a place, unless it takes one; that
        message may leave at once.
    @param throttles: all of which must let a message begin.
    @param memory: of the watch; C{None} for no limit.  A message that takes memory
        begins only if C{memory} admits it.  Messages that take little overtake one that
        is refused.
    @param throttled: called when a throttle has not let the first message begin, or
        has called C{again}.  The throttle may be far: then the watch returns the
        messages that wait.  Or the throttle may allow another prefetch.
    @param when_busy: called when a message has come, and L{is_busy}.
    @ivar when_busy: the same.
    @ivar is_beginning: whether a message begins just now, so that no other one does:
        callbacks of a watch do not run within each other.  Who has called L{take} sets
        it to C{False}, and then calls L{begin_put_off} if L{is_put_off}.
    @ivar is_put_off: whether others might have begun meanwhile.
    """

    def __init__(
        self,
        prefetch: int,
        begin: Callable[[DeliveredMessage], None],
        throttles: Sequence[Throttle] = (),
        memory: TaskMemory | None = None,
        when_busy: Callable[[], None] = lambda: None,
        throttled: Callable[[], None] = lambda: None,
    ) -> None:
        self._prefetch = prefetch or float("inf")
        self._half = self._prefetch / 2
        self._begin = begin
        self.when_busy = when_busy
        self._throttled = throttled
        self._placed: set[DeliveredMessage] = set()
        self._waiting: deque[DeliveredMessage] = deque()
        # Those that have waited for memory.
        self._heavy: deque[DeliveredMessage] = deque()
        self.is_beginning = self.is_put_off = False
        self._closed: set[str] = set()  # for which reasons
        self._memory = memory
        self._throttles = tuple(throttles)  # nearly always none

    def take(self, message: DeliveredMessage) -> bool:
        """
        Give a message a place at once, if one is free, no message waits or begins, the
        places are open, and neither a throttle nor memory has a say.

        @return: whether it has one.  Then the caller begins it, and C{begin} is not
            called.  If it has none, it is to L{enter}.
        """
        placed = self._placed
        if (
            self.is_beginning
            or self._waiting
            or self._heavy
            or self._closed
            or self._throttles
            or message.memory
            or len(placed) >= self._prefetch
        ):
            return False
        placed.add(message)
        self.is_beginning = True
        if len(placed) > self._half:
            self.when_busy()
        return True

    def begin_put_off(self) -> None:
        """
        Begin what was put off.
        """
        self.is_put_off = False
        self._fill()

    def enter(self, message: DeliveredMessage) -> None:
        """
        Give a message a place, now or later.
        """
        self._waiting.append(message)
        for each in self._throttles:
            each.entered()
        self._fill()
        if self._waiting or self._heavy or len(self._placed) > self._half:
            self.when_busy()

    def leave(self, message: DeliveredMessage) -> None:
        """
        Free the place of a message, if it still has one, for the next.
        """
        if message in self._placed:
            self._placed.remove(message)
            for each in self._throttles:
                each.left(message)
            if self._waiting or self._heavy:
                self._fill()

    def has_place(self, message: DeliveredMessage) -> bool:
        """
        Whether a message has one.
        """
        return message in self._placed

    def has_room(self) -> bool:
        """
        Whether one more message would get a place at once.
        """
        some_wait = self._waiting or self._heavy
        return not some_wait and len(self._placed) < self._prefetch

    @property
    def is_open(self) -> bool:
        """
        Whether messages get places now: it is not closed.
        """
        return not self._closed

    @property
    def is_busy(self) -> bool:
        """
        Whether more than half of the places are taken, or a message waits for one.
        """
        some_wait = self._waiting or self._heavy
        return bool(some_wait) or len(self._placed) > self._half

    def forget_waiting(self) -> list[DeliveredMessage]:
        """
        Take out those that have no place yet.
        """
        waiting = [*self._heavy, *self._waiting]
        self._heavy.clear()
        self._waiting.clear()
        if self._memory is not None:
            self._memory.forget(self._fill, waiting)
        for each in self._throttles:
            each.withdrawn(len(waiting))
        return waiting

    def take_out(self, message: DeliveredMessage) -> None:
        """
        Have a message wait for memory no more.
        """
        self._heavy.remove(message)
        for each in self._throttles:
            each.withdrawn(1)
        if self._memory is not None and not self._heavy:
            self._memory.forget(self._fill, ())

    def close(self, reason: str) -> None:
        """
        Give no more places, until it is opened for the same reason.
        """
        self._closed.add(reason)

    def open(self, reason: str) -> None:
        """
        Give places again, unless it is closed for another reason.
        """
        self._closed.discard(reason)
        self._fill()

    def _fill(self) -> None:
        if self.is_beginning:  # a message left as soon as it had begun
            self.is_put_off = True
            return
        self.is_beginning, was_refused = True, False
        waiting, placed, heavy = self._waiting, self._placed, self._heavy
        try:
            while waiting or heavy:
                if len(placed) >= self._prefetch or self._closed:
                    return
                line = waiting
                if self._memory and (heavy or waiting[0].memory):  # seldom
                    line = self._line(self._memory)
                    if not line:
                        return
                if self._throttles and not self._pass(line[0]):
                    was_refused = True
                    break
                message = line.popleft()
                placed.add(message)
                self._begin(message)
        finally:
            self.is_beginning = self.is_put_off = False
        if was_refused:
            self._throttled()

    def _go_on(self) -> None:
        """
        A throttle may let messages begin, or be far, or have more or fewer fetched.
        """
        self._fill()
        self._throttled()

    def _line(self, memory: TaskMemory) -> deque[DeliveredMessage]:
        """
        The line whose first message may begin, as far as memory is concerned.
        """
        waiting, heavy = self._waiting, self._heavy
        if heavy and memory.admits(heavy[0], self._fill):
            return heavy
        while waiting and waiting[0].memory:
            if not heavy and memory.admits(waiting[0], self._fill):
                break
            message = waiting.popleft()
            heavy.append(message)
            memory.wait(message)
        return waiting

    def _pass(self, message: DeliveredMessage) -> bool:
        for each in self._throttles:
            if not each.may_begin(self._go_on):
                return False
        for each in self._throttles:
            each.begun(message)
        return True
