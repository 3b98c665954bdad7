"""
From a request to the function and back: what an executor answers.

Knows requests, and nothing of the connections they come by, nor of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from quebert import task as tasks
from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert._repeated import RepeatedWarning
from quebert._text import one_line
from quebert.errors import BadTask
from quebert.executor._admission import Admission, SignedOnly, Unsigned
from quebert.executor._answer import Answer
from quebert.executor._tally import Tally
from quebert.signatures import Verifier
from quebert.task import Task

__all__ = ["BODY_LIMIT", "ExecutorResource", "Function"]

#: Takes a task; returns its result, or a Deferred of it, or is a coroutine.
Function = Callable[[Task], Any]

#: Bytes that a request's body may have: what RabbitMQ lets a message have.
BODY_LIMIT = 16 * 1024 * 1024
_METHODS = ("POST", "PUT", "PATCH")
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
    @param body_limit: bytes that a request's body may have.
    @param verifier: lets only signed requests in.  Without one, whatever a web page
        could have sent is refused.
    @param hosts: without a C{verifier}, names that requests may have as their host; an
        address, a name without a dot and C{localhost} they may have anyway, and with
        C{"*"} any.
    @param reactor: keeps the time between two lines of the log about requests that are
        refused; the global one by default.
    @raise ConfigError: one of C{hosts} is no name.
    @ivar draining: set to answer new requests with 503; running calls go on.
    """

    log = Logger()
    isLeaf = True

    def __init__(
        self,
        function: Function,
        *,
        body_limit: int = BODY_LIMIT,
        verifier: Verifier | None = None,
        hosts: Iterable[str] = (),
        reactor: Any = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._admission: Admission = Unsigned(hosts)
        if verifier is not None:
            self._admission = SignedOnly(verifier)
        self._refused = RepeatedWarning(
            self.log,
            lambda: given_or_global(reactor),
            "A request was refused",
            "Requests are let in again",
        )
        self.draining = False
        self.body_limit = body_limit
        self._function = function
        self._calls = Tally()

    @property
    def active(self) -> int:
        """
        How many calls of the function are running.
        """
        return self._calls.count

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
        body = content.read(self.body_limit + 1)
        refusal = self._refusal(request, body)
        if refusal is not None:
            self._finish(request, refusal)
            return NOT_DONE_YET
        try:
            task = _decoded(body)
        except BadTask as e:
            self._finish(request, Answer.text(http.BAD_REQUEST, str(e)))
        else:
            Deferred.fromCoroutine(self._execute(request, task))
        return NOT_DONE_YET

    def _refusal(self, request: Request, body: bytes) -> Answer | None:
        if self.draining:
            sentence = "the executor is closing down and takes no new tasks"
            return Answer.text(http.SERVICE_UNAVAILABLE, sentence)
        method = request.method.decode("ascii", "replace")
        if method not in _METHODS:
            request.setHeader("Allow", ", ".join(_METHODS))
            sentence = f"a task comes by POST, PUT or PATCH, not by {method}"
            return Answer.text(http.NOT_ALLOWED, sentence)
        if len(body) > self.body_limit:
            return Answer.too_large(self.body_limit)
        refusal = self._admission.refusal(request, body)
        if refusal is None:
            self._refused.succeeded()
        else:
            self._refused.met(refusal.body.decode("utf-8"))
        return refusal

    def forget_refused(self) -> None:
        """
        Log no more of the requests that were refused.
        """
        self._refused.end()

    async def _execute(self, request: Request, task: Task) -> None:
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        self._calls.add()
        try:
            answer = await self._answer(task)
            if gone:
                self.log.info("Nobody waits for task {name} now.", name=_name(task))
            else:
                self._finish(request, answer)
        finally:
            self._calls.remove()

    async def _answer(self, task: Task) -> Answer:
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
            return Answer.text(http.INTERNAL_SERVER_ERROR, _line(e))
        try:
            return Answer.result(result)
        except (TypeError, ValueError) as e:
            sentence = f"the function's result cannot be sent: {_line(e)}"
            self.log.error("Task {name}: {why}", name=name, why=sentence)
            return Answer.text(http.INTERNAL_SERVER_ERROR, sentence)

    def _finish(self, request: Request, answer: Answer) -> None:
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
