"""
The connections of a producer: so many at most, each for one call at a time.

A call takes a slot, with the connection that was kept there last or with none, and
gives it back.  Calls beyond the number of slots wait, in the order in which they came.

No slot can be lost.  Wherever a call is interrupted, by a signal handler or a
C{gevent.Timeout}, it gives its slot back, or Python frees the slot at last, and an
empty one takes its position.  Lists and deques are changed in single steps, and no
lock is held: a signal handler may add tasks, too.  It gets an extra slot if none is
free while the call that it interrupts has one: it would wait for itself.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from contextlib import suppress

from quebert.producer._connection import PublishingConnection
from quebert.producer._deadline import Deadline, TimeIsUp

__all__ = ["ConnectionPool", "Slot"]


# Connections that we have taken leave of and not closed.
_LEAVING = 4


def _close(connection: PublishingConnection) -> None:
    connection.leave()
    connection.close()


class Slot:
    """
    A slot for a connection.

    @ivar connection: what was kept there last.
    """

    def __init__(self, slots: _Slots, *, extra: bool = False) -> None:
        # Weak, since the pool has its slots: a cycle would keep connections open.
        self._slots = weakref.ref(slots)
        self._extra = extra
        self._thread: int | None = None
        self._taken = False
        self.connection: PublishingConnection | None = None

    def take(self) -> Slot:
        """
        This thread, or this greenlet, has it now.
        """
        slots = self._slots()
        self._taken = True
        if slots is not None:
            self._thread = threading.get_ident()
            slots.holders.append(self._thread)
        return self

    def give_back(self, connection: PublishingConnection | None = None) -> None:
        """
        Let another call have it; it is fine if that was done already.

        @param connection: to be kept there.
        """
        if not self._taken:
            return
        slots = self._slots()
        kept = slots is not None and not self._extra
        if kept:
            self.connection = connection
        elif connection is not None:
            _close(connection)
        self._leave(slots, self)

    def __del__(self) -> None:
        if self.connection is not None:
            _close(self.connection)
        slots = self._slots()
        if slots is not None:
            self._leave(slots, Slot(slots))

    def _leave(self, slots: _Slots | None, free: Slot) -> None:
        thread, self._thread = self._thread, None
        self._taken = False
        if slots is not None:
            with suppress(ValueError):
                slots.holders.remove(thread)
            if not self._extra:
                slots.put(free)


class _SlotWaiter:
    """
    A call that waits for a slot.
    """

    def __init__(self) -> None:
        self.slot: Slot | None = None
        self.served = threading.Lock()
        self.served.acquire()


class _Slots:
    """
    The slots of one process.

    @ivar holders: the threads that have a slot, once for each.
    """

    def __init__(self, most: int) -> None:
        self.pid = os.getpid()
        self.holders: list[int | None] = []
        self._connected: deque[Slot] = deque()  # the last one was used last
        self._empty = [Slot(self) for _ in range(most)]
        self._waiting: deque[_SlotWaiter] = deque()
        # Those that we have taken leave of: the broker has time to answer.
        self._leaving: deque[PublishingConnection] = deque()

    def pop(self) -> Slot | None:
        """
        A slot that is free.
        """
        with suppress(IndexError):
            return self._connected.pop()
        with suppress(IndexError):
            return self._empty.pop()
        return None

    def put(self, slot: Slot) -> None:
        """
        A slot is free again.
        """
        self._append(slot)
        self._retire_oldest()
        self._serve()

    def wait(self, deadline: Deadline) -> Slot:
        """
        The next slot that is free.

        @raise TimeIsUp: there is none in time.
        """
        waiter = _SlotWaiter()
        self._waiting.append(waiter)
        try:
            self._serve()  # one may have come back just before
            waiter.served.acquire(timeout=deadline.left())
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiter)
        if waiter.slot is None:
            raise TimeIsUp
        return waiter.slot.take()

    def _append(self, slot: Slot) -> None:
        if slot.connection is None:
            self._empty.append(slot)
        else:
            self._connected.append(slot)

    def _serve(self) -> None:
        while self._waiting and (slot := self.pop()) is not None:
            try:
                waiter = self._waiting.popleft()
            except IndexError:  # it does not wait any more
                self._append(slot)
            else:
                waiter.slot = slot
                waiter.served.release()

    def _retire_oldest(self) -> None:
        """
        After a busy time there are connections that are not used again.
        """
        with suppress(IndexError):
            slot = self._connected.popleft()
            connection = slot.connection
            if connection is not None and connection.is_old:
                self._disconnect(slot)
            else:
                self._connected.appendleft(slot)

    def _disconnect(self, slot: Slot) -> None:
        connection, slot.connection = slot.connection, None
        self._empty.append(slot)
        if connection is not None:
            self.leave(connection)

    def leave(self, connection: PublishingConnection) -> None:
        """
        Take leave of the broker; a later call closes the connection.
        """
        connection.leave()
        self._leaving.append(connection)
        with suppress(IndexError):
            while len(self._leaving) > _LEAVING:
                self._leaving.popleft().close()

    def disconnect(self, deadline: Deadline | None) -> None:
        """
        Close all connections that are not in use.

        @param deadline: until when the broker's answers are waited for; C{None} for
            not at all.
        """
        with suppress(IndexError):
            while True:
                self._disconnect(self._connected.popleft())
        with suppress(IndexError):
            while True:
                connection = self._leaving.popleft()
                if deadline is not None:
                    connection.wait(deadline)
                connection.close()


class ConnectionPool:
    """
    The slots of a producer, in each process that has it.

    @param most: how many there are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._slots = _Slots(most)

    def take(self, deadline: Deadline) -> Slot:
        """
        A slot for the call of this thread, or of this greenlet.

        @raise TimeIsUp: there is none in time.
        """
        slots = self._ours()
        slot = slots.pop()
        if slot is not None:
            return slot.take()
        if threading.get_ident() in slots.holders:
            return Slot(slots, extra=True).take()
        return slots.wait(deadline)

    def leave(self, connection: PublishingConnection) -> None:
        """
        Take leave of the broker, and close a connection that is taken, without waiting.
        """
        self._ours().leave(connection)

    def close(self, deadline: Deadline | None = None) -> None:
        """
        Close all connections that are not in use.

        @param deadline: until when the broker's answers are waited for; C{None} for
            not at all.
        """
        self._ours().disconnect(deadline)

    def _ours(self) -> _Slots:
        """
        After a fork a child begins anew: it leaves the connections to its parent, whose
        other threads, which have slots, are not there.
        """
        slots = self._slots
        if slots.pid != os.getpid():
            inherited, slots = slots, _Slots(self._most)
            self._slots = slots
            inherited.disconnect(None)
        return slots
