"""
The spans of the requests that mediators make.

A span lasts until the last byte of the answer is there.  It is a child of the span of
the message that is being processed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from opentelemetry.context import create_key, get_current, get_value
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from quebert.boundaries import HTTPClient, SigningHTTPClient
from quebert.telemetry._conventions import (
    ERROR_TYPE,
    RESEND_COUNT,
    STATUS_CODE,
    URL_FULL,
    Attributes,
    of_request,
)
from quebert.telemetry._faults import Faults
from quebert.telemetry._instruments import Instruments
from quebert.telemetry._propagation import headers_of
from quebert.telemetry._sdk import Sdk

__all__ = ["CURRENT", "CurrentTask", "RequestSpan", "TracedClient", "traced_client"]

#: Where the context has the L{CurrentTask}.
CURRENT = create_key("quebert.task")


class CurrentTask(Protocol):
    """
    The task that a request is made for.

    @ivar number: of the attempt, from 1.
    @ivar was_cancelled: whether the caller has cancelled the Deferred of the outcome.
    @ivar request: the span of the last request.
    @ivar error: what went wrong with that request; empty for nothing.
    """

    number: int
    was_cancelled: bool
    request: RequestSpan | None
    error: str


class TracedClient:
    """
    An HTTP client that makes a span of each request, and passes it on in the headers,
    unless they tell of another one.
    """

    def __init__(
        self, sdk: Sdk, instruments: Instruments, client: HTTPClient | SigningHTTPClient
    ) -> None:
        self._tracer = sdk.tracer
        self._propagator = sdk.propagator
        self._fields = frozenset(sdk.propagator.fields)
        self._faults = sdk.faults
        self._instruments = instruments
        self._client: Any = client

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        allow_redirects: bool = False,
    ) -> Deferred[Any]:
        """
        Make a request.
        """
        make = partial(
            self._client.request,
            method,
            url,
            data=data,
            allow_redirects=allow_redirects,
        )
        return self._traced(method, url, headers or {}, make)

    def _traced(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        make: Callable[..., Any],
    ) -> Deferred[Any]:
        answering: Any
        try:
            span, headers = self._begin(method, url, headers)
        except Exception:
            self._faults.met("No span of a request.")
            answering = make(headers=headers)
            return answering  # type: ignore[no-any-return]
        try:
            answering = make(headers=headers)
            if not isinstance(answering, Deferred):  # a coroutine will do
                answering = Deferred.fromCoroutine(answering)
        except BaseException as e:
            span.failed(e)
            raise
        answered: Deferred[Any] = answering
        return answered.addCallbacks(span.answered, span.not_answered)

    def _begin(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> tuple[RequestSpan, Mapping[str, str]]:
        found = get_value(CURRENT)
        task: CurrentTask | None = found  # type: ignore[assignment]
        common, shown = of_request(method, url)
        told = {**common, URL_FULL: shown}
        if task is not None and task.number > 1:
            told[RESEND_COUNT] = task.number - 1
        span = self._tracer.start_span(method, kind=SpanKind.CLIENT, attributes=told)
        if not any(name.lower() in self._fields for name in headers):
            context = set_span_in_context(span, get_current())
            headers = {**headers, **headers_of(self._propagator, context)}
        made = RequestSpan(span, common, self._instruments, task, self._faults)
        return made, headers


class _TracedSigningClient(TracedClient):
    """
    The same of a client that signs as late as it can.
    """

    def make_request(
        self,
        method: str,
        url: str,
        fields: Iterable[tuple[str, str]],
        body: bytes | None,
        sign: Callable[[], Mapping[str, str]] | None = None,
    ) -> Deferred[Any]:
        """
        Make a request.
        """

        def make(headers: Mapping[str, str]) -> Any:
            return self._client.make_request(method, url, headers.items(), body, sign)

        return self._traced(method, url, dict(fields), make)


def traced_client(
    sdk: Sdk, instruments: Instruments, client: HTTPClient
) -> TracedClient:
    """
    A client that makes requests by another one, and does all that it can.
    """
    can_sign = isinstance(client, SigningHTTPClient)
    kind = _TracedSigningClient if can_sign else TracedClient
    return kind(sdk, instruments, client)


class RequestSpan:
    """
    The span of one request.

    @param common: the attributes of its data points, too.
    @param task: what the request is made for.
    """

    def __init__(
        self,
        span: Span,
        common: Attributes,
        instruments: Instruments,
        task: CurrentTask | None,
        faults: Faults,
    ) -> None:
        self._span = span
        self._common = common
        self._instruments = instruments
        self._task = task
        self._faults = faults
        self._began = time.perf_counter()
        self._status = 0
        self._has_ended = False
        if task is not None:
            task.request = self

    def answered(self, response: Any) -> Any:
        """
        The head of the answer is there.
        """
        try:
            self._status = response.code
            # Our own client's responses tell; nearly always all of the body is there.
            if getattr(response, "whole", None) is None:
                return _OpenResponse(response, self)
        except Exception:
            self._faults.met("No span of a request.")
        self.end()
        return response

    def not_answered(self, failure: Failure) -> Failure:
        """
        There is no answer, or not all of it.
        """
        if failure.value is not None:
            self.failed(failure.value)
        return failure

    def failed(self, error: BaseException) -> None:
        """
        The same.
        """
        name = type(error).__qualname__
        if isinstance(error, CancelledError):
            is_unwanted = self._task is not None and self._task.was_cancelled
            name = "cancelled" if is_unwanted else "timeout"
        self.end(name)

    def end(self, error: str = "") -> None:
        """
        All of the answer is there, or C{error} says why not; unless that is known.
        """
        if self._has_ended:
            return
        self._has_ended = True
        try:
            self._end(error)
        except Exception:
            self._faults.met("No span of a request.")

    def _end(self, error: str) -> None:
        seconds = time.perf_counter() - self._began
        attributes, status = dict(self._common), self._status
        if status:
            attributes[STATUS_CODE] = status
            self._span.set_attribute(STATUS_CODE, status)
        if self._task is not None:  # for which a redirection is a failure, too
            is_success = 200 <= status < 300
            self._task.error = error or ("" if is_success else str(status))
        if not error and status >= 400:
            error = str(status)
        if error:
            attributes[ERROR_TYPE] = error
            self._span.set_attribute(ERROR_TYPE, error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        self._instruments.requested(seconds, attributes)


class _OpenResponse:
    """
    A response whose body is not there yet.
    """

    def __init__(self, response: Any, span: RequestSpan) -> None:
        self._response = response
        self._span = span

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    @property
    def code(self) -> int:
        """
        The status.
        """
        code: int = self._response.code
        return code

    def content(self) -> Deferred[bytes]:
        """
        The body; with its last byte the span ends.
        """
        content: Deferred[bytes] = self._response.content()
        return content.addCallbacks(self._ended, self._span.not_answered)

    def _ended(self, content: bytes) -> bytes:
        self._span.end()
        return content
