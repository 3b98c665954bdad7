"""
From requests of Twisted to the API, the page and the streams of events, and back.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from quebert._listening import host_of
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert._repeated import RepeatedWarning
from quebert.executor import ExecutorLimits, Transit
from quebert.web._api import API, Streaming
from quebert.web._assets import Assets
from quebert.web._exchange import APIAnswer, APIProblem, APIRequest, problem_answer
from quebert.web._hub import EventHub
from quebert.web._request import decoded
from quebert.web._stream import EventStream

__all__ = ["LIMITS", "WebResource"]

#: What it takes of its clients.
LIMITS = ExecutorLimits(
    body=2**20,
    head=65_536,
    fields=100,
    connections=ExecutorLimits().connections // 4 or 1,
    memory=32 * 2**20,
)
#: Streams of events at once.
MOST_STREAMS = 200

_ALWAYS = (
    ("Server", "quebert"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
# What the API says is for no cache, and no page of a browser.
_OF_API = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
_OF_STREAMS = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("X-Accel-Buffering", "no"),  # nginx would keep them for a while
    *_OF_API,
)


class WebResource(Resource):
    """
    Answers all requests.

    @ivar limits: the bounds of requests.
    @ivar transit: the bytes of all requests that are under way.
    """

    log = Logger()
    isLeaf = True

    def __init__(
        self,
        reactor: Any,
        api: API,
        assets: Assets,
        hub: EventHub,
        limits: ExecutorLimits = LIMITS,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._api = api
        self._assets = assets
        self._hub = hub
        self._streams: set[EventStream] = set()
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

    def render(self, request: Request) -> int:
        """
        Answer any request.
        """
        content: Any = request.content
        body = content.read(self.limits.body + 1)
        content.close()
        hung_up: Deferred[Any] = request.notifyFinish()
        answering = Deferred.fromCoroutine(self._answer(request, body, hung_up))
        answering.addErrback(self._failed, request, hung_up)
        if request.method in (b"GET", b"HEAD"):  # what changes something goes on
            hung_up.addErrback(lambda _: answering.cancel())
        else:
            hung_up.addErrback(lambda _: None)
        return NOT_DONE_YET

    async def _answer(
        self, request: Request, body: bytes, hung_up: Deferred[Any]
    ) -> None:
        try:
            wanted = self._read(request, body)
        except APIProblem as e:
            self._write(request, e.answer)
            return
        if wanted.method in ("GET", "HEAD"):
            page = self._assets.answer(wanted)
            if page is not None:
                self._write(request, page)
                return
        found = await self._api.answer(wanted)
        if hung_up.called:
            return
        if isinstance(found, Streaming):
            self._stream(request, found)
        else:
            if found.status in (401, 403):
                why = json.loads(found.body)["detail"]
                self.log_refused(f"{wanted.caller.address}: {found.status}, {why}")
            self._write(request, found)

    def _failed(
        self, failure: Failure, request: Request, hung_up: Deferred[Any]
    ) -> None:
        """
        End a request that nobody has answered: while it waits, its connection counts.
        """
        if not failure.check(CancelledError):
            self.log.failure("A request to the web server failed.", failure)
        if not hung_up.called and not request.startedWriting:
            text = "this is a fault of the server; its log has it"
            self._write(request, problem_answer(500, text))

    def _read(self, request: Request, body: bytes) -> APIRequest:
        if len(body) > self.limits.body:
            raise APIProblem(413, f"the body has more than {self.limits.body} bytes")
        fields = (
            (name, value)
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        )
        method = request.method.decode("latin-1")
        address = host_of(request.getClientAddress())
        version = request.clientproto.decode("latin-1")
        return decoded(method, request.uri, fields, body, address, version)

    def _write(self, request: Request, answer: APIAnswer) -> None:
        request.setResponseCode(answer.status)
        is_page = any(n == "Content-Security-Policy" for n, _ in answer.headers)
        headers = (*_ALWAYS, *(() if is_page else _OF_API), *answer.headers)
        if answer.content_type:
            headers = (*headers, ("Content-Type", answer.content_type))
        for name, value in headers:
            request.setHeader(name, value)
        if answer.status != 304:
            request.setHeader("Content-Length", str(len(answer.body)))
            request.write(answer.body)
        request.finish()

    def _stream(self, request: Request, wanted: Streaming) -> None:
        if len(self._streams) >= MOST_STREAMS:
            text = f"{MOST_STREAMS} listen already"
            later = ("Retry-After", "10")
            self._write(request, problem_answer(503, text, later))
            return
        for name, value in (*_ALWAYS, *_OF_STREAMS):
            request.setHeader(name, value)
        if request.method == b"HEAD":
            request.write(b"")
            request.finish()
            return
        stream = EventStream(self._reactor, self._hub, request)
        self._streams.add(stream)
        request.notifyFinish().addBoth(lambda _: self._streams.discard(stream))
        stream.begin(wanted.grant, wanted.queue, wanted.last_id)
