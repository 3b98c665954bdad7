"""
Requests for tasks: whether they may be made now, their headers, their signature, and
their time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from quebert._deadlines import Deadlines
from quebert._secrets import Secret
from quebert.boundaries import HTTPClient, SigningHTTPClient, WatchedMessage
from quebert.cloud_events import CloudEvents
from quebert.errors import NoIDToken
from quebert.limits import Admission
from quebert.mediator._admission import Admitted, NotAdmitted, TaskCancelled
from quebert.mediator._attempt import Attempt
from quebert.mediator._judging import cancelled
from quebert.mediator._observation import Observation
from quebert.signatures import IDTokens, Signer
from quebert.task import IDTokenWanted, Request

__all__ = ["Requests"]

# As C{SigningHTTPClient.make_request}; a coroutine will do, too.
_MakeRequest = Callable[..., Any]


class Requests:
    """
    Makes the requests of a mediator.

    @param http: the HTTP client.
    @param make_http: makes the HTTP client at the first request, where none is given.
    @param clock: gives what keeps the time limits.
    @param signer: signs each request.
    @param cloud_events: makes an event of each request.
    @param overrules: asked of each 2xx whether it says itself that it is no success.
    @ivar admission: asked before each request whether its origin may have it now.
    @ivar id_tokens: makes the ID tokens that tasks ask for; C{None} where none can be
        made.
    @ivar default_timeout: seconds a request may take whose task does not say.
    @ivar max_timeout: seconds any request may take at most.
    """

    def __init__(
        self,
        http: HTTPClient | None,
        make_http: Callable[[], HTTPClient],
        clock: Callable[[], IReactorTime],
        *,
        admission: Admission | None,
        default_timeout: float,
        max_timeout: float,
        signer: Signer | None,
        cloud_events: CloudEvents | None,
        id_tokens: IDTokens | None = None,
        overrules: Callable[[Any], bool] | None,
    ) -> None:
        self.admission = admission
        self.default_timeout = default_timeout
        self.max_timeout = max_timeout
        self.id_tokens = id_tokens
        self._http = http
        self._make_request: _MakeRequest | None = None  # of C{http}, once it was needed
        self._make_http = make_http
        self._clock = clock
        self._seconds: Callable[[], float] | None = None  # once they were needed
        self._signer = signer
        self._cloud_events = cloud_events
        self._overrules = overrules
        self._deadlines = Deadlines(clock, Attempt.late)

    @property
    def http(self) -> HTTPClient:
        """
        The HTTP client.
        """
        if self._http is None:
            self._http = self._make_http()
        return self._http

    @http.setter
    def http(self, http: HTTPClient) -> None:
        self._http, self._make_request = http, None

    def make(
        self,
        message: WatchedMessage,
        request: Request,
        body: bytes,
        observation: Observation | None = None,
        result: object = None,
    ) -> Deferred[Any]:
        """
        Make a request, if its message and its origin admit it.

        @param body: the task, as it is sent if it is the request's body.
        @param observation: is told, unless it is C{None}.
        @param result: what is wanted of a success in place of the body of the answer;
            C{None} for the body, which the callback task of C{message} needs.
        @return: fires with C{result}, or with the body, once the last byte of the
            answer is there; fails with L{NotAdmitted} where the request has to wait,
            and with L{TaskCancelled} where it is never to be made.
        """
        method, url, headers, timeout, uuid, sends_task, payload, _, id_token = request
        seconds = min(timeout or self.default_timeout, self.max_timeout)
        data = body if sends_task else payload
        admitted: Admitted | None = None
        try:
            if message.cancelled_tasks:  # seldom
                discard = cancelled(uuid, message)
                if discard is not None:
                    raise TaskCancelled(discard)
            if not message.may_request(url):
                raise NotAdmitted(0.0)
            if self.admission is not None:
                if self._seconds is None:
                    self._seconds = self._clock().seconds
                admitted = Admitted(self.admission, url, self._seconds)
            if id_token is not None:
                headers = self._with_token(id_token, url, headers)
            if observation is not None:
                observation.begun()
            if self._cloud_events is not None:
                headers = self._cloud_events.added(headers, uuid)
            sign = None
            if self._signer is not None:
                sign = partial(self._signer.headers, uuid, data or b"")
                headers = self._signer.unsigned(headers)
            make_request = self._make_request or self._found_make_request()
            answering = make_request(method, url, headers.items(), data, sign)
            if not isinstance(answering, Deferred):  # a coroutine will do
                answering = Deferred.fromCoroutine(answering)
        except Exception as e:
            if admitted is not None:
                admitted.ended(e)
            made: Deferred[Any] = fail(e)
        else:
            made = Attempt(
                answering,
                method,
                url,
                seconds,
                self._deadlines,
                self._overrules,
                observation,
                admitted,
                result,
            ).success
        if message.callback_task is not None:  # seldom
            made.addCallback(message.callback_task.answered)
        return made

    def _with_token(
        self, wanted: IDTokenWanted, url: str, headers: dict[str, str]
    ) -> dict[str, str]:
        """
        C{headers} with an ID token in place of any other authorization.

        @raise NoIDToken: none can be made.
        """
        if self.id_tokens is None:
            raise NoIDToken(
                f"its request needs an ID token of {wanted.account}, and this mediator"
                " has no key to sign one: give it a table [oidc]"
            )
        token = self.id_tokens.token(wanted.account, wanted.audience or url)
        kept = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        return {**kept, "Authorization": Secret(f"Bearer {token}")}

    def _found_make_request(self) -> _MakeRequest:
        """
        How the HTTP client makes requests.
        """
        http: Any = self.http
        # Its class says so: a double may have any attribute.
        signs = issubclass(type(http), SigningHTTPClient)
        self._make_request = make = http.make_request if signs else partial(_make, http)
        return make


def _make(
    http: HTTPClient,
    method: str,
    url: str,
    fields: Iterable[tuple[str, str]],
    body: bytes | None,
    sign: Callable[[], Mapping[str, str]] | None,
) -> Any:
    """
    Make a request by a client such as treq's, signed now.
    """
    headers = dict(fields)
    if sign is not None:
        headers |= sign()
    return http.request(method, url, headers=headers, data=body, allow_redirects=False)
