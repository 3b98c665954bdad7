"""
One open stream of events, whose client may be slow.

Theory of operation.  Nothing more is written to a listener that does not read.  It
misses overviews, and its attempts go on being counted; of operations and gaps the
newest L{KEPT} wait.  So a slow listener takes little memory, and the next events that
it gets are new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from quebert.web._sampling import Sample
from quebert.web._tokens import Grant

__all__ = ["KEPT", "Audience", "KeptEvent", "Listener"]

#: Operations and gaps that are remembered.
KEPT = 100


@attrs.frozen
class KeptEvent:
    """
    An operation or a gap, which a slow listener must not miss.

    @ivar number: the number of the event, which is a part of its id.
    @ivar name: the name of the event.
    @ivar text: its JSON.
    @ivar queue: the queue that a grant must allow to see; C{None} if the grant must be
        for all queues.
    """

    number: int
    name: str
    text: bytes
    queue: str | None


@attrs.frozen
class Audience:
    """
    A kind of listeners: those that ask for the same queue, with the same rights.

    @ivar queue: the queue; empty for all.
    @ivar grant: the rights.
    """

    queue: str
    grant: Grant

    @property
    def sees(self) -> Callable[[str], bool] | None:
        """
        Whether the listeners get the attempts of a queue; C{None} for all queues.
        """
        if self.queue:
            return lambda name: name == self.queue
        return None if self.grant.is_for_all else self.grant.sees


class Listener:
    """
    One open stream.

    @ivar kind: the queue that it asks for, and its rights.
    @ivar sample: the attempts that were not sent to it yet.
    """

    def __init__(
        self, kind: Audience, sample: Sample, write: Callable[[bytes], object]
    ) -> None:
        self.kind = kind
        self.sample = sample
        self._write = write
        self._waits = False
        self._late: deque[KeptEvent] = deque(maxlen=KEPT)

    @property
    def is_ready(self) -> bool:
        """
        Whether the client reads.
        """
        return not self._waits

    def send(self, text: bytes) -> None:
        """
        Write, unless the client is slow.
        """
        if not self._waits:
            self._write(text)

    def tell(self, event: KeptEvent, text: bytes) -> None:
        """
        Write an event, or keep it until the client reads.

        @param text: the event, as it is written.
        """
        if self._waits:
            self._late.append(event)
        else:
            self._write(text)

    def hold(self) -> None:
        """
        The client does not read: write nothing more.
        """
        self._waits = True

    def go_on(self, format: Callable[[KeptEvent], bytes]) -> None:
        """
        The client reads again: write the events that wait.
        """
        self._waits = False
        while self._late and not self._waits:
            self._write(format(self._late.popleft()))
