"""
From a request to the function and back: what an executor answers.

Knows requests, and nothing of the connections they come by, nor of processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from quebert._bounds import BOUNDS
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert._repeated import RepeatedWarning
from quebert.errors import BadTask
from quebert.executor._answer import write
from quebert.executor._in_reactor import InReactor
from quebert.executor._limits import ExecutorLimits
from quebert.executor._memory import Transit, Turns
from quebert.executor._runner import Runner, TaskRequest
from quebert.executor._tally import Tally
from quebert.functions import ExecutorAnswer, Function
from quebert.functions.admission import (
    Fields,
    RequestFilter,
    SignedOnly,
    Unsigned,
    method_refusal,
)
from quebert.functions.answers import answer_to_error
from quebert.signatures import Verifier

__all__ = ["ExecutorResource"]

# What the absolute form of a request target has before the path (RFC 9112, section
# 3.2.2).
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?]*", re.IGNORECASE)
_BUSY = "the tasks at work take all the memory that they may"


class ExecutorResource(Resource):
    """
    Runs a function for each task that is POSTed, PUT or PATCHed, whatever the
    path, and answers with its result.

    A client that hangs up does not stop the function: what it has begun, it
    ends, and its result goes nowhere.  Whoever gave the task out has to expect
    that anyhow, since a connection can break after the last step as well.

    @param function: called in the reactor with each task, which is a dict; or a
        L{Runner}, which calls functions elsewhere, and has to be started.
    @param limits: how much it takes.  An L{ExecutorSite<quebert.executor.ExecutorSite>}
        keeps to all of them; any other site keeps to C{body}, C{patience}, and
        C{memory} for tasks at work.
    @param verifier: lets only signed requests in.  Without one, whatever a web page
        could have sent is refused.
    @param hosts: without a C{verifier}, names that requests may have as their host; an
        address, a name without a dot and C{localhost} they may have anyway, and with
        C{"*"} any.
    @param reactor: keeps the time; the global one by default.
    @raise ConfigError: one of C{hosts} is no name.
    @ivar runner: calls the function.
    @ivar transit: what is on its way, of all requests.
    @ivar draining: set to answer new requests with 503; running calls go on.
    """

    log = Logger()
    isLeaf = True

    def __init__(
        self,
        function: Function | Runner,
        *,
        limits: ExecutorLimits | None = None,
        verifier: Verifier | None = None,
        hosts: Iterable[str] = (),
        reactor: Any = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._admission: RequestFilter = Unsigned(hosts)
        if verifier is not None:
            self._admission = SignedOnly(verifier)
        self._refused = RepeatedWarning(
            self.log,
            lambda: given_or_global(reactor),
            "A request was refused",
            "Requests are let in again",
        )
        self.draining = False
        self.limits = ExecutorLimits() if limits is None else limits
        self.transit: Transit[Any] = Transit(self.limits.memory)
        if not isinstance(function, Runner):
            function = InReactor(function, reactor=reactor)
        self.runner: Runner = function
        self._reactor = reactor
        self._calls = Tally()
        self._turns = Turns(self.limits.memory, self._call_later)

    @property
    def active(self) -> int:
        """
        How many calls of the function are running, or about to.
        """
        return self._calls.count

    def _call_later(self, seconds: float, call: Callable[[], object]) -> None:
        given_or_global(self._reactor).callLater(seconds, call)

    def drained(self) -> Deferred[None]:
        """
        Fires once no call is running; may be cancelled.
        """
        return self._calls.none()

    def render(self, request: Request) -> int:
        """
        Answer any request.
        """
        content: Any = request.content
        # An executor's own site has seen to the limit; any other has not.
        body = content.read(self.limits.body + 1)
        content.close()  # the request stays until its function has ended
        refusal = self._refusal(request, body)
        if refusal is not None:
            self._finish(request, refusal)
        else:
            executing = self._execute(request, body)
            del body  # which is kept no longer than it is needed
            Deferred.fromCoroutine(executing)
        return NOT_DONE_YET

    def _refusal(self, request: Request, body: bytes) -> ExecutorAnswer | None:
        if self.draining:
            sentence = "the executor is closing down and takes no new tasks"
            return ExecutorAnswer.unavailable(sentence)
        wrong = method_refusal(request.method.decode("ascii", "replace"))
        if wrong is not None:
            return wrong
        if len(body) > self.limits.body:
            return ExecutorAnswer.too_large(self.limits.body)
        refusal = self._admission.refusal(_fields(request), body)
        if refusal is None:
            self._refused.succeeded()
        else:
            self.log_refused(refusal.sentence)
        return refusal

    def log_refused(self, why: str) -> None:
        """
        Log that a request was refused, unless the same was logged not long ago.
        """
        self._refused.met(why)

    def forget_refused(self) -> None:
        """
        Log no more of the requests that were refused.
        """
        self._refused.end()

    async def _execute(self, request: Request, body: bytes) -> None:
        hung_up: Deferred[None] = Deferred()
        request.notifyFinish().addErrback(lambda _: hung_up.callback(None))
        work = self._work(_task_request(request, body, hung_up))
        del body  # the other has it alone
        self._calls.add()
        try:
            name, answer = await work
            if not hung_up.called:
                self._finish(request, answer)
            elif name:
                self.log.info("Nobody waits for task {name} now.", name=name)
        finally:
            self._calls.remove()

    async def _work(self, request: TaskRequest) -> tuple[str, ExecutorAnswer]:
        """
        The name of the task, if it was begun, and the answer.
        """
        size = self.runner.memory_of(request)
        name, answer = "", ExecutorAnswer.unavailable(_BUSY)
        if await self._begin(size, len(request.body), request.hung_up):
            try:
                name, answer = await self.runner.run(request)
            except BadTask as e:
                return "", ExecutorAnswer.text(http.BAD_REQUEST, str(e))
            except Exception as e:  # no function's: its runner has answered those
                self.log.failure("The runner of functions failed.")
                return "", answer_to_error(e)
            finally:
                self._turns.end(size)
        refused = not name and answer.status == http.SERVICE_UNAVAILABLE
        if refused and not request.hung_up.called:
            self.log_refused(answer.sentence)
        return name, answer

    async def _begin(self, size: int, length: int, hung_up: Deferred[None]) -> bool:
        """
        Wait until the task may be decoded; gives whether that is so.
        """
        begun = self._turns.begin(size)
        if begun.called:
            return True
        self.transit.hold(begun, length, inf)
        hung_up.addCallback(lambda _: begun.cancel())
        if self.transit.is_too_much:
            begun.cancel()
        clock = given_or_global(self._reactor)
        try:
            await begun.addTimeout(self.limits.patience, clock)
        except (CancelledError, TimeoutError):
            return False
        finally:
            self.transit.release(begun)
        return True

    def _finish(self, request: Request, answer: ExecutorAnswer) -> None:
        write(answer, request, last=self.draining)
        request.finish()


def _fields(request: Request) -> Fields:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]


def _task_request(
    request: Request, body: bytes, hung_up: Deferred[None]
) -> TaskRequest:
    uri = _path_and_query(request.uri[: BOUNDS.url].decode("latin-1"))
    # Where the resource is mounted is no part of the path.
    mounted = 1 + len(request.prepath or ())
    parts = uri.partition("?")[0].split("/")[mounted:]
    path = unquote(f"/{'/'.join(parts)}")
    host = request.getHeader("Host") or ""
    return TaskRequest(body, uri, path, host, _fields(request), monotonic(), hung_up)


def _path_and_query(target: str) -> str:
    """
    A request target without what its absolute form has before the path.
    """
    found = _ORIGIN.match(target)
    return target if found is None else target[found.end() :] or "/"
