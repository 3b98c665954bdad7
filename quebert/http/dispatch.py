"""
From a request to its whole response: the HTTP client that mediators use.

It is a treq client without what would mix tasks up or spoil a result: no
cookies are kept from one task for the next, no content encoding is asked for
or undone, and a body that ends early is an error.  Knows no tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred

from quebert.guard import Guard
from quebert.http._agent import Agent
from quebert.http._limits import Limits

__all__ = ["Dispatcher"]


class Dispatcher(HTTPClient):
    """
    A treq client whose L{request} is lean; its other methods are treq's.  It is a
    L{SigningHTTPClient<quebert.boundaries.SigningHTTPClient>}, too.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._lean = agent
        kind = type(self)
        if (
            kind.request is Dispatcher.request
            and kind.make_request is Dispatcher.make_request
        ):
            # Without a call in between: each task of a mediator comes this way.
            self.make_request = agent.send  # type: ignore[method-assign]

    @classmethod
    def with_reactor(cls, reactor: Any, guard: Guard | None = None) -> Dispatcher:
        """
        One with its own pool of connections.

        @param guard: permits or refuses each connection; L{Guard}'s defaults
            forbid what no executor is at.
        """
        return cls(Agent(reactor, guard=guard or Guard()))

    def guarded(self, guard: Guard) -> Dispatcher:
        """
        The same with another guard: see L{Agent.guarded}.
        """
        return type(self)(self._lean.guarded(guard))

    def change_limits(self, limits: Limits, hosts: Mapping[str, Limits]) -> None:
        """
        Have other limits for requests from now on, whatever the guard: see L{Agent}.
        """
        self._lean.change_limits(limits, hosts)

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        allow_redirects: bool = False,
        **unusual: Any,
    ) -> Deferred[Any]:
        """
        Make a request; redirects are not followed unless asked.

        @param data: the body.
        @param unusual: anything else that treq knows takes treq's own way.
        """
        if allow_redirects or unusual:
            fields: Any = headers
            unusual.update(headers=fields, data=data, allow_redirects=allow_redirects)
            return super().request(method, url, **unusual)
        return self._lean.send(method, url, headers.items() if headers else (), data)

    def make_request(
        self,
        method: str,
        url: str,
        fields: Iterable[tuple[str, str]],
        body: bytes | None = None,
        sign: Callable[[], Mapping[str, str]] | None = None,
    ) -> Deferred[Any]:
        """
        Make a request, which may be signed when it is written.  A subclass may override
        this method, or L{request}, by which this one makes what is not signed.
        """
        if sign is None:
            return self.request(method, url, headers=dict(fields), data=body)
        return self._lean.send(method, url, fields, body, sign)
