"""
Messages and responses that have less than a mediator asks for, and what it goes by
then.

Nearly all messages are of one class, and nearly all responses of another.  So a class
is looked at once, and is known from then on by one look into a set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from quebert.boundaries import Message, TimedMessage, WatchedMessage, WholeResponse

__all__ = [
    "MESSAGES",
    "RESPONSES",
    "TIMES",
    "Adapter",
    "BareMessage",
    "BareResponse",
    "BareTimes",
    "timed",
]

Role = TypeVar("Role")


class Adapter(Generic[Role]):
    """
    Fits things to a Protocol.

    @param role: the Protocol; its own public names are what a class must have.
    @param bare: makes what has these names of a thing whose class has less.
    @ivar fitting: classes that have all of it: their objects need not be adapted.
    """

    def __init__(self, role: type, bare: Callable[[Any], Role]) -> None:
        self.fitting: set[type] = set()
        self._names = [name for name in vars(role) if not name.startswith("_")]
        self._bare = bare

    def adapt(self, thing: Any) -> Role:
        """
        C{thing} itself if its class fits, else what stands for it.
        """
        kind = type(thing)
        if kind not in self.fitting:
            if not all(hasattr(kind, name) for name in self._names):
                return self._bare(thing)
            self.fitting.add(kind)
        fitting: Role = thing
        return fitting


class BareMessage(WatchedMessage):
    """
    A message that nobody watches.
    """

    def __init__(self, message: Message) -> None:
        self._message = message

    @property
    def body(self) -> bytes:
        """
        That of the message.
        """
        return self._message.body

    @property
    def properties(self) -> Mapping[str, Any]:
        """
        Those of the message.
        """
        return self._message.properties


class BareTimes:
    """
    The times of a message that has its properties alone.
    """

    due_at = None

    def __init__(self, message: Message) -> None:
        self._message = message

    @property
    def sent_at(self) -> float | None:
        """
        Its property C{timestamp}.
        """
        try:
            sent_at = self._message.properties.get("timestamp")
        except ValueError:
            return None
        return sent_at if isinstance(sent_at, (int, float)) else None


class BareResponse(WholeResponse):
    """
    A response of another HTTP client.
    """

    def __init__(self, response: Any) -> None:
        self._response = response

    @property
    def code(self) -> int:
        """
        The status of the response.
        """
        code: int = self._response.code
        return code

    def content(self) -> Deferred[bytes]:
        """
        The body of the response.
        """
        content: Deferred[bytes] = self._response.content()
        return content

    @property
    def headers(self) -> Headers:
        """
        Those of the response, if they are Twisted's, as those of treq's are; else none.
        """
        try:
            headers = self._response.headers
        except AttributeError:
            headers = None
        return headers if isinstance(headers, Headers) else Headers()


MESSAGES: Adapter[WatchedMessage] = Adapter(WatchedMessage, BareMessage)
RESPONSES: Adapter[WholeResponse] = Adapter(WholeResponse, BareResponse)
TIMES: Adapter[TimedMessage] = Adapter(TimedMessage, BareTimes)


def timed(message: Message) -> TimedMessage:
    """
    What knows the times of a message.
    """
    given: Any = message
    return given if type(given) in TIMES.fitting else TIMES.adapt(given)
