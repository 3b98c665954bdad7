"""
Answers requests with the page, the API, or a stream of events.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert._repeated import RepeatedWarning
from quebert.executor import ExecutorLimits, Transit
from quebert.web._api import API, Reply, Streaming
from quebert.web._assets import Assets
from quebert.web._exchange import APIAnswer, APIProblem, problem_answer
from quebert.web._head import RequestHead
from quebert.web._hub import EventHub
from quebert.web._request import decoded
from quebert.web._response import HTTPDate
from quebert.web._stream import EventSink, EventStream

__all__ = ["LIMITS", "MOST_STREAMS", "WebResource"]

#: What it takes of its clients.
LIMITS = ExecutorLimits(
    body=2 * 2**20,  # a task of Cloud Tasks may have 1 MiB, which is in base64
    head=65_536,
    fields=100,
    connections=ExecutorLimits().connections // 4 or 1,
    memory=32 * 2**20,
)
#: Streams of events at once; half of them for one token, or for all who have none.
MOST_STREAMS = 200

_FAULT = problem_answer(500, "this is a fault of the server; its log has it")


class WebResource:
    """
    Answers all requests.

    @param now: gives the time of day.
    @ivar limits: the bounds of requests.
    @ivar transit: the bytes of all requests that are under way.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        api: API,
        assets: Assets,
        hub: EventHub,
        limits: ExecutorLimits = LIMITS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._api = api
        self._assets = assets
        self._hub = hub
        self._now = now
        self._date = HTTPDate()
        self._streams: dict[EventStream, str] = {}  # each with the name of its token
        self._refused = RepeatedWarning(
            self.log,
            lambda: given_or_global(reactor),
            "A request to the web server was refused",
            "Requests to the web server are let in again",
        )
        self.limits = limits
        self.transit: Transit[Any] = Transit(limits.memory)

    def log_refused(self, why: str) -> None:
        """
        Log that a request was refused, unless the same was logged not long ago.
        """
        self._refused.met(why)

    def stop(self) -> None:
        """
        Log no more of refused requests, and close the streams.
        """
        self._refused.end()
        self.close_streams()

    def close_streams(self) -> None:
        """
        Close the streams: whoever is still let in connects again.
        """
        for stream in list(self._streams):
            stream.close()

    def date(self) -> str:
        """
        The time of day, as answers have it.
        """
        return self._date.at(self._now())

    def in_form_of(self, head: RequestHead, answer: APIAnswer) -> APIAnswer:
        """
        The answer to a request that is refused, in the form of the API that it is for.
        """
        return self._api.in_form_of(head.target, answer)

    def answer(self, head: RequestHead, body: bytes, address: str) -> Deferred[Reply]:
        """
        The answer to a request, whatever happens.

        @param address: where the connection comes from.
        """
        try:
            request = decoded(head, body, address)
        except APIProblem as e:
            return succeed(self.in_form_of(head, e.answer))
        if request.method in ("GET", "HEAD"):
            page = self._assets.answer(request)
            if page is not None:
                return succeed(page)
        answering: Deferred[Any] = self._api.answer(request)
        answering.addCallback(self._answered, address)
        return answering.addErrback(self._failed)

    def _answered(self, reply: Reply, address: str) -> Reply:
        if isinstance(reply, Streaming):
            return self._unless_too_many(reply)
        if reply.status in (401, 403):
            self.log_refused(f"{address}: {reply.status}, {reply.why}")
        return reply

    def _failed(self, failure: Failure) -> APIAnswer:
        self.log.failure("A request to the web server failed.", failure)
        return _FAULT

    def _unless_too_many(self, found: Streaming) -> Reply:
        owners, half = list(self._streams.values()), MOST_STREAMS // 2
        if len(owners) >= MOST_STREAMS:
            text = f"{MOST_STREAMS} listen already"
        elif owners.count(found.grant.name) >= half:
            text = f"{half} listen already with this token, or without one"
        else:
            return found
        return problem_answer(503, text, ("Retry-After", "10"))

    def open(self, wanted: Streaming, sink: EventSink) -> EventStream:
        """
        Begin to write a stream of events.
        """
        stream = EventStream(self._reactor, self._hub, sink, self._streams.pop)
        self._streams[stream] = wanted.grant.name
        stream.begin(wanted.grant, wanted.queue, wanted.last_id)
        return stream
