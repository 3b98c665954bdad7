"""
The Protocols between the centre and the edges.

The mediator is written against these alone, so that it knows neither AMQP nor
HTTP; users can provide their own, and tests provide doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, Union, runtime_checkable

from twisted.internet.defer import Deferred

from quebert.task import Task

__all__ = [
    "HTTPClient",
    "Message",
    "PostHook",
    "PreHook",
    "Publisher",
    "Response",
    "SigningHTTPClient",
]

PreHook = Callable[[Task], object]
"""Called before the request; a Deferred or coroutine it returns is waited for."""

PostHook = Callable[[Task, Any], object]
"""Called with the result after a success; likewise waited for."""


class Message(Protocol):
    """
    One delivery of a message, as a callback of C{watch} gets it.
    """

    @property
    def body(self) -> bytes:
        """
        The body, always bytes.
        """

    @property
    def properties(self) -> Mapping[str, Any]:
        """
        The basic properties under their AMQP names (C{"content-type"},
        C{"delivery-mode"}, ...); C{"headers"} is always a dict.
        """


class Publisher(Protocol):
    """
    What can put a message into the broker.
    """

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any],
    ) -> Deferred[None]:
        """
        Publish; the Deferred fires once the broker has confirmed it.
        """


class Response(Protocol):
    """
    The part of treq's response that a mediator uses.  L{PolicyMediator
    <quebert.mediator.PolicyMediator>} reads its C{headers}, too, if it has any.
    """

    @property
    def code(self) -> int:
        """
        The HTTP status.
        """

    def content(self) -> Deferred[bytes]:
        """
        The body, once all of it is there; fails when it is cut short.
        """


class HTTPClient(Protocol):
    """
    The part of L{treq.client.HTTPClient} that a mediator uses; C{treq}'s own
    clients, C{StubTreq} among them, fit.
    """

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Any = ...,
        data: Union[bytes, None] = ...,
        allow_redirects: bool = ...,
    ) -> Deferred[Any]:
        """
        Make the request; the Deferred fires with a L{Response} once its
        headers are there.
        """


@runtime_checkable
class SigningHTTPClient(Protocol):
    """
    An L{HTTPClient} that has a request signed when it writes the request.  The request
    may have waited for a connection, and the time in a signature must not be old.
    """

    def request_signed(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        data: Union[bytes, None],
        sign: Callable[[], Mapping[str, str]],
    ) -> Deferred[Any]:
        """
        Make the request, without following redirects.

        @param sign: gives further headers; called once there is a connection.
        """
