"""
One connection to which server-sent events are written, no faster than it takes them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer

from quebert.web._hub import EventHub
from quebert.web._listener import Listener
from quebert.web._tokens import Grant

__all__ = ["EventStream"]

#: Seconds after which a connection is closed that takes nothing.
PATIENCE = 60.0


@implementer(IPushProducer)
class EventStream:
    """
    Writes the events of the hub to a request, whose head is written already.
    """

    def __init__(self, reactor: Any, hub: EventHub, request: Request) -> None:
        self._reactor = reactor
        self._hub = hub
        self._request = request
        self._listener: Listener | None = None
        self._timer: Any = None
        self._is_paused = False

    def begin(self, grant: Grant, queue: str, last_id: str) -> None:
        """
        Write from now on.
        """
        request: Any = self._request
        request.notifyFinish().addBoth(self._ended)
        request.registerProducer(self, True)
        self._listener = self._hub.join(grant, queue, last_id, self._write)
        if self._is_paused:
            self._listener.hold()

    def _write(self, text: bytes) -> None:
        request: Any = self._request
        request.write(text)

    def _ended(self, result: object) -> None:
        self._cancel()
        listener, self._listener = self._listener, None
        if listener is not None:
            self._hub.leave(listener)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """
        Close the connection.
        """
        request: Any = self._request
        if self._listener is not None:
            self._ended(None)
            request.channel.loseConnection()

    # -- What the transport says

    def pauseProducing(self) -> None:
        """
        The client does not read.
        """
        self._is_paused = True
        if self._listener is not None:
            self._listener.hold()
        if self._timer is None:
            self._timer = self._reactor.callLater(PATIENCE, self._give_up)

    def resumeProducing(self) -> None:
        """
        The client has taken it.
        """
        self._is_paused = False
        self._cancel()
        if self._listener is not None:
            self._hub.go_on(self._listener)

    def stopProducing(self) -> None:
        """
        The connection is lost.
        """
        self._ended(None)

    def _give_up(self) -> None:
        self._timer = None
        request: Any = self._request
        request.channel.abort()
