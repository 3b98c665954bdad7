"""
From a request to the function and back: what an executor answers.

Knows requests, and nothing of the connections they come by, nor of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from math import inf
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,
    maybeDeferred,
)
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from quebert import task as tasks
from quebert._bounds import memory_of
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert._repeated import RepeatedWarning
from quebert._text import one_line
from quebert.errors import BadTask
from quebert.executor._admission import RequestFilter, SignedOnly, Unsigned
from quebert.executor._answer import ExecutorAnswer
from quebert.executor._limits import ExecutorLimits
from quebert.executor._memory import Transit, Turns
from quebert.executor._tally import Tally
from quebert.signatures import Verifier
from quebert.task import Task

__all__ = ["ExecutorResource", "Function"]

#: Takes a task; returns its result, or a Deferred of it, or is a coroutine.
Function = Callable[[Task], Any]

_METHODS = ("POST", "PUT", "PATCH")
_BUSY = "the tasks at work take all the memory that they may"
# Of an error's text: it becomes a line in somebody's log.
_ERROR_LIMIT = 1_000
# Of a uuid in ours, which a producer may have chosen.
_NAME_LIMIT = 100


class ExecutorResource(Resource):
    """
    Runs a function for each task that is POSTed, PUT or PATCHed, whatever the
    path, and answers with its result.

    A client that hangs up does not stop the function: what it has begun, it
    ends, and its result goes nowhere.  Whoever gave the task out has to expect
    that anyhow, since a connection can break after the last step as well.

    @param function: called with each task, which is a dict.
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
    @ivar transit: what is on its way, of all requests.
    @ivar draining: set to answer new requests with 503; running calls go on.
    """

    log = Logger()
    isLeaf = True

    def __init__(
        self,
        function: Function,
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
        self._function = function
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
            left = request.notifyFinish()
            work = self._work(body, left)  # alone has the body
            Deferred.fromCoroutine(self._execute(request, left, work))
        return NOT_DONE_YET

    def _refusal(self, request: Request, body: bytes) -> ExecutorAnswer | None:
        if self.draining:
            sentence = "the executor is closing down and takes no new tasks"
            return ExecutorAnswer.unavailable(sentence)
        method = request.method.decode("ascii", "replace")
        if method not in _METHODS:
            request.setHeader("Allow", ", ".join(_METHODS))
            sentence = f"a task comes by POST, PUT or PATCH, not by {method}"
            return ExecutorAnswer.text(http.NOT_ALLOWED, sentence)
        if len(body) > self.limits.body:
            return ExecutorAnswer.too_large(self.limits.body)
        refusal = self._admission.refusal(request, body)
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

    async def _execute(
        self,
        request: Request,
        left: Deferred[None],
        work: Coroutine[Any, Any, tuple[str, ExecutorAnswer]],
    ) -> None:
        gone: list[Failure] = []
        left.addErrback(gone.append)
        self._calls.add()
        try:
            name, answer = await work
            if not gone:
                self._finish(request, answer)
            elif name:
                self.log.info("Nobody waits for task {name} now.", name=name)
        finally:
            self._calls.remove()

    async def _work(
        self, body: bytes, left: Deferred[None]
    ) -> tuple[str, ExecutorAnswer]:
        """
        The name of the task, if it was begun, and the answer.
        """
        size = memory_of(body)
        if not await self._begin(size, len(body), left):
            self.log_refused(_BUSY)
            return "", ExecutorAnswer.unavailable(_BUSY)
        try:
            task = _decoded(body)
            body = b""
            return await self._answer(task)
        except BadTask as e:
            return "", ExecutorAnswer.text(http.BAD_REQUEST, str(e))
        finally:
            self._turns.end(size)

    async def _begin(self, size: int, length: int, left: Deferred[None]) -> bool:
        """
        Wait until the task may be decoded; gives whether that is so.
        """
        begun = self._turns.begin(size)
        if begun.called:
            return True
        self.transit.hold(begun, length, inf)
        left.addBoth(lambda _: begun.cancel())
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

    async def _answer(self, task: Task) -> tuple[str, ExecutorAnswer]:
        # The function may change its task.
        name = _name(task)
        try:
            result = await maybeDeferred(self._function, task)
        except GeneratorExit:  # what is awaited can no more come
            raise
        except BaseException as e:  # the function's exit() is not the server's
            self.log.failure(
                "Task {name} failed.", Failure(), LogLevel.error, name=name
            )
            return name, ExecutorAnswer.text(http.INTERNAL_SERVER_ERROR, _line(e))
        try:
            return name, ExecutorAnswer.result(result)
        except Exception as e:  # it may be of a class of the function's own
            sentence = f"the function's result cannot be sent: {_line(e)}"
            self.log.error("Task {name}: {why}", name=name, why=sentence)
            return name, ExecutorAnswer.text(http.INTERNAL_SERVER_ERROR, sentence)

    def _finish(self, request: Request, answer: ExecutorAnswer) -> None:
        answer.write(request, last=self.draining)
        request.finish()


def _decoded(body: bytes) -> Task:
    task = tasks.decode(body)
    if not isinstance(task, dict):
        raise BadTask("the body is JSON, but a task is an object: {...}")
    return task


def _name(task: Task) -> str:
    uuid = task.get("uuid", "(no uuid)")
    if isinstance(uuid, (dict, list)):  # it may be as large as a body
        return "(no uuid)"
    return one_line(str(uuid), _NAME_LIMIT)


def _line(error: BaseException) -> str:
    """
    The error in one line, as a traceback ends.
    """
    try:
        text = one_line(str(error), _ERROR_LIMIT)
    except Exception:
        text = "(its text cannot be had)"
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind
