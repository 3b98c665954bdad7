"""
One connection to which server-sent events are written, no faster than it takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from quebert.web._hub import EventHub
from quebert.web._listener import Listener
from quebert.web._tokens import Grant

__all__ = ["EventSink", "EventStream"]

#: Seconds after which a connection is closed that takes nothing.
PATIENCE = 60.0


class EventSink(Protocol):
    """
    The connection that events are written to.
    """

    def write(self, data: bytes) -> None:
        """
        Write some bytes.
        """

    def loseConnection(self) -> None:
        """
        Close it once all that was written is on its way.
        """

    def abort(self) -> None:
        """
        Close it now.
        """


@implementer(IPushProducer)
class EventStream:
    """
    Writes the events of the hub to a connection, to which the head of the answer is
    written already.

    @param ended: called with the stream at its end.
    """

    def __init__(
        self,
        reactor: Any,
        hub: EventHub,
        sink: EventSink,
        ended: Callable[[EventStream], object],
    ) -> None:
        self._reactor = reactor
        self._hub = hub
        self._sink = sink
        self._tell_ended = ended
        self._listener: Listener | None = None
        self._timer: Any = None

    def begin(self, grant: Grant, queue: str, last_id: str) -> None:
        """
        Write from now on.
        """
        self._listener = self._hub.join(grant, queue, last_id, self._sink.write)

    def _end(self) -> None:
        self._cancel()
        listener, self._listener = self._listener, None
        if listener is not None:
            self._hub.leave(listener)
            self._tell_ended(self)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """
        Close the connection.
        """
        if self._listener is not None:
            self._end()
            self._sink.loseConnection()

    # -- What the connection says

    def pauseProducing(self) -> None:
        """
        The client does not read.
        """
        if self._listener is not None:
            self._listener.hold()
            if self._timer is None:
                self._timer = self._reactor.callLater(PATIENCE, self._give_up)

    def resumeProducing(self) -> None:
        """
        The client has taken it.
        """
        self._cancel()
        if self._listener is not None:
            self._hub.go_on(self._listener)

    def stopProducing(self) -> None:
        """
        The connection is lost.
        """
        self._end()

    def _give_up(self) -> None:
        self._timer = None
        self._sink.abort()
